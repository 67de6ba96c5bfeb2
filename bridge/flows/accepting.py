"""Accepting: one request of Smartico becomes one stored message, or a refusal.

The answer goes out once the message is durably stored; the provider is called after that, by the worker. Everything
that the database decides happens in one transaction, with the other requests of the same moment: the idempotency key
first, then contact and opt-out.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence

import structlog
from msgspec import Struct

from bridge.core.model import MessageId, Millis
from bridge.errors import StoreError
from bridge.smartico import ErrorCode, Refusal, SendRequest, check_callback_url, decode_send
from bridge.store import contacts, messages
from bridge.store.contacts import Reach
from bridge.store.messages import NewMessage, ToSend
from bridge.store.together import Together
from bridge.store.tx import Store, Tx

__all__ = ["Accepting", "Gateway", "Stored"]

_log = structlog.get_logger()


class Gateway(Struct, frozen=True):
    """What accepting needs of one configured gateway. `max_age_ms`: a message not sent by then fails."""

    name: str
    type: str
    channel: str
    provider: str
    senders: Sequence[str]
    max_age_ms: int
    callback_hosts: Sequence[str]
    allow_insecure_callbacks: bool
    fallback_callback_url: str

    def sender(self, wanted: str | None) -> str:
        """The sender of a message: the wanted one where it is listed (or nothing is), else the first."""
        if wanted is not None and (wanted in self.senders or not self.senders):
            return wanted
        return self.senders[0] if self.senders else ""


class Stored(Struct, frozen=True):
    """An accepted request: its message, and whether it was stored just now (or is a repeat)."""

    message_id: MessageId
    new: bool


class _Draft(Struct, frozen=True):
    """A request that was checked as far as it can be without the database."""

    request: SendRequest
    message_id: MessageId
    callback_url: str
    lane: str
    now: Millis


class _Asked(Struct, frozen=True):
    """One request, on its way into the database."""

    gateway: Gateway
    request: SendRequest
    draft: _Draft | Refusal
    full: bool


class Accepting:
    """Accepts requests. `make_id` gives a fresh message id for a time; `has_directory`: contacts are in the store."""

    def __init__(
        self,
        store: Store,
        clock: Callable[[], Millis],
        make_id: Callable[[Millis], MessageId],
        *,
        has_directory: bool = True,
    ) -> None:
        self._has_directory = has_directory
        self._together = Together(store, _store_all)
        self._clock = clock
        self._make_id = make_id

    async def accept(self, gateway: Gateway, raw: bytes, *, full: bool) -> Stored | Refusal:
        """Stores what `raw` asks for. `full`: the gateway takes nothing new now, but repeats get their answer."""
        request = decode_send(raw)
        if isinstance(request, Refusal):
            return request
        draft = self._draft(gateway, request)
        if not self._has_directory and isinstance(draft, _Draft):
            draft = Refusal(
                ErrorCode.DIRECTORY_DOWN, "the contact directory cannot be reached now, try later"
            )
        try:
            return await self._together.add(_Asked(gateway, request, draft, full))
        except StoreError as error:
            _log.error("a message could not be stored", gateway=gateway.name, error=error.sentence)
            return _LOST

    def _draft(self, gateway: Gateway, request: SendRequest) -> _Draft | Refusal:
        url = request.callback_url or gateway.fallback_callback_url
        if not url:
            return Refusal(
                ErrorCode.INVALID, "callback_url is missing, and the bridge has no fallback for it"
            )
        host = check_callback_url(url, gateway.callback_hosts, gateway.allow_insecure_callbacks)
        if isinstance(host, Refusal):
            return host
        now = self._clock()
        return _Draft(request, self._make_id(now), url, f"{gateway.name}@{host}", now)


async def _store_all(tx: Tx, asked: Sequence[_Asked]) -> list[Stored | Refusal]:
    """A repeat gets the answer of the first time, whatever holds now; only then a refusal counts."""
    reached = await _reach_all(tx, asked)
    judged = [_judge(tx, each, reached) for each in asked]
    added = await messages.add_messages(tx, [each for each in judged if isinstance(each, ToSend)])
    return [await _result(tx, each, verdict, added) for each, verdict in zip(asked, judged, strict=True)]


async def _reach_all(tx: Tx, asked: Sequence[_Asked]) -> dict[tuple[str, str], Reach]:
    """The contacts that exist, by channel and ext_user_id."""
    wanted: dict[str, set[str]] = {}
    for each in asked:
        if isinstance(each.draft, _Draft):
            wanted.setdefault(each.gateway.channel, set()).add(each.request.ext_user_id)
    return {
        (channel, user): reach
        for channel, users in wanted.items()
        for user, reach in (await contacts.reach(tx, sorted(users), channel)).items()
    }


def _judge(tx: Tx, each: _Asked, reached: Mapping[tuple[str, str], Reach]) -> ToSend | Refusal:
    """The message to be stored, if the request is no repeat."""
    gateway, draft = each.gateway, each.draft
    if isinstance(draft, Refusal):
        return draft
    if each.full:
        return Refusal(ErrorCode.OVERLOADED, "the gateway is overloaded, try later")
    reach = reached.get((gateway.channel, each.request.ext_user_id))
    if reach is None:
        return Refusal(ErrorCode.UNKNOWN_USER, "User was not found")
    if reach.phone is None:
        return Refusal(ErrorCode.NO_ADDRESS, "the user has no phone number")
    if reach.closed:
        return Refusal(ErrorCode.OPTED_OUT, f"the user opted out of {gateway.channel}")
    return ToSend(
        _new_message(tx, gateway, draft, reach),
        destination=reach.phone,
        body=tx.vault.seal_text(draft.request.body),
        expires_at=draft.now + gateway.max_age_ms,
    )


async def _result(
    tx: Tx, each: _Asked, verdict: ToSend | Refusal, added: Container[MessageId]
) -> Stored | Refusal:
    if isinstance(verdict, ToSend) and verdict.message.id in added:
        return Stored(verdict.message.id, new=True)
    known = await messages.find_by_uid(tx, each.gateway.name, each.request.uid)
    if known is not None:
        return Stored(known, new=False)
    return verdict if isinstance(verdict, Refusal) else _LOST


_LOST = Refusal(ErrorCode.INTERNAL, "internal error: the message could not be stored, try again")


def _new_message(tx: Tx, gateway: Gateway, draft: _Draft, reach: Reach) -> NewMessage:
    return NewMessage(
        id=draft.message_id,
        gateway=gateway.name,
        type=gateway.type,
        channel=gateway.channel,
        provider=gateway.provider,
        smartico_uid=draft.request.uid,
        ext_user_id=draft.request.ext_user_id,
        sender=gateway.sender(draft.request.from_number),
        address_hash=reach.phone_hash,
        address_masked=reach.phone_masked,
        callback_url=tx.vault.seal_text(draft.callback_url),
        lane=draft.lane,
        created_at=draft.now,
    )
