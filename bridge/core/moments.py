"""Moments as people read and write them. No clock: now is an argument. (`times.py` reads those of peers.)"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from bridge.core.model import Millis
from bridge.core.times import read_time

__all__ = ["format_time", "read_when"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_AGE = re.compile(r"(\d{1,9})([smhd])", re.ASCII)
_UNITS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def format_time(at: Millis) -> str:
    """RFC 3339 in UTC with milliseconds: "2026-11-21T04:22:01.250Z"."""
    moment = _EPOCH + timedelta(milliseconds=at)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read_when(text: str, now: Millis) -> Millis | None:
    """A moment in milliseconds: an RFC 3339 time, a date, or an age such as "90s", "15m", "2h", "3d".

    An age that goes back beyond 1970 is that year's begin: no message is older.
    """
    age = _AGE.fullmatch(text.strip())
    if age:
        return max(0, now - int(age[1]) * _UNITS[age[2]])
    exact = read_time(text.strip())
    return exact if exact is not None else read_time(f"{text.strip()}T00:00:00Z")
