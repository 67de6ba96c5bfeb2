"""What `bridge check` looks at elsewhere: does the provider answer, with a good token; can Smartico be reached."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import assert_never
from urllib.parse import urlsplit

from bridge.assembly import build_providers
from bridge.cli.check_machine import ask, is_bridge
from bridge.cli.check_providers import check_mail_server, check_sendgrid, check_webhook
from bridge.cli.finding import Finding, Level
from bridge.cli.platform import look_up
from bridge.contacts import Away
from bridge.core.exchange import Outcome, Reply, Request
from bridge.providers.protocol import Provider
from bridge.providers.revicom import CheckFailed, Revicom
from bridge.settings import ProviderSettings, Settings
from bridge.settings.model import RevicomSettings, SendgridSettings, SmtpSettings, WebhookSettings
from bridge.settings.warn_addresses import is_loopback
from bridge.transport import ProviderTransport, ReportTransport

__all__ = ["callback_addresses", "check_peers", "check_public_url", "compare_clocks"]

_TIMEOUT = 10.0  # seconds
_ODD = 5.0  # seconds between two clocks; less may be the way of the answer
_WRONG = 60.0
_SMARTICO = "*.smartico.ai"
_SMARTICO_API = "api.smartico.ai"


async def check_peers(settings: Settings) -> AsyncIterator[Finding]:
    for provider in build_providers(settings, settings.server.public_url).values():
        async for finding in _check_provider(provider, settings.providers[provider.name]):
            yield finding
    if settings.contacts.source == "http":
        yield await _check_platform(settings)
    if address := await check_public_url(settings.server.public_url):
        yield address
    transport = ReportTransport(public_only=not settings.smartico.allow_insecure_callbacks)
    for host, urls in callback_addresses(settings).items():
        yield await _check_callbacks(transport, host, urls)
    await transport.close()


# --- the providers, and the operator's platform ---


async def _check_provider(provider: Provider, settings: ProviderSettings) -> AsyncIterator[Finding]:
    match settings:
        case RevicomSettings():
            assert isinstance(provider, Revicom)
            async for finding in _check_revicom(provider):
                yield finding
        case SendgridSettings():
            yield await check_sendgrid(settings)
        case SmtpSettings():
            yield await check_mail_server(settings)
        case WebhookSettings():
            yield await check_webhook(settings)
        case _:
            assert_never(settings)


async def _check_platform(settings: Settings) -> Finding:
    """Asks for somebody who does not exist: that nobody is known is a good answer."""
    answer = await look_up(settings, "bridge-check")
    if isinstance(answer, Away):
        text = (
            f"the operator's platform cannot be asked ({answer.reason}): check contacts.http, url and headers"
        )
        return Finding("contacts", Level.ERROR, f"{text}; messages are refused with error_code 6")
    return Finding("contacts", Level.OK, "the operator's platform answers")


async def _check_revicom(provider: Revicom) -> AsyncIterator[Finding]:
    transport = ProviderTransport(1)
    name, key = f"provider {provider.name}", f"providers.{provider.name}"
    start = time.monotonic()
    ping = await transport.exchange(provider.build_ping())
    answered = provider.parse_ping(ping)
    if isinstance(answered, CheckFailed):
        mend = f"check {key}.base_url and the network"
        if isinstance(ping, Reply):  # somebody answers, but not this question
            mend = f"correct {key}.base_url, which ends in /api/v1 with nothing behind it"
        yield Finding(name, Level.ERROR, f"it does not answer to a ping ({answered.reason}): {mend}")
    else:
        yield Finding(name, Level.OK, f"it answers within {time.monotonic() - start:.2f} s")
        yield _check_balance(name, key, provider, await transport.exchange(provider.build_balance()))
    for finding in _check_date(provider.name, ping):
        yield finding
    await transport.close()


def _check_balance(name: str, key: str, provider: Revicom, outcome: Outcome) -> Finding:
    balance = provider.parse_balance(outcome)
    if not isinstance(balance, CheckFailed):
        return Finding(name, Level.OK, f"the token is good, the balance is {balance}")
    if isinstance(outcome, Reply) and outcome.status in (401, 403):
        mend = f"correct {key}.token: it is used as the provider shows it, neither decoded nor encoded again"
        return Finding(name, Level.ERROR, f"it refuses the token ({balance.reason}): {mend}")
    return Finding(name, Level.ERROR, f"the balance cannot be read ({balance.reason}): check {key}.base_url")


def _check_date(name: str, outcome: Outcome) -> Iterator[Finding]:
    """Nothing, where there is no answer or it says no time."""
    try:
        theirs = parsedate_to_datetime(outcome.headers["date"]) if isinstance(outcome, Reply) else None
    except (KeyError, ValueError):
        return
    if theirs is not None and theirs.tzinfo is not None:
        yield compare_clocks(name, datetime.now(UTC), theirs)


def compare_clocks(name: str, ours: datetime, theirs: datetime) -> Finding:
    """Our clock beside the one of a provider."""
    difference = abs((ours - theirs).total_seconds())
    text = f"it differs by {difference:.0f} s from the clock of provider {name}"
    if difference <= _ODD:
        return Finding("clock", Level.OK, text)
    level = Level.WARNING if difference <= _WRONG else Level.ERROR
    return Finding("clock", level, f"{text}: set the clock, and keep it with NTP")


# --- our own address, and Smartico ---


async def check_public_url(url: str) -> Finding | None:
    """Whether a bridge answers where others are told that it does. None: only this machine could ask there."""
    if is_loopback(urlsplit(url).hostname or ""):
        return None
    outcome = await ask(url, _TIMEOUT)
    if is_bridge(outcome):
        return Finding("public_url", Level.OK, f"a bridge answers at {url}")
    if isinstance(outcome, Reply):
        text = f"{url}/healthz answers HTTP {outcome.status}, and not as a bridge"
        return Finding(
            "public_url", Level.WARNING, f"{text}: if it runs, correct server.public_url or the proxy"
        )
    text = f"nobody answers at {url} ({outcome.reason}), so a provider could not report"
    mend = "if the bridge runs, correct server.public_url, DNS, the proxy or the firewall"
    return Finding("public_url", Level.WARNING, f"{text}: {mend}")


def callback_addresses(settings: Settings) -> dict[str, list[str]]:
    """For each host that is known by name, the addresses by which it may answer."""
    hosts = [_SMARTICO_API if host == _SMARTICO else host for host in settings.smartico.callback_hosts]
    schemes = ["https", "http"] if settings.smartico.allow_insecure_callbacks else ["https"]
    return {host: [f"{scheme}://{host}/" for scheme in schemes] for host in hosts if not host.startswith("*")}


async def _check_callbacks(transport: ReportTransport, host: str, urls: list[str]) -> Finding:
    """Any answer will do. No answer is a warning: what is owed waits."""
    reason = ""
    for url in urls:
        outcome = await transport.exchange(Request("GET", url, _TIMEOUT))
        if isinstance(outcome, Reply):
            return Finding("smartico", Level.OK, f"{host} can be reached")
        reason = outcome.reason
    text = f"{host} cannot be reached ({reason}): check the network and smartico.callback_hosts"
    return Finding("smartico", Level.WARNING, f"{text}; status reports would wait")
