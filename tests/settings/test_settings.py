"""Settings that are right: what they parse to, their defaults, references and helpers."""

from __future__ import annotations

from base64 import b64encode
from ipaddress import ip_network
from pathlib import Path

import pytest

from bridge.secret import Secret
from bridge.settings import (
    RevicomSettings,
    Settings,
    WebhookSettings,
    load_settings,
)
from tests.settings.printed import PRINTED
from tests.settings.support import ENVIRON, MINIMAL, SECTION_2, parse


def without_warnings(settings: Settings) -> Settings:
    return Settings(
        **{name: getattr(settings, name) for name in settings.__struct_fields__ if name != "warnings"}
    )


def test_section_2_as_printed() -> None:
    """All keys of the contract are known and parse to the printed values."""
    assert without_warnings(parse(SECTION_2)) == PRINTED


def test_minimal() -> None:
    """Six lines are enough: every other key has its printed default, secrets come from the environment."""
    settings = parse(MINIMAL)
    assert settings.server == PRINTED.server
    assert settings.database == PRINTED.database
    assert settings.smartico == PRINTED.smartico
    assert settings.contacts == PRINTED.contacts
    assert settings.opt_out == PRINTED.opt_out
    assert settings.inbound == PRINTED.inbound
    assert settings.ops == PRINTED.ops
    assert settings.providers == {"revicom": PRINTED.providers["revicom"]}
    assert settings.gateways["sms"].authorization == (Secret("sms-secret"),)
    assert settings.gateways["sms"].senders == ("MyBrand",)


def test_empty_tables_have_the_printed_defaults() -> None:
    """Tables named as in the contract need no adapter, type or provider; the webhook needs its address."""
    tables = ("providers.revicom", "providers.mail", "providers.sendgrid", "gateways.email", "gateways.cim")
    text = "".join(f"[{table}]\n" for table in tables)
    settings = parse(text + '[providers.inbox]\nurl = "https://platform.example/notifications"\n')
    assert settings.providers["mail"] == PRINTED.providers["mail"]
    assert settings.providers["sendgrid"] == PRINTED.providers["sendgrid"]
    assert settings.gateways["email"] == PRINTED.gateways["email"]
    assert settings.gateways["cim"] == PRINTED.gateways["cim"]
    inbox = settings.providers["inbox"]
    assert isinstance(inbox, WebhookSettings)
    assert inbox.headers == {}
    assert inbox.unknown_send == "resend"


def test_tables_that_are_not_written() -> None:
    """Providers, gateways, operators and communications exist only when written."""
    settings = parse("")
    assert (settings.providers, settings.gateways, settings.ops.operators) == ({}, {}, ())
    assert settings.communications is None


def test_written_values_win() -> None:
    """What is written replaces the default, also where the environment or the name of the table has one."""
    text = """
    [smartico]
    api_key = "written-key"
    [providers.mail]
    adapter = "revicom"
    callback_username = "caller"
    [gateways.email]
    type = "sms"
    channel = "WHATSAPP"
    """
    settings = parse(text)
    assert settings.smartico.api_key == Secret("written-key")
    assert isinstance(settings.providers["mail"], RevicomSettings)
    assert settings.providers["mail"].callback_username == "caller"
    assert settings.gateways["email"].channel == "WHATSAPP"


@pytest.mark.parametrize(("type_", "channel"), [("sms", "SMS"), ("email", "EMAIL"), ("cim", "CIM")])
def test_channel_follows_the_type(type_: str, channel: str) -> None:
    """A gateway without a channel has that of its type."""
    providers = {"sms": "revicom", "email": "mail", "cim": "inbox"}
    text = f'[gateways.x]\ntype = "{type_}"\nprovider = "{providers[type_]}"\nauthorization = ["s"]\n'
    tables = '[providers.revicom]\n[providers.mail]\n[providers.inbox]\nurl = "https://a.example"\n'
    assert parse(text + tables).gateways["x"].channel == channel


def test_names_become_variables() -> None:
    """The secret of a table comes from the variable that is called after it."""
    environ = ENVIRON | {"SMARTICO_MY_SMS_2_SECRET": "second", "OPS_BOB_SMITH_TOKEN": "b" * 16}
    text = '[providers.revicom]\n[gateways.my-sms_2]\n[[ops.operators]]\nname = "bob.smith"\n'
    settings = parse(text, environ)
    assert settings.gateways["my-sms_2"].authorization == (Secret("second"),)
    assert settings.ops.operators[0].token == Secret("b" * 16)


def test_fractions() -> None:
    """Seconds, hours and schedules take fractions and whole numbers, and are floats."""
    text = """
    [smartico]
    timeout_seconds = 0.5
    settle_seconds = 0
    retry_schedule = [0.1, 2]
    report_max_age_hours = 0.25
    """
    smartico = parse(text).smartico
    hours, schedule = smartico.report_max_age_hours, smartico.retry_schedule
    values = [smartico.timeout_seconds, smartico.settle_seconds, hours, *schedule]
    assert [repr(value) for value in values] == ["0.5", "0.0", "0.25", "0.1", "2.0"]


def test_networks() -> None:
    """Networks may have host bits, and a plain address is a network of one."""
    text = '[smartico]\nallowed_ips = ["10.1.2.3/8", "192.0.2.7", "2001:db8::/32"]\n'
    expected = ("10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32")
    assert parse(text).smartico.allowed_ips == tuple(ip_network(text) for text in expected)


@pytest.mark.parametrize(
    "host",
    [
        "api.smartico.ai",
        "*.smartico.ai",
        "127.0.0.1",
        "127.0.0.1:9000",
        "localhost:1",
        "[::1]:80",
        "*.a.b:8443",
    ],
)
def test_callback_hosts(host: str) -> None:
    """A pattern may be a host or its subdomains, with or without a port."""
    assert parse(f'[smartico]\ncallback_hosts = ["{host}"]\n').smartico.callback_hosts == (host,)


# --- references ---


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("${NAME}", "value"),
        ("a ${NAME} b ${OTHER}", "a value b ${NAME}"),  # what is filled in is not read again
        ("$${NAME}", "${NAME}"),
        ("$$${NAME}", "$${NAME}"),
        ("$NAME $ {NAME}", "$NAME $ {NAME}"),
    ],
)
def test_references(written: str, value: str) -> None:
    """`${NAME}` is the variable, `$${` a plain `${`, and a dollar alone is a dollar."""
    environ = ENVIRON | {"NAME": "value", "OTHER": "${NAME}"}
    assert parse(f'mappings_dir = "{written}"', environ).mappings_dir == value


def test_file_references(tmp_path: Path) -> None:
    """A file gives its text without the last newline; a relative path starts beside the settings."""
    (tmp_path / "key").write_text("from ${file}\n\n")
    (tmp_path / "crlf").write_bytes(b"windows\r\n")
    text = f'mappings_dir = "${{file:crlf}}"\n[smartico]\napi_key = "${{file:{tmp_path}/crlf}}"\n'
    settings = parse(text, base_dir=tmp_path)
    assert (settings.mappings_dir, settings.smartico.api_key) == ("windows", Secret("windows"))


def test_references_in_lists_and_tables() -> None:
    """References work in every string, also in lists and among headers."""
    text = """
    [providers.revicom]
    [gateways.sms]
    authorization = ["old", "${SMARTICO_SMS_SECRET}"]
    [contacts.http]
    headers = { X-Key = "k ${SMARTICO_API_KEY}" }
    """
    settings = parse(text)
    assert settings.gateways["sms"].authorization == (Secret("old"), Secret("sms-secret"))
    assert settings.contacts.http.headers == {"X-Key": Secret("k api-key-secret")}


def test_what_the_environment_holds_is_not_read_for_references() -> None:
    """A secret that contains `${` comes through unchanged."""
    environ = ENVIRON | {"SMARTICO_API_KEY": "a${b"}
    assert parse("", environ).smartico.api_key == Secret("a${b")


# --- helpers ---


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///bridge.db", "/etc/bridge/bridge.db"),
        ("sqlite:///data/x.db", "/etc/bridge/data/x.db"),
        ("sqlite:////var/lib/b.db", "/var/lib/b.db"),
    ],
)
def test_database_path(url: str, path: str) -> None:
    """Three slashes are beside the settings file, four are absolute."""
    assert parse(f'[database]\nurl = "{url}"\n').database_path() == Path(path)


@pytest.mark.parametrize("url", ["postgresql://u:p@db.example:5432/name", "postgresql:///name?host=/run/pg"])
def test_postgresql(url: str) -> None:
    """A PostgreSQL address is accepted, and has no database file."""
    settings = parse(f'[database]\nurl = "{url}"\n')
    assert not settings.database.is_sqlite
    with pytest.raises(ValueError, match="SQLite"):
        settings.database_path()


def test_pii_key() -> None:
    """The key is 32 bytes, or there is none."""
    key = b64encode(bytes(range(32))).decode()
    assert parse(f'[database]\npii_key = "{key}"\n').database.pii_key == Secret(key)
    assert parse("").database.pii_key == Secret("")


def test_pii_key_old() -> None:
    """While the key is changed there are two; a database is opened with both."""
    new, old = (b64encode(bytes([number]) * 32).decode() for number in (1, 2))
    database = parse(f'[database]\npii_key = "{new}"\npii_key_old = "{old}"\n').database
    assert database.reveal_keys() == (new, old)
    assert parse("").database.reveal_keys() == ("", "")


def test_gateway_api_key() -> None:
    """A gateway reports with its own key, else with Smartico's."""
    settings = parse(
        '[providers.revicom]\n[gateways.sms]\n[gateways.b]\nauthorization=["x"]\napi_key = "own"\n'
    )
    assert settings.gateway_api_key("sms") == Secret("api-key-secret")
    assert settings.gateway_api_key("b") == Secret("own")


def test_no_common_api_key_where_every_gateway_has_its_own() -> None:
    """smartico.api_key may be empty when no gateway needs it."""
    text = '[smartico]\napi_key = ""\n[providers.revicom]\n[gateways.sms]\napi_key = "own"\n'
    assert parse(text).gateway_api_key("sms") == Secret("own")


def test_mappings_path() -> None:
    """The folder of mapping tables is beside the settings file, or there is none."""
    assert parse("").mappings_path() is None
    assert parse('mappings_dir = "maps"').mappings_path() == Path("/etc/bridge/maps")


def test_load(tmp_path: Path) -> None:
    """A file is read, also with the mark of Windows editors; relative paths start in its folder."""
    file = tmp_path / "bridge.toml"
    file.write_text(MINIMAL, encoding="utf-8-sig")
    settings = load_settings(file, ENVIRON)
    assert settings.file == file
    assert settings.database_path() == tmp_path / "bridge.db"
