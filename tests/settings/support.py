"""What the tests of the settings share: a short way to parse, and names for what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from bridge.errors import SettingsError
from bridge.settings import Settings, parse_settings

SECTION_2 = (Path(__file__).parent / "section2.toml").read_text(encoding="utf-8")

# A secret for every name that section 2 takes from the environment.
ENVIRON = {
    "SMARTICO_API_KEY": "api-key-secret",
    "REVICOM_TOKEN": "cmV2aWNvbS1zZWNyZXQ=",
    "REVICOM_CALLBACK_PASSWORD": "revicom-callback-secret",
    "SMARTICO_SMS_SECRET": "sms-secret",
    "SENDGRID_TOKEN": "sendgrid-secret",
    "INBOX_SECRET": "Bearer inbox-secret",
    "INBOX_CALLBACK_PASSWORD": "inbox-callback-secret",
    "SMARTICO_EMAIL_SECRET": "email-secret",
    "SMARTICO_CIM_SECRET": "cim-secret",
    "SMARTICO_COMMUNICATIONS_SECRET": "communications-secret",
    "OPS_ALICE_TOKEN": "alice-token-secret",
}

MINIMAL = """
[providers.revicom]
adapter = "revicom"
[gateways.sms]
senders = ["MyBrand"]
[[ops.operators]]
name = "alice"
"""


def parse(text: str, environ: Mapping[str, str] = ENVIRON, base_dir: Path = Path("/etc/bridge")) -> Settings:
    """The settings in a text; the environment has everything unless told otherwise."""
    return parse_settings(text, file="bridge.toml", base_dir=base_dir, environ=environ)


def refusal(
    text: str, environ: Mapping[str, str] = ENVIRON, base_dir: Path = Path("/etc/bridge")
) -> SettingsError:
    """The error for a text that must be refused."""
    with pytest.raises(SettingsError) as caught:
        parse(text, environ, base_dir)
    return caught.value


def problems(text: str, environ: Mapping[str, str] = ENVIRON) -> dict[str, str]:
    """What is wrong with a text: key path to sentence. A key with two problems is a mistake of the test."""
    found = refusal(text, environ).problems
    by_key = {problem.key: problem.text for problem in found}
    assert len(by_key) == len(found), found
    return by_key
