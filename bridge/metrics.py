"""The metrics, on a registry of our own. No label holds an id, an address or anything a request can choose freely."""

from __future__ import annotations

from functools import lru_cache

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

__all__ = ["Metrics"]

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_SLOW = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 3600, 86400)


class Metrics:
    """Answers: are we losing, late, refused, growing?"""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "bridge_send_requests",
            "Requests of Smartico, by gateway and error_code",
            ["gateway", "error_code"],
            registry=registry,
        )
        self.request_seconds = Histogram(
            "bridge_send_request_seconds",
            "Time to answer a request of Smartico",
            buckets=_FAST,
            registry=registry,
        )
        self.refused = Counter(
            "bridge_send_refused",
            "Requests of Smartico refused before they were read, by HTTP status",
            ["gateway", "status"],
            registry=registry,
        )
        self.sends = Counter(
            "bridge_sends",
            "Messages handed to a provider, by what became of them",
            ["gateway", "result"],
            registry=registry,
        )
        self.sends_waiting = Gauge(
            "bridge_sends_waiting", "Messages in the outbox", ["gateway", "phase"], registry=registry
        )
        self.sends_oldest = Gauge(
            "bridge_sends_oldest_seconds",
            "Age of the oldest message in the outbox that is not under review",
            ["gateway"],
            registry=registry,
        )
        self.provider_requests = Counter(
            "bridge_provider_requests",
            "Requests to a provider, by result",
            ["provider", "result"],
            registry=registry,
        )
        self.provider_seconds = Histogram(
            "bridge_provider_seconds",
            "Time a provider takes",
            ["provider", "kind"],
            buckets=_SLOW,
            registry=registry,
        )
        self.silent = Counter(
            "bridge_silent_messages",
            "Messages whose end was overdue, by what became of them: told (the provider said it when asked), review",
            ["provider", "result"],
            registry=registry,
        )
        self.provider_paused = Gauge(
            "bridge_provider_paused", "1 while a provider is left alone", ["provider"], registry=registry
        )
        self.callbacks = Counter(
            "bridge_callbacks", "Callback requests, by HTTP status", ["provider", "status"], registry=registry
        )
        self.callback_elements = Counter(
            "bridge_callback_elements", "Callback elements applied", registry=registry
        )
        self.inbox_waiting = Gauge(
            "bridge_inbox_waiting", "Callback elements not yet applied", registry=registry
        )
        self.inbox_lag = Gauge(
            "bridge_inbox_lag_seconds", "Age of the oldest callback not yet applied", registry=registry
        )
        self.reports = Counter(
            "bridge_reports",
            "Attempts at status reports, by result",
            ["gateway", "result"],
            registry=registry,
        )
        self.report_seconds = Histogram(
            "bridge_report_seconds",
            "Time Smartico takes for a status report",
            buckets=_FAST,
            registry=registry,
        )
        self.report_age = Histogram(
            "bridge_report_age_seconds",
            "From callback applied to report done",
            buckets=_SLOW,
            registry=registry,
        )
        self.callback_age = Histogram(
            "bridge_callback_to_report_seconds",
            "From callback received to the report that it caused done",
            buckets=_SLOW,
            registry=registry,
        )
        self.reports_waiting = Gauge(
            "bridge_reports_waiting", "Status reports owed, by lane", ["lane"], registry=registry
        )
        self.reports_overdue = Gauge(
            "bridge_reports_overdue_seconds",
            "How long the report of a lane has been due that has been due longest",
            ["lane"],
            registry=registry,
        )
        self.host_left_alone = Gauge(
            "bridge_host_left_alone",
            "1 while a host is left alone: it is down, or refuses the api_key (or the forward_headers)",
            ["host"],
            registry=registry,
        )
        self.database_writable = Gauge(
            "bridge_database_writable", "1 while the database takes what is written", registry=registry
        )
        self.clock_leap = Gauge(
            "bridge_clock_leap_seconds",
            "By how much the clock of the system has leapt, while that is not believed yet",
            registry=registry,
        )
        self.reports_dead = Gauge(
            "bridge_reports_dead", "Status reports that used up their schedule", registry=registry
        )
        self.review_open = Gauge(
            "bridge_review_open", "Review items that are open", ["kind"], registry=registry
        )
        self.forwards = Counter(
            "bridge_forwards",
            "Attempts to pass something on to the operator's API, by result",
            ["kind", "result"],
            registry=registry,
        )
        self.forwards_waiting = Gauge(
            "bridge_forwards_waiting", "What waits to be passed on, by kind", ["kind"], registry=registry
        )
        self.forwards_dead = Gauge(
            "bridge_forwards_dead", "What could not be passed on and is under review", registry=registry
        )
        self.database_bytes = Gauge("bridge_database_bytes", "Size of the database", registry=registry)
        self.counted_at = Gauge(
            "bridge_counted_timestamp_seconds",
            "When the database was last counted; that stands still while it cannot be used",
            registry=registry,
        )
        self.pruned = Counter(
            "bridge_pruned", "Rows deleted because they were old, by kind", ["kind"], registry=registry
        )

    # Labels are looked up once: that costs more than counting.

    @lru_cache  # noqa: B019 - there is one of this class in a process
    def report_attempts_of(self, gateway: str, result: str) -> Counter:
        return self.reports.labels(gateway, result)

    @lru_cache  # noqa: B019
    def requests_of(self, gateway: str, error_code: int) -> Counter:
        return self.requests.labels(gateway, error_code)

    @lru_cache  # noqa: B019
    def callbacks_of(self, provider: str, status: int) -> Counter:
        return self.callbacks.labels(provider, status)

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self._registry)
