"""Times of peers, read into numbers. (Those of callbacks are in the tests of their provider.)"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.times import read_retry_after, read_time

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EARLIEST, LATEST = (datetime(year, 1, 1, tzinfo=UTC).replace(tzinfo=None) for year in (2, 9998))
ZONES = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(EARLIEST, LATEST, timezones=ZONES))
def test_every_time(moment: datetime) -> None:
    """Every time with an offset becomes its exact milliseconds."""
    assert read_time(moment.isoformat()) == (moment - EPOCH) // timedelta(milliseconds=1)


@given(st.text() | st.none() | st.integers() | st.binary())
def test_anything_else(value: object) -> None:
    """Nothing raises."""
    assert read_time(value) is None or isinstance(value, str)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 5 ", 5.0),
        ("1.5", None),
        ("-1", None),
        ("٣", None),
        ("1" * 5000, None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ("", None),
    ],
)
def test_retry_after(text: str, seconds: float | None) -> None:
    """Only digits count; everything else is as if it were not there."""
    assert read_retry_after({"retry-after": text}) == seconds
    assert read_retry_after({}) is None
