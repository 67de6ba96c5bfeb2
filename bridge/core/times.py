"""Times as peers write them, read into numbers. No clock: nothing here knows what time it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec

from bridge.core.model import Millis

__all__ = ["read_retry_after", "read_time"]

_WithZone = Annotated[datetime, msgspec.Meta(tz=True)]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_SECONDS = re.compile(r"[0-9]{1,9}")


def read_time(text: object) -> Millis | None:
    """Milliseconds since 1970 from an RFC 3339 time with `Z` or an offset; None where it is none.

    In integers throughout; what is finer than a millisecond is cut off. A leap second is no time.
    """
    if not isinstance(text, str):
        return None
    try:
        return (msgspec.convert(text, _WithZone).astimezone(UTC) - _EPOCH) // _MILLISECOND
    except (ValueError, OverflowError):  # OverflowError: before the year 1 or after 9999, once it is in UTC
        return None


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that `retry-after` asks for, in its form of digits; the form of a date counts as absent.

    Not bounded: whoever waits decides how much is too much.
    """
    text = headers.get("retry-after", "").strip()
    return float(text) if _SECONDS.fullmatch(text) else None
