"""A simulated Revicom Direct on a real socket: sending, callbacks, reading, stopping, balance, ping.

Strict where the provider's pages are: the Authorization header to the letter (4010 when missing, 4012 when
wrong), JSON content, the rules of `revicom_checks`, callback bodies field by field, Basic credentials out of
callbackUrl, resends. Invented, because no page says it: the codes of refused items, the wording and number
(400) of a refused request, 415 for another content type, items in request order, the delays, the shares of
outcomes, and everything in RevicomFaults.
"""

import asyncio
import time
import uuid
from collections.abc import Sequence
from typing import Any

import msgspec
from aiohttp import web

from bridge.sim import revicom_checks
from bridge.sim.revicom_callbacks import CallbackSender, Element
from bridge.sim.revicom_config import RevicomConfig, RevicomFaults
from bridge.sim.revicom_ledger import Message, Refusal, RevicomLedger
from bridge.sim.revicom_lookup import RefusedLookupError, find
from bridge.sim.revicom_plan import build_inbound
from bridge.sim.revicom_player import Player
from bridge.sim.server import Simulator, hold_connection, json_answer, reset_connection, retry_later
from bridge.sim.verdict import Sent

_BEFORE = (
    "unauthorized",
    "payment_required",
    "forbidden",
    "too_many_requests",
    "bad_request",
    "error_before",
    "reset_before",
)
_BROKEN = b'{"errors": false, "items": [{"mess'
_AFTER = ("error_after", "reset_after", "timeout_after", "broken_json", "short_items")


class RevicomSimulator(Simulator[RevicomFaults]):
    """The provider. `ledger` holds all it saw and did; `faults` may be changed at any time."""

    def __init__(self, config: RevicomConfig | None = None, faults: RevicomFaults | None = None) -> None:
        self.config = config or RevicomConfig()
        super().__init__(self.config.host, self.config.port, self.config.seed, faults or RevicomFaults())
        self.ledger = RevicomLedger()
        self._authorization = f"Basic {self.config.token}"
        self._last_callback_url = ""
        self._sender: CallbackSender
        self._player: Player

    async def opened(self) -> None:
        self._sender = CallbackSender(self.config, self.dice, self.ledger)
        self._player = Player(self.config, self.dice, self.ledger, self._sender)

    async def closing(self) -> None:
        self._player.close()
        await self._sender.close()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/api/v1/message", self._post_message),
            web.get("/api/v1/message", self._get_message),
            web.post("/api/v1/message/stop", self._post_stop),
            web.get("/api/v1/balance", self._get_balance),
            web.get("/api/v1/ping", self._get_ping),
            web.post("/_sim/inbound", self._post_inbound),
            web.get("/_sim/requests", self._get_requests),
        ]

    def summary(self) -> dict[str, Any]:
        return {**self.ledger.summary(), "concurrency_high_water": self.load.highest}

    def messages(self) -> Sequence[Sent]:
        return self.ledger.listing()

    def send_inbound(
        self, destination: str, text: str, channel_type: str = "WHATSAPP", callback_url: str = ""
    ) -> str:
        """Post a message from the handset `destination`; its uuid. Without any URL to post to: ValueError."""
        url = callback_url or self.config.inbound_url or self._last_callback_url
        if not url:
            raise ValueError("no callback URL is known for inbound messages")
        inbound_uuid = str(uuid.uuid4())
        body = build_inbound(inbound_uuid, channel_type, self._sender_name(), destination, text)
        self.ledger.callbacks_planned += 1
        self._sender.add(url, Element(body, status="inbound_sent"))
        return inbound_uuid

    async def _post_message(self, request: web.Request) -> web.StreamResponse:
        with self.load:
            body = await request.read()
            if self.dice.throws("slow"):
                await asyncio.sleep(self.faults.slow_seconds)
            denied = self._denied(request)
            if denied is not None:
                return self._noted(0, denied)
            try:
                batch = msgspec.json.decode(body)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                return self._noted(0, refusal(400, 400, "body: must be JSON"))
            return await self._answer_send(request, batch)

    async def _answer_send(self, request: web.Request, batch: Any) -> web.StreamResponse:
        size = len(batch) if isinstance(batch, list) else 0
        fault = self.dice.first(_BEFORE)
        if fault:
            self.ledger.note_request(size, fault)
            return self._fail_before(request, fault, batch)
        limit = self.faults.too_large_above
        if limit is not None and size > limit:
            return self._noted(size, refusal(413, 413, "Request Entity Too Large"))
        problem = revicom_checks.check_batch(batch, self.config.channels) or self._invalid_destination(batch)
        if problem:
            self._note_refused_alone(batch, 400)
            return self._noted(size, refusal(400, 400, problem))
        return await self._take(request, batch)

    async def _take(self, request: web.Request, batch: list[dict[str, Any]]) -> web.StreamResponse:
        """Take a valid batch, then answer, or fail to."""
        taken, items = self._take_items(batch)
        if self.dice.throws("early"):
            await self._player.play_early(taken)
        self._player.begin(taken)
        fault = self.dice.first(_AFTER)
        self.ledger.note_request(len(batch), fault or "accepted")
        if fault:
            return await self._fail_after(request, fault, items)
        return json_answer({"errors": len(taken) < len(batch), "items": items})

    def _take_items(self, batch: list[dict[str, Any]]) -> tuple[list[Message], list[dict[str, Any]]]:
        """The messages taken, and the items of the answer in the order of the request."""
        taken: list[Message] = []
        items: list[dict[str, Any]] = []
        for one in batch:
            if self._is_refused(one):
                self._note_refused(one, self.config.refusal_code)
                item: dict[str, Any] = {"code": self.config.refusal_code}
            else:
                message = self._player.take(one)
                taken.append(message)
                item = {"messageUuid": message.uuid, "code": 201}
            if "externalMessageId" in one:
                item["externalMessageId"] = one["externalMessageId"]
            items.append(item)
            self._last_callback_url = one.get("callbackUrl") or self._last_callback_url
        return taken, items

    def _fail_before(self, request: web.Request, fault: str, batch: Any) -> web.StreamResponse:
        faults = self.faults
        match fault:
            case "unauthorized":
                return refusal(401, 4012, "Bad credentials")
            case "payment_required":
                return refusal(402, 402, "Payment Required")
            case "forbidden":
                return refusal(403, 4030, "Access Denied")
            case "too_many_requests":
                return refusal(429, 429, "Too Many Requests", retry_later(faults.retry_after_seconds))
            case "bad_request":
                status = faults.bad_request_status
                self._note_refused_alone(batch, status)
                return refusal(status, status, "body: is not liked today")
            case "error_before":
                headers = retry_later(faults.retry_after_seconds)
                return web.Response(status=faults.error_before_status, text="<h1>Error</h1>", headers=headers)
            case _:
                return reset_connection(request)

    async def _fail_after(
        self, request: web.Request, fault: str, items: list[dict[str, Any]]
    ) -> web.StreamResponse:
        match fault:
            case "error_after":
                return web.Response(status=self.faults.error_after_status, text="<h1>Error</h1>")
            case "timeout_after":
                return await hold_connection(request, self.faults.timeout_seconds)
            case "broken_json":
                return web.Response(body=_BROKEN, content_type="application/json")
            case "short_items":
                return json_answer({"errors": False, "items": items[:-1]})
            case _:
                return reset_connection(request)

    async def _get_message(self, request: web.Request) -> web.StreamResponse:
        denied = self._denied(request)
        if denied is not None:
            return denied
        if self.dice.throws("lookup_error"):
            return web.Response(status=503, text="<h1>Error</h1>")
        if self.dice.throws("lookup_reset"):
            return reset_connection(request)
        try:
            found = find(self.ledger, request.query, time.time() - self.config.findable_after_seconds)
        except RefusedLookupError as error:
            return refusal(error.status, error.status, str(error))
        return json_answer(found if self.config.bare_list else {"items": found})

    async def _post_stop(self, request: web.Request) -> web.Response:
        denied = self._denied(request)
        if denied is not None:
            return denied
        try:
            body = msgspec.json.decode(await request.read())
        except msgspec.DecodeError:
            return refusal(400, 400, "body: must be JSON")
        problem = revicom_checks.check_stop(body)
        if problem:
            return refusal(400, 400, problem)
        items = [{"messageUuid": one, "code": self._stop(one)} for one in body["uuids"]]
        return json_answer({"errors": any(item["code"] >= 400 for item in items), "items": items})

    async def _get_balance(self, request: web.Request) -> web.Response:
        denied = self._denied(request)
        if denied is not None:
            return denied
        return web.Response(body=b'{"USD": 1200.00}', content_type="application/json")

    async def _get_ping(self, _: web.Request) -> web.Response:
        return web.Response(text="PONG")

    async def _post_inbound(self, request: web.Request) -> web.Response:
        try:
            inbound_uuid = self.send_inbound(**msgspec.json.decode(await request.read()))
        except (msgspec.DecodeError, TypeError, ValueError) as error:
            return json_answer({"error": str(error)}, 400)
        return json_answer({"message_uuid": inbound_uuid}, 202)

    async def _get_requests(self, _: web.Request) -> web.Response:
        return json_answer([request._asdict() for request in self.ledger.requests])

    def _denied(self, request: web.Request) -> web.Response | None:
        """The answer to a request without the right header, or of another content type than JSON."""
        authorization = request.headers.get("Authorization")
        if authorization is None:
            return refusal(401, 4010, "Not Authenticated")
        if authorization != self._authorization:
            return refusal(401, 4012, "Bad credentials")
        if request.method == "POST" and request.content_type != "application/json":
            return refusal(415, 415, "Content-Type: must be application/json")
        return None

    def _invalid_destination(self, batch: list[dict[str, Any]]) -> str | None:
        for index, one in enumerate(batch if self.config.invalid_destinations else ()):
            if one["destination"] in self.config.invalid_destinations:
                return f"[{index}].destination: no such number"
        return None

    def _is_refused(self, one: dict[str, Any]) -> bool:
        senders = self.config.senders
        unapproved = senders is not None and one["channelType"] != "VK" and one["senderName"] not in senders
        return unapproved or one["destination"] in self.config.refused_destinations

    def _note_refused(self, one: dict[str, Any], code: int) -> None:
        tags = tuple(one.get("tags", ()))
        self.ledger.refused.append(Refusal(tags, one["destination"], one["channelType"], code))

    def _note_refused_alone(self, batch: Any, code: int) -> None:
        """A message that stands alone in a refused request is refused itself."""
        if isinstance(batch, list) and len(batch) == 1:
            one = batch[0] if isinstance(batch[0], dict) else {}
            tags = tuple(tag for tag in one.get("tags") or () if isinstance(tag, str))
            refused = Refusal(tags, str(one.get("destination")), str(one.get("channelType")), code)
            self.ledger.refused.append(refused)

    def _noted(self, size: int, answer: web.Response) -> web.Response:
        self.ledger.note_request(size, str(answer.status))
        return answer

    def _stop(self, message_uuid: str) -> int:
        message = self.ledger.by_uuid.get(message_uuid)
        if message is None:
            return 404
        return 200 if self._player.stop(message) else 403

    def _sender_name(self) -> str:
        return self.ledger.messages[-1].sender_name if self.ledger.messages else "UNDELIV2"


def refusal(status: int, code: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    """An error in the provider's envelope."""
    return json_answer({"error": {"code": code, "msg": message}}, status, headers)
