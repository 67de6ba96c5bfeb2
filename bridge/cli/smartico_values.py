"""`bridge smartico-values`: what to enter at Smartico and at the providers, so that they find the bridge."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import rich_click as click

from bridge.cli.options import config_option, json_option, read_settings
from bridge.cli.output import print_json
from bridge.secret import Secret
from bridge.settings.expand import references

if TYPE_CHECKING:
    from bridge.settings import Settings

__all__ = ["smartico_values_command"]

# With the names of Smartico's variables; docs/surfaces.md has the same.
_NOTIFICATION = (
    '{"login": "{{user.ext_user_id}}", "time": {{time}}, "view_url": "{{view_url}}", "channel": "{{channel}}", '
    '"campaign_name": "{{campaign_name}}"}'
)
_STAND_IN = "PASSWORD"  # for a password, until the place where it stands is written there


@click.command("smartico-values", epilog="Example: bridge smartico-values --show-secrets")
@click.option("--show-secrets", is_flag=True, help="Print the secrets themselves, not where they are.")
@json_option
@config_option
def smartico_values_command(show_secrets: bool, as_json: bool, config: Path) -> None:
    """Print what to paste into Smartico, and what to give to the providers.

    A secret is told by the place where it stands in the settings, unless --show-secrets is given.
    """
    settings = read_settings(config)
    values = _Values(settings, _written(settings), show_secrets).all()
    if as_json:
        print_json(values)
        return
    for where, fields in values.items():
        print(f"{where}")
        for name, value in fields.items():
            print(f"  {name}: {value}")
        print()
    if settings.server.public_url.startswith("http://"):
        print("server.public_url is not https yet: what is above is for trying things out on this machine.")


def _written(settings: Settings) -> dict[str, Any]:
    """The settings as they are written, with their references."""
    return tomllib.loads(Path(settings.file).read_text(encoding="utf-8-sig"))


def _without_query(url: str) -> str:
    """What stands behind the path may be a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}{'?…' if parts.query else ''}"


class _Values:
    """By place where they go, by field."""

    def __init__(self, settings: Settings, written: dict[str, Any], show_secrets: bool) -> None:
        self._settings = settings
        self._written = written
        self._show = show_secrets
        self._url = settings.server.public_url.rstrip("/")

    def all(self) -> dict[str, dict[str, str]]:
        settings = self._settings
        found: dict[str, dict[str, str]] = {}
        for name, gateway in settings.gateways.items():
            found[f"Smartico, gateway for {gateway.type} ({name})"] = {
                "URL": f"{self._url}/smartico/{name}",
                "Authorization header": self._secret(
                    list(gateway.authorization), "gateways", name, "authorization"
                ),
            }
        if settings.communications:
            found["Smartico, notifications that an asset was sent"] = {
                "URL": f"{self._url}/smartico/communications",
                "Authorization header": self._secret(
                    list(settings.communications.authorization), "communications", "authorization"
                ),
                "method, content type": "POST, application/json",
                "body template": _NOTIFICATION,
            }
        for name, provider in settings.providers.items():
            if told := self._of_provider(name, provider):
                found[f"Provider {name} ({provider.adapter})"] = told
        return found

    def _of_provider(self, name: str, provider: Any) -> dict[str, str]:
        address = f"{self._url}/callbacks/{name}"
        match provider.adapter:
            case "revicom":
                return {
                    "address for messages from handsets": self._with_password(name, provider),
                    "delivery reports": "nothing to enter: their address goes with each message",
                }
            case "sendgrid":
                signed = bool(provider.webhook_public_key)
                return {
                    "Event Webhook": address if signed else self._with_password(name, provider),
                    "events": "all, signed"
                    + ("" if signed else "; enter the verification key as webhook_public_key"),
                }
            case "webhook":
                return {
                    "report back to": self._with_password(name, provider),
                    "messages go to": provider.url if self._show else _without_query(provider.url),
                }
            case _:
                return {}

    def _with_password(self, name: str, provider: Any) -> str:
        from bridge.providers.basic import BasicCredentials

        password = provider.callback_password if self._show else Secret(_STAND_IN)
        url = BasicCredentials(provider.callback_username, password).callback_url(self._url, name)
        place = f":<{self._place('providers', name, 'callback_password')}>@"
        return url if self._show else url.replace(f":{_STAND_IN}@", place, 1)

    def _secret(self, secrets: list[Secret], *keys: str) -> str:
        if not secrets:
            return f"none yet: set {'.'.join(keys)}"
        return secrets[0].reveal() if self._show else f"the value of {self._place(*keys)}"

    def _place(self, *keys: str) -> str:
        """Where a value comes from: a reference as it is written, else its key."""
        value: Any = self._written
        for key in keys:
            value = value.get(key, {}) if isinstance(value, dict) else {}
        text = value[0] if isinstance(value, list) and value else value
        is_reference = isinstance(text, str) and text == references(text) != ""
        return text if is_reference else f"{'.'.join(keys)} in {Path(self._settings.file).name}"
