"""The answers of Revicom Direct to `POST /message`, and what it says when it refuses something.

Source: Revicom Direct, "SMS" and "Stopping Messages" (2026-10). What those pages leave open is decided for
the safe side: a message counts as taken only where the provider gave an id, and as refused only where it gave
another code; for everything between, nobody knows. The sentences of `read_error` are the provider's own:
redact them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct

from bridge.core.exchange import Reply
from bridge.core.json_text import read_json
from bridge.core.model import id_text
from bridge.providers.protocol import Accepted, Answered, ItemResult, OutgoingMessage, PerhapsTaken, Refused
from bridge.providers.revicom_callback import usable_id

__all__ = ["read_error", "read_items"]

GENERATED = 201  # the code of an item that was taken


class _Answer(Struct):
    items: list[Raw]


class _Item(Struct, rename="camel"):
    code: Annotated[int, Meta(ge=-99_999, le=99_999)]
    message_uuid: str | None = None
    external_message_id: str | None = None


class _Error(Struct):
    code: Any = None
    msg: Any = None


class _ErrorAnswer(Struct):
    error: _Error


_answer = msgspec.json.Decoder(_Answer)
_item = msgspec.json.Decoder(_Item)
_error_answer = msgspec.json.Decoder(_ErrorAnswer)


def read_error(reply: Reply) -> tuple[str, str]:
    """The provider's own error code, else the HTTP status; and a sentence with all that it says."""
    answer = read_json(_error_answer, reply.body)
    code = "" if answer is None else _text(answer.error.code)
    message = "" if answer is None else _text(answer.error.msg)
    sentence = f"HTTP {reply.status}"
    if code:
        sentence += f", error {code}"
    if message:
        sentence += f": {message}"
    return code or str(reply.status), sentence


def _text(value: object) -> str:
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""


def read_items(
    batch: Sequence[OutgoingMessage], reply: Reply, *, external_id: bool
) -> Answered | PerhapsTaken:
    """What a 2xx answer says of each message.

    The items are taken in the order of the batch, with `external_id` by the id that each of them names.
    """
    answer = read_json(_answer, reply.body)
    if answer is None or len(answer.items) != len(batch):
        return PerhapsTaken(f"HTTP {reply.status} without one readable item for each message")
    items = [read_json(_item, raw) for raw in answer.items]
    if external_id:
        items = _by_external_id(batch, items)
    return Answered(_without_twins([_read_item(item) for item in items]))


def _by_external_id(batch: Sequence[OutgoingMessage], items: Sequence[_Item | None]) -> list[_Item | None]:
    """The items in the order of the batch. Where the ids that come back contradict it, none is believed."""
    ours = [id_text(message.message_id) for message in batch]
    echoed = ["" if item is None else (item.external_message_id or "").lower() for item in items]
    if sorted(echoed) == sorted(ours):
        by_id = dict(zip(echoed, items, strict=True))
        return [by_id[each] for each in ours]
    if all(echo in ("", own) for echo, own in zip(echoed, ours, strict=True)):
        return list(items)
    return [None] * len(items)


def _read_item(item: _Item | None) -> ItemResult:
    if item is None:
        return PerhapsTaken("the item for this message could not be read")
    if item.code != GENERATED:
        return Refused(str(item.code), f"the provider refused the message with code {item.code}")
    uuid = usable_id(item.message_uuid)
    return Accepted(uuid) if uuid else PerhapsTaken("the message was taken, but got no messageUuid")


def _without_twins(results: Sequence[ItemResult]) -> tuple[ItemResult, ...]:
    """An id that stands for two messages stands for neither."""
    counts = Counter(result.provider_message_id for result in results if isinstance(result, Accepted))
    return tuple(
        PerhapsTaken("another message got the same messageUuid")
        if isinstance(result, Accepted) and counts[result.provider_message_id] > 1
        else result
        for result in results
    )
