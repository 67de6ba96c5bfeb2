"""Accepting: one request of Smartico becomes one stored message, or a refusal.

The answer goes out once the message is durably stored; the provider is called after that, by the worker. Everything
that the database decides happens in one transaction, with the other requests of the same moment: the idempotency key
first, then contact and opt-out. Only the operator's platform is asked before that: no transaction may wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Mapping, Sequence

import structlog
from msgspec import Struct
from msgspec.structs import replace

from bridge.contacts import Away, Known, UnknownUser
from bridge.core.content import CustomExtra, pack
from bridge.core.model import MessageId, Millis
from bridge.errors import StoreBusyError, StoreError
from bridge.flows.platform import Platform
from bridge.log import Seldom
from bridge.pii import normalise_email
from bridge.smartico import ErrorCode, Refusal, SendRequest, check_callback_url, decode_send
from bridge.store import contacts, messages
from bridge.store.contacts import Address, Reach
from bridge.store.messages import NewMessage, ToSend
from bridge.store.together import Together
from bridge.store.tx import Store, Tx

__all__ = ["Accepting", "Gateway", "Stored"]

_log = structlog.get_logger()
_FAILED = Seldom()


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
    pass_headers: Sequence[str] = ()

    def sender(self, wanted: str | None) -> str:
        """The sender of a message: the wanted one where it is listed (or nothing is), else the first.

        Of a mail it is as wanted: who may send in whose name, the mail server decides.
        """
        if self.type == "cim":
            return ""
        if wanted is not None and (self.type == "email" or wanted in self.senders or not self.senders):
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
    known: Known | None = None  # what the operator's platform said of the user

    @property
    def needs_contact(self) -> bool:
        return self.request.to_address is None and not isinstance(self.request.extra, CustomExtra)


class _Asked(Struct, frozen=True):
    """One request, on its way into the database."""

    gateway: Gateway
    request: SendRequest
    draft: _Draft | Refusal
    full: bool


class Accepting:
    """Accepts requests. `make_id` gives a fresh message id for a time; `platform`: contacts are asked there."""

    def __init__(
        self,
        store: Store,
        clock: Callable[[], Millis],
        make_id: Callable[[Millis], MessageId],
        *,
        platform: Platform | None = None,
    ) -> None:
        self._store = store
        self._platform = platform
        self._together = Together(store, _store_all)
        self._clock = clock
        self._make_id = make_id

    async def accept(
        self,
        gateway: Gateway,
        raw: bytes,
        *,
        full: bool,
        headers: Mapping[str, str] | None = None,
        trial: bool = False,
    ) -> Stored | Refusal:
        """Stores what `raw` asks for. `full`: the gateway takes nothing new now, but repeats get their answer.

        `headers` of the request, by name in lower case: of a Custom IM some are handed on. `trial`: an operator asked
        for it, not Smartico, so that nothing about it is reported.
        """
        request = decode_send(raw, gateway.type)
        if isinstance(request, Refusal):
            return request
        draft = self._draft(gateway, _with_headers(gateway, request, headers or {}), trial=trial)
        try:
            if self._platform is not None and isinstance(draft, _Draft) and draft.needs_contact and not full:
                known = await self._store.read(lambda tx: messages.find_by_uid(tx, gateway.name, request.uid))
                if known is not None:
                    return Stored(known, new=False)
                draft = await _asked_platform(self._platform, draft)
            return await self._together.add(_Asked(gateway, request, draft, full))
        except StoreBusyError:
            return _CROWDED
        except StoreError as error:
            if times := _FAILED.count():
                _log.error(
                    "a message could not be stored", gateway=gateway.name, error=error.sentence, times=times
                )
            return _LOST

    def _draft(self, gateway: Gateway, request: SendRequest, *, trial: bool) -> _Draft | Refusal:
        if gateway.type == "email" and "@" not in gateway.sender(request.sender):
            return Refusal(ErrorCode.INVALID, "from_email_address is missing")
        if trial:
            now = self._clock()
            return _Draft(request, self._make_id(now), "", "", now)
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


def _with_headers(gateway: Gateway, request: SendRequest, headers: Mapping[str, str]) -> SendRequest:
    """The request with those of its headers that the gateway hands on."""
    if not isinstance(request.extra, CustomExtra) or not gateway.pass_headers:
        return request
    passed = {name: headers[name.lower()] for name in gateway.pass_headers if name.lower() in headers}
    return replace(request, extra=CustomExtra(request.extra.extension, passed))


async def _asked_platform(platform: Platform, draft: _Draft) -> _Draft | Refusal:
    match await platform.find(draft.request.ext_user_id):
        case Known() as known:
            return replace(draft, known=known)
        case UnknownUser():
            return _UNKNOWN_USER
        case Away():
            return Refusal(ErrorCode.DIRECTORY_DOWN, "the contact directory cannot be reached now, try later")


async def _store_all(tx: Tx, asked: Sequence[_Asked]) -> list[Stored | Refusal]:
    """A repeat gets the answer of the first time, whatever holds now; only then a refusal counts."""
    reached = await _reach_all(tx, asked)
    judged = [_judge(tx, each, reached) for each in asked]
    added = await messages.add_messages(tx, [each for each in judged if isinstance(each, ToSend)])
    return [await _result(tx, each, verdict, added) for each, verdict in zip(asked, judged, strict=True)]


_Key = tuple[str, str, str]  # type of the gateway, channel, ext_user_id
_Reached = Mapping[_Key, Reach]


def _key(gateway: Gateway, ext_user_id: str) -> _Key:
    return gateway.type, gateway.channel, ext_user_id


async def _reach_all(tx: Tx, asked: Sequence[_Asked]) -> _Reached:
    """How the users are reached; those who are not known are missing."""
    listed: set[_Key] = set()
    others: dict[_Key, Reach] = {}
    for each in asked:
        draft = each.draft
        if isinstance(draft, Refusal) or draft.request.to_address is not None:
            continue
        key = _key(each.gateway, draft.request.ext_user_id)
        if draft.needs_contact and draft.known is None:
            listed.add(key)
        else:
            others[key] = _reach(tx, draft)
    return {**await _reach_listed(tx, listed), **await _closed_or_not(tx, others)}


async def _reach_listed(tx: Tx, keys: Collection[_Key]) -> dict[_Key, Reach]:
    """Those of the table."""
    reached: dict[_Key, Reach] = {}
    for type_, channel in sorted({key[:2] for key in keys}):
        users = sorted(user for *group, user in keys if group == [type_, channel])
        found = await contacts.reach(tx, users, channel)
        reached |= {(type_, channel, user): reach for user, reach in found.items()}
    return reached


def _reach(tx: Tx, draft: _Draft) -> Reach:
    """How a user is reached who is not in the table: as the platform said, or by a Custom IM."""
    known = draft.known or Known(None, None)
    return Reach(
        contacts.phone_address(tx, known.phone) if known.phone else None,
        contacts.email_address(tx, known.email) if known.email else None,
        closed=False,
    )


async def _closed_or_not(tx: Tx, reaches: _Reached) -> dict[_Key, Reach]:
    closed: set[tuple[str, str]] = set()
    for channel in sorted({channel for _, channel, _ in reaches}):
        subjects = {
            each for key, reach in reaches.items() if key[1] == channel for each in _subjects(key[2], reach)
        }
        closed |= {(channel, each) for each in await contacts.closed_subjects(tx, channel, sorted(subjects))}
    return {
        key: replace(reach, closed=any((key[1], each) in closed for each in _subjects(key[2], reach)))
        for key, reach in reaches.items()
    }


def _subjects(user: str, reach: Reach) -> list[str]:
    hashes = [each.hash for each in (reach.phone, reach.email) if each]
    return [contacts.of_user(user), *map(contacts.of_address, hashes)]


def _judge(tx: Tx, each: _Asked, reached: _Reached) -> ToSend | Refusal:
    """The message to be stored, if the request is no repeat."""
    gateway, draft = each.gateway, each.draft
    if isinstance(draft, Refusal):
        return draft
    if each.full:
        return _FULL
    address = _find_address(tx, gateway, draft, reached)
    if isinstance(address, Refusal):
        return address
    return ToSend(
        _new_message(tx, gateway, draft, address),
        destination=address.sealed if address else tx.vault.seal(b""),
        body=tx.vault.seal_text(pack(draft.request.body, draft.request.extra)),
        expires_at=draft.now + gateway.max_age_ms,
    )


def _find_address(tx: Tx, gateway: Gateway, draft: _Draft, reached: _Reached) -> Address | Refusal | None:
    """Where the message goes: to the user, by phone or e-mail; elsewhere (a preview); None for a Custom IM."""
    if draft.request.to_address is not None:
        to = normalise_email(draft.request.to_address)
        return contacts.email_address(tx, to) if to else _NO_TO_ADDRESS
    reach = reached.get(_key(gateway, draft.request.ext_user_id))
    if reach is None:
        return _UNKNOWN_USER
    address = {"sms": reach.phone, "email": reach.email}.get(gateway.type)
    if address is None and gateway.type != "cim":
        wanted = "e-mail address" if gateway.type == "email" else "phone number"
        return Refusal(ErrorCode.NO_ADDRESS, f"the user has no {wanted}")
    return (
        Refusal(ErrorCode.OPTED_OUT, f"the user opted out of {gateway.channel}") if reach.closed else address
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


_UNKNOWN_USER = Refusal(ErrorCode.UNKNOWN_USER, "User was not found")
_NO_TO_ADDRESS = Refusal(ErrorCode.INVALID, "to_email_address is no e-mail address")
_FULL = Refusal(ErrorCode.OVERLOADED, "the gateway is overloaded, try later")
_CROWDED = Refusal(ErrorCode.OVERLOADED, "the bridge is overloaded, try later")
_LOST = Refusal(ErrorCode.INTERNAL, "internal error: the message could not be stored, try again")


def _new_message(tx: Tx, gateway: Gateway, draft: _Draft, address: Address | None) -> NewMessage:
    return NewMessage(
        id=draft.message_id,
        gateway=gateway.name,
        type=gateway.type,
        channel=gateway.channel,
        provider=gateway.provider,
        smartico_uid=draft.request.uid,
        ext_user_id=draft.request.ext_user_id,
        sender=gateway.sender(draft.request.sender),
        address_hash=address.hash if address else None,
        address_masked=address.masked if address else None,
        callback_url=tx.vault.seal_text(draft.callback_url),
        lane=draft.lane,
        created_at=draft.now,
    )
