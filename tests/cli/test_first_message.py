"""The first message: what to paste where, and a test message that is watched until it is delivered."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bridge.app import local_url
from bridge.cli import main
from bridge.sim import RevicomFaults
from tests.cli.conftest import Run
from tests.e2e.stage import open_stage


def test_values_without_secrets(bridge: Run) -> None:
    """Addresses are whole, and a secret is named by the place where it stands."""
    printed = bridge("smartico-values").out
    assert "URL: https://bridge.example/smartico/sms" in printed
    assert "Authorization header: the value of gateways.sms.authorization in bridge.toml" in printed
    assert (
        "https://revicom:<providers.revicom.callback_password in bridge.toml>@bridge.example/callbacks/revicom"
        in printed
    )


def test_values_name_the_environment(folder: Path, bridge: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes from the environment is named as it is written."""
    path = folder / "bridge.toml"
    path.write_text(path.read_text().replace('"secret-of-sms"', '"${SMARTICO_SMS_SECRET}"'))
    monkeypatch.setenv("SMARTICO_SMS_SECRET", "secret-of-sms")
    found = bridge("smartico-values", "--json").json
    assert (
        found["Smartico, gateway for sms (sms)"]["Authorization header"]
        == "the value of ${SMARTICO_SMS_SECRET}"
    )


def test_values_with_secrets(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Asked for by name they are printed, and the address that has the password in it can be pasted."""
    with pytest.raises(SystemExit) as ended:
        main(["smartico-values", "--show-secrets", "--json", "--config", str(folder / "bridge.toml")])
    assert ended.value.code == 0
    found = json.loads(capfd.readouterr().out)
    assert found["Smartico, gateway for sms (sms)"]["Authorization header"] == "secret-of-sms"
    address = found["Provider revicom (revicom)"]["address for messages from handsets"]
    assert address == "https://revicom:password-of-callbacks@bridge.example/callbacks/revicom"


def test_values_keep_what_is_secret_anyway(
    folder: Path, bridge: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the query of an address nor what stands beside a reference is printed; a mark of Windows is no error."""
    monkeypatch.setenv("INBOX_KEY", "TOPSECRET")
    monkeypatch.setenv("PREFIX", "Token")
    path = folder / "bridge.toml"
    text = path.read_text().replace('"secret-of-sms"', '"${PREFIX}-literal-part"')
    platform = (
        '[providers.inbox]\nadapter = "webhook"\nurl = "https://platform.example/notify?key=${INBOX_KEY}"\n'
        'callback_password = "password-of-reports"\n'
    )
    path.write_text(text + platform, encoding="utf-8-sig")
    for arguments in ([], ["--json"]):
        printed = bridge("smartico-values", *arguments).out
        assert "TOPSECRET" not in printed
        assert "literal-part" not in printed
        assert "https://platform.example/notify?…" in printed
        assert "the value of gateways.sms.authorization in bridge.toml" in printed


def test_the_template_of_notifications(folder: Path, bridge: Run) -> None:
    """What is printed for pasting into Smartico is the body template that docs/surfaces.md explains."""
    with (folder / "bridge.toml").open("a") as file:
        file.write('[communications]\nauthorization = ["secret-of-notifications"]\n')
    fields = bridge("smartico-values", "--json").json["Smartico, notifications that an asset was sent"]
    assert fields["method, content type"] == "POST, application/json"
    page = (Path(__file__).parents[2] / "docs" / "surfaces.md").read_text(encoding="utf-8")
    assert "".join(fields["body template"].split()) in "".join(page.split())


def test_without_a_service(bridge: Run) -> None:
    """Nothing is sent behind the back of a service; the sentence says what to start."""
    result = bridge("send-test", "sms", "player1")
    assert (result.code, "bridge serve" in result.err) == (1, True)


def test_an_unknown_gateway(bridge: Run) -> None:
    """The gateways that there are stand in the sentence."""
    result = bridge("send-test", "none", "player1")
    assert (result.code, "the settings have: sms" in result.err) == (1, True)


@pytest.mark.e2e
async def test_a_test_message_is_delivered(tmp_path: Path) -> None:
    """Its life is printed step by step, the exit code is 0, and Smartico hears nothing of it."""
    async with open_stage(tmp_path) as stage:
        before = len(stage.smartico.ledger.messages)
        code, out, err = await stage.bridge.command("send-test", "sms", "player1")
        assert (code, err) == (0, "")
        for word in ("is stored.", "accepted", "test", "submitted", "delivered", "It was delivered."):
            assert word in out
        name = re.findall(r"Message (\S+) is stored", out)[0]
        message = await stage.message(name)
        assert not [entry for entry in message["timeline"] if entry["kind"].startswith("report")]
        assert len(stage.smartico.ledger.messages) == before
        code, out, err = await stage.bridge.command("send-test", "sms", "nobody")
        assert (code, "User was not found" in err) == (1, True)


@pytest.mark.e2e
async def test_nothing_final_in_time(tmp_path: Path) -> None:
    """Then the exit code is 1, and the sentence says where to look on."""
    async with open_stage(tmp_path, provider_faults=RevicomFaults(error_before=1.0)) as stage:
        code, out, _ = await stage.bridge.command("send-test", "sms", "player1", "--timeout", "1")
        assert (code, "bridge messages show" in out) == (1, True)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8080"),
        ("0.0.0.0", "http://127.0.0.1:8080"),
        ("::", "http://[::1]:8080"),
        ("fd00::1", "http://[fd00::1]:8080"),
        ("bridge.example", "http://bridge.example:8080"),
    ],
)
def test_where_a_service_answers(host: str, url: str) -> None:
    """Who listens on every address is asked on this machine's own; an IPv6 address stands in brackets."""
    assert local_url(host, 8080) == url
