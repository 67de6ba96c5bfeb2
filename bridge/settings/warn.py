"""What the settings allow but an operator should know of: one sentence each, and never a secret.

Pure. `bridge check` and the start of the service print these; nothing depends on them.
"""

from __future__ import annotations

from collections.abc import Iterator

from bridge.settings.model import GatewaySettings, RevicomSettings, SendgridSettings, Settings
from bridge.settings.problems import did_you_mean, join
from bridge.settings.warn_addresses import odd_addresses
from bridge.settings.warn_secrets import odd_secrets

__all__ = ["warnings_of"]

_UNCHANGED_SENDERS = GatewaySettings(name="").senders
_CHANNELS = (
    "SMS",
    "WHATSAPP",
    "VK",
    "FLASHCALL",
    "VOICECODE",
    "TELEGRAM",
    "TELEGRAM_GATEWAY",
    "TEXT_TO_SPEECH",
)
_LETTERS, _DIGITS = 11, 15  # what a phone shows of a sender
_LONG_SECONDS = 600


def warnings_of(settings: Settings) -> tuple[str, ...]:
    """The sentences for these settings, each beginning with a key path."""
    return (
        *odd_addresses(settings),
        *odd_secrets(settings),
        *_risky_choices(settings),
        *_unused(settings),
        *(sentence for gateway in settings.gateways.values() for sentence in _odd_gateway(gateway, settings)),
        *_odd_times(settings),
    )


def _risky_choices(settings: Settings) -> Iterator[str]:
    if settings.smartico.allow_insecure_callbacks:
        yield (
            "smartico.allow_insecure_callbacks: callbacks may go to http:// and loopback addresses: "
            "leave this to tests and the demo."
        )
    for provider in settings.providers.values():
        if isinstance(provider, SendgridSettings) and not (
            provider.webhook_public_key or provider.callback_password
        ):
            yield (
                f"providers.{provider.name}: without webhook_public_key (SendGrid shows it where signed event webhooks "
                "are switched on) or callback_password none of its events can be believed."
            )


def _unused(settings: Settings) -> Iterator[str]:
    """What is written and leads nowhere, or is missing and leaves something without use."""
    used = {gateway.provider for gateway in settings.gateways.values()}
    for name in settings.providers:
        if name not in used:
            yield f"{join('providers', name)}: no gateway uses it: name it in one, or take the table out."
    if not settings.gateways:
        yield "gateways: there is none, so Smartico can send nothing: add a table such as [gateways.sms]."
    if not settings.ops.operators:
        yield "ops.operators: there is none, so nobody can sign in at /ops/ or use /api: add [[ops.operators]]."


def _odd_gateway(gateway: GatewaySettings, settings: Settings) -> Iterator[str]:
    path = join("gateways", gateway.name)
    if gateway.type != "sms":
        return
    if gateway.senders == _UNCHANGED_SENDERS:
        yield (
            f'{path}.senders: the default sender is still "{_UNCHANGED_SENDERS[0]}": '
            "write the sender names that the provider has approved."
        )
    provider = settings.providers.get(gateway.provider)
    if isinstance(provider, RevicomSettings) and gateway.channel not in _CHANNELS:
        hint = did_you_mean(gateway.channel.upper(), _CHANNELS) or f"; known are {', '.join(_CHANNELS)}."
        yield f"{path}.channel: this is none of the provider's channels that are known here{hint}"
    for place, sender in enumerate(gateway.senders if gateway.channel == "SMS" else ()):
        if not _can_be_shown(sender):
            yield (
                f"{path}.senders[{place}]: phones show at most {_LETTERS} plain letters, digits and signs, or "
                f"{_DIGITS} digits: write a name that the provider has approved."
            )


def _can_be_shown(sender: str) -> bool:
    digits = sender.removeprefix("+")
    number = digits.isdecimal() and len(digits) <= _DIGITS
    return sender.isascii() and (len(sender) <= _LETTERS or number)


def _odd_times(settings: Settings) -> Iterator[str]:
    """Milliseconds that were meant as seconds, and delays that shrink."""
    smartico = settings.smartico
    schedules = {
        "smartico.retry_schedule": smartico.retry_schedule,
        "smartico.not_found_schedule": smartico.not_found_schedule,
    }
    times = {"smartico.timeout_seconds": smartico.timeout_seconds}
    times["contacts.http.timeout_seconds"] = settings.contacts.http.timeout_seconds
    for name, provider in settings.providers.items():
        times[f"{join('providers', name)}.timeout_seconds"] = provider.timeout_seconds
    times |= {f"{key}[0]": schedule[0] for key, schedule in schedules.items() if schedule}
    for key, seconds in times.items():
        if seconds > _LONG_SECONDS:
            yield f"{key}: {seconds:g} s are {seconds / 3600:.1f} hours: the unit is seconds, not milliseconds."
    for key, schedule in schedules.items():
        if list(schedule) != sorted(schedule):
            yield f"{key}: the delays shrink: write them rising, so that who is down is asked less and less often."
