"""A simulated operator platform on a real socket: who a user is, a notification centre for Custom IM, and what
the bridge hands on.

All of it is invented, as every operator has their own: `GET /users/{ext_user_id}` answers {"phone", "email"}
or 404. `POST /notifications` stores a JSON object and answers 202; a repeated ext_message_id is counted and
otherwise ignored, and what became of a notification is posted to its callback_url, in arrays of
{"ext_message_id", "status", "time"} with Basic credentials, until it is answered with 2xx. `POST
/communications` and `POST /inbound` store JSON and answer 200.
"""

import asyncio
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from aiohttp import web

from bridge.sim import platform_plan as plan
from bridge.sim.callbacks import CallbackSender, Element
from bridge.sim.lives import Lives
from bridge.sim.platform_config import PlatformConfig, PlatformFaults
from bridge.sim.platform_ledger import Forwarded, Notification, PlatformLedger
from bridge.sim.platform_plan import make_user
from bridge.sim.server import Simulator, hold_connection, json_answer, reset_connection

__all__ = ["PlatformConfig", "PlatformFaults", "PlatformLedger", "PlatformSimulator", "make_user"]


class PlatformSimulator(Simulator[PlatformFaults]):
    """The operator's platform. `ledger` holds all it saw; `faults` may be changed at any time."""

    def __init__(self, config: PlatformConfig | None = None, faults: PlatformFaults | None = None) -> None:
        self.config = config or PlatformConfig()
        super().__init__(self.config.host, self.config.port, self.config.seed, faults or PlatformFaults())
        self.ledger = PlatformLedger()
        self._sender: CallbackSender
        self._lives: Lives[Notification]

    async def opened(self) -> None:
        self._sender = CallbackSender(self.config, self.dice, self.ledger)
        self._lives = Lives(self.config.step_seconds, self.dice, self._sender, self)

    async def closing(self) -> None:
        self._lives.close()
        await self._sender.close()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/users/{ext_user_id}", self._get_user),
            web.post("/notifications", self._post_notification),
            web.post("/communications", self._post_communication),
            web.post("/inbound", self._post_inbound),
            web.get("/_sim/sent", self._get_sent),
            web.get("/_sim/communications", self._get_communications),
            web.get("/_sim/inbound", self._get_inbound),
        ]

    def summary(self) -> dict[str, Any]:
        return {**self.ledger.summary(), "concurrency_high_water": self.load.highest}

    def messages(self) -> Sequence[dict[str, Any]]:
        return self.ledger.notifications

    def user_ids(self) -> list[str]:
        """The ext_user_id of everybody known here."""
        if self.config.users is not None:
            return list(self.config.users)
        return [f"user{number}" for number in range(self.config.user_count)]

    def find_user(self, ext_user_id: str) -> Mapping[str, str] | None:
        """What is known of one user."""
        if self.config.users is not None:
            return self.config.users.get(ext_user_id)
        number = ext_user_id.removeprefix("user")
        if not number.isdecimal() or int(number) >= self.config.user_count:
            return None
        return make_user(int(number), self.config.seed)

    def callback_url(self, message: Notification) -> str:
        """Where the reports on a notification go, with credentials."""
        return message.callback_url

    def element(self, message: Notification, step: str) -> Element:
        """The report of a status."""
        return Element(plan.build_report(message.ext_message_id, step), message, step)

    def companions(self, message: Notification, element: Element) -> Iterable[Element]:
        """What faults put beside a report."""
        if self.dice.throws("unknown_status"):
            yield Element(plan.build_report(message.ext_message_id, "teleported"), owed=False)
        if self.dice.throws("malformed"):
            yield Element(self.dice.random.choice(plan.MALFORMED), owed=False)
        if self.dice.throws("foreign"):
            yield Element(plan.build_report(str(uuid.uuid4()), element.status), owed=False)

    async def _get_user(self, request: web.Request) -> web.StreamResponse:
        with self.load:
            failed = await self._fail(request, "users")
            if failed is not None:
                return failed
            ext_user_id = request.match_info["ext_user_id"]
            self.ledger.lookups[ext_user_id] += 1
            user = self.find_user(ext_user_id)
            return self._noted(json_answer(user) if user else json_answer({"error": "no such user"}, 404))

    async def _post_notification(self, request: web.Request) -> web.StreamResponse:
        with self.load:
            body = await self._read(request, "notifications")
            if isinstance(body, web.StreamResponse):
                return body
            if not isinstance(body, dict):
                return self._noted(json_answer({"error": "not an object"}, 400))
            self.ledger.notifications.append(body)
            self.ledger.notification_headers.append(dict(request.headers))
            await self._take(body)
            return await self._answer(request, "notifications", 202)

    async def _take(self, body: dict[str, Any]) -> None:
        """Begin the life of a notification, unless it has one."""
        ext_message_id = str(body.get("ext_message_id", ""))
        known = self.ledger.by_id.get(ext_message_id)
        if known is not None:
            known.received += 1
            return
        notification = self._make(ext_message_id, body)
        self.ledger.add(notification)
        if self.dice.throws("early"):
            await self._lives.play_early(notification, plan.EARLY)
        self._lives.begin(notification)

    def _make(self, ext_message_id: str, body: dict[str, Any]) -> Notification:
        config, url = self.config, body.get("callback_url")
        wanted = config.reports and isinstance(url, str) and bool(url)
        ext_user_id = str(body.get("ext_user_id", ""))
        return Notification(
            ext_message_id=ext_message_id,
            ext_user_id=ext_user_id,
            callback_url=(
                plan.with_credentials(str(url), config.callback_username, config.callback_password)
                if wanted
                else ""
            ),
            body=body,
            plan=plan.choose_plan(ext_user_id, config, self.dice.random),
        )

    async def _post_communication(self, request: web.Request) -> web.StreamResponse:
        return await self._keep(request, "communications", self.ledger.communications)

    async def _post_inbound(self, request: web.Request) -> web.StreamResponse:
        return await self._keep(request, "inbound", self.ledger.inbound)

    async def _keep(self, request: web.Request, kind: str, kept: list[Forwarded]) -> web.StreamResponse:
        """Store what was handed on."""
        with self.load:
            body = await self._read(request, kind)
            if isinstance(body, web.StreamResponse):
                return body
            kept.append(Forwarded(time.time(), dict(request.headers), body))
            return await self._answer(request, kind, 200)

    async def _read(self, request: web.Request, kind: str) -> Any:
        """The decoded body, or the answer that refuses it."""
        raw = await request.read()
        failed = await self._fail(request, kind)
        if failed is not None:
            return failed
        try:
            body = msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return self._noted(json_answer({"error": str(error)}, 400))
        if self._throws("refused", kind):
            status = self.faults.refused_status
            if kind == "notifications":
                self.ledger.note_refused(body, status)
            return self._noted(json_answer({"error": "not liked today"}, status))
        return body

    async def _answer(self, request: web.Request, kind: str, status: int) -> web.StreamResponse:
        """The answer to what was stored, unless it gets lost."""
        if self._throws("reset_after", kind):
            self.ledger.answers["reset_after"] += 1
            return reset_connection(request)
        if self._throws("timeout_after", kind):
            self.ledger.answers["timeout_after"] += 1
            return await hold_connection(request, self.faults.timeout_seconds)
        return self._noted(json_answer({"stored": True}, status))

    async def _fail(self, request: web.Request, kind: str) -> web.StreamResponse | None:
        """The answer of a fault or a wrong Authorization, if there is one."""
        if self._throws("slow", kind):
            await asyncio.sleep(self.faults.slow_seconds)
        if self._throws("reset", kind):
            self.ledger.answers["reset"] += 1
            return reset_connection(request)
        if self._throws("error", kind):
            return self._noted(web.Response(status=self.faults.error_status, text="<h1>Error</h1>"))
        expected = self.config.authorization
        if expected and request.headers.get("Authorization") != expected:
            return self._noted(json_answer({"error": "not authorized"}, 401))
        return None

    def _throws(self, name: str, kind: str) -> bool:
        """Whether a fault happens now to a request of this kind."""
        only = self.faults.only
        return (not only or kind in only) and self.dice.throws(name)

    async def _get_sent(self, _: web.Request) -> web.Response:
        return json_answer(self.ledger.listing())

    async def _get_communications(self, _: web.Request) -> web.Response:
        return json_answer([one._asdict() for one in self.ledger.communications])

    async def _get_inbound(self, _: web.Request) -> web.Response:
        return json_answer([one._asdict() for one in self.ledger.inbound])

    def _noted(self, answer: web.Response) -> web.Response:
        self.ledger.answers[str(answer.status)] += 1
        return answer
