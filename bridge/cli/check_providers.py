"""What `bridge check` asks of each kind of provider: does it answer, and does it take what we sign in with?"""

from __future__ import annotations

import time

from bridge.cli.finding import Finding, Level
from bridge.core.exchange import Outcome, Reply, Request
from bridge.settings.model import SendgridSettings, SmtpSettings, WebhookSettings
from bridge.transport import MailServer, MailTransport, ProviderTransport

__all__ = ["check_mail_server", "check_sendgrid", "check_webhook"]

_TIMEOUT = 10.0  # seconds: a person waits


async def check_mail_server(settings: SmtpSettings) -> Finding:
    """Connects, as encrypted as the settings want it, and signs in."""
    name, key = f"provider {settings.name}", f"providers.{settings.name}"
    transport = MailTransport(
        MailServer(settings.host, settings.port, settings.username, settings.password, settings.tls)
    )
    start = time.monotonic()
    wrong = await transport.check()
    await transport.close()
    if wrong is None:
        signed_in = ", and takes the sign-in" if settings.username else ""
        return Finding(name, Level.OK, f"it answers within {time.monotonic() - start:.2f} s{signed_in}")
    mend = f"check {key}.host, port, tls, username and password, and the network"
    return Finding(name, Level.ERROR, f"no mail can be handed over ({wrong}): {mend}")


async def check_sendgrid(settings: SendgridSettings) -> Finding:
    """`GET /scopes`: what the token may do."""
    name, key = f"provider {settings.name}", f"providers.{settings.name}"
    headers = {"Authorization": f"Bearer {settings.token.reveal()}"}
    outcome = await _exchange(Request("GET", f"{settings.base_url.rstrip('/')}/scopes", _TIMEOUT, headers))
    return _judge_token(name, key, outcome)


def _judge_token(name: str, key: str, outcome: Outcome) -> Finding:
    if not isinstance(outcome, Reply):
        return Finding(
            name, Level.ERROR, f"it does not answer ({outcome.reason}): check {key}.base_url and the network"
        )
    if outcome.status in (401, 403):
        return Finding(
            name, Level.ERROR, f"it refuses the token (HTTP {outcome.status}): correct {key}.token"
        )
    if not 200 <= outcome.status < 300:
        return Finding(
            name, Level.ERROR, f"the token cannot be tried (HTTP {outcome.status}): check {key}.base_url"
        )
    return Finding(name, Level.OK, "it answers, and the token is good")


async def check_webhook(settings: WebhookSettings) -> Finding:
    """Any answer to a question that changes nothing will do."""
    name, key = f"provider {settings.name}", f"providers.{settings.name}"
    outcome = await _exchange(Request("OPTIONS", settings.url, _TIMEOUT))
    if isinstance(outcome, Reply):
        return Finding(name, Level.OK, f"it can be reached (HTTP {outcome.status} to OPTIONS)")
    return Finding(
        name, Level.ERROR, f"it cannot be reached ({outcome.reason}): check {key}.url and the network"
    )


async def _exchange(request: Request) -> Outcome:
    transport = ProviderTransport(1)
    try:
        return await transport.exchange(request)
    finally:
        await transport.close()
