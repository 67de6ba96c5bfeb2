"""Every reader of foreign text, on a small fuzz; `bench/fuzz/run.py` does the same for as long as one likes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.fuzz.run import find_by_mutation
from bench.fuzz.targets import DIRECTORY, MESSAGE, PROVIDERS, TARGETS
from bridge.contacts import Known, read_lookup
from bridge.core.exchange import Reply
from bridge.core.json_text import batch_elements
from bridge.core.model import DeliveryReport
from bridge.notifications import Notification, read_notification
from bridge.providers.protocol import Accepted, Answered
from bridge.providers.revicom_callback import read_element
from bridge.smartico import Refusal, SendRequest, decode_send
from bridge.smartico.reports import NotFound, read_status_reply


@pytest.mark.parametrize("name", TARGETS)
def test_a_short_fuzz(name: str) -> None:
    """Nothing that is made of good input by a few changes is too much for a reader."""
    target = TARGETS[name]
    tried, found = find_by_mutation(target.run, target.seeds, target.words, seconds=0.5, seed=7)
    assert tried >= len(target.seeds) - 1
    assert found is None


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=30, derandomize=True, database=None)
@given(
    data=st.binary(max_size=200)
    | st.text(max_size=80).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
def test_any_bytes(name: str, data: bytes) -> None:
    """Nor is anything else."""
    TARGETS[name].run(data)


# --- what is decided where JSON leaves a choice ---


def test_of_two_fields_with_one_name_the_last_one_counts() -> None:
    """Everywhere: two readers of one text must not take it for two things."""
    send = decode_send(b'{"ext_user_id": "a", "ext_user_id": "b", "im_uid": "x", "body": "1", "body": "2"}')
    assert isinstance(send, SendRequest)
    assert (send.ext_user_id, send.body) == ("b", "2")
    told = read_notification("application/json", b"login=q", b'{"login": "a", "login": "b"}')
    assert isinstance(told, Notification)
    assert told.login == "b"
    element = read_element(b'{"message_uuid": "a", "callback_event": "sent", "message_uuid": "b"}')
    assert isinstance(element, DeliveryReport)
    assert element.provider_message_id == "b"
    reply = Reply(200, b'{"error_code": 0, "error_code": 4, "error_message": "not found"}')
    assert isinstance(read_status_reply(reply), NotFound)


@pytest.mark.parametrize(
    ("provider", "body"),
    [
        ("revicom", b'[{"message_uuid": "a", "callback_event": "sent", "message_uuid": "b"}]'),
        ("mailing", b'[{"event": "open", "sg_message_id": "a.x", "sg_message_id": "b.x"}]'),
        ("inbox", b'{"ext_message_id": "a", "status": "read", "ext_message_id": "b"}'),
    ],
)
def test_so_it_is_in_callbacks(provider: str, body: bytes) -> None:
    """Of every provider."""
    (found,) = PROVIDERS[provider].parse_callback(body)
    assert isinstance(found.element, DeliveryReport)
    assert found.element.provider_message_id == "b"


def test_so_it_is_in_answers() -> None:
    """Of the operator's platform, and of Revicom when it takes a message."""
    reply = Reply(200, b'{"user": {"phone": "+447700900999", "email": null, "phone": "+447700900123"}}')
    assert read_lookup(DIRECTORY, reply) == Known("+447700900123", None)
    reply = Reply(201, b'{"items": [{"code": -1, "messageUuid": "a", "messageUuid": "b", "code": 201}]}')
    assert PROVIDERS["revicom"].parse_send([MESSAGE], reply) == Answered((Accepted("b"),))


@pytest.mark.parametrize("depth", [100, 1_000, 100_000])
def test_deep_nesting(depth: int) -> None:
    """It is refused, or kept as it is; no reader needs a stack as deep."""
    deep = b"[" * depth + b"]" * depth
    told = decode_send(b'{"ext_user_id": "u", "im_uid": "x", "body": "b", "more": ' + deep + b"}")
    assert isinstance(told, SendRequest | Refusal)
    assert batch_elements(b"[" + deep + b"]") == [deep]
    read_notification("application/json", b"", b'{"a": ' + deep + b"}")


@pytest.mark.parametrize(
    "number", [b"1" * 5_000, b"1e999999999", b"-1e-999999999", b"0." + b"0" * 5_000 + b"1"]
)
@pytest.mark.parametrize(
    "field", ["ext_user_id", "login", "time", "price", "parts", "error_code", "timestamp", "cascade_step"]
)
def test_huge_numbers(field: str, number: bytes) -> None:
    """A number that fits nowhere is no reason to fail, in whatever field it stands."""
    element = (
        b'{"message_uuid": "a", "event": "open", "callback_event": "price", "currency": "EUR", "%s": %s}'
        % (
            field.encode(),
            number,
        )
    )
    for name, target in TARGETS.items():
        if name.startswith(("callback-r", "callback-s", "send", "status", "platform", "json")):
            target.run(element)
            target.run(b"[" + element + b"]")
    TARGETS["notification"].run(b"application/json\n\n" + element)
