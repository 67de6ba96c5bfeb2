"""Everything that works, built from the settings: the pumps, their transports, and the leases on what is under way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from bridge.core.breaker import Breaker
from bridge.core.model import Millis
from bridge.flows.pruning import Pruned, Pruning, Retention
from bridge.flows.rules import Rules
from bridge.flows.silence import Finding
from bridge.flows.status import Conditions, ProviderState
from bridge.metrics import Metrics
from bridge.providers.protocol import Provider
from bridge.secret import Secret
from bridge.settings import ProviderSettings, Settings
from bridge.settings.model import SmtpSettings
from bridge.store.forwards import COMMUNICATION, INBOUND
from bridge.store.tx import Store
from bridge.transport import MailServer, MailTransport, ProviderTransport, ReportTransport
from bridge.worker.counts import Backlog
from bridge.worker.forwards import MOST, Destination, ForwardPump
from bridge.worker.inbox import InboxPump
from bridge.worker.leases import Leases
from bridge.worker.pump import Pump
from bridge.worker.reports import ReportPumps, ReportTarget
from bridge.worker.sends import SendPump
from bridge.worker.silent import SilentPump
from bridge.worker.upkeep import UpkeepPump

__all__ = ["ANYTHING", "FORWARDS", "INBOX", "REPORTS", "Crew", "sends_of"]

# What processes that share a database tell each other about.
INBOX = "inbox"
REPORTS = "reports"
FORWARDS = "forwards"
ANYTHING = ""


def sends_of(provider: str) -> str:
    """The topic of messages that wait for a provider."""
    return f"send:{provider}"


def count_pruned(metrics: Metrics, pruned: Pruned) -> None:
    """Notes what a step of pruning deleted."""
    metrics.pruned.labels(pruned.kind.value).inc(pruned.count)


def provider_transport(settings: ProviderSettings) -> ProviderTransport:
    """What carries the messages of a provider. Raises BridgeError where an extra is missing."""
    if not isinstance(settings, SmtpSettings):
        return ProviderTransport(settings.max_in_flight)
    server = MailServer(settings.host, settings.port, settings.username, settings.password, settings.tls)
    return ProviderTransport(settings.max_in_flight, MailTransport(server))


def destinations(settings: Settings) -> list[Destination]:
    """Where things are passed on to, a kind each."""
    found: list[tuple[str, str, Mapping[str, Secret]]] = []
    if settings.communications is not None:
        noted = settings.communications
        found.append((COMMUNICATION, noted.forward_url, noted.forward_headers))
    found.append((INBOUND, settings.inbound.forward_url, settings.inbound.forward_headers))
    seconds = settings.smartico.timeout_seconds
    return [
        Destination(kind, url, urlsplit(url).hostname or "", headers, seconds)
        for kind, url, headers in found
        if url
    ]


class Crew:
    """`recover`, then `start`; `stop`, then `drain` or `abandon`; `close`."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        rules: Rules,
        providers: Mapping[str, Provider],
        clock: Callable[[], Millis],
        metrics: Metrics,
        backlog: Backlog,
        inbox: InboxPump,
    ) -> None:
        self._settings = settings
        self.inbox = inbox
        smartico = settings.smartico
        self._report_transport = ReportTransport(public_only=not smartico.allow_insecure_callbacks)
        target = ReportTarget(
            api_key=self._api_key,
            callback_hosts=smartico.callback_hosts,
            allow_insecure_callbacks=smartico.allow_insecure_callbacks,
            timeout_seconds=smartico.timeout_seconds,
            max_in_flight=smartico.max_in_flight,
            max_per_second=smartico.max_per_second,
        )
        self._leases = Leases(store)
        self.reports = ReportPumps(
            store, rules.reports, target, self._report_transport, clock, metrics, self._leases.reports
        )
        self._provider_transports = {name: provider_transport(settings.providers[name]) for name in providers}
        self.sends = {
            name: SendPump(
                provider,
                store,
                rules,
                self._provider_transports[name],
                clock,
                metrics,
                max_in_flight=settings.providers[name].max_in_flight,
                held=self._leases.sends,
                reported=self.reports.hand_over,
                left=backlog.left,
            )
            for name, provider in providers.items()
        }
        self._silent = {
            name: SilentPump(
                provider,
                store,
                rules,
                self._provider_transports[name],
                clock,
                metrics,
                breaker=self.sends[name].breaker,
                slots=self.sends[name].slots,
                reported=self.reports.hand_over,
            )
            for name, provider in providers.items()
            if name in rules.silent_after()
        }
        database = settings.database
        self._upkeep = UpkeepPump(
            store,
            rules,
            clock,
            reported=self.reports.hand_over,
            buried=self.reports.buried,
            recover=self._recover,
            pruning=Pruning(store, Retention(database.retention_days, database.raw_retention_days)),
            pruned=lambda pruned: count_pruned(metrics, pruned),
            forwards_free=self.wake_forwards,
            finding=Finding(store, rules),
            went_back=self._start_anew,
        )
        self._forward_transport = ProviderTransport(MOST * 2)  # two destinations at most
        self.forwards = {
            each.kind: ForwardPump(each, store, rules.reports, self._forward_transport, clock, metrics)
            for each in destinations(settings)
        }
        self._tasks: list[asyncio.Task[None]] = []
        self._leasing: asyncio.Task[None] | None = None

    def _api_key(self, gateway: str) -> Secret:
        """Also for reports of a gateway that left the settings."""
        known = gateway in self._settings.gateways
        return self._settings.gateway_api_key(gateway) if known else self._settings.smartico.api_key

    @property
    def _pumps(self) -> list[Pump]:
        return [
            *self.sends.values(),
            *self._silent.values(),
            self.inbox,
            *self.forwards.values(),
            self._upkeep,
        ]

    async def start(self) -> None:
        """Takes up what a crash left, then works. Raises StoreError."""
        await self._upkeep.note_time()
        await self._recover()
        await self.reports.start()
        self._tasks = [asyncio.create_task(pump.run(), name=pump.name) for pump in self._pumps]
        self._leasing = asyncio.create_task(self._leases.run(), name=self._leases.name)

    async def _recover(self) -> None:
        for pump in self.sends.values():
            await pump.recover()

    def _start_anew(self) -> None:
        """The clock went back, and the times of what waits were changed in the store."""
        self.reports.start_anew()
        for pump in self.sends.values():
            pump.start_anew()
        self.wake_forwards()

    def heard(self, topic: str) -> None:
        """Another process, or somebody here, has work of this kind for us."""
        if topic in (INBOX, ANYTHING):
            self.inbox.wake()
        if topic in (REPORTS, ANYTHING):
            self._upkeep.spawn(self._upkeep.insist(self.reports.look_everywhere))
        if topic in (FORWARDS, ANYTHING):
            self.wake_forwards()
        for name, pump in self.sends.items():
            if topic == sends_of(name):
                pump.wake()
            elif topic == ANYTHING:
                pump.recheck()
        if topic == ANYTHING:
            for silent in self._silent.values():
                silent.wake()

    def wake_forwards(self) -> None:
        """Something may be passed on."""
        for pump in self.forwards.values():
            pump.wake()

    def hosts_down(self) -> dict[str, str]:
        """Hosts that are left alone now, with the reason."""
        pumps = self.forwards.values()
        return self.reports.hosts_down() | {each.host: each.left_alone for each in pumps if each.left_alone}

    def conditions(self) -> Conditions:
        """Whom this process leaves alone now, and why."""
        hosts = [*self.reports.hosts_alone()]
        for pump in self.forwards.values():
            hosts += pump.hosts_alone()
        return Conditions([self._provider(name, pump.breaker) for name, pump in self.sends.items()], hosts)

    def _provider(self, name: str, breaker: Breaker) -> ProviderState:
        adapter = self._settings.providers[name].adapter
        if not breaker.is_open:
            return ProviderState(name, adapter, paused=False)
        return ProviderState(
            name,
            adapter,
            paused=True,
            reason=breaker.reason,
            since=breaker.since,
            next_try_at=breaker.next_try_at,
        )

    async def stop(self) -> None:
        """Takes nothing new on."""
        for pump in self._pumps:
            await pump.stop()
        await self.reports.stop()

    async def drain(self) -> None:
        """Waits for what is under way; its leases are renewed until then."""
        for pump in self._pumps:
            await pump.drain()
        await self.reports.drain()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._end_leasing()

    async def abandon(self) -> None:
        """Ends what is under way: the store says what has to be taken up again."""
        for pump in self._pumps:
            pump.abandon()
        self.reports.abandon()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._end_leasing()

    async def _end_leasing(self) -> None:
        await self._leases.stop()
        if self._leasing:
            await asyncio.gather(self._leasing, return_exceptions=True)
        await self._leases.give_back()

    async def close(self) -> None:
        for transport in self._provider_transports.values():
            await transport.close()
        await self._report_transport.close()
        await self._forward_transport.close()
