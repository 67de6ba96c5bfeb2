"""The composition root: settings in, a running service out. The only module that knows every concrete thing."""

from __future__ import annotations

import asyncio
import errno
import gc
import random
import socket
import time
from collections.abc import Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import structlog

from bridge.assembly import (
    accepting_gateway,
    build_directory,
    build_providers,
    build_rules,
    built_gateways,
    built_providers,
)
from bridge.core.model import Millis, new_id
from bridge.core.timekeeper import Timekeeper
from bridge.errors import BridgeError, StoreError
from bridge.flows.accepting import Accepting, Gateway
from bridge.flows.callbacks import Receiving
from bridge.flows.communications import Noting
from bridge.flows.platform import Platform
from bridge.flows.stats import Stats
from bridge.flows.status import not_known_here
from bridge.metrics import Metrics
from bridge.settings import Settings
from bridge.store.forwards import COMMUNICATION, INBOUND
from bridge.store.leases import steady
from bridge.store.reports import DueReport
from bridge.store.tx import Store, Tx
from bridge.transport import ProviderTransport
from bridge.web.context import CommunicationsDoor, GatewayDoor, Lifespan, Operator, ProviderDoor, WebContext
from bridge.web.server import WebServer, bind, create_web
from bridge.worker.counts import Backlog, CountPump
from bridge.worker.crew import ANYTHING, FORWARDS, INBOX, REPORTS, Crew, sends_of
from bridge.worker.inbox import InboxPump
from bridge.worker.status import Board

__all__ = ["Role", "Service", "clock", "listen", "local_url", "make_id"]

Role = Literal["all", "web", "worker"]

_log = structlog.get_logger()
_ABANDON = 0.3  # seconds for what a server that hangs may hold up
_FILE = 5.0  # seconds for a file of one's own to be closed: it answers
_STOP_WITHIN = 8.8  # seconds for what is in flight; with the rest it makes the ten that orchestrators give
_PLATFORM_CONNECTIONS = 64  # to the operator's platform, when contacts are asked there
_LAST_ANSWERS = 0.4  # seconds that requests to us get at least
# Nearly everything ends by its count of references; looking for cycles more often costs milliseconds.
_GC = (50_000, 20, 50)


def clock() -> Millis:
    """Now, in milliseconds, as the system says."""
    return time.time_ns() // 1_000_000


def _steady() -> Millis:
    """Milliseconds of a clock that never goes back."""
    return round(steady() * 1000)


def make_id(now: Millis) -> bytes:
    """A fresh message id. It has to be unique, not secret: `secrets` would ask the system for every one."""
    return new_id(now, random.getrandbits(74))


class Service:
    """One running bridge: store, worker and web. `start`, then `stop`; `port` 0 takes a free one.

    `role`: of several processes on one database some may only answer (web: no worker), some only work (worker: it
    answers health checks and metrics, and takes neither messages nor callbacks). `reached_here`: callbacks come to
    where it listens, whatever `server.public_url` says (the demo).
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        *,
        host: str,
        port: int,
        role: Role = "all",
        reached_here: bool = False,
    ) -> None:
        self.settings = settings
        self.store = store
        self._role = role
        self.clock = Timekeeper(clock, _steady)
        self.metrics = Metrics()
        self.lifespan = Lifespan()
        self.backlog = Backlog()
        self._socket = listen(host, port)
        self.url = local_url(*self._socket.getsockname()[:2])
        self.providers = build_providers(settings, self.url if reached_here else settings.server.public_url)
        self.rules = build_rules(settings, self.providers)
        self.inbox = InboxPump(store, self.rules, self.clock, self.metrics, reported=self._applied)
        self.crew = None if role == "web" else self._crew()
        self._platform_transport = ProviderTransport(_PLATFORM_CONNECTIONS)
        self.platform = self._platform()
        self._counts = CountPump(
            store,
            self.clock,
            self.metrics,
            self.backlog,
            recount_inbox=self.inbox.recount,
            compare=self.crew.reports.compare if self.crew else _nothing_to_compare,
            hosts_down=self.crew.hosts_down if self.crew else dict,
            leap=lambda: self.clock.leap,
        )
        self._web = WebServer(create_web(self._context()), host, port)

    def _crew(self) -> Crew:
        return Crew(
            self.settings,
            self.store,
            self.rules,
            self.providers,
            self.clock,
            self.metrics,
            self.backlog,
            self.inbox,
        )

    def _platform(self) -> Platform | None:
        directory = build_directory(self.settings)
        if directory is None:
            return None
        http = self.settings.contacts.http
        return Platform(
            directory,
            self._platform_transport.exchange,
            self.clock,
            steady=_steady,
            cache_seconds=http.cache_seconds,
            not_found_cache_seconds=http.not_found_cache_seconds,
        )

    def _board(self) -> Board:
        adapters = {name: self.settings.providers[name].adapter for name in self.providers}
        conditions = self.crew.conditions if self.crew else partial(not_known_here, adapters)
        return Board(self.store, self.clock, self._role, self.rules.settle_ms, conditions)

    def _context(self) -> WebContext:
        settings = self.settings
        answers = self._role != "worker"
        gateways = built_gateways(settings) if answers else {}
        providers = built_providers(settings) if answers else {}
        return WebContext(
            store=self.store,
            rules=self.rules,
            clock=self.clock,
            metrics=self.metrics,
            lifespan=self.lifespan,
            accepting=Accepting(self.store, self.clock, make_id, platform=self.platform),
            platform=self.platform,
            stats=Stats(self.store, self.clock),
            receiving=Receiving(self.store, self.rules),
            gateways={
                name: GatewayDoor(accepting_gateway(settings, each), each.authorization)
                for name, each in gateways.items()
            },
            providers={name: ProviderDoor(each.allowed_ips) for name, each in providers.items()},
            communications=self._communications() if answers else None,
            operators=[
                Operator(each.name, each.token, each.role == "operator") for each in settings.ops.operators
            ],
            send_allowed=settings.smartico.allowed_ips,
            trusted_proxies=settings.server.trusted_proxies,
            max_body_bytes=settings.server.max_body_bytes,
            max_inbox=settings.database.max_inbox,
            metrics_public=settings.server.metrics_public,
            secure_cookies=settings.ops.secure_cookies,
            default_region=settings.contacts.default_region,
            is_full=lambda gateway: self.backlog.of(gateway) >= settings.gateways[gateway].max_pending,
            accepted=self._accepted,
            waiting_elements=lambda: self.inbox.waiting,
            callback_kept=self._callback_kept,
            reported=self._reported,
            replayed=self._replayed,
            noted=self._noted,
            status=self._board().now,
        )

    def _communications(self) -> CommunicationsDoor | None:
        settings = self.settings.communications
        if settings is None:
            return None
        gateways = self.settings.gateways.values()
        noting = Noting(
            self.store,
            self.clock,
            make_id,
            channels=[name for each in gateways for name in (each.channel, each.type)],
            passed_on=COMMUNICATION in self.rules.forwards,
        )
        return CommunicationsDoor(noting, settings.authorization)

    # --- what the web tells the worker: here, or in another process ---

    def _accepted(self, gateway: Gateway) -> None:
        self.backlog.accepted(gateway.name)
        if self.crew:
            self.crew.sends[gateway.provider].wake()
        else:
            self.store.tell(sends_of(gateway.provider))

    def _callback_kept(self, elements: int) -> None:
        self.inbox.arrived(elements)
        if not self.crew:
            self.store.tell(INBOX)

    def _reported(self, due: Sequence[DueReport]) -> None:
        if self.crew:
            self.crew.reports.hand_over(due)
        elif due:
            self.store.tell(REPORTS)

    def _applied(self, due: Sequence[DueReport]) -> None:
        """Callbacks were understood here; messages from handsets among them may have to be passed on."""
        self._reported(due)
        if self.crew and INBOUND in self.crew.forwards:
            self.crew.forwards[INBOUND].wake()

    def _noted(self) -> None:
        if self.crew:
            self.crew.heard(FORWARDS)
        else:
            self.store.tell(FORWARDS)

    def _replayed(self) -> None:
        """A replay may have made anything due: every pump looks again, also into lanes that it has not seen."""
        if self.crew:
            self.crew.heard(ANYTHING)
        else:
            self.store.tell(ANYTHING)

    async def start(self) -> None:
        """Recovers what a crash left, then works and answers. Returns once requests are answered."""
        await self.store.write(self._note_error_texts)
        await self.inbox.recount()
        if self.crew:
            await self.crew.start()
            self.store.listen(self.crew.heard)
        self._counting = asyncio.create_task(self._counts.run(), name=self._counts.name)
        self._serving = asyncio.create_task(self._web.serve(sockets=[self._socket]), name="web")
        while not self._web.started:
            if self._serving.done():
                raise StoreError(f"The web server cannot start on {self.url}.")
            await asyncio.sleep(0.005)
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_GC)

    async def _note_error_texts(self, tx: Tx) -> None:
        await tx.run("clear_error_texts")
        rows = [
            {"provider": name, "code": code, "text": text}
            for name, table in self.rules.mappings.items()
            for code, text in table.error_codes.items()
        ]
        await tx.run_many("add_error_text", rows)

    async def stop(self) -> None:
        """Takes nothing new, lets what is in flight finish within ten seconds, then ends."""
        self.lifespan.draining = True
        loop = asyncio.get_running_loop()
        end = loop.time() + _STOP_WITHIN
        await self._counts.stop()
        if self.crew:
            await self.crew.stop()
            if not await _within(_STOP_WITHIN, self.crew.drain()):
                _log.warning("some requests did not end in time; they are taken up again at the next start")
                await _within(_ABANDON, self.crew.abandon())
        self._counting.cancel()
        self._web.stop_within(max(_LAST_ANSWERS, end - loop.time()))
        await asyncio.gather(self._serving, return_exceptions=True)
        if self.platform:
            await self.platform.close()
        await self._platform_transport.close()
        if self.crew:
            await self.crew.close()
        self._socket.close()
        await _within(_ABANDON if self.store.lease_seconds else _FILE, self.store.close())


async def _within(seconds: float, work: Coroutine[Any, Any, None]) -> bool:
    """Whether the work ended in time. Else it is cancelled and left: even that may hang, with a server that does."""
    task = asyncio.create_task(work)
    done, _ = await asyncio.wait([task], timeout=seconds)
    if done:
        task.result()
    else:
        task.cancel()
    return bool(done)


def _nothing_to_compare(_: Mapping[str, int]) -> None:
    """Only a worker knows what it has."""


_LISTENING = {
    errno.EADDRINUSE: "stop the program that has it, or choose another port (server.port, or --port)",
    errno.EACCES: "choose another port (server.port, or --port): those below 1024 need rights",
}


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises BridgeError."""
    try:
        return bind(host, port)
    except OSError as error:
        mend = _LISTENING.get(
            error.errno or 0, "set server.host to an address of this machine (0.0.0.0: all)"
        )
        raise BridgeError(f"{host}:{port} cannot be listened on ({error.strerror}): {mend}.") from None


def local_url(host: str, port: int) -> str:
    """Where a service that listens there answers on this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{host}:{port}"
