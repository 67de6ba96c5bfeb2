"""JSON from strangers, read without surprises: nothing here raises, whatever the bytes are.

msgspec decodes quickly, but gives a whole batch up for one element that is nested too deeply or holds half a
surrogate pair, though both are JSON. `batch_elements` then splits the batch with a scanner of its own, which
knows the grammar (RFC 8259) and needs no recursion. No element is understood here.
"""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec
from msgspec import Raw

__all__ = ["batch_elements", "holds_nul", "read_json", "split_elements", "without_trailing_commas"]

T = TypeVar("T")

_BOM = b"\xef\xbb\xbf"
_ARRAY = msgspec.json.Decoder(list[Raw])
_VALUE = msgspec.json.Decoder(Raw)

_BLANK = rb"[ \t\r\n]*+"
_STRING = rb'"[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+"'
_NUMBER = rb"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?"
_SPACE = re.compile(_BLANK)
_BEGIN = re.compile(_BLANK + rb"(\[++|\{|" + _STRING + b"|" + _NUMBER + rb"|true|false|null)")
_KEY = re.compile(_BLANK + _STRING + _BLANK + b":")
_GO_ON = re.compile(_BLANK + rb"(,|\]++|\}++)")
_NEXT = re.compile(_BLANK + rb"[,\]}]")
_END = re.compile(_BLANK + rb"[\]}]")

_COMMA, _CLOSE_ARRAY, _CLOSE_OBJECT = b",]}"
_CLOSING = {b"["[0]: _CLOSE_ARRAY, b"{"[0]: _CLOSE_OBJECT}

# In JSON a backslash stands only inside strings, and an escape begins after an even number of them.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*+\\u0000")
# A string that does not end is taken, too: else each of its quotes would begin one that is looked for to the end.
_TRAILING_COMMA = re.compile(rb'("[^"\\]*+(?:\\.[^"\\]*+)*+"?+)|,(?=[ \t\r\n]*[}\]])', re.DOTALL)


def read_json(decoder: msgspec.json.Decoder[T], body: bytes | Raw) -> T | None:
    """What `decoder` makes of `body`; None where it is not JSON, not UTF-8, too deep or of another shape."""
    try:
        return decoder.decode(body)
    except (ValueError, RecursionError):  # msgspec's errors and UnicodeDecodeError are ValueErrors
        return None


def holds_nul(document: bytes) -> bool:
    """Whether some string of a JSON text, key or value, holds the character NUL, which PostgreSQL refuses."""
    return b"\\u0000" in document and _NUL.search(document) is not None


def without_trailing_commas(document: bytes) -> bytes:
    """`document` without the commas before a closing bracket, which JSON does not allow. Strings stay as they are."""
    return _TRAILING_COMMA.sub(lambda match: match[1] or b"", document)


def batch_elements(body: bytes) -> list[bytes] | None:
    """The elements of a JSON array, or one object as a batch of one; None where it is neither, or not JSON.

    A byte order mark at the start is skipped. Strings need not be UTF-8: that is for whoever reads them.
    """
    body = body.removeprefix(_BOM)
    start = _skip(body, 0)
    if body.startswith(b"{", start):
        value = read_json(_VALUE, body)
        return split_elements(body) if value is None else [bytes(value)]
    values = read_json(_ARRAY, body)
    return split_elements(body) if values is None else [bytes(value) for value in values]


def split_elements(body: bytes) -> list[bytes] | None:
    """As `batch_elements`, at any depth and with half surrogate pairs. Slower: for what msgspec gives up."""
    start = _skip(body, 0)
    if body.startswith(b"{", start):
        end = _value_end(body, start)
        elements = [] if end is None else [body[start:end]]
    elif body.startswith(b"[", start):
        elements, end = _array_elements(body, start + 1)
    else:
        return None
    return elements if end is not None and _skip(body, end) == len(body) else None


def _array_elements(body: bytes, position: int) -> tuple[list[bytes], int | None]:
    """The elements of the array whose bracket was just passed, and where it ends; None where it does not."""
    elements: list[bytes] = []
    end = _END.match(body, position)
    while end is None:
        start = _skip(body, position)
        stop = _value_end(body, start)
        after = None if stop is None else _NEXT.match(body, stop)
        if after is None:
            return elements, None
        elements.append(body[start:stop])
        position = after.end()
        end = None if body[position - 1] == _COMMA else after
    position = end.end()
    return elements, position if body[position - 1] == _CLOSE_ARRAY else None


def _skip(body: bytes, position: int) -> int:
    """Where the white space that starts here ends."""
    match = _SPACE.match(body, position)
    return position if match is None else match.end()


def _value_end(body: bytes, position: int) -> int | None:
    """Where the JSON value that starts here ends; None where it does not."""
    due = bytearray()  # the brackets that still have to come, the next one last
    while (begin := _BEGIN.match(body, position)) is not None:
        position = begin.end()
        closing = _CLOSING.get(body[position - 1])
        if closing is not None:
            due += bytes((closing,)) * len(begin[1])
        if closing is None or _END.match(body, position):
            after = _close(body, position, due)
            if after is None or not due:
                return after
            position = after
        if due[-1] == _CLOSE_OBJECT:
            key = _KEY.match(body, position)
            if key is None:
                return None
            position = key.end()
    return None


def _close(body: bytes, position: int, due: bytearray) -> int | None:
    """After a value: passes the brackets that close here, and the comma if one follows."""
    while due:
        marks = _GO_ON.match(body, position)
        if marks is None:
            return None
        if marks[1] == b",":
            return marks.end()
        closed = marks[1][: len(due)]  # what is left over closes something outside of this value
        if not due.endswith(closed):
            return None
        del due[-len(closed) :]
        position = marks.start(1) + len(closed)
    return position
