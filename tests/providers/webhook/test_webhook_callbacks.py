"""What the operator's notification centre reports back."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import astuple

from bridge.core.model import DeliveryReport, Element, Malformed, Mark, State, Status
from bridge.providers.protocol import CallbackUnreadable
from bridge.providers.webhook import Webhook
from bridge.secret import Secret
from bridge.tables import load_mapping
from tests.providers.webhook.conftest import MakeWebhook

OURS = "0197f3a2-b1c4-7d3e-8f00-112233445566"
REPORT = {"ext_message_id": OURS, "status": "delivered", "time": "2026-11-21T12:00:00Z"}
GOOD = json.dumps(REPORT).encode()


def basic(credentials: str) -> dict[str, str]:
    return {"authorization": f"Basic {b64encode(credentials.encode()).decode()}"}


def read(webhook: Webhook, element: object) -> Element:
    (raw,) = webhook.parse_callback(json.dumps([element]).encode())
    return raw.element


def test_credentials(webhook: Webhook, make_webhook: MakeWebhook) -> None:
    """Only the credentials of the callback address open the door; without a password in the settings none do."""
    assert webhook.verify_callback(basic("in@box:pa:ss/word"), b"")
    for wrong in (
        basic("in@box:"),
        basic("in@box:pa:ss/wor"),
        basic(":pa:ss/word"),
        {"authorization": "Basic é"},
        {},
    ):
        assert not webhook.verify_callback(wrong, b"")
    assert not make_webhook(callback_password=Secret("")).verify_callback(basic("in@box:"), b"")


def test_report(webhook: Webhook) -> None:
    """An array of reports, as the contract has it, or a single one."""
    expected = DeliveryReport(OURS, "status", "delivered", 1_795_262_400_000)
    assert read(webhook, REPORT) == expected
    assert [each.element for each in webhook.parse_callback(GOOD)] == [expected]
    assert webhook.check_callback(GOOD) == 1


def test_table(webhook: Webhook) -> None:
    """Each of Smartico's eight words has its row, and nothing else has."""
    table = load_mapping("webhook", None)
    meanings = {}
    for status in Status:
        element = read(webhook, {**REPORT, "status": status.value.upper()})
        assert isinstance(element, DeliveryReport)
        meanings[status] = table.meaning(element.event, element.status)
    assert meanings == {
        Status.ACCEPTED: State.SENT,
        Status.DELIVERED: State.DELIVERED,
        Status.OPENED: State.READ,
        Status.CLICKED: Mark.CLICKED,
        Status.FAILED: State.FAILED,
        Status.REJECTED: State.REJECTED,
        Status.UNSUBSCRIBED: Mark.UNSUBSCRIBED,
        Status.COMPLAINED: Mark.COMPLAINED,
    }
    assert len(table.rows) == len(Status)


@pytest.mark.parametrize(
    ("given_id", "known_as"),
    [
        (OURS.upper(), OURS),
        (OURS.replace("-", ""), OURS),
        ("Something Else", "Something Else"),
        ("x" * 200, "x" * 200),
    ],
)
def test_ids(webhook: Webhook, given_id: str, known_as: str) -> None:
    """Our id is known in its one form; another one stays as it is."""
    element = read(webhook, {**REPORT, "ext_message_id": given_id})
    assert isinstance(element, DeliveryReport)
    assert element.provider_message_id == known_as


@pytest.mark.parametrize("time", [None, "", "yesterday", 1795262400, {}, "2026-11-21T12:00:00"], ids=repr)
def test_odd_times(webhook: Webhook, time: object) -> None:
    """The status counts, whatever its time looks like, and also without one."""
    assert read(webhook, {**REPORT, "time": time}) == DeliveryReport(OURS, "status", "delivered")
    assert read(webhook, {"ext_message_id": OURS, "status": "delivered"}) == DeliveryReport(
        OURS, "status", "delivered"
    )


@pytest.mark.parametrize(
    "element",
    [
        None,
        7,
        "text",
        [REPORT],
        {},
        {**REPORT, "ext_message_id": None},
        {**REPORT, "ext_message_id": ""},
        {**REPORT, "ext_message_id": 7},
        {**REPORT, "ext_message_id": "x" * 201},
        {**REPORT, "ext_message_id": "a\0"},
        {**REPORT, "status": None},
        {**REPORT, "status": ""},
        {**REPORT, "status": ["delivered"]},
        {**REPORT, "status": "x" * 101},
        {**REPORT, "status": "a\0"},
    ],
    ids=repr,
)
def test_malformed(webhook: Webhook, element: object) -> None:
    """What cannot be read is malformed, with its bytes, and beside others that count."""
    body = json.dumps([REPORT, element]).encode()
    assert webhook.check_callback(body) == 2
    first, second = webhook.parse_callback(body)
    assert isinstance(first.element, DeliveryReport)
    assert isinstance(second.element, Malformed)
    assert json.loads(second.raw) == element


def test_one_bad_element(webhook: Webhook) -> None:
    """An element that no decoder takes spoils no other one."""
    for bad in (b"[" * 100_000 + b"]" * 100_000, b'{"status":"\xff"}', b'{"status":"\\ud800"}'):
        elements = list(webhook.parse_callback(b"[" + GOOD + b"," + bad + b"," + GOOD + b"]"))
        assert [each.raw for each in elements] == [GOOD, bad, GOOD]
        assert [type(each.element) for each in elements] == [DeliveryReport, Malformed, DeliveryReport]


@pytest.mark.parametrize("body", [b"", b"7", b"null", b'"x"', b"[", b"a=1", b"[" * 100_000])
def test_unreadable(webhook: Webhook, body: bytes) -> None:
    """What is not JSON, or neither an array nor an object, is refused as a whole."""
    assert isinstance(webhook.check_callback(body), CallbackUnreadable)
    assert [type(each.element) for each in webhook.parse_callback(body)] == [Malformed]


def test_empty_batch(webhook: Webhook) -> None:
    """An empty array is a batch without elements."""
    assert webhook.check_callback(b"[]") == 0
    assert list(webhook.parse_callback(b"[]")) == []


def test_reasons_hold_no_values(webhook: Webhook) -> None:
    """The reason of a malformed element never repeats what is in it."""
    for key in REPORT:
        for value in (["+14085553911"], {"+14085553911": "+14085553911"}, 14085553911):
            element = read(webhook, {**REPORT, key: value})
            assert not isinstance(element, Malformed) or "4085553911" not in element.reason


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(), max_size=5) | st.just(OURS),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*REPORT]), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(
    st.lists(
        st.dictionaries(st.sampled_from([*REPORT, "x"]), VALUES, max_size=4) | VALUES, min_size=1, max_size=5
    )
)
def test_any_json(webhook: Webhook, batch: list[Any]) -> None:
    """Every JSON array gives as many elements as it has, read or malformed, and without NUL characters."""
    body = json.dumps(batch).encode()
    assert webhook.check_callback(body) == len(batch)
    for each, original in zip(webhook.parse_callback(body), batch, strict=True):
        assert json.loads(each.raw) == original
        assert isinstance(each.element, DeliveryReport | Malformed)
        assert not any("\0" in value for value in astuple(each.element) if isinstance(value, str))


@given(st.binary(max_size=300))
def test_any_bytes(webhook: Webhook, body: bytes) -> None:
    """Checking and reading agree on every body, and neither raises."""
    count = webhook.check_callback(body)
    elements = list(webhook.parse_callback(body))
    assert len(elements) == (count or 1 if isinstance(count, int) else 1)
