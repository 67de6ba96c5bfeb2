"""The answers of Revicom Direct to `GET /message` for ids of its own: how did these messages end?

Source: Revicom Direct, "Getting Messages" and the references (2026-10). The filter by `status` is documented; whether a
message says its status is not. So the question is asked once for every final status, and an id that is listed for
one of them alone has it. Should the filter do nothing, each id is listed for all of them: then nothing is concluded.
Never raises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from bridge.core.json_text import read_json
from bridge.providers.protocol import Ended, LookupFailed, TellResult, Told
from bridge.providers.revicom_callback import usable_id
from bridge.providers.revicom_lookup import listed_messages

__all__ = ["FINAL_STATUSES", "read_told"]

# A final status, and the callback that would have told it. `unread` says nothing of the delivery that a callback says.
_ENDS: Mapping[str, Ended] = {
    "delivered": Ended("delivered", "delivered"),
    "undelivered": Ended("delivered", "undelivered"),
    "unsent": Ended("delivered", "unsent"),
    "read": Ended("read", "read"),
}
FINAL_STATUSES: Sequence[str] = tuple(_ENDS)


class _Message(Struct, rename="camel"):
    message_uuid: Any = None
    status: Any = None


_message = msgspec.json.Decoder(_Message)


def read_told(bodies: Sequence[bytes], ids: Sequence[str]) -> TellResult:
    """What the bodies of 2xx answers say about `ids`: first of all of them, then of each of `FINAL_STATUSES`."""
    lists = [_statuses_of(body, frozenset(ids)) for body in bodies]
    if len(lists) != len(FINAL_STATUSES) + 1:
        return LookupFailed("an answer is missing")
    every, by_status = lists[0], dict(zip(FINAL_STATUSES, lists[1:], strict=True))
    if every is None:
        return LookupFailed("the answer holds no list of messages")
    found = {each: {said} for each, said in every.items() if said in _ENDS}
    for status, listed in by_status.items():
        if listed is None:
            return LookupFailed("the answer holds no list of messages")
        for each, said in listed.items():
            if said in ("", status):
                found.setdefault(each, set()).add(status)
    ended = {each: _ENDS[min(statuses)] for each, statuses in found.items() if len(statuses) == 1}
    return Told(frozenset(every) | frozenset(found), ended)


def _statuses_of(body: bytes, ids: frozenset[str]) -> dict[str, str] | None:
    """The messages among `ids` that are listed, each with the status that it says of itself; None: no list."""
    listed = listed_messages(body)
    if listed is None:
        return None
    read = [message for raw in listed if (message := read_json(_message, raw)) is not None]
    return {
        each: message.status.lower() if isinstance(message.status, str) else ""
        for message in read
        if (each := usable_id(message.message_uuid)) in ids
    }
