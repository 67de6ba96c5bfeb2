"""What each answer of Smartico makes of a status report."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from bridge.core.model import Status
from bridge.flows.reporting import judge
from bridge.flows.rules import ReportRules
from bridge.smartico import Done, Hopeless, NotFound, RefusedReport, StatusReply, TryLater, Unauthorized
from bridge.store.reports import DueReport, Settlement

NOW = 1_800_000_000_000
RULES = ReportRules([5, 15, 60], [1, 2], 72 * 3_600_000)
REPORT = DueReport(
    b"\x01" * 16, Status.DELIVERED, 0, NOW, NOW - 1000, 0, 0, 0, 0, "sms@x", "sms", "sms", "https://x/"
)
DOWN = TryLater("server_error", "HTTP 503", None, True)


def settled(
    reply: StatusReply, report: DueReport = REPORT, *, counts: bool = True, jitter: float = 0.0
) -> Settlement:
    return judge(report, reply, RULES, NOW, jitter=jitter, counts=counts)


def test_done_and_hopeless_are_final() -> None:
    """error_code 0 ends as done; a redirect or another 4xx is dead at once."""
    assert settled(Done()).state == "done"
    dead = settled(Hopeless("HTTP 302"))
    assert (dead.state, dead.last_error) == ("dead", "HTTP 302")


@pytest.mark.parametrize(("retries", "delay"), [(0, 5), (1, 15), (2, 60)])
def test_failures_follow_the_retry_schedule(retries: int, delay: float) -> None:
    """Each failure waits as long as the schedule says, and counts."""
    later = settled(DOWN, replace(REPORT, retries=retries))
    assert (later.state, later.due_at, later.retries, later.attempts) == (
        "pending",
        NOW + delay * 1000,
        retries + 1,
        1,
    )


def test_a_used_up_schedule_is_dead() -> None:
    """After the last delay the next failure ends it, with the reason kept."""
    dead = settled(DOWN, replace(REPORT, retries=3))
    assert (dead.state, dead.last_error) == ("dead", "HTTP 503")


@pytest.mark.parametrize(("jitter", "delay"), [(-1.0, 4500), (1.0, 5500)])
def test_jitter_is_at_most_a_tenth(jitter: float, delay: int) -> None:
    """±10 % and no more."""
    assert settled(DOWN, jitter=jitter).due_at == NOW + delay


def test_not_found_has_a_schedule_of_its_own() -> None:
    """Not-found answers count by themselves, whatever failed before."""
    later = settled(NotFound("sms was not found"), replace(REPORT, retries=3))
    assert (later.state, later.due_at, later.not_founds, later.retries) == ("pending", NOW + 1000, 1, 3)
    assert settled(NotFound("sms was not found"), replace(REPORT, not_founds=2)).state == "dead"


def test_other_refusals_get_three_attempts() -> None:
    """An error_code that is not "not found" is tried three times in all."""
    refused = RefusedReport(7, "error_code 7")
    first = settled(refused)
    second = settled(refused, replace(REPORT, refusals=1, retries=1))
    assert (first.state, second.state) == ("pending", "pending")
    assert settled(refused, replace(REPORT, refusals=2, retries=2)).state == "dead"


def test_retry_after_is_honoured_up_to_an_hour() -> None:
    """The peer may ask for more time than the schedule, but not for more than an hour."""
    assert settled(TryLater("throttled", "HTTP 429", 30.0, False)).due_at == NOW + 30_000
    assert settled(TryLater("throttled", "HTTP 429", 86_400.0, False)).due_at == NOW + 3_600_000
    assert settled(TryLater("throttled", "HTTP 429", 1.0, False)).due_at == NOW + 5000


def test_a_refused_key_uses_up_no_attempt() -> None:
    """401 and 403 pause the lane; the report itself loses nothing."""
    waiting = settled(Unauthorized("HTTP 401"))
    assert (waiting.state, waiting.attempts, waiting.retries) == ("pending", 0, 0)


def test_while_the_breaker_is_open_no_attempt_is_used_up() -> None:
    """A failure of a host that is known to be down does not count."""
    waiting = settled(DOWN, counts=False)
    assert (waiting.state, waiting.attempts, waiting.retries, waiting.due_at) == ("pending", 0, 0, NOW)


def test_an_old_report_dies_however_few_its_attempts() -> None:
    """report_max_age_hours ends what would be tried again, also what uses up no attempts."""
    old = replace(REPORT, owed_at=NOW - RULES.max_age_ms)
    for reply in (DOWN, Unauthorized("HTTP 401"), NotFound("not found")):
        assert settled(reply, old).state == "dead"
    assert settled(Done(), old).state == "done"
