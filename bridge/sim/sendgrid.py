"""A simulated SendGrid (Web API v3) on a real socket: POST /v3/mail/send, and its signed Event Webhook.

Strict where SendGrid's pages are: the Authorization header, JSON content, the rules of `sendgrid_checks`, the
form of errors, 202 with an empty body and X-Message-Id, the fields of events (`sendgrid_events`), the
signature (`sendgrid_signing`), batches that end in CR LF, as its samples do, resends of what was not answered
with 2xx, and Basic credentials out of the webhook's URL. Invented: the delays and shares of outcomes, even
intervals between resends, and everything in SendgridFaults.
"""

import asyncio
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from aiohttp import web

from bridge.sim import sendgrid_events as events
from bridge.sim.callbacks import CallbackSender, Element
from bridge.sim.lives import Lives
from bridge.sim.sendgrid_checks import Problem, check_mail
from bridge.sim.sendgrid_config import SendgridConfig, SendgridFaults
from bridge.sim.sendgrid_ledger import Mail, SendgridLedger, custom_args_of, find_tag
from bridge.sim.sendgrid_signing import Signer
from bridge.sim.server import Simulator, hold_connection, json_answer, reset_connection, retry_later
from bridge.sim.verdict import Sent

_BEFORE = (
    "unauthorized",
    "forbidden",
    "too_many_requests",
    "bad_request",
    "too_large",
    "error_before",
    "reset_before",
)
_AFTER = ("error_after", "reset_after", "timeout_after", "no_message_id")
_TAIL = b"\r\n"


class SendgridSimulator(Simulator[SendgridFaults]):
    """SendGrid. `ledger` holds all it saw and did; `faults` and `webhook_url` may be changed at any time."""

    def __init__(self, config: SendgridConfig | None = None, faults: SendgridFaults | None = None) -> None:
        self.config = config or SendgridConfig()
        super().__init__(self.config.host, self.config.port, self.config.seed, faults or SendgridFaults())
        self.ledger = SendgridLedger()
        self.webhook_url = self.config.webhook_url
        self._signer, self._wrong_signer = Signer(), Signer()
        self._sender: CallbackSender
        self._lives: Lives[Mail]

    @property
    def public_key(self) -> str:
        """The webhook's verification key: base64 of a DER SubjectPublicKeyInfo."""
        return self._signer.public_key

    async def opened(self) -> None:
        hook = self._sign if self.config.signed else None
        self._sender = CallbackSender(self.config, self.dice, self.ledger, tail=_TAIL, make_headers=hook)
        self._lives = Lives(self.config.step_seconds, self.dice, self._sender, self)

    async def closing(self) -> None:
        self._lives.close()
        await self._sender.close()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v3/mail/send", self._post_mail),
            web.get("/v3/scopes", self._get_scopes),
            web.get("/_sim/public_key", self._get_public_key),
        ]

    def summary(self) -> dict[str, Any]:
        return {**self.ledger.summary(), "concurrency_high_water": self.load.highest}

    def messages(self) -> Sequence[Sent]:
        return self.ledger.listing()

    def callback_url(self, message: Mail) -> str:
        """Where the events of a mail go now: nowhere when there was no webhook as it was taken."""
        return self.webhook_url if message.planned else ""

    def element(self, message: Mail, step: str) -> Element:
        """The event of a step."""
        name = events.event_of(step)
        self.ledger.events[name] += 1
        return Element(events.build_event(message, step, self.dice.random), message, name)

    def companions(self, message: Mail, element: Element) -> Iterable[Element]:
        """What faults put beside an event."""
        if self.dice.throws("unknown_event"):
            body = {**element.body, "event": "teleported", "sg_event_id": f"{element.body['sg_event_id']}2"}
            yield Element(body, owed=False)
        if self.dice.throws("malformed"):
            yield Element(self.dice.random.choice(events.MALFORMED), owed=False)
        if self.dice.throws("foreign"):
            stranger = events.make_ids(events.make_message_id(self.dice.random), 0)
            body = events.without_arguments(element.body, message.custom_args)
            body |= {"sg_message_id": stranger.sg_message_id, "sg_event_id": stranger.x_message_id}
            yield Element(body, owed=False)

    def _sign(self, body: bytes) -> dict[str, str]:
        signer = self._wrong_signer if self.dice.throws("bad_signature") else self._signer
        return signer.headers(body)

    async def _post_mail(self, request: web.Request) -> web.StreamResponse:
        with self.load:
            raw = await request.read()
            if self.dice.throws("slow"):
                await asyncio.sleep(self.faults.slow_seconds)
            denied = self._denied(request)
            if denied is not None:
                return self._noted(denied)
            try:
                body = msgspec.json.decode(raw)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                return self._noted(refusal(400, [Problem(None, "Bad Request")]))
            return await self._answer_send(request, body)

    async def _answer_send(self, request: web.Request, body: Any) -> web.StreamResponse:
        fault = self.dice.first(_BEFORE)
        if fault:
            self.ledger.note_request(fault)
            return self._fail_before(request, fault, body)
        problems = check_mail(body)
        if problems:
            self.ledger.note_refused(body, self.config.tag_arg)
            return self._noted(refusal(400, problems))
        return await self._take(request, body)

    async def _take(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        """Take a valid request, then answer, or fail to."""
        x_message_id = events.make_message_id(self.dice.random)
        mails = list(self._make_mails(x_message_id, body))
        for mail in mails:
            self.ledger.add(mail)
        if self.dice.throws("early"):
            await asyncio.gather(*(self._lives.play_early(mail, events.DELIVERY_STEPS) for mail in mails))
        for mail in mails:
            self._lives.begin(mail)
        fault = self.dice.first(_AFTER)
        self.ledger.note_request(fault or "accepted")
        if fault:
            return await self._fail_after(request, fault)
        return web.Response(status=202, headers={"X-Message-Id": x_message_id})

    def _make_mails(self, x_message_id: str, body: dict[str, Any]) -> Iterable[Mail]:
        """A mail for each recipient of each personalization."""
        recipients = [
            (index, one, address["email"])
            for index, one in enumerate(body["personalizations"])
            for name in ("to", "cc", "bcc")
            for address in one.get(name, [])
        ]
        for number, (index, one, address) in enumerate(recipients):
            ids = events.make_ids(x_message_id, number)
            yield self._make_mail(ids, body, one, address, custom_args_of(body, index))

    def _make_mail(
        self,
        ids: events.Ids,
        body: dict[str, Any],
        one: dict[str, Any],
        to: str,
        custom_args: Mapping[str, str],
    ) -> Mail:
        content = {part["type"]: part["value"] for part in body.get("content", [])}
        plan = events.choose_plan(to, self.config, self.dice.random)
        return Mail(
            **ids._asdict(),
            tag=find_tag(custom_args, self.config.tag_arg),
            to=to,
            sender=body["from"],
            reply_to=body.get("reply_to"),
            subject=one.get("subject") or body.get("subject", ""),
            text=content.get("text/plain"),
            html=content.get("text/html"),
            headers={**body.get("headers", {}), **one.get("headers", {})},
            custom_args=custom_args,
            categories=tuple(body.get("categories", ())),
            body=body,
            plan=plan,
            planned=tuple(map(events.event_of, plan)) if self.webhook_url else (),
        )

    def _fail_before(self, request: web.Request, fault: str, body: Any) -> web.StreamResponse:
        faults = self.faults
        match fault:
            case "unauthorized":
                return refusal(401, [_UNAUTHORIZED])
            case "forbidden":
                return refusal(403, [Problem(None, "access forbidden")])
            case "too_many_requests":
                return refusal(429, [Problem(None, "too many requests")], self._rate_limit())
            case "bad_request":
                self.ledger.note_refused(body, self.config.tag_arg)
                return refusal(faults.bad_request_status, [Problem("content", "This is not liked today.")])
            case "too_large":
                self.ledger.note_refused(body, self.config.tag_arg)
                return refusal(413, [Problem(None, "Payload too large")])
            case "error_before":
                headers = retry_later(faults.retry_after_seconds)
                return web.Response(status=faults.error_before_status, text="<h1>Error</h1>", headers=headers)
            case _:
                return reset_connection(request)

    async def _fail_after(self, request: web.Request, fault: str) -> web.StreamResponse:
        match fault:
            case "error_after":
                return web.Response(status=self.faults.error_after_status, text="<h1>Error</h1>")
            case "timeout_after":
                return await hold_connection(request, self.faults.timeout_seconds)
            case "no_message_id":
                return web.Response(status=202)
            case _:
                return reset_connection(request)

    def _rate_limit(self) -> dict[str, str]:
        """The headers of a 429: the reset is a time in seconds since 1970."""
        reset = math.ceil(time.time() + self.faults.rate_limit_reset_seconds)
        limits = {"X-RateLimit-Limit": "600", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(reset)}
        return limits | retry_later(self.faults.retry_after_seconds)

    async def _get_scopes(self, request: web.Request) -> web.Response:
        """What the key may do: the way to try out a key without sending anything."""
        return self._denied(request) or json_answer({"scopes": ["mail.send"]})

    async def _get_public_key(self, _: web.Request) -> web.Response:
        return json_answer({"public_key": self.public_key})

    def _denied(self, request: web.Request) -> web.Response | None:
        """The answer to a request without the right header, or of another content type than JSON."""
        authorization = request.headers.get("Authorization")
        if authorization is None:
            return refusal(401, [Problem(None, "Permission denied, wrong credentials")])
        if authorization != f"Bearer {self.config.token}":
            return refusal(401, [_UNAUTHORIZED])
        if request.method == "POST" and request.content_type != "application/json":
            return refusal(415, [Problem(None, "Content-Type should be application/json.")])
        return None

    def _noted(self, answer: web.Response) -> web.Response:
        self.ledger.note_request(str(answer.status))
        return answer


_UNAUTHORIZED = Problem(None, "The provided authorization grant is invalid, expired, or revoked")


def refusal(status: int, problems: Iterable[Problem], headers: dict[str, str] | None = None) -> web.Response:
    """An error in SendGrid's envelope."""
    return json_answer({"errors": [problem.as_json() for problem in problems]}, status, headers)
