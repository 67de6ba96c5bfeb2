"""The cause in an error: its text without what varies from one report to the next, so that those of a kind are one."""

from __future__ import annotations

import re

from bridge.core.redact import DOTS

__all__ = ["cause_of", "pieces_of"]

_VARIES = re.compile(
    r"(?<![\w•-])(?:"
    r"(?=[\w•-]*[\d•])[\w•-]{12,}"  # ids: long words with a digit in them
    r"|(?<!error_code )\d{4,}"  # numbers, but for the codes themselves (those of HTTP have three digits)
    r")(?![\w•-])"
)


def cause_of(error: str) -> str:
    """`error` with "•••" for ids and long numbers. The cause of a cause is itself."""
    return _VARIES.sub(DOTS, error)


def pieces_of(cause: str) -> list[str]:
    """What every error of this cause is made of, in order; anything may stand between the pieces."""
    return cause.split(DOTS)
