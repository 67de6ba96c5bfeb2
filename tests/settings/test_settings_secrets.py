"""Secrets, and what came from the environment, show neither in problems nor in printed settings."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import pytest

from tests.settings.mistakes import SMS
from tests.settings.support import ENVIRON, SECTION_2, parse, problems, refusal

CANARY = "c4n4ry"


def _mutations() -> list[str]:
    """Settings with the canary wherever a secret or a filled-in value can stand, each wrong there."""
    bad = f"{CANARY}\\n"
    return [
        f'smartico.api_key = "{bad}"',
        f'smartico.fallback_callback_url = "{CANARY}"',
        f'database.url = "mysql://u:{CANARY}@h/db"',
        f'database.pii_key = "{CANARY}"',
        f'database.pii_key_old = "{CANARY}"',
        f'providers.revicom = {{ token = "{bad}", callback_password = "{bad}" }}',
        f'providers.revicom.base_url = "https://u:{CANARY}@a.example"',
        f'providers.mail.password = "{bad}"',
        f'providers.sendgrid.token = "{bad}"',
        f'providers.inbox = {{ url = "{CANARY}", headers = {{ A = "{bad}" }}, callback_password = "{bad}" }}',
        f'{SMS}authorization = ["{bad}"]',
        f'{SMS}authorization = "{CANARY}"',
        f'{SMS}api_key = "{bad}"',
        f'communications = {{ authorization = ["{bad}"], forward_headers = {{ A = "{bad}" }} }}',
        f'inbound.forward_headers = {{ A = "{bad}" }}',
        f'contacts.http.headers = {{ A = "{bad}" }}',
        f'ops.operators = [{{ name = "alice", token = "{CANARY}" }}]',
        f'smartico.apikey = "{CANARY}"',
        'server.host = "${CANARY} "',
        'server.port = "${CANARY}"',
        'contacts.source = "${CANARY}"',
        'contacts.default_region = "${CANARY}"',
        'smartico.callback_hosts = ["*${CANARY}"]',
        'smartico.allowed_ips = ["${CANARY}"]',
        'providers.x.adapter = "${CANARY}"',
        f'{SMS}provider = "${{CANARY}}"',
        f'{SMS}type = "${{CANARY}}"',
        'ops.operators = [{ name = "${CANARY}\\n", token = "${CANARY}" }]',
        'mappings_dir = "${CANARY}${NOWHERE}"',
    ]


@pytest.mark.parametrize("text", _mutations())
def test_secrets_never_show_in_problems(text: str) -> None:
    """No problem shows a secret, nor a value that came from the environment."""
    error = refusal(text, ENVIRON | {"CANARY": CANARY})
    assert CANARY not in f"{error} {error!r} {error.sentence} {error.problems!r} {error.args!r}"


def test_written_values_show() -> None:
    """A value that stands in the file and is no secret is shown, cut when it is long."""
    assert problems(f'contacts.source = "{"x" * 500}"')["contacts.source"].endswith(f'not "{"x" * 60}…"')


def test_secrets_never_show_in_settings() -> None:
    """Printed settings hold none of the secrets that they were given, nor do their warnings."""
    key = b64encode(b"k" * 32).decode()
    url = "postgresql://user:pg-password@host/name"
    text = SECTION_2.replace('pii_key = ""', f'pii_key = "{key}"').replace("sqlite:///bridge.db", url)
    settings = parse(text)
    seen = f"{settings} {settings!r} {settings.warnings}"
    for secret in (*ENVIRON.values(), key, "pg-password"):
        assert secret not in seen


@pytest.mark.parametrize(
    ("held", "blamed"),
    [
        ("abc\n\n", "${file:token} has a space or a line break at its ends"),
        ("", "${file:token} is empty"),
        ("Basic abc", "${file:token} holds something else"),
    ],
)
def test_what_a_reference_stands_for_is_blamed(tmp_path: Path, held: str, blamed: str) -> None:
    """Where a value came from a file, the problem names the file, and shows nothing of what it holds."""
    (tmp_path / "token").write_text(held)
    (problem,) = refusal('providers.revicom.token = "${file:token}"', base_dir=tmp_path).problems
    assert problem.key == "providers.revicom.token"
    assert problem.text.endswith(f"; {blamed}")
    assert "abc" not in problem.text


def test_the_mark_of_an_editor_is_no_part_of_a_secret(tmp_path: Path) -> None:
    """Editors on Windows begin a file with a mark that nobody sees: the secret begins behind it."""
    (tmp_path / "password").write_bytes(b"\xef\xbb\xbfpass-word\r\n")
    text = 'providers.revicom.callback_password = "${file:password}"'
    assert parse(text, base_dir=tmp_path).providers["revicom"].callback_password.reveal() == "pass-word"
