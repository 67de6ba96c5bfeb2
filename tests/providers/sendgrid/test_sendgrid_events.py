"""The events of SendGrid, read one by one, and what the table makes of them."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import astuple

from bridge.core.model import DeliveryReport, Element, Malformed, Mark, State
from bridge.providers.sendgrid import Sendgrid
from bridge.sim.sendgrid_events import MALFORMED, make_ids, make_message_id
from bridge.tables import load_mapping
from tests.providers.sendgrid.conftest import Golden

OURS = "0197f3a2-b1c4-7d3e-8f00-112233445566"
AT = 1_795_190_400_000
EVENT: dict[str, Any] = {"event": "open", "sg_message_id": "9aXb.recvd-1.0", "timestamp": 1_795_190_400}


def read(sendgrid: Sendgrid, element: object) -> Element:
    (raw,) = sendgrid.parse_callback(json.dumps([element]).encode())
    return raw.element


def report(sendgrid: Sendgrid, **changes: Any) -> DeliveryReport:
    element = read(sendgrid, {**EVENT, **changes})
    assert isinstance(element, DeliveryReport)
    return element


def test_golden_events(sendgrid: Sendgrid, golden: Golden) -> None:
    """Every documented event, in the documented form, is read into what tells it apart."""
    elements = [each.element for each in sendgrid.parse_callback(golden("events.json"))]
    assert elements == [
        DeliveryReport(OURS, "processed", at=AT),
        DeliveryReport(OURS, "deferred", at=AT + 1000, error_code="4.2.1"),
        DeliveryReport(OURS, "delivered", at=AT + 2000),
        DeliveryReport(OURS, "open", at=AT + 3000),
        DeliveryReport(OURS, "click", at=AT + 4000, link="https://amazing.co/offer?id=1"),
        DeliveryReport(OURS, "bounce", "bounce", at=AT + 5000, error_code="5.1.1"),
        DeliveryReport(OURS, "bounce", "blocked", at=AT + 6000, error_code="554"),
        DeliveryReport(OURS, "dropped", at=AT + 7000, error_code="Bounced Address"),
        DeliveryReport(OURS, "spamreport", at=AT + 8000),
        DeliveryReport(OURS, "unsubscribe", at=AT + 9000),
        DeliveryReport(OURS, "group_unsubscribe", at=AT + 10_000),
        DeliveryReport(OURS, "group_resubscribe", at=AT + 11_000),
    ]


def test_table(sendgrid: Sendgrid, golden: Golden) -> None:
    """The shipped table knows every documented event, and no other."""
    table = load_mapping("sendgrid", None)
    read_events = [each.element for each in sendgrid.parse_callback(golden("events.json"))]
    meanings = [
        table.meaning(each.event, each.status) for each in read_events if isinstance(each, DeliveryReport)
    ]
    assert meanings == [
        State.SENT,
        None,
        State.DELIVERED,
        State.READ,
        Mark.CLICKED,
        State.FAILED,
        State.FAILED,
        State.REJECTED,
        Mark.COMPLAINED,
        Mark.UNSUBSCRIBED,
        Mark.UNSUBSCRIBED,
        None,
    ]
    assert table.meaning("bounce", "") is State.FAILED
    assert len(table.rows) == len(meanings) + 1
    for event, status in (("teleported", ""), ("bounce", "other"), ("account_status_change", "")):
        assert not table.knows(event, status)


@pytest.mark.parametrize(
    ("changes", "known_as"),
    [
        ({"ext_message_id": OURS}, OURS),
        ({"ext_message_id": OURS.upper()}, OURS),
        ({"ext_message_id": OURS.replace("-", "")}, OURS),
        ({"ext_message_id": OURS, "sg_message_id": None}, OURS),
        ({"ext_message_id": "an id of somebody else's"}, "9axb"),
        ({"ext_message_id": 7}, "9axb"),
        ({}, "9axb"),
        ({"sg_message_id": "9aXb"}, "9axb"),
        ({"sg_message_id": "9aXb-_.x.y.0"}, "9axb-_"),
    ],
)
def test_which_message(sendgrid: Sendgrid, changes: dict[str, Any], known_as: str) -> None:
    """Our own id names the message, in its one form; else the first part of SendGrid's."""
    assert report(sendgrid, **changes).provider_message_id == known_as


def test_id_of_the_answer(sendgrid: Sendgrid) -> None:
    """The id in the answer of the simulated SendGrid is the one that its events begin with."""
    ids = make_ids(make_message_id(random.Random(1)), 0)
    assert report(sendgrid, sg_message_id=ids.sg_message_id).provider_message_id == ids.x_message_id.lower()


@pytest.mark.parametrize(
    ("value", "at"),
    [
        (0, 0),
        ("1795190400", AT),
        (253_402_300_799, 253_402_300_799_000),
        (253_402_300_800, None),
        (-1, None),
        (1.5, None),
        (True, None),
        (None, None),
        ("soon", None),
        ("-1", None),
        ("١", None),
        ("9" * 5000, None),
        (10**30, None),
        ([1], None),
    ],
)
def test_times(sendgrid: Sendgrid, value: object, at: int | None) -> None:
    """Seconds become milliseconds; an event with another time counts all the same."""
    assert report(sendgrid, timestamp=value).at == at


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"event": "bounce", "status": "5.1.1", "reason": "550 5.7.1 no"}, "5.1.1"),
        ({"event": "bounce", "status": "500", "reason": "550 5.7.1 no"}, "5.7.1"),
        ({"event": "bounce", "reason": "550-5.7.26 no"}, "5.7.26"),
        ({"event": "bounce", "reason": "550 no"}, "550"),
        ({"event": "bounce", "reason": "5501 no"}, None),
        ({"event": "bounce", "reason": "550.1 no"}, None),
        ({"event": "bounce", "reason": "person@example.com is unknown"}, None),
        ({"event": "bounce", "reason": 550}, None),
        ({"event": "bounce", "reason": None, "response": "421 later"}, "421"),
        ({"event": "bounce", "status": "5.1.1 person@example.com"}, None),
        ({"event": "dropped", "reason": "Invalid", "status": "5.0.0"}, "Invalid"),
        ({"event": "dropped", "reason": "person@example.com", "status": "5.0.0"}, "5.0.0"),
        ({"event": "dropped", "reason": "person@example.com"}, None),
        ({"event": "deferred", "response": "400 try again later"}, "400"),
        ({"event": "delivered", "response": "250 2.0.0 OK"}, None),
        ({"event": "open", "reason": "550 no"}, None),
    ],
)
def test_error_codes(sendgrid: Sendgrid, changes: dict[str, Any], code: str | None) -> None:
    """Of what mail servers say only the codes are kept: their sentences may hold addresses."""
    assert report(sendgrid, **changes).error_code == code


@pytest.mark.parametrize(
    ("changes", "status", "link"),
    [
        ({"event": "bounce", "type": "expired"}, "expired", None),
        ({"event": "bounce", "type": 7}, "", None),
        ({"event": "bounce", "type": "x" * 101}, "", None),
        ({"event": "bounce", "type": "a\0"}, "", None),
        ({"event": "bounce", "type": "person@example.com"}, "", None),
        ({"event": "bounce"}, "", None),
        ({"event": "dropped", "type": "bounce"}, "", None),
        ({"event": "click", "url": "https://x"}, "", "https://x"),
        ({"event": "click", "url": 7}, "", None),
        ({"event": "click", "url": "a\0"}, "", None),
        ({"event": "click", "url": "x" * 4001}, "", None),
        ({"event": "group_unsubscribe", "url": "https://x"}, "", None),
    ],
)
def test_type_and_link(sendgrid: Sendgrid, changes: dict[str, Any], status: str, link: str | None) -> None:
    """Only a bounce has a type, only a click a link; an odd one does not cost the event."""
    element = report(sendgrid, **changes)
    assert (element.status, element.link) == (status, link)


def test_repeats_and_others(sendgrid: Sendgrid) -> None:
    """The same event is equal whenever it comes; another time or another link makes it another one."""
    first = report(sendgrid, sg_event_id="a")
    assert first == report(sendgrid, sg_event_id="a", ip="192.0.2.1", attempt="2")
    assert first != report(sendgrid, timestamp=1_795_190_401)
    click = report(sendgrid, event="click", url="https://a")
    assert click == report(sendgrid, event="click", url="https://a")
    assert click != report(sendgrid, event="click", url="https://b")


@pytest.mark.parametrize(
    "element",
    [
        *MALFORMED,
        {},
        [EVENT],
        {**EVENT, "event": ""},
        {**EVENT, "event": None},
        {**EVENT, "event": "x" * 101},
        {**EVENT, "event": "a\0"},
        {**EVENT, "sg_message_id": None},
        {**EVENT, "sg_message_id": 7},
        {**EVENT, "sg_message_id": ""},
        {**EVENT, "sg_message_id": ".recvd"},
        {**EVENT, "sg_message_id": "a\0.recvd"},
        {**EVENT, "sg_message_id": "x" * 201},
        {"event": "account_status_change", "type": "compliance_suspend", "timestamp": 1},
    ],
    ids=repr,
)
def test_malformed(sendgrid: Sendgrid, element: object) -> None:
    """What names no event or no message is malformed, with its bytes, and beside others that count."""
    first, second = sendgrid.parse_callback(json.dumps([EVENT, element]).encode())
    assert isinstance(first.element, DeliveryReport)
    assert isinstance(second.element, Malformed)
    assert json.loads(second.raw) == element


def test_nothing_private(sendgrid: Sendgrid, golden: Golden) -> None:
    """No element that was read holds the address of a person, and no reason repeats a value."""
    for each in sendgrid.parse_callback(golden("events.json")):
        assert "person" not in repr(each.element)
    for key in ("event", "sg_message_id", "timestamp", "type", "status", "reason", "response"):
        for value in ("no@amazing.co", ["no@amazing.co"], {"no@amazing.co": "no@amazing.co"}):
            for event in ("bounce", "dropped", "deferred"):
                element = read(sendgrid, {**EVENT, "event": event, "ext_message_id": OURS, key: value})
                expected = key in ("event", "type") and isinstance(
                    value, str
                )  # these are words, kept as they are
                assert expected or "amazing.co" not in repr(element)


WORDS = st.sampled_from(
    [*EVENT, "ext_message_id", "type", "status", "reason", "response", "url", "email", "category"]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(), max_size=5)
    | st.sampled_from(["bounce", "click", "dropped", "deferred", OURS, "a.b", "550 5.1.1", "5.1.1", "a\0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=5,
)


@given(st.lists(st.dictionaries(WORDS, VALUES, max_size=9) | VALUES, max_size=5))
def test_any_json(sendgrid: Sendgrid, batch: list[Any]) -> None:
    """Every JSON array gives as many elements as it has, read or malformed, and without NUL characters."""
    body = json.dumps(batch).encode()
    assert sendgrid.check_callback(body) == len(batch)
    for each, original in zip(sendgrid.parse_callback(body), batch, strict=True):
        assert json.loads(each.raw) == original
        assert isinstance(each.element, DeliveryReport | Malformed)
        assert not any("\0" in value for value in astuple(each.element) if isinstance(value, str))
