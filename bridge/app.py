"""The composition root: settings in, a running service out. The only module that knows every concrete thing."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import socket
import time
from collections.abc import Callable

import structlog

from bridge import __version__
from bridge.assembly import (
    accepting_gateway,
    build_providers,
    build_rules,
    built_gateways,
    built_providers,
    open_database,
)
from bridge.core.model import Millis, new_id
from bridge.errors import StoreError
from bridge.flows.accepting import Accepting, Gateway
from bridge.metrics import Metrics
from bridge.providers.protocol import Provider
from bridge.secret import Secret
from bridge.settings import Settings
from bridge.store.tx import Store, Tx
from bridge.transport import ProviderTransport, ReportTransport
from bridge.web.context import GatewayDoor, Lifespan, Operator, ProviderDoor, WebContext
from bridge.web.server import WebServer, bind, create_web
from bridge.worker.inbox import InboxPump
from bridge.worker.pump import Pump
from bridge.worker.reports import ReportPumps, ReportTarget
from bridge.worker.sends import SendPump
from bridge.worker.upkeep import Backlog, UpkeepPump

__all__ = ["Service", "clock", "make_id", "serve"]

_log = structlog.get_logger()
_STOP_WITHIN = 9.3  # seconds for what is in flight; with the rest it makes the ten that orchestrators give
_LAST_ANSWERS = 0.5  # seconds that requests to us get at least
_WEB = "web"
# Nearly everything ends by its count of references; looking for cycles more often costs milliseconds.
_GC = (50_000, 20, 50)


def clock() -> Millis:
    """Now, in milliseconds."""
    return time.time_ns() // 1_000_000


def make_id(now: Millis) -> bytes:
    """A fresh message id. It has to be unique, not secret: `secrets` would ask the system for every one."""
    return new_id(now, random.getrandbits(74))


class Service:
    """One running bridge: store, worker and web. `start`, then `stop`; `port` 0 takes a free one.

    `reached_here`: callbacks come to where it listens, whatever `server.public_url` says (the demo).
    """

    def __init__(
        self, settings: Settings, store: Store, *, host: str, port: int, reached_here: bool = False
    ) -> None:
        self.settings = settings
        self.store = store
        self.metrics = Metrics()
        self.lifespan = Lifespan()
        self.backlog = Backlog()
        self._socket = self._bind(host, port)
        self.url = _url(self._socket)
        self.providers = build_providers(settings, self.url if reached_here else settings.server.public_url)
        self.rules = build_rules(settings, self.providers)
        self._build_worker()
        self._web = WebServer(create_web(self._context()), host, port)
        self._tasks: list[asyncio.Task[None]] = []

    @staticmethod
    def _bind(host: str, port: int) -> socket.socket:
        try:
            return bind(host, port)
        except OSError as error:
            raise StoreError(
                f"{host}:{port} cannot be listened on ({error.strerror}): choose another port."
            ) from None

    def _build_worker(self) -> None:
        smartico, store, metrics = self.settings.smartico, self.store, self.metrics
        self.report_transport = ReportTransport(public_only=not smartico.allow_insecure_callbacks)
        target = ReportTarget(
            api_key=self._api_key,
            callback_hosts=smartico.callback_hosts,
            allow_insecure_callbacks=smartico.allow_insecure_callbacks,
            timeout_seconds=smartico.timeout_seconds,
            max_in_flight=smartico.max_in_flight,
            max_per_second=smartico.max_per_second,
        )
        self.reports = ReportPumps(store, self.rules.reports, target, self.report_transport, clock, metrics)
        self.inbox = InboxPump(store, self.rules, clock, metrics, reported=self.reports.hand_over)
        self.provider_transports = {
            name: ProviderTransport(self.settings.providers[name].max_in_flight) for name in self.providers
        }
        self.sends = {name: self._send_pump(name, provider) for name, provider in self.providers.items()}
        self.upkeep = UpkeepPump(
            store,
            self.rules,
            clock,
            metrics,
            self.backlog,
            reported=self.reports.hand_over,
            buried=self.reports.buried,
            compare=self.reports.compare,
            recount_inbox=self.inbox.recount,
            hosts_down=self.reports.hosts_down,
        )

    def _api_key(self, gateway: str) -> Secret:
        """Also for reports of a gateway that left the settings."""
        known = gateway in self.settings.gateways
        return self.settings.gateway_api_key(gateway) if known else self.settings.smartico.api_key

    def _send_pump(self, name: str, provider: Provider) -> SendPump:
        return SendPump(
            provider,
            self.store,
            self.rules,
            self.provider_transports[name],
            clock,
            self.metrics,
            max_in_flight=self.settings.providers[name].max_in_flight,
            reported=self.reports.hand_over,
            left=self.backlog.left,
        )

    def _context(self) -> WebContext:
        settings = self.settings
        gateways = built_gateways(settings)
        return WebContext(
            store=self.store,
            rules=self.rules,
            clock=clock,
            metrics=self.metrics,
            lifespan=self.lifespan,
            accepting=Accepting(
                self.store, clock, make_id, has_directory=settings.contacts.source == "table"
            ),
            gateways={
                name: GatewayDoor(accepting_gateway(settings, each), each.authorization)
                for name, each in gateways.items()
            },
            providers={
                name: ProviderDoor(each.allowed_ips) for name, each in built_providers(settings).items()
            },
            operators=[
                Operator(each.name, each.token, each.role == "operator") for each in settings.ops.operators
            ],
            send_allowed=settings.smartico.allowed_ips,
            trusted_proxies=settings.server.trusted_proxies,
            max_body_bytes=settings.server.max_body_bytes,
            max_inbox=settings.database.max_inbox,
            metrics_public=settings.server.metrics_public,
            default_region=settings.contacts.default_region,
            is_full=lambda gateway: self.backlog.of(gateway) >= settings.gateways[gateway].max_pending,
            accepted=self._accepted,
            waiting_elements=lambda: self.inbox.waiting,
            callback_kept=self.inbox.arrived,
            reported=self.reports.hand_over,
            replayed=self._replayed,
        )

    def _accepted(self, gateway: Gateway) -> None:
        self.backlog.accepted(gateway.name)
        self.sends[gateway.provider].wake()

    def _replayed(self) -> None:
        """A replay may have made anything due: every pump looks again, also into lanes that it has not seen."""
        for pump in self.sends.values():
            pump.recheck()
        self.inbox.wake()
        self.upkeep.spawn(self.upkeep.insist(self.reports.look_everywhere))

    @property
    def _pumps(self) -> list[Pump]:
        return [*self.sends.values(), self.inbox, self.upkeep]

    async def start(self) -> None:
        """Recovers what a crash left, then works and answers. Returns once requests are answered."""
        await self.store.write(self._note_error_texts)
        for pump in self.sends.values():
            await pump.recover()
        await self.inbox.recount()
        await self.reports.start()
        self._tasks = [asyncio.create_task(pump.run(), name=pump.name) for pump in self._pumps]
        self._tasks.append(asyncio.create_task(self._web.serve(sockets=[self._socket]), name=_WEB))
        while not self._web.started:
            if self._tasks[-1].done():
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
        for pump in self._pumps:
            await pump.stop()
        await self.reports.stop()
        loop = asyncio.get_running_loop()
        end = loop.time() + _STOP_WITHIN
        try:
            async with asyncio.timeout_at(end):
                await self._drain()
        except TimeoutError:
            _log.warning("some requests did not end in time; they are taken up again at the next start")
            self._abandon()
        self._web.stop_within(max(_LAST_ANSWERS, end - loop.time()))
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._close()

    async def _drain(self) -> None:
        for pump in self._pumps:
            await pump.drain()
        await self.reports.drain()
        working = [task for task in self._tasks if task.get_name() != _WEB]
        await asyncio.gather(*working, return_exceptions=True)

    def _abandon(self) -> None:
        for pump in self._pumps:
            pump.abandon()
        self.reports.abandon()
        for task in self._tasks:
            if task.get_name() != _WEB:
                task.cancel()

    async def _close(self) -> None:
        for transport in self.provider_transports.values():
            await transport.close()
        await self.report_transport.close()
        self._socket.close()
        await self.store.close()


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{host}:{port}"


async def serve(settings: Settings, *, host: str, port: int, started: Callable[[Service], None]) -> None:
    """Runs the service until SIGTERM or SIGINT; a second signal ends the process at once. Raises BridgeError."""
    store = open_database(settings)
    try:
        service = Service(settings, store, host=host, port=port)
    except BaseException:
        await store.close()
        raise
    stopping = asyncio.Event()
    _listen_to_signals(stopping)
    await service.start()
    if store.lock:
        store.lock.note({"url": service.url, "version": __version__})
    started(service)
    await stopping.wait()
    _log.info("stopping")
    await service.stop()
    _log.info("stopped")


def _listen_to_signals(stopping: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()

    def asked(number: int) -> None:
        if stopping.is_set():
            os._exit(128 + number)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked, number)
