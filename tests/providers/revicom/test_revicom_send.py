"""What the answers of Revicom to a batch of messages mean for each of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.exchange import NoConnection, NoReply, Outcome, Reply
from bridge.core.model import id_text
from bridge.providers.protocol import (
    Accepted,
    Answered,
    Blocked,
    Invalid,
    NotTaken,
    OutgoingMessage,
    PerhapsTaken,
    Refused,
    SendResult,
    TooLarge,
)
from bridge.providers.revicom import Revicom

UUID_A, UUID_B = "063474ec-a34f-4558-90c5-984395000004", "063564ec-a34f-4558-90c5-984395000005"
TAKEN_A, TAKEN_B = Accepted(UUID_A), Accepted(UUID_B)
PERHAPS = "perhaps"  # stands for PerhapsTaken with any reason

MakeRevicom = Callable[..., Revicom]
MakeMessage = Callable[..., OutgoingMessage]


def items(*entries: object) -> Reply:
    """The answer 200 with these items."""
    return Reply(200, json.dumps({"errors": False, "items": entries}).encode())


def shape(result: SendResult) -> object:
    """A result without the reasons of what is perhaps taken."""
    if isinstance(result, Answered):
        return [PERHAPS if isinstance(each, PerhapsTaken) else each for each in result.items]
    return PERHAPS if isinstance(result, PerhapsTaken) else result


def test_all_taken(revicom: Revicom, pair: Sequence[OutgoingMessage], golden: Callable[[str], bytes]) -> None:
    """The documented answer accepts every message, under ids in lower case."""
    assert revicom.parse_send(pair, Reply(200, golden("sent.json"))) == Answered((TAKEN_A, TAKEN_B))


def test_one_refused(
    revicom: Revicom, pair: Sequence[OutgoingMessage], golden: Callable[[str], bytes]
) -> None:
    """Each item is judged by itself: one code that is not 201 refuses one message."""
    result = revicom.parse_send(pair, Reply(200, golden("sent_partly.json")))
    assert result == Answered((TAKEN_A, Refused("404", "the provider refused the message with code 404")))


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        ({"code": 201, "messageUuid": UUID_B}, TAKEN_B),
        ({"code": 201, "messageUuid": UUID_B, "unknown": [1]}, TAKEN_B),
        ({"code": 201}, PERHAPS),
        ({"code": 201, "messageUuid": None}, PERHAPS),
        ({"code": 201, "messageUuid": ""}, PERHAPS),
        ({"code": 201, "messageUuid": "a\0b"}, PERHAPS),
        ({"code": 201, "messageUuid": "a" * 201}, PERHAPS),
        ({"code": 201, "messageUuid": 7}, PERHAPS),
        ({"code": "201", "messageUuid": UUID_B}, PERHAPS),
        ({"code": True, "messageUuid": UUID_B}, PERHAPS),
        ({"code": 201.5, "messageUuid": UUID_B}, PERHAPS),
        ({"code": 14085553911}, PERHAPS),
        ({"messageUuid": UUID_B}, PERHAPS),
        ([], PERHAPS),
        (None, PERHAPS),
    ],
)
def test_second_item(
    revicom: Revicom, pair: Sequence[OutgoingMessage], second: object, expected: object
) -> None:
    """Only 201 with an id is taken; an item that cannot be read leaves only its own message in doubt."""
    result = revicom.parse_send(pair, items({"code": 201, "messageUuid": UUID_A}, second))
    assert shape(result) == [TAKEN_A, expected]


def test_one_id_for_two_messages(revicom: Revicom, make_message: MakeMessage) -> None:
    """An id that comes twice, in whatever case, is believed for neither message; others are not touched."""
    batch = [make_message(number) for number in range(3)]
    answer = items(*({"code": 201, "messageUuid": each} for each in (UUID_A, UUID_B, UUID_A.upper())))
    assert shape(revicom.parse_send(batch, answer)) == [PERHAPS, TAKEN_B, PERHAPS]


@pytest.mark.parametrize(
    "outcome",
    [
        NoReply("timed out"),
        items(),
        items({"code": 201, "messageUuid": UUID_A}),
        items(*({"code": 201, "messageUuid": each} for each in "abc")),
        Reply(200, b'{"errors": false}'),
        Reply(200, b'{"items": null}'),
        Reply(200, b'{"items": [{"code": 201'),
        Reply(200, b"[" * 100_000),
        Reply(200, b"\xff\xfe"),
        Reply(200, b""),
        Reply(204),
        Reply(302, headers={"location": "https://elsewhere.example"}),
        Reply(500, b"<html>"),
        Reply(503),
    ],
    ids=repr,
)
def test_perhaps_taken(revicom: Revicom, pair: Sequence[OutgoingMessage], outcome: Outcome) -> None:
    """After every outcome that does not say what was done, the whole batch is in doubt."""
    assert shape(revicom.parse_send(pair, outcome)) == PERHAPS


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (NoConnection("refused"), NotTaken("no_connection", "refused")),
        (Reply(429), NotTaken("429", "HTTP 429")),
        (Reply(429, headers={"retry-after": " 17 "}), NotTaken("429", "HTTP 429", 17.0)),
        (Reply(429, headers={"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}), NotTaken("429", "HTTP 429")),
        (Reply(400, b'{"error": {"code": 4000}}'), Invalid("4000", "HTTP 400, error 4000")),
        (Reply(422, b'{"error": {"msg": "bad tag"}}'), Invalid("422", "HTTP 422: bad tag")),
        (Reply(413), TooLarge("413", "HTTP 413")),
        (Reply(402, b'{"error": {"code": 402}}'), Blocked("402", "HTTP 402, error 402")),
        (Reply(404, b"<html>not here</html>"), Blocked("404", "HTTP 404")),
        (Reply(409, b'{"error": "text"}'), Blocked("409", "HTTP 409")),
        (Reply(418, b'{"error": {"code": true, "msg": [1]}}'), Blocked("418", "HTTP 418")),
    ],
)
def test_refused_as_a_whole(
    revicom: Revicom, pair: Sequence[OutgoingMessage], outcome: Outcome, expected: SendResult
) -> None:
    """What certainly was not taken is said to be so, with the provider's own words where they are readable."""
    assert revicom.parse_send(pair, outcome) == expected


@pytest.mark.parametrize(
    ("status", "file", "expected"),
    [
        (401, "error_401.json", Blocked("4012", "HTTP 401, error 4012: Bad credentials")),
        (403, "error_403.json", Blocked("4030", "HTTP 403, error 4030: Access Denied")),
        (
            400,
            "error_400.json",
            Invalid("4000", "HTTP 400, error 4000: [0].destination ••• of ••• is wrong, see •••"),
        ),
    ],
)
def test_documented_errors(
    revicom: Revicom,
    pair: Sequence[OutgoingMessage],
    golden: Callable[[str], bytes],
    status: int,
    file: str,
    expected: SendResult,
) -> None:
    """The documented error bodies become code and sentence, without the numbers and addresses in them."""
    assert revicom.parse_send(pair, Reply(status, golden(file))) == expected


def echo(message: OutgoingMessage, uuid: str | None, code: int = 201) -> dict[str, Any]:
    """An item that names its message."""
    return {"externalMessageId": id_text(message.message_id).upper(), "code": code, "messageUuid": uuid}


def test_items_in_another_order(make_revicom: MakeRevicom, pair: Sequence[OutgoingMessage]) -> None:
    """With external_id, items that all name their message are matched by that."""
    answer = items(echo(pair[1], UUID_B), echo(pair[0], UUID_A))
    assert make_revicom(external_id=True).parse_send(pair, answer) == Answered((TAKEN_A, TAKEN_B))


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (((0, UUID_A), (None, UUID_B)), [TAKEN_A, TAKEN_B]),
        (((None, UUID_A), (None, UUID_B)), [TAKEN_A, TAKEN_B]),
        (((None, UUID_A), (0, UUID_B)), [PERHAPS, PERHAPS]),
        (((0, UUID_A), (0, UUID_B)), [PERHAPS, PERHAPS]),
    ],
)
def test_items_that_are_partly_named(
    make_revicom: MakeRevicom, pair: Sequence[OutgoingMessage], entries: Any, expected: list[object]
) -> None:
    """Where not all items name their message the order counts, unless the names contradict it."""
    named = [
        {"code": 201, "messageUuid": uuid} if index is None else echo(pair[index], uuid)
        for index, uuid in entries
    ]
    assert shape(make_revicom(external_id=True).parse_send(pair, items(*named))) == expected


def test_order_counts_without_external_id(revicom: Revicom, pair: Sequence[OutgoingMessage]) -> None:
    """Without external_id the order decides, whatever the items are called."""
    answer = items(echo(pair[1], UUID_A), echo(pair[0], UUID_B))
    assert revicom.parse_send(pair, answer) == Answered((TAKEN_A, TAKEN_B))


LEAKS = (
    "token a2V5OnRvcC1zZWNyZXQ= for +1 (408) 555-39-11, john.doe@example.com, pa:ss/word\r\n\x1b[31m"
    + "x" * 500
)


@pytest.mark.parametrize("status", [400, 401, 413, 422, 429, 500])
def test_reasons_hold_no_secrets(revicom: Revicom, pair: Sequence[OutgoingMessage], status: int) -> None:
    """Whatever the provider repeats, a reason has no token, password, number, e-mail or control character."""
    body = json.dumps({"error": {"code": "+14085553911", "msg": LEAKS}}).encode()
    for outcome in (Reply(status, body), NoConnection(LEAKS), NoReply(LEAKS)):
        result = revicom.parse_send(pair, outcome)
        assert not isinstance(result, Answered)
        text = repr(result)
        for secret in ("a2V5", "408", "john", "pa:ss", "\\r", "\\x1b"):
            assert secret not in text
        assert len(result.reason) <= 200


@given(status=st.integers(200, 599), body=st.binary(max_size=300))
def test_any_bytes(revicom: Revicom, pair: Sequence[OutgoingMessage], status: int, body: bytes) -> None:
    """No answer raises, and random bytes never count as acceptance."""
    result = revicom.parse_send(pair, Reply(status, body))
    assert not isinstance(result, Answered)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([201, UUID_A]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["code", "messageUuid", "error", "msg", "items"]) | st.text(), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@given(entries=st.lists(JSON, min_size=2, max_size=2))
def test_any_items(make_revicom: MakeRevicom, pair: Sequence[OutgoingMessage], entries: list[object]) -> None:
    """Whatever two items look like, each of two messages gets a result, and acceptance carries an id."""
    for external_id in (False, True):
        result = make_revicom(external_id=external_id).parse_send(pair, items(*entries))
        assert isinstance(result, PerhapsTaken) or len(result.items) == 2  # type: ignore[union-attr]
        if isinstance(result, Answered):
            assert all(each.provider_message_id for each in result.items if isinstance(each, Accepted))
