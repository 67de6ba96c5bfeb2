"""Accepting: one request of Smartico becomes one stored message, or a refusal.

The answer goes out once the message is durably stored; the provider is called after that, by the worker. Everything
that the database decides happens in one transaction: the idempotency key first, then contact and opt-out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog
from msgspec import Struct

from bridge.core.model import MessageId, Millis
from bridge.errors import StoreError
from bridge.smartico import ErrorCode, Refusal, SendRequest, check_callback_url, decode_send
from bridge.store import contacts, messages
from bridge.store.contacts import Reach
from bridge.store.messages import NewMessage
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
        self._store = store
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
            return await self._store.write(lambda tx: _store(tx, gateway, request, draft, full=full))
        except StoreError as error:
            _log.error("a message could not be stored", gateway=gateway.name, error=error.sentence)
            return Refusal(ErrorCode.INTERNAL, "internal error: the message could not be stored, try again")

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


async def _store(
    tx: Tx, gateway: Gateway, request: SendRequest, draft: _Draft | Refusal, *, full: bool
) -> Stored | Refusal:
    """A repeat gets the answer of the first time, whatever holds now; only then a refusal counts."""
    if isinstance(draft, _Draft):
        stored = await _store_new(tx, gateway, draft, full=full)
        if isinstance(stored, Stored):
            return stored
        draft = stored
    known = await messages.find_by_uid(tx, gateway.name, request.uid)
    return draft if known is None else Stored(known, new=False)


async def _store_new(tx: Tx, gateway: Gateway, draft: _Draft, *, full: bool) -> Stored | Refusal:
    """Stores a message. Of a repeat the unique key takes no second one: that is found out here, too, as a refusal."""
    if full:
        return Refusal(ErrorCode.OVERLOADED, "the gateway is overloaded, try later")
    reach = await contacts.reach(tx, draft.request.ext_user_id, gateway.channel)
    if reach is None:
        return Refusal(ErrorCode.UNKNOWN_USER, "User was not found")
    if reach.phone is None:
        return Refusal(ErrorCode.NO_ADDRESS, "the user has no phone number")
    if reach.closed:
        return Refusal(ErrorCode.OPTED_OUT, f"the user opted out of {gateway.channel}")
    added = await messages.add_message(
        tx,
        _new_message(tx, gateway, draft, reach),
        destination=reach.phone,
        body=tx.vault.seal_text(draft.request.body),
        expires_at=draft.now + gateway.max_age_ms,
    )
    return (
        Stored(draft.message_id, new=True) if added else Refusal(ErrorCode.INTERNAL, "it is stored already")
    )


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
