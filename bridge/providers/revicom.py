"""Revicom Direct (and i-Digital Direct, by `base_url`): requests built, answers and callbacks read.

No exchange, no state, no clock. Nothing here raises on what the provider answers, and no reason holds the
token, the callback password or a phone number. Source: Revicom Direct, "SMS", "Getting Messages", "Receiving
Callback", "Account Balance" (2026-10). Answers are read in `revicom_answer`, `revicom_lookup`,
`revicom_tell` and `revicom_callback`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import msgspec
from msgspec import Struct

from bridge.core.exchange import NoConnection, NoReply, Outcome, Reply, Request, SendOutcome
from bridge.core.json_text import read_json
from bridge.core.model import id_tag, id_text
from bridge.core.redact import redact
from bridge.providers.basic import BasicCredentials
from bridge.providers.protocol import (
    Blocked,
    CallbackUnreadable,
    Invalid,
    LookupFailed,
    LookupResult,
    NotTaken,
    OutgoingMessage,
    PerhapsTaken,
    RawElement,
    SendResult,
    TellResult,
    TooLarge,
)
from bridge.providers.reading import count_elements, each_element, judge_refusal
from bridge.providers.revicom_answer import read_error, read_items
from bridge.providers.revicom_callback import read_element
from bridge.providers.revicom_lookup import read_lookup
from bridge.providers.revicom_tell import FINAL_STATUSES, read_told

if TYPE_CHECKING:
    from bridge.settings.model import RevicomSettings

__all__ = ["CheckFailed", "Revicom"]

CHECK_TIMEOUT = 10.0  # seconds: a person waits for `bridge check`


class CheckFailed(Struct, frozen=True):
    """What is wrong with the provider: a sentence for `bridge check`."""

    reason: str


_balance = msgspec.json.Decoder(dict[str, Decimal])


class Revicom:
    """One configured account at Revicom Direct. `public_url` is where the provider reaches this bridge."""

    adapter: str = "revicom"
    asks: bool = True
    signs: Sequence[str] = ()

    def __init__(self, settings: RevicomSettings, public_url: str) -> None:
        self.name: str = settings.name
        self.max_batch: int = settings.max_batch
        self._settings = settings
        self._base_url = settings.base_url.rstrip("/")
        self._credentials = BasicCredentials(settings.callback_username, settings.callback_password)
        self._callback_url = self._credentials.callback_url(public_url, settings.name)

    def __repr__(self) -> str:
        return f"<Revicom {self.name}>"

    # --- sending ---

    def build_send(self, batch: Sequence[OutgoingMessage]) -> Request:
        """`POST /message` with these messages in this order."""
        body = msgspec.json.encode([self._item(message) for message in batch])
        headers = {"Content-Type": "application/json", **self._authorization()}
        return Request("POST", f"{self._base_url}/message", self._settings.timeout_seconds, headers, body)

    def parse_send(self, batch: Sequence[OutgoingMessage], outcome: SendOutcome) -> SendResult:
        """What became of `batch`, message by message where the provider answered for each."""
        match outcome:
            case NoConnection(reason):
                return NotTaken("no_connection", self._redact(reason))
            case NoReply(reason):
                return PerhapsTaken(self._redact(reason))
            case Reply(status) if 200 <= status < 300:
                return read_items(batch, outcome, external_id=self._settings.external_id)
            case Reply(status) if 400 <= status < 500:
                return self._read_refusal(outcome)
            case _:
                return PerhapsTaken(self._failure(outcome))

    def _item(self, message: OutgoingMessage) -> dict[str, object]:
        whatsapp = message.channel == "WHATSAPP"
        item: dict[str, object] = {
            "channelType": message.channel,
            "senderName": message.sender,
            "destination": _digits(message),
            "content": {"contentType": "text", "text": message.body} if whatsapp else message.body,
            "tags": [id_tag(message.message_id)],
            "callbackUrl": self._callback_url,
            "callbackEvents": self._settings.callback_events,
        }
        if message.ttl_seconds > 0:
            item["ttl"] = message.ttl_seconds
        if message.short_links:
            item["shortUrl"] = True
        if self._settings.external_id:
            item["externalMessageId"] = id_text(message.message_id)
        return item

    def _read_refusal(self, reply: Reply) -> NotTaken | Blocked | Invalid | TooLarge:
        code, reason = (self._redact(text) for text in read_error(reply))
        return judge_refusal(reply, code, reason)

    # --- looking up ---

    def build_lookup(self, message: OutgoingMessage) -> Request:
        """`GET /message` by the message's own tag. No time filter: those act on the time of sending.

        An empty destination was erased: then the tag alone has to do.
        """
        query = {"tags": id_tag(message.message_id)}
        if message.destination:
            query["destination"] = _digits(message)
        return self._get(f"/message?{urlencode(query)}", self._settings.timeout_seconds)

    def parse_lookup(self, message: OutgoingMessage, outcome: Outcome) -> LookupResult:
        """Whether the provider has the message, and under which id."""
        if isinstance(outcome, Reply) and 200 <= outcome.status < 300:
            return read_lookup(outcome.body, tag=id_tag(message.message_id), destination=_digits(message))
        return LookupFailed(self._failure(outcome))

    # --- asking how messages ended ---

    def build_tell(self, ids: Sequence[str]) -> Sequence[Request]:
        """`GET /message` with the ids, once for each final status, and first for all of them.

        What a message says of its status is not documented, but that one may ask for those with a status is.
        """
        named = [("message_uuid", each) for each in ids]
        return [
            self._get(f"/message?{urlencode([*named, *status])}", self._settings.timeout_seconds)
            for status in ([], *([("status", each)] for each in FINAL_STATUSES))
        ]

    def parse_tell(self, ids: Sequence[str], outcomes: Sequence[Outcome]) -> TellResult:
        """Which ids it knows, and which of them ended how."""
        bodies: list[bytes] = []
        for outcome in outcomes:
            if not isinstance(outcome, Reply) or not 200 <= outcome.status < 300:
                return LookupFailed(self._failure(outcome))
            bodies.append(outcome.body)
        return read_told(bodies, ids)

    # --- checking ---

    def build_balance(self) -> Request:
        """`GET /balance`: whether the token is good, and for how long."""
        return self._get("/balance", CHECK_TIMEOUT)

    def parse_balance(self, outcome: Outcome) -> str | CheckFailed:
        """The balance for a person to read, such as "1200.00 USD"."""
        if not isinstance(outcome, Reply) or not 200 <= outcome.status < 300:
            return CheckFailed(self._failure(outcome))
        amounts = read_json(_balance, outcome.body)
        if amounts is None or not all(_is_money(*each) for each in amounts.items()):
            return CheckFailed("the balance could not be read")
        return ", ".join(f"{amount} {currency}" for currency, amount in amounts.items()) or "nothing"

    def build_ping(self) -> Request:
        """`GET /ping`, which asks for no token: whether the provider is there."""
        return Request("GET", f"{self._base_url}/ping", CHECK_TIMEOUT)

    def parse_ping(self, outcome: Outcome) -> str | CheckFailed:
        """What answered, for a person to read."""
        if isinstance(outcome, Reply) and 200 <= outcome.status < 300:
            return f"HTTP {outcome.status}"
        return CheckFailed(self._failure(outcome))

    # --- callbacks ---

    def verify_callback(self, headers: Mapping[str, str], body: bytes) -> bool:
        """Whether the Basic credentials are those of the callback address; without a password none are."""
        return self._credentials.match(headers)

    def check_callback(self, body: bytes) -> int | CallbackUnreadable:
        """How many elements there are; a single object counts as one."""
        return count_elements(body)

    def parse_callback(self, body: bytes) -> Iterator[RawElement]:
        """Every element by itself. A body that `check_callback` refuses is one malformed element."""
        return each_element(body, read_element)

    # --- inside ---

    def _authorization(self) -> dict[str, str]:
        return {"Authorization": f"Basic {self._settings.token.reveal()}"}

    def _get(self, path: str, timeout: float) -> Request:
        return Request("GET", self._base_url + path, timeout, self._authorization())

    def _failure(self, outcome: SendOutcome) -> str:
        return self._redact(read_error(outcome)[1] if isinstance(outcome, Reply) else outcome.reason)

    def _redact(self, text: str) -> str:
        return redact(text, self._settings.token, self._settings.callback_password)


def _digits(message: OutgoingMessage) -> str:
    return message.destination.removeprefix("+")


def _is_money(currency: str, amount: Decimal) -> bool:
    """Whether the pair may be shown: currency letters, and a number of bearable length."""
    return currency.isalpha() and len(currency) <= 10 and amount.is_finite() and len(str(amount)) <= 30
