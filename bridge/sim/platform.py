"""A simulated operator platform on a real socket: who a user is, and a notification centre for Custom IM.

All of it is invented, as every operator has their own: `GET /users/{ext_user_id}` answers {"phone", "email"}
or 404, `POST /notifications` stores a JSON object and answers 202.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web

from bridge.sim.faults import Faults, Rate
from bridge.sim.server import Simulator, json_answer, reset_connection

_AREAS = (201, 202, 203, 205, 206, 207, 208, 209, 210, 212, 213, 214, 215, 216, 217, 218, 219, 224, 225, 228)
_NUMBERS = 10_000 * len(_AREAS)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformConfig:
    """Who the users are: those given, else `user_count` made up ones, `user0`, `user1` …"""

    host: str = "127.0.0.1"
    port: int = 0
    seed: int = 1
    users: Mapping[str, Mapping[str, str]] | None = None  # ext_user_id -> {"phone", "email"}
    user_count: int = 10_000
    authorization: str = ""  # what the Authorization header has to be; empty: not looked at


class PlatformFaults(Faults):
    """What goes wrong, per request of either kind."""

    slow: Rate = 0.0
    slow_seconds: float = 1.0
    error: Rate = 0.0
    error_status: int = 500
    reset: Rate = 0.0
    reset_after: Rate = 0.0  # notifications only: stored, and not answered


class PlatformLedger:
    """Everything so far. Read its attributes freely; only the simulator writes."""

    def __init__(self) -> None:
        self.lookups: Counter[str] = Counter()  # by ext_user_id
        self.answers: Counter[str] = Counter()  # by HTTP status or fault
        self.notifications: list[dict[str, Any]] = []  # as received, repeats included

    def repeated(self) -> int:
        """How many notifications came with an ext_message_id that had come before."""
        ids = [one.get("ext_message_id") for one in self.notifications]
        return len(ids) - len(set(ids))


class PlatformSimulator(Simulator[PlatformFaults]):
    """The operator's platform. `ledger` holds all it saw; `faults` may be changed at any time."""

    def __init__(self, config: PlatformConfig | None = None, faults: PlatformFaults | None = None) -> None:
        self.config = config or PlatformConfig()
        super().__init__(self.config.host, self.config.port, self.config.seed, faults or PlatformFaults())
        self.ledger = PlatformLedger()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/users/{ext_user_id}", self._get_user),
            web.post("/notifications", self._post_notification),
        ]

    def summary(self) -> dict[str, Any]:
        return {
            "lookups": self.ledger.lookups.total(),
            "answers": self.ledger.answers,
            "notifications": len(self.ledger.notifications),
            "notifications_repeated": self.ledger.repeated(),
            "concurrency_high_water": self.load.highest,
        }

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

    async def _get_user(self, request: web.Request) -> web.StreamResponse:
        with self.load:
            failed = await self._fail(request)
            if failed is not None:
                return failed
            ext_user_id = request.match_info["ext_user_id"]
            self.ledger.lookups[ext_user_id] += 1
            user = self.find_user(ext_user_id)
            return self._noted(json_answer(user) if user else json_answer({"error": "no such user"}, 404))

    async def _post_notification(self, request: web.Request) -> web.StreamResponse:
        with self.load:
            body = await request.read()
            failed = await self._fail(request)
            if failed is not None:
                return failed
            try:
                notification = msgspec.json.decode(body, type=dict[str, Any])
            except msgspec.DecodeError as error:
                return self._noted(json_answer({"error": str(error)}, 400))
            self.ledger.notifications.append(notification)
            if self.dice.throws("reset_after"):
                self.ledger.answers["reset_after"] += 1
                return reset_connection(request)
            return self._noted(json_answer({"stored": True}, 202))

    async def _fail(self, request: web.Request) -> web.StreamResponse | None:
        """The answer of a fault or a wrong Authorization, if there is one."""
        if self.dice.throws("slow"):
            await asyncio.sleep(self.faults.slow_seconds)
        if self.dice.throws("reset"):
            self.ledger.answers["reset"] += 1
            return reset_connection(request)
        if self.dice.throws("error"):
            return self._noted(web.Response(status=self.faults.error_status, text="<h1>Error</h1>"))
        expected = self.config.authorization
        if expected and request.headers.get("Authorization") != expected:
            return self._noted(json_answer({"error": "not authorized"}, 401))
        return None

    def _noted(self, answer: web.Response) -> web.Response:
        self.ledger.answers[str(answer.status)] += 1
        return answer


def make_user(number: int, seed: int) -> dict[str, str]:
    """A made up user: a number of the 555 exchange, different for each of 200000 users."""
    area, line = divmod((number + seed * 7919) % _NUMBERS, 10_000)
    return {"phone": f"+1{_AREAS[area]}555{line:04d}", "email": f"user{number}@example.com"}
