"""The file that `bridge init` writes: it is right as it is, and right when its defaults are written out."""

from __future__ import annotations

import re
import tomllib
from base64 import b64encode
from typing import Any, get_args, get_type_hints

import pytest
from msgspec import Struct

from bridge.secret import Secret
from bridge.settings import Settings, render_template
from bridge.settings.model import ADAPTERS, GatewaySettings, OperatorSettings
from bridge.settings.template import SECRETS
from tests.settings.support import ENVIRON, parse

MADE = {
    "pii_key": b64encode(b"p" * 32).decode(),
    "authorization": "made-authorization",
    "callback_password": "made-password",
    "operator_token": "made-operator-token",
}
TWO_NAMES = {name: ENVIRON[name] for name in ("SMARTICO_API_KEY", "REVICOM_TOKEN")}
COMMENTED = re.compile(r"^# (?=\[|[a-z_]+ = )", re.MULTILINE)


def written_out() -> str:
    return COMMENTED.sub("", render_template(MADE))


def test_it_parses_as_it_is() -> None:
    """With the two keys in the environment the file is right, for SMS only, with the secrets that were made."""
    settings = parse(render_template(MADE), TWO_NAMES)
    assert settings.database.pii_key == Secret(MADE["pii_key"])
    assert settings.gateways["sms"].authorization == (Secret("made-authorization"),)
    assert settings.providers["revicom"].callback_password == Secret("made-password")
    assert [operator.token for operator in settings.ops.operators] == [Secret("made-operator-token")]
    assert (list(settings.providers), list(settings.gateways)) == (["revicom"], ["sms"])
    assert settings.communications is None


def test_commented_keys_are_defaults() -> None:
    """Written out, every commented key says what was the case before."""
    before, after = parse(render_template(MADE), TWO_NAMES), parse(written_out())
    for name in ("mappings_dir", "server", "database", "smartico", "contacts", "opt_out", "inbound", "ops"):
        assert getattr(before, name) == getattr(after, name)
    assert before.providers["revicom"] == after.providers["revicom"]
    assert before.gateways["sms"] == after.gateways["sms"]
    assert set(after.providers) == {"revicom", "mail", "sendgrid", "inbox"}
    assert set(after.gateways) == {"sms", "email", "cim"}
    assert after.communications is not None


# Keys of every provider and every gateway are explained once, at revicom and sms.
_SHARED = {"max_in_flight", "timeout_seconds", "unknown_send", "unknown_after_seconds", "allowed_ips"}
_SHARED |= {"silent_after_hours", "callback_username", "callback_password", "name"}


def keys_of(struct: type[Struct]) -> set[str]:
    return set(get_type_hints(struct))


def test_every_key_is_there() -> None:
    """The template names every key that the settings know."""
    document = tomllib.loads(written_out())
    assert set(document) == keys_of(Settings) - {"file", "base_dir", "warnings"}
    for name, hint in get_type_hints(Settings).items():
        struct = next((each for each in (hint, *get_args(hint)) if isinstance(each, type)), None)
        if struct is not None and issubclass(struct, Struct):
            assert set(document[name]) == keys_of(struct), name
    assert set(document["contacts"]["http"]) == keys_of(get_type_hints(type(parse("").contacts))["http"])
    assert set(document["gateways"]["sms"]) == keys_of(GatewaySettings) - {"name"}
    assert set(document["ops"]["operators"][0]) == keys_of(OperatorSettings)
    for body in document["providers"].values():
        expected = keys_of(ADAPTERS[body["adapter"]]) - _SHARED
        assert set(body) >= expected
    assert set(document["providers"]["revicom"]) == keys_of(ADAPTERS["revicom"]) - {"name"}


def _key_lines(text: str) -> list[tuple[str, str]]:
    lines = text.splitlines()
    return [
        (line, lines[place - 1]) for place, line in enumerate(lines) if re.match(r"(# )?[a-z_]+ = ", line)
    ]


def test_every_key_is_explained() -> None:
    """Every key has a comment behind it, or in the line above."""
    for line, above in _key_lines(render_template(MADE)):
        is_comment = above.startswith("# ") and not COMMENTED.match(above)
        assert re.search(r"\S\s+# \S", line) or is_comment, line


@pytest.mark.parametrize("value", ['quo"te\\', "${REVICOM_TOKEN}", "$${x", "snow ☃ man"])
def test_secrets_survive(value: str) -> None:
    """Whatever a secret holds, it is read back as it was given."""
    settings = parse(render_template(MADE | {"authorization": value}), TWO_NAMES)
    assert settings.gateways["sms"].authorization == (Secret(value),)


def test_a_missing_secret_is_a_bug() -> None:
    """All secrets have to be given."""
    for name in SECRETS:
        with pytest.raises(KeyError, match=name):
            render_template({key: value for key, value in MADE.items() if key != name})


def test_lines_are_not_too_long() -> None:
    """The file reads well on a terminal."""
    lines: list[Any] = [line for line in render_template(MADE).splitlines() if len(line) > 125]
    assert lines == []
