"""What the readers of several providers have in common: bodies split, elements decoded, refusals told apart.

Nothing here raises on what a provider sends, and no reason repeats a value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import msgspec

from bridge.core.exchange import Reply
from bridge.core.json_text import batch_elements
from bridge.core.model import Element, Malformed
from bridge.core.times import read_retry_after
from bridge.providers.protocol import Blocked, CallbackUnreadable, Invalid, NotTaken, RawElement, TooLarge

__all__ = ["count_elements", "decode_element", "each_element", "judge_refusal"]

T = TypeVar("T")
_UNREADABLE = "the body is not JSON, or neither an array nor an object"


def count_elements(body: bytes) -> int | CallbackUnreadable:
    """How many elements a body has; a single object counts as one."""
    elements = batch_elements(body)
    return CallbackUnreadable(_UNREADABLE) if elements is None else len(elements)


def each_element(body: bytes, read: Callable[[bytes], Element]) -> Iterator[RawElement]:
    """Every element by itself. A body that `count_elements` refuses is one malformed element."""
    elements = batch_elements(body)
    if elements is None:
        yield RawElement(body, Malformed(_UNREADABLE))
        return
    for raw in elements:
        yield RawElement(raw, read(raw))


def decode_element(decode: Callable[[bytes], T], raw: bytes) -> T | Malformed:
    """One element, by its own JSON text. NUL characters pass: whoever keeps a text has to look for them."""
    try:
        return decode(raw)
    except RecursionError:
        return Malformed("it is nested too deeply")
    except UnicodeDecodeError:
        return Malformed("it holds a text that is not UTF-8")
    except msgspec.DecodeError as error:
        return Malformed(str(error))  # a type and a place, never a value


def judge_refusal(reply: Reply, code: str, reason: str) -> NotTaken | Blocked | Invalid | TooLarge:
    """What a status of 400 to 499 says, where the provider gives them their usual meaning."""
    match reply.status:
        case 429:
            return NotTaken(code, reason, read_retry_after(reply.headers))
        case 400 | 422:
            return Invalid(code, reason)
        case 413:
            return TooLarge(code, reason)
        case _:
            return Blocked(code, reason)
