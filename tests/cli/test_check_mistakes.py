"""The mistakes of docs/mistakes.md, each made: `bridge check` prints the line of the page, and no other error."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec import Struct

from bridge.sim import RevicomConfig, RevicomSimulator, free_port
from tests.cli.conftest import SETTINGS, Run
from tests.docs.pages import ROOT, fits, flat, page, spans

PII_KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
SECRET = '"secret-of-sms"'
EMAIL = '[gateways.email]\nauthorization = ["secret-of-email"]\n'
HTTP = '[contacts]\nsource = "http"\nhttp.url = "https://platform.example/users"\n'


def nothing(folder: Path) -> None:
    """Nothing but the settings is needed to make the mistake."""


class Mistake(Struct, frozen=True):
    """How it is made: texts of the good settings replaced, lines added, and files beside them.

    `online`: the provider is asked, which is a simulated one.
    """

    changes: dict[str, str] = {}
    more: str = ""
    environ: dict[str, str] = {}
    prepare: Callable[[Path], None] = nothing
    online: bool = False


def change(old: str, new: str, **others: object) -> Mistake:
    return Mistake({old: new}, **others)  # type: ignore[arg-type]


def no_file(folder: Path) -> None:
    (folder / "bridge.toml").unlink()


def readable(folder: Path) -> None:
    (folder / "bridge.toml").chmod(0o644)


def blank_lines(folder: Path) -> None:
    (folder / "token").write_text("token-of-revicom\n\n")


def other_database(folder: Path) -> None:
    """A database that was made with another key."""
    from bridge.store.sqlite import open_store

    asyncio.run(open_store(folder / "bridge.db", PII_KEY.replace("MDEy", "OTg3")).close())


def wrong_table(folder: Path) -> None:
    shipped = (ROOT / "mappings/revicom.toml").read_text(encoding="utf-8")
    (folder / "tables").mkdir()
    (folder / "tables/revicom.toml").write_text(
        shipped.replace('"delivered"', '"deliverd"'), encoding="utf-8"
    )


MISTAKES = {
    "No file there, or the wrong folder": Mistake(prepare=no_file),
    "A quotation mark is missing": change('"sqlite:///bridge.db"', '"sqlite:///bridge.db'),
    "Curly quotation marks, or `yes` for `true`": change('"key-of-smartico"', "“key-of-smartico”"),
    "A table is written twice": Mistake(more="[smartico]\nmax_in_flight = 8\n"),
    "A misspelt key": change("public_url", "publc_url"),
    "A misspelt table": change("[smartico]", "[smartiko]"),
    "A number in quotation marks": change("port = 0", 'port = "8080"'),
    "One value where several may stand": change('["Casino"]', '"Casino"'),
    "`[ops.operators]` with one bracket": change("[[ops.operators]]", "[ops.operators]"),
    "Everybody can read it": Mistake(prepare=readable),
    "The variable is not set": change('"token-of-revicom"', '"${REVICOM_TOKEN}"'),
    "`$NAME` or `{{ name }}` for `${NAME}`": change("token-of-revicom", "$REVICOM_TOKEN"),
    "The variable is empty": change(
        '"token-of-revicom"', '"${REVICOM_TOKEN}"', environ={"REVICOM_TOKEN": ""}
    ),
    "The file of the secret is missing": change('"token-of-revicom"', '"${file:token}"'),
    "The file of the secret ends in blank lines": change(
        '"token-of-revicom"', '"${file:token}"', prepare=blank_lines
    ),
    "The sample was left": change("key-of-smartico", "CHANGE-ME"),
    "Quotation marks out of an env file": change(
        "key-of-smartico", "${SMARTICO_API_KEY}", environ={"SMARTICO_API_KEY": '"key-of-smartico"'}
    ),
    "`smartico.api_key` is empty": change("key-of-smartico", ""),
    '"Basic" in front of the token': change("token-of-revicom", "Basic token-of-revicom"),
    '"Authorization:" in front of the gateway\'s secret': change(SECRET, '"Authorization: secret-of-sms"'),
    "One secret for two gateways": Mistake(
        more='[gateways.whatsapp]\nchannel = "WHATSAPP"\nauthorization = ["secret-of-sms"]\nsenders = ["Casino"]\n'
    ),
    "A secret that can be guessed": change(SECRET, '"12345"'),
    "An operator's token is too short": change("an-operator-token-for-tests", "an-operator"),
    "Two operators with one token": Mistake(
        more='[[ops.operators]]\nname = "bob"\ntoken = "an-operator-token-for-tests"\n'
    ),
    "`pii_key` in hex, or too short": change(PII_KEY, "00112233445566778899aabbccddeeff" * 2),
    "`pii_key` of another database": Mistake(prepare=other_database),
    "`public_url` still leads to this machine": change("https://bridge.example", "https://127.0.0.1"),
    "`public_url` with `http://`": change("https://bridge.example", "http://bridge.example"),
    "`public_url` without `https://`": change("https://bridge.example", "bridge.example"),
    "`public_url` with the path of the callbacks": change(
        "https://bridge.example", "https://bridge.example/callbacks/revicom"
    ),
    "`public_url` with the port behind the proxy": Mistake(
        {"port = 0": "port = {free}", "https://bridge.example": "https://bridge.example:{free}"}
    ),
    "Nobody answers at `public_url`": change(
        "https://127.0.0.1", "https://no-such-host.invalid", online=True
    ),
    "Sign-in over `http://`": change("https://bridge.example", "http://bridge.example"),
    "`https://` in `callback_hosts`": change("*.smartico.ai", "https://api.smartico.ai"),
    "A name in `allowed_ips`": change("[smartico]", '[smartico]\nallowed_ips = ["smartico.ai"]'),
    "`allowed_ips` behind a proxy": change("[smartico]", '[smartico]\nallowed_ips = ["192.0.2.0/24"]'),
    "Everybody is a trusted proxy": change("[server]", '[server]\ntrusted_proxies = ["0.0.0.0/0"]'),
    "A port behind `server.host`": change("[server]", '[server]\nhost = "0.0.0.0:8080"'),
    "The port is taken": change("port = 0", "port = {taken}"),
    "A gateway without its provider": change("[gateways.sms]", '[gateways.sms]\nprovider = "revicon"'),
    "A provider without a gateway": Mistake(
        more='[providers.spare]\nadapter = "revicom"\ntoken = "abc"\ncallback_password = "another-password"\n'
    ),
    "`type` in capitals, or `whatsapp`": change("[gateways.sms]", '[gateways.sms]\ntype = "SMS"'),
    "`channel` in small letters": change("[gateways.sms]", '[gateways.sms]\nchannel = "sms"'),
    "The sender of the sample": change('"Casino"', '"Amazing"'),
    "A space behind a sender": change('"Casino"', '"Casino "'),
    "A sender that is too long": change('"Casino"', '"Casino Royale"'),
    "`base_url` with `/message`, or without `/api/v1`": change("/api/v1", "/api/v1/message", online=True),
    "The provider refuses the token": change("token-of-revicom", "token-of-somebody", online=True),
    "The provider cannot be reached": change("{provider}", "http://127.0.0.1:1", online=True),
    "The mail server cannot be reached": Mistake(
        more=f'[providers.mail]\nhost = "127.0.0.1"\nport = 1\n{EMAIL}', online=True
    ),
    "SendGrid without the key of its events": Mistake(
        more=f'[providers.sendgrid]\ntoken = "SG.abc"\n{EMAIL}provider = "sendgrid"\n'
    ),
    "A mapping table with an unknown word": change(
        "[server]", 'mappings_dir = "tables"\n[server]', prepare=wrong_table
    ),
    "`mappings_dir` does not exist": change("[server]", 'mappings_dir = "tables"\n[server]'),
    "Two slashes in `database.url`, or `postgres://`": change("sqlite:///", "sqlite://"),
    "Three slashes where four are meant": change("bridge.db", "var/lib/bridge/bridge.db"),
    "PostgreSQL does not answer": change(
        "sqlite:///bridge.db", "postgresql://bridge:secret-of-sms@127.0.0.1:1/b"
    ),
    '"UK" for "GB"': Mistake(more='[contacts]\ndefault_region = "UK"\n'),
    "Nobody was imported": Mistake(),
    "`contacts.http.url` without the user": Mistake(more=HTTP),
    "Milliseconds": change("[providers.revicom]", "[providers.revicom]\ntimeout_seconds = 70000"),
    "Delays that shrink": change("[smartico]", "[smartico]\nretry_schedule = [60, 5]"),
}
BASE_URL = '[providers.revicom]\nbase_url = "{provider}/api/v1"\n'
# With a simulated provider, and nobody else who would be asked.
ONLINE = (
    SETTINGS.replace("https://bridge.example", "https://127.0.0.1")
    .replace("[providers.revicom]\n", BASE_URL)
    .replace("*.smartico.ai", "127.0.0.1:1")
)


def rows() -> dict[str, str]:
    """What the page says: the mistake, and the line."""
    found = {}
    for line in page("mistakes.md").splitlines():
        if line.startswith("| ") and not line.startswith(("| --- ", "| mistake ")):
            mistake, _, said = line.removeprefix("| ").removesuffix(" |").partition(" | ")
            (found[mistake],) = spans(said)
    return found


ROWS = rows()


@contextmanager
def a_port_that_is_taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_the_page_has_them_all() -> None:
    """Every line of the page is tried, and every mistake that is tried stands there."""
    assert set(ROWS) == set(MISTAKES)
    assert len(ROWS) >= 20


@pytest.mark.parametrize("name", MISTAKES)
async def test_a_mistake_is_found(
    name: str, bridge: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line as on the page, with its level; the exit code fits; no other error, no traceback, no secret."""
    mistake = MISTAKES[name]
    for variable in ("REVICOM_TOKEN", "SMARTICO_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in mistake.environ.items():
        monkeypatch.setenv(variable, value)
    text = ONLINE if mistake.online else SETTINGS
    for old, new in mistake.changes.items():
        assert old in text
        text = text.replace(old, new)
    async with RevicomSimulator(RevicomConfig(token="token-of-revicom")) as provider:
        with a_port_that_is_taken() as taken:
            text += mistake.more
            peers = {"{provider}": provider.url, "{taken}": str(taken), "{free}": str(free_port())}
            for place, value in peers.items():
                text = text.replace(place, value)
            (folder / "bridge.toml").write_text(text)
            await asyncio.to_thread(mistake.prepare, folder)
            words = ["check"] if mistake.online else ["check", "--offline"]
            result = await asyncio.to_thread(bridge, *words)
    lines = [flat(line) for line in result.out.splitlines()]
    said = [line for line in lines if fits(ROWS[name], line)]
    assert len(said) == 1, lines
    errors = [line for line in lines if line.startswith("error ")]
    assert errors == [line for line in said if line.startswith("error ")]
    assert (result.code, result.err) == (1 if errors else 0, "")
    assert "Traceback" not in result.out
