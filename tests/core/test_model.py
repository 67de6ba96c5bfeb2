"""Message ids: UUIDv7 as RFC 9562 has it, in order of time, and the three forms in which others see them."""

from __future__ import annotations

import re
from uuid import RFC_4122, UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.core.model import Status, first_id, id_from_text, id_tag, id_text, id_time, new_id

TIMES = st.integers(0, 2**48 - 1)
ENTROPY = st.integers(0, 2**74 - 1)


def test_the_example_of_the_standard() -> None:
    """RFC 9562, appendix A.6: the same time and random bits give the same UUID."""
    entropy = 0xCC3 << 62 | 0x18C4DC0C0C07398F
    assert id_text(new_id(0x017F22E279B0, entropy)) == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"


@given(TIMES, ENTROPY)
@example(0, 0)
@example(2**48 - 1, 2**74 - 1)
def test_every_id_is_a_uuid_of_version_7(now: int, entropy: int) -> None:
    """Version and variant are set, the time can be read back, and the id has 16 bytes."""
    message_id = new_id(now, entropy)
    uuid = UUID(bytes=message_id)
    assert (uuid.version, uuid.variant) == (7, RFC_4122)
    assert id_time(message_id) == now
    assert len(message_id) == 16


@given(TIMES, ENTROPY, TIMES, ENTROPY)
def test_ids_sort_by_time(now: int, entropy: int, later: int, other: int) -> None:
    """Of two ids the one with the later time is the larger one, as bytes and as text."""
    first, second = new_id(now, entropy), new_id(later, other)
    if now != later:
        assert (first < second) == (now < later)
    assert (id_text(first) < id_text(second)) == (first < second)


@given(TIMES, ENTROPY, ENTROPY)
def test_all_entropy_counts(now: int, entropy: int, other: int) -> None:
    """Within a millisecond ids differ whenever one of the 74 random bits does."""
    assert (new_id(now, entropy) == new_id(now, other)) == (entropy == other)


@given(st.integers(0, 2**60), st.integers(0, 2**128))
def test_too_large_numbers_cannot_spoil_an_id(now: int, entropy: int) -> None:
    """Bits beyond the fields are cut off: version and variant stand."""
    uuid = UUID(bytes=new_id(now, entropy))
    assert (uuid.version, uuid.variant) == (7, RFC_4122)


@given(TIMES, ENTROPY)
def test_the_forms_of_an_id(now: int, entropy: int) -> None:
    """The text is the hyphenated UUID, the tag the same without hyphens, and either is read back."""
    message_id = new_id(now, entropy)
    assert id_text(message_id) == str(UUID(bytes=message_id))
    assert id_tag(message_id) == id_text(message_id).replace("-", "")
    assert re.fullmatch(r"\w+", id_tag(message_id))  # what the provider takes for a tag
    assert id_from_text(id_text(message_id)) == message_id
    assert id_from_text(id_tag(message_id)) == message_id
    assert id_from_text(id_text(message_id).upper()) == message_id


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "0190a540",
        "0190a540-f662-745b-8311-eebe5602420",
        "0190a540-f662-745b-8311-eebe56024200a",
        "g190a540-f662-745b-8311-eebe56024200",
        "0190a540_f662745b8311eebe560242001",
        "0190a540f662745b8311eebe5602420\u0660",
        " 190a540f662745b8311eebe56024200",
        "{0190a540-f662-745b-8311-eebe56024200}",
        "urn:uuid:0190a540-f662-745b-8311-eebe56024200",
        "\ud800" * 32,
    ],
)
def test_what_is_no_id(text: str) -> None:
    """Anything but 32 hexadecimal digits, with hyphens or without, is no id."""
    assert id_from_text(text) is None


@given(st.text(max_size=60))
def test_reading_an_id_never_raises(text: str) -> None:
    """Whatever a person types where an id may stand, it is an id or none."""
    found = id_from_text(text)
    assert found is None or id_tag(found) == text.lower().replace("-", "")


def test_the_eight_words_of_smartico() -> None:
    """The statuses are Smartico's eight, no more and no fewer."""
    assert {str(status) for status in Status} == {
        "accepted",
        "delivered",
        "failed",
        "rejected",
        "complained",
        "opened",
        "unsubscribed",
        "clicked",
    }


@pytest.mark.parametrize("at", [0, 1, 1_795_234_921_250, (1 << 48) - 1])
def test_the_first_id_of_a_time(at: int) -> None:
    """It is a bound: no id of that time lies below it, every earlier one does, and no time is too far away."""
    assert first_id(at) <= new_id(at, 0)
    assert at == 0 or new_id(at - 1, (1 << 74) - 1) < first_id(at)
    assert first_id(-5) == first_id(0)
    assert first_id(1 << 60) == first_id((1 << 48) - 1)
