"""The rules that look at more than one value.

Pure. Each check runs only where the values that it looks at could be read, so that one mistake gives one sentence.
Nothing here shows a value: it may have come from the environment.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from bridge.settings.model import GatewaySettings, ProviderSettings, Settings
from bridge.settings.problems import Problems, did_you_mean, join

__all__ = ["check"]

# Which type of message each adapter can carry.
_CARRIES = {"revicom": "sms", "smtp": "email", "sendgrid": "email", "webhook": "cim"}


def check(settings: Settings, problems: Problems) -> None:
    """Adds what is wrong between the values of `settings` to `problems`."""
    for gateway in settings.gateways.values():
        _check_provider(gateway, settings, problems)
        _check_senders(gateway, problems)
    _check_keys(settings, problems)
    _check_api_key(settings, problems)
    _check_contacts(settings, problems)
    _check_operators(settings, problems)


def _check_provider(gateway: GatewaySettings, settings: Settings, problems: Problems) -> None:
    path = join("gateways", gateway.name)
    key = f"{path}.provider"
    provider = settings.providers.get(gateway.provider)
    if not problems.none_at(key):
        return
    if provider is not None and problems.none_at(f"{path}.type"):
        _check_fit(gateway, provider, key, problems)
    if provider is None and problems.none_at(
        join("providers", gateway.provider)
    ):  # else it is written, and its problem is said
        known = settings.providers
        hint = did_you_mean(gateway.provider, known) or f"; there are: {', '.join(known) or 'none'}"
        problems.add(key, f"no [providers.…] table has this name{hint}")


def _check_fit(gateway: GatewaySettings, provider: ProviderSettings, key: str, problems: Problems) -> None:
    carried = _CARRIES[provider.adapter]
    if gateway.type != carried:
        problems.add(
            key,
            f"a provider with adapter {provider.adapter} carries {carried} only, and this gateway is of type "
            f"{gateway.type}: name another provider, or change the type",
        )


def _check_senders(gateway: GatewaySettings, problems: Problems) -> None:
    path = join("gateways", gateway.name)
    if gateway.type == "sms" and not gateway.senders and problems.none_at(f"{path}.type"):
        problems.add(f"{path}.senders", "write at least one: the first is the default")


def _check_keys(settings: Settings, problems: Problems) -> None:
    database, path = settings.database, "database.pii_key_old"
    if not database.pii_key_old or not problems.none_at("database.pii_key") or not problems.none_at(path):
        return
    if not database.pii_key:
        problems.add(path, "it is the former key, and database.pii_key is empty: write the new key there")
    elif database.pii_key == database.pii_key_old:
        problems.add(path, "it is the same as database.pii_key: write the former key, or take it out")


def _check_api_key(settings: Settings, problems: Problems) -> None:
    keyless = [gateway.name for gateway in settings.gateways.values() if not gateway.api_key]
    if (
        not settings.smartico.api_key
        and (keyless or not settings.gateways)
        and problems.none_at("smartico.api_key")
    ):
        problems.add("smartico.api_key", "write the key from Smartico, or give every gateway its own api_key")


def _check_contacts(settings: Settings, problems: Problems) -> None:
    if settings.contacts.source != "http" or not problems.none_at("contacts.http.url"):
        return
    parts = urlsplit(settings.contacts.http.url)
    place = "{ext_user_id}"
    # Never in the host: a user id must not choose who is asked.
    if place not in parts.path + parts.query or place in parts.netloc:
        problems.add(
            "contacts.http.url",
            'write an address with {ext_user_id} in its path or query, or set contacts.source to "table"',
        )


def _check_operators(settings: Settings, problems: Problems) -> None:
    operators = settings.ops.operators
    for place, operator in enumerate(operators):
        path, earlier = f"ops.operators[{place}]", operators[:place]
        if operator.name and operator.name in [other.name for other in earlier]:
            problems.add(f"{path}.name", "another operator has this name: give each their own")
        if operator.token and operator.token in [other.token for other in earlier]:
            problems.add(f"{path}.token", "another operator has this token: give each their own")
