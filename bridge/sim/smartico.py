"""A simulated Smartico on a real socket: the status endpoint, and a source of messages.

Strict where Smartico's page is: type, ext_message_id, status and api_key exactly once each, the three types,
the eight statuses, HTTP 200 with error_code, and the success body as printed there, trailing comma included
(so it is no valid JSON). Any path under /callback and any further query parameters are accepted, as
callback_url may hold them. Invented: error codes 2 (a bad parameter), 3 (a bad key, when not 401) and 7, the
wording, and everything in SmarticoFaults.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from aiohttp import web
from multidict import MultiMapping

from bridge.sim.server import Simulator, hold_connection, json_answer, reset_connection, retry_later
from bridge.sim.smartico_config import Gateway, SmarticoConfig, SmarticoFaults
from bridge.sim.smartico_ledger import Arrival, Known, SmarticoLedger
from bridge.sim.smartico_traffic import Answer, Traffic
from bridge.sim.verdict import Reported

TYPES = frozenset({"email", "sms", "cim"})
STATUSES = frozenset(
    {"accepted", "delivered", "failed", "rejected", "complained", "opened", "unsubscribed", "clicked"}
)
_SUCCESS = b'{\n  "error_code": 0,\n}'
_VALID_SUCCESS = b'{"error_code": 0}'
_BEFORE = (
    "error",
    "too_many_requests",
    "reset",
    "timeout",
    "html",
    "unauthorized",
    "redirect",
    "other_error",
)
_AFTER = ("reset_after", "timeout_after", "giant_body")


class Report(NamedTuple):
    """The four parameters of a status request."""

    type: str
    ext_message_id: str
    status: str
    api_key: str


class TrafficOrder(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /_sim/traffic`."""

    bridge_url: str
    gateways: list[Gateway]
    users: list[str]
    rate: float = 0.0
    messages: int | None = None


class SmarticoSimulator(Simulator[SmarticoFaults]):
    """Smartico. `ledger` holds all it saw and did; `faults` may be changed at any time."""

    def __init__(self, config: SmarticoConfig | None = None, faults: SmarticoFaults | None = None) -> None:
        self.config = config or SmarticoConfig()
        super().__init__(self.config.host, self.config.port, self.config.seed, faults or SmarticoFaults())
        self.ledger = SmarticoLedger()
        self._traffic: Traffic
        self._running: set[asyncio.Task[None]] = set()

    async def opened(self) -> None:
        self._traffic = Traffic(self.config, self.dice, self.ledger, self.url)

    async def closing(self) -> None:
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._traffic.close()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/callback", self._get_status),
            web.get("/callback/{rest:.*}", self._get_status),
            web.post("/_sim/traffic", self._post_traffic),
            web.get("/_sim/errors", self._get_errors),
            web.get("/_sim/assets", self._get_assets),
        ]

    def summary(self) -> dict[str, Any]:
        running = {"traffic_running": bool(self._running), "concurrency_high_water": self.load.highest}
        return self.ledger.summary() | running

    def messages(self) -> Sequence[Reported]:
        return self.ledger.listing()

    async def send(
        self,
        bridge_url: str,
        gateway: Gateway,
        ext_user_id: str,
        *,
        text: str = "Best offer ever",
        im_uid: str | None = None,
        callback_url: str | None = None,
        preview_to: str | None = None,
    ) -> Answer:
        """Send one message through the bridge, repeating it like a careful client. `preview_to`: as a preview
        to this e-mail address; None: as preview_share says."""
        return await self._traffic.send(
            bridge_url,
            gateway,
            ext_user_id,
            text=text,
            im_uid=im_uid,
            callback_url=callback_url,
            preview_to=preview_to,
        )

    async def run_traffic(
        self,
        bridge_url: str,
        gateways: Sequence[Gateway],
        users: Sequence[str],
        rate: float = 0.0,
        messages: int | None = None,
    ) -> None:
        """Send `messages` (None: until cancelled) at `rate` a second (0: full speed) to the users in turn."""
        await self._traffic.run(bridge_url, gateways, users, rate, messages)

    async def _get_status(self, request: web.Request) -> web.StreamResponse:
        with self.load:
            if self.dice.throws("slow"):
                await asyncio.sleep(self.faults.slow_seconds)
            fault = self.dice.first(_BEFORE)
            if fault:
                self.ledger.status_answers[fault] += 1
                return await self._fail_before(request, fault)
            report = self._read(request.rel_url.query)
            if isinstance(report, web.Response):
                self.ledger.status_answers["bad"] += 1
                return report
            return await self._take(request, report)

    async def _take(self, request: web.Request, report: Report) -> web.StreamResponse:
        known = self._find(report)
        if known is None:
            self.ledger.status_answers["not found"] += 1
            return failure(1, f"{report.type} was not found")
        arrival = self.ledger.take(known, report.status)
        fault = self.dice.first(_AFTER)
        self.ledger.status_answers[fault or "taken"] += 1
        if fault:
            return await self._fail_after(request, fault)
        return self._success(arrival)

    def _read(self, query: MultiMapping[str]) -> Report | web.Response:
        """The parameters, or the answer that refuses them."""
        values = {}
        for name in Report._fields:
            found = query.getall(name, [])
            if len(found) != 1 or not found[0]:
                self.ledger.note_error("", f"{name} has to be there exactly once, not {len(found)} times")
                return failure(2, f"{name} is missing, empty or repeated")
            values[name] = found[0]
        report = Report(**values)
        if report.api_key != self.config.api_key:
            self.ledger.note_error(report.ext_message_id, "wrong api_key")
            return failure(3, "api_key is not valid", self.config.bad_key_status)
        for name, allowed in (("type", TYPES), ("status", STATUSES)):
            if values[name] not in allowed:
                self.ledger.note_error(report.ext_message_id, f"{name} {values[name]!r} does not exist")
                return failure(2, f"{name} is not valid")
        return report

    def _find(self, report: Report) -> Known | None:
        """The message of a report, unless it is not known, of another type, or not to be found yet."""
        ledger, faults = self.ledger, self.faults
        known = ledger.messages.get(report.ext_message_id)
        if known is None:
            if not self.config.accept_unknown:
                return None
            known = ledger.messages[report.ext_message_id] = Known(report.ext_message_id, report.type, "", "")
        if known.type != report.type:
            ledger.note_error(known.ext_message_id, f"reported as {report.type}, but it is {known.type}")
            return None
        known.asked += 1
        too_early = time.time() - known.accepted_at < faults.not_found_seconds
        return None if too_early or known.asked <= faults.not_found_attempts else known

    def _success(self, arrival: Arrival) -> web.Response:
        arrival.answered = True
        body = _VALID_SUCCESS if self.config.valid_json else _SUCCESS
        return web.Response(body=body, content_type="application/json")

    async def _fail_before(self, request: web.Request, fault: str) -> web.StreamResponse:
        match fault:
            case "error":
                return web.Response(status=self.faults.error_status, text="<h1>Error</h1>")
            case "too_many_requests":
                return web.Response(status=429, headers=retry_later(self.faults.retry_after_seconds))
            case "timeout":
                return await hold_connection(request, self.faults.timeout_seconds)
            case "html":
                return web.Response(text="<html>Welcome</html>", content_type="text/html")
            case "unauthorized":
                return failure(3, "api_key is not valid", 401)
            case "redirect":
                return web.Response(status=302, headers={"Location": f"{self.url}/elsewhere"})
            case "other_error":
                return failure(7, "something else went wrong")
            case _:
                return reset_connection(request)

    async def _fail_after(self, request: web.Request, fault: str) -> web.StreamResponse:
        match fault:
            case "timeout_after":
                return await hold_connection(request, self.faults.timeout_seconds)
            case "giant_body":
                padding = b" " * self.faults.giant_bytes
                body = b'{"error_code": 0' + padding + b"}"
                return web.Response(body=body, content_type="application/json")
            case _:
                return reset_connection(request)

    async def _post_traffic(self, request: web.Request) -> web.Response:
        """Start traffic for another process; the summary says whether it still runs."""
        try:
            order = msgspec.json.decode(await request.read(), type=TrafficOrder)
        except msgspec.DecodeError as error:
            return json_answer({"error": str(error)}, 400)
        run = self.run_traffic(order.bridge_url, order.gateways, order.users, order.rate, order.messages)
        task = asyncio.get_running_loop().create_task(run)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return json_answer({"started": True}, 202)

    async def _get_errors(self, _: web.Request) -> web.Response:
        return json_answer([problem._asdict() for problem in self.ledger.errors])

    async def _get_assets(self, _: web.Request) -> web.Response:
        return json_answer(self.ledger.assets)


def failure(code: int, message: str, status: int = 200) -> web.Response:
    """The documented failure body."""
    return json_answer({"error_code": code, "error_message": message}, status)
