"""Times written for people and read from them: `format_time` and `read_when`."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bridge.core.moments import format_time, read_when
from bridge.core.times import read_time

NOW = 1_795_234_921_250
FIRST = -62_135_596_800_000  # 0001-01-01T00:00:00Z
LAST = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1, "1970-01-01T00:00:00.001Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (NOW, "2026-11-21T04:22:01.250Z"),
        (951_782_400_000, "2000-02-29T00:00:00.000Z"),
        (FIRST, "0001-01-01T00:00:00.000Z"),
        (LAST, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_times_are_written_in_utc(at: int, text: str) -> None:
    """RFC 3339 with four digits of the year, milliseconds and Z."""
    assert format_time(at) == text


@given(st.integers(FIRST, LAST))
@example(FIRST)
@example(LAST)
def test_what_is_written_can_be_read(at: int) -> None:
    """Every time that can be written is read back as the very same millisecond."""
    assert read_time(format_time(at)) == at
    assert format_time(at) == datetime.fromtimestamp(at // 1000, UTC).strftime(
        f"{format_time(at)[:4]}-%m-%dT%H:%M:%S.{at % 1000:03d}Z"
    )


@pytest.mark.parametrize(
    "text", ["9999-12-31T23:59:59-23:59", "9999-12-31T23:59:60Z", "0001-01-01T00:00:00+00:01"]
)
def test_what_is_read_can_be_written(text: str) -> None:
    """A time beyond the years 1 to 9999 in UTC is none: nobody could show it later."""
    assert read_time(text) is None


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("90s", NOW - 90_000),
        ("15m", NOW - 15 * 60_000),
        ("2h", NOW - 2 * 3_600_000),
        ("3d", NOW - 3 * 86_400_000),
        ("0s", NOW),
        (" 2h ", NOW - 2 * 3_600_000),
        ("2026-11-21", 1_795_219_200_000),
        ("2026-11-21T04:22:01.250Z", NOW),
        ("2026-11-21T05:22:01.250+01:00", NOW),
        ("1970-01-01", 0),
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T01:00:00+01:00", 0),
    ],
)
def test_moments_as_people_write_them(text: str, at: int) -> None:
    """An age counts back from now, a date is its first moment in UTC, a time is itself, the first of all included."""
    assert read_when(text, NOW) == at


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2x",
        "h",
        "-2h",
        "2 h",
        "2.5h",
        "\u0662h",
        "9999999999h",
        "2026-11",
        "2026-13-01",
        "21.11.2026",
    ],
)
def test_what_is_no_moment(text: str) -> None:
    """Anything else is refused instead of guessed."""
    assert read_when(text, NOW) is None


@given(st.text(max_size=40))
def test_reading_a_moment_never_raises(text: str) -> None:
    """Whatever is typed after --since, it is a moment or none."""
    moment = read_when(text, NOW)
    assert moment is None or isinstance(moment, int)
