"""Logging: one line an event, readable on a terminal and JSON elsewhere. Personal data and secrets never get here.

Callers log ids, counts, names from the settings and redacted sentences; `_scrub` is the second fence, for what slips
through from libraries.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import sys
from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Any, TextIO, cast

import structlog

__all__ = ["Seldom", "set_up_logging"]

_SELDOM = 5.0  # seconds

_NUMBER = re.compile(r"\+\d{8,15}\b")
_USERINFO = re.compile(r"://[^/@\s]+@")
_KEY = re.compile(r"(api_key=)[^&\s\"']+")


class _Stderr(io.TextIOBase):
    """Whatever stderr is at the moment. A log that cannot be written (a closed pipe) costs no request its answer."""

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)
            sys.stderr.flush()
        return len(text)

    def isatty(self) -> bool:
        return sys.stderr.isatty()


def set_up_logging(level: str = "INFO") -> None:
    """For the whole process, to stderr. Colours only on a terminal, and never with NO_COLOR."""
    stream = _Stderr()
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, *_rendering(stream)],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", stream)),
        cache_logger_on_first_use=True,
    )
    _quiet_libraries(stream)


def _rendering(stream: io.TextIOBase) -> list[Any]:
    if stream.isatty():
        colours = "NO_COLOR" not in os.environ
        # Tracebacks without the values of local variables: those may hold anything.
        plain = structlog.dev.plain_traceback
        return [_scrub, structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=plain)]
    return [structlog.processors.format_exc_info, _scrub, structlog.processors.JSONRenderer()]


def _quiet_libraries(stream: io.TextIOBase) -> None:
    """Libraries log warnings only, through the same fence. httpx and aiohttp log whole URLs at INFO."""
    handler = logging.StreamHandler(cast("TextIO", stream))
    handler.setFormatter(_Scrubbing("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


class _Scrubbing(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return _clean(super().format(record))


def _scrub(_: Any, __: str, event: Any) -> Any:
    return {key: _clean(value) if isinstance(value, str) else value for key, value in event.items()}


def _clean(text: str) -> str:
    text = _USERINFO.sub("://•••@", text)
    text = _KEY.sub(r"\1•••", text)
    return _NUMBER.sub("+•••", text)


class Seldom:
    """For what may happen a thousand times a second while the disk is full: a line every few seconds says how often."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._told_at = -inf
        self._count = 0

    def count(self) -> int:
        """How often it has happened since it was told last, if it is time to tell it again; else 0."""
        self._count += 1
        if self._clock() - self._told_at < _SELDOM:
            return 0
        count, self._count, self._told_at = self._count, 0, self._clock()
        return count
