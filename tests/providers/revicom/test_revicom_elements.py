"""What each element of a callback of Revicom says."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import astuple

from bridge.core.model import DeliveryReport, Element, InboundMessage, Malformed, Price
from bridge.providers.revicom import Revicom

AT = 1602874273000  # 2020-10-16T18:51:13Z
STATUS = {"message_uuid": "A-1", "callback_event": "delivered", "status": "delivered"}
PRICE = {
    "message_uuid": "a",
    "callback_event": "price",
    "parts": 2,
    "price": 0.1,
    "currency": "eur",
    "price_time": "2020-10-16T18:51:13Z",
}
INBOUND = {"message_uuid": "a", "callback_event": "inbound_sent", "channel_type": "whatsapp"}

Golden = Callable[[str], bytes]


def read(revicom: Revicom, element: object) -> Element:
    """What one element says."""
    return next(revicom.parse_callback(json.dumps([element]).encode())).element


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (
            "callback_status.json",
            DeliveryReport(
                provider_message_id="063464ec-a34f-4558-90c5-984395000003",
                event="delivered",
                status="undelivered",
                at=AT,
                channel="SMS",
                cascade_id="063464ec-a34f-4558-90c5-984395000002",
                step=2,
                error_code="6969",
            ),
        ),
        (
            "callback_price.json",
            DeliveryReport(
                provider_message_id="063464ec-a34f-4558-90c5-984395000003",
                event="price",
                at=AT,
                channel="SMS",
                cascade_id="063464ec-a34f-4558-90c5-984395000002",
                step=2,
                price=Price(Decimal("0.1"), "EUR", 5, AT),
            ),
        ),
        (
            "callback_click.json",
            DeliveryReport(
                provider_message_id="063464ec-a34f-4558-90c5-984395000003",
                event="click",
                at=1619026903000,
                channel="SMS",
                cascade_id="31d6f174-2ef6-4f25-b03b-c4c06e0e4df8",
                step=3,
                link="https://revicom.ltd",
            ),
        ),
        (
            "callback_inbound.json",
            InboundMessage(
                provider_message_id="063464ec-9999-4558-90c5-984395000001",
                channel="WHATSAPP",
                handset="+14085553911",
                text="message text",
                event="inbound_sent",
                status="inbound_sent",
                at=1637001487000,
            ),
        ),
    ],
)
def test_documented_samples(revicom: Revicom, golden: Golden, file: str, expected: Element) -> None:
    """Every sample of the callback page is understood whole, and its own bytes are kept."""
    body = golden(file)
    assert revicom.check_callback(body) == 1
    (raw,) = revicom.parse_callback(body)
    assert raw.element == expected
    assert json.loads(raw.raw) == json.loads(body)[0]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {}),
        ({"status": "teleported"}, {"status": "teleported"}),
        ({"callback_event": "teleport", "status": ""}, {"event": "teleport", "status": ""}),
        ({"channel_type": "viber"}, {"channel": "VIBER"}),
        ({"message_uuid": "ÀB" * 100}, {"provider_message_id": "àb" * 100}),
        ({"error_code": None}, {"error_code": None}),
        ({"error_code": 0}, {"error_code": "0"}),
        ({"error_code": "EC-1"}, {"error_code": "EC-1"}),
        ({"error_code": ""}, {"error_code": None}),
        ({"cascade_message_uuid": None, "cascade_step": None}, {"cascade_id": None, "step": None}),
        ({"cascade_message_uuid": "C", "cascade_step": 1000}, {"cascade_id": "c", "step": 1000}),
        ({"unknown": {"price": [1e3]}, "price": "x", "item": 7}, {}),
        ({"status": "a\\u0000b"}, {"status": "a\\u0000b"}),
        ({"unknown": "\0"}, {}),
    ],
)
def test_status(revicom: Revicom, changes: dict[str, Any], expected: dict[str, Any]) -> None:
    """Unknown words pass, optional fields may be missing or null, and unknown fields are nobody's business."""
    values: dict[str, Any] = {"provider_message_id": "a-1", "event": "delivered", "status": "delivered"}
    assert read(revicom, {**STATUS, **changes}) == DeliveryReport(**{**values, **expected})


@pytest.mark.parametrize(
    ("time", "at"),
    [
        ("2020-10-16T18:51:13Z", AT),
        ("2020-10-16t18:51:13z", AT),
        ("2020-10-16T18:51:13.892Z", AT + 892),
        ("2020-10-16T18:51:13.1Z", AT + 100),
        ("2020-10-16T18:51:13.000999Z", AT),
        ("2020-10-16T23:51:13+05:00", AT),
        ("2020-10-16T13:21:13-05:30", AT),
        ("1969-12-31T23:59:59.999Z", -1),
        ("2020-10-16T18:51:13", None),
        ("2020-10-16", None),
        ("2020-13-16T18:51:13Z", None),
        ("2020-10-16T24:00:00Z", None),
        ("yesterday", None),
        ("", None),
        (1602874273, None),
        (None, None),
        ([], None),
    ],
)
def test_times(revicom: Revicom, time: object, at: int | None) -> None:
    """Times become exact milliseconds; a time that cannot be read does not cost the status or the click."""
    status = read(revicom, {**STATUS, "status_time": time})
    click = read(revicom, {"message_uuid": "a", "callback_event": "click", "click_time": time, "status": "x"})
    assert isinstance(status, DeliveryReport)
    assert (status.status, status.at) == ("delivered", at)
    assert isinstance(click, DeliveryReport)
    assert (click.status, click.at, click.link) == ("", at, None)


@pytest.mark.parametrize(
    ("number", "amount"),
    [
        ("0", "0"),
        ("0.10", "0.10"),
        ("0.123456789012", "0.123456789012"),
        ("123456789012345678.5", "123456789012345678.5"),
        ("1e2", "100"),
        ("1.5E+3", "1500"),
        ("25e-3", "0.025"),
        ("0.1234567890123456789012345678901", None),
        ("1234567890123456789", None),
        ("1e18", None),
        ("1e-31", None),
        ("1e999999999", None),
        ("1e-999999999", None),
        ("-0.1", None),
        ('"0.1"', None),
        ('"NaN"', None),
        ("null", None),
        ("true", None),
        ("[]", None),
    ],
)
def test_price(revicom: Revicom, number: str, amount: str | None) -> None:
    """Amounts are exact, to the digits that were written; what is no bearable number is malformed."""
    body = json.dumps(PRICE).replace("0.1", number).encode()
    (raw,) = revicom.parse_callback(body)
    if amount is None:
        assert isinstance(raw.element, Malformed)
    else:
        assert isinstance(raw.element, DeliveryReport)
        assert raw.element.price == Price(Decimal(amount), "EUR", 2, AT)
        assert str(raw.element.price.amount) == amount


@pytest.mark.parametrize(
    ("item", "text", "special"),
    [
        ({"content": "STOP"}, "STOP", ""),
        ({"content": "", "specialContent": {"text": "x"}}, "", '{"text": "x"}'),
        ({"content": {"text": "no"}, "specialContent": {"text": "yes"}}, "yes", ""),
        ({"specialContent": {"contentType": "image"}}, "", '{"contentType": "image"}'),
        ({"specialContent": "text"}, "", '"text"'),
        ({}, "", ""),
    ],
)
def test_inbound_text(revicom: Revicom, item: dict[str, Any], text: str, special: str) -> None:
    """The text is taken from where there is one; a picture is kept as it came. The channel is in upper case."""
    element = read(revicom, {**INBOUND, "item": {"destination": "+14085553911", **item}})
    expected = InboundMessage("a", "WHATSAPP", "+14085553911", text, "inbound_sent", "", special=special)
    assert element == expected


@pytest.mark.parametrize(
    "element",
    [
        None,
        7,
        "text",
        [STATUS],
        {},
        {**STATUS, "message_uuid": ""},
        {**STATUS, "message_uuid": None},
        {**STATUS, "message_uuid": 7},
        {**STATUS, "message_uuid": "a" * 201},
        {**STATUS, "message_uuid": "a\0"},
        {**STATUS, "callback_event": ""},
        {**STATUS, "callback_event": ["sent"]},
        {**STATUS, "status": 7},
        {**STATUS, "status": "a\0"},
        {**STATUS, "channel_type": 7},
        {**STATUS, "error_code": True},
        {**STATUS, "error_code": 10**20},
        {**STATUS, "error_code": "\0"},
        {**STATUS, "cascade_message_uuid": 7},
        {**STATUS, "cascade_step": 0},
        {**STATUS, "cascade_step": 1001},
        {**STATUS, "cascade_step": "2"},
        {**PRICE, "price_time": "soon"},
        {**PRICE, "price_time": None},
        {**PRICE, "currency": "EU"},
        {**PRICE, "currency": "EUR\n"},
        {**PRICE, "currency": "ÄÖÜ"},
        {**PRICE, "parts": -1},
        {**PRICE, "parts": 10_001},
        {**PRICE, "parts": 1.5},
        {key: value for key, value in PRICE.items() if key != "price"},
        {**INBOUND},
        {**INBOUND, "item": []},
        {**INBOUND, "item": {"destination": "somebody"}},
        {**INBOUND, "item": {"destination": ""}},
        {**INBOUND, "item": {"destination": "14085553911", "content": "a\0"}},
        {"message_uuid": "a", "callback_event": "click", "url": 7},
    ],
    ids=repr,
)
def test_malformed(revicom: Revicom, element: object) -> None:
    """What cannot be read is malformed, with its bytes, and beside others that count."""
    body = json.dumps([STATUS, element]).encode()
    assert revicom.check_callback(body) == 2
    first, second = revicom.parse_callback(body)
    assert isinstance(first.element, DeliveryReport)
    assert isinstance(second.element, Malformed)
    assert json.loads(second.raw) == element


def test_reasons_hold_no_values(revicom: Revicom) -> None:
    """The reason of a malformed element never repeats what is in it."""
    for key in ("message_uuid", "status", "item", "price", "currency", "parts", "callback_event"):
        for value in ("+14085553911", {"+14085553911": "+14085553911"}, 14085553911, ["14085553911"]):
            for base in (STATUS, PRICE, INBOUND):
                element = read(revicom, {**base, key: value})
                assert not isinstance(element, Malformed) or "4085553911" not in element.reason


WORDS = st.sampled_from([*STATUS, *PRICE, *INBOUND, "item", "status_time", "cascade_step", "error_code"])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(), max_size=5)
    | st.sampled_from(["price", "click", "inbound_sent", "2020-10-16T18:51:13Z", "EUR"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=5,
)


@given(st.lists(st.dictionaries(WORDS, VALUES, max_size=9) | VALUES, max_size=5))
def test_any_json(revicom: Revicom, batch: list[Any]) -> None:
    """Every JSON array gives as many elements as it has, each of them one of the three kinds."""
    body = json.dumps(batch).encode()
    assert revicom.check_callback(body) == len(batch)
    for each, original in zip(revicom.parse_callback(body), batch, strict=True):
        assert json.loads(each.raw) == original
        assert isinstance(each.element, DeliveryReport | InboundMessage | Malformed)
        assert not any("\0" in value for value in astuple(each.element) if isinstance(value, str))
