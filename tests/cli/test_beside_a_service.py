"""Commands while a service owns the database: they read the file beside it, and change things through its `/api`."""

from __future__ import annotations

import json
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bridge.sim import RevicomConfig, RevicomFaults, SmarticoFaults
from bridge.store.sqlite import latest_version
from bridge.store.sqlite.lock import OwnerLock
from tests.cli.conftest import Run
from tests.e2e.stage import PHONES, SMS, Stage, eventually, open_stage

pytestmark = pytest.mark.e2e
SECRETS = ("key-of-smartico", "token-of-revicom", "password-of-callbacks", "secret-of-sms", "operator-token")


async def command(stage: Stage, *arguments: str) -> str:
    """What a command printed; it must have ended well, and shown neither a secret nor a phone number."""
    code, out, err = await stage.bridge.command(*arguments)
    assert code == 0, err
    assert not [secret for secret in (*SECRETS, *PHONES.values()) if secret in out + err]
    return out


async def data(stage: Stage, *arguments: str) -> Any:
    return json.loads(await command(stage, *arguments, "--json"))


async def api(stage: Stage, path: str, **query: str) -> Any:
    return (await stage.api.get(path, params=query)).json()


async def test_what_is_printed_is_what_the_api_answers(tmp_path: Path) -> None:
    """--json has the shapes of /api, the cursor included."""
    async with open_stage(tmp_path) as stage:
        ids = [await stage.send("player1"), await stage.send("player1")]
        for each in ids:
            await eventually(partial(stage.has_statuses, each, ["accepted", "delivered"]))
        phone = PHONES["player1"]
        assert await data(stage, "messages", "find", phone) == await api(stage, "/api/messages", query=phone)
        one = await data(stage, "messages", "find", "player1", "--limit", "1")
        assert one == await api(stage, "/api/messages", query="player1", limit="1")
        assert one["next"] is not None
        assert await data(stage, "messages", "show", ids[0]) == await stage.message(ids[0])
        assert await data(stage, "contacts", "show", "player1") == await api(stage, "/api/contacts/player1")
        for arguments in ([], ["--limit", "2"]):
            reports = await data(stage, "reports", "list", *arguments)
            assert reports == await api(stage, "/api/reports", limit="2" if arguments else "100")
        assert await data(stage, "review", "list") == await api(stage, "/api/review")


async def test_people_see_lines_without_drawing(tmp_path: Path) -> None:
    """In a pipe a list is one line a row with tabs, and a timeline is one line a step."""
    async with open_stage(tmp_path) as stage:
        ext_message_id = await stage.send()
        await eventually(lambda: stage.has_statuses(ext_message_id, ["accepted", "delivered"]))
        heading, row = (await command(stage, "messages", "find", ext_message_id)).splitlines()
        assert heading.split("\t")[1:4] == ["EXT_MESSAGE_ID", "GATEWAY", "STATE"]
        assert row.split("\t")[1:4] == [ext_message_id, "sms", "delivered"]
        shown = await command(stage, "messages", "show", ext_message_id)
        assert "address_masked:" in shown
        assert shown.count("report_done") == 2
        status = await data(stage, "db", "status")
        assert status["owner"]["url"] == stage.bridge.url
        assert (status["messages"], status["reports_done"]) == ({"delivered": 1}, 2)


async def test_dead_reports_are_replayed_with_and_without_a_service(tmp_path: Path) -> None:
    """The same command goes through the service while it runs, and by itself when it does not."""
    async with open_stage(tmp_path, smartico_faults=SmarticoFaults(next={"redirect": 2})) as stage:
        ext_message_id = await stage.send()
        await eventually(lambda: stage.statuses(ext_message_id) == [] and _dead(stage, 2))
        replay = [
            "reports",
            "replay",
            "--state",
            "dead",
            "--since",
            "1h",
            "--gateway",
            "sms",
            "--error",
            "302",
        ]
        assert await data(stage, *replay, "--dry-run") == {"matched": 2, "replayed": 0}
        causes = await data(stage, "reports", "causes")
        assert causes == await api(stage, "/api/reports/causes")
        (group,) = causes["items"]
        same = ["--cause", group["cause"], "--lane", group["lane"]]
        assert await data(stage, *replay, *same, "--dry-run") == {"matched": 2, "replayed": 0}
        assert await data(stage, "reports", "replay", "--state", "dead", "--error", "x") == {
            "matched": 0,
            "replayed": 0,
        }
        accepted = f"{ext_message_id}:accepted"
        assert "1 dead reports are sent again" in await command(stage, "reports", "replay", accepted)
        await eventually(lambda: stage.has_statuses(ext_message_id, ["accepted"]))
        assert await stage.bridge.stop() == 0
        assert await data(stage, *replay, "--reason", "they are back") == {"matched": 1, "replayed": 1}
        await stage.bridge.start()
        await eventually(lambda: stage.has_statuses(ext_message_id, ["accepted", "delivered"]))
        actors = [step.get("actor", "") for step in (await stage.message(ext_message_id))["timeline"]]
        assert "alice" in actors
        assert any(actor.endswith("(command line)") for actor in actors)


async def _dead(stage: Stage, count: int) -> bool:
    return len((await api(stage, "/api/reports", state="dead"))["items"]) == count


async def test_contacts_are_imported_and_erased_through_the_service(tmp_path: Path) -> None:
    """The running service knows new contacts at once, and erases its own unsent messages. If it takes small bodies,
    the rows go in smaller parts."""
    async with open_stage(tmp_path, provider_faults=RevicomFaults(payment_required=1.0)) as stage:
        settings = stage.bridge.settings.read_text()
        stage.bridge.settings.write_text(settings.replace("[server]", "[server]\nmax_body_bytes = 20000"))
        await stage.bridge.stop()
        await stage.bridge.start()
        rows = [f"new{number},+1415556{number:04}," for number in range(1200)]
        (tmp_path / "people.csv").write_text("\n".join(["ext_user_id,phone,email", *rows, "bad,1,"]))
        out = await command(stage, "contacts", "import", str(tmp_path / "people.csv"))
        assert out.startswith("1,200 rows imported; 1 rejected")
        ext_message_id = await stage.send("new1199")
        assert await data(stage, "contacts", "delete", "new1199") == {"messages_failed": 1, "texts": 1}
        assert (await stage.message(ext_message_id))["state"] == "failed"
        await eventually(lambda: stage.has_statuses(ext_message_id, ["failed"]))


async def test_review_items_are_shown_replayed_and_dismissed(tmp_path: Path) -> None:
    """Through the service, and without one."""
    async with open_stage(tmp_path, smartico_faults=SmarticoFaults(redirect=1.0)) as stage:
        ext_message_id = await stage.send()
        await eventually(lambda: _dead(stage, 2))
        (item,) = (await data(stage, "review", "list"))["items"]
        assert (item["kind"], item["count"]) == ("dead_report", 2)
        review_id = str(item["id"])
        assert await data(stage, "review", "show", review_id) == item
        assert ext_message_id in await command(stage, "review", "show", review_id)
        assert await data(stage, "review", "replay", review_id, "--reason", "again") == {
            "matched": 2,
            "replayed": 2,
        }
        await eventually(lambda: _dead(stage, 2))
        code, _, err = await stage.bridge.command("review", "replay", review_id, "--resend", "--yes")
        assert code == 1
        assert "perhaps-sent" in err
        (again,) = (await data(stage, "review", "list"))["items"]
        await stage.bridge.stop()
        assert await data(stage, "review", "dismiss", str(again["id"]), "--note", "enough") == {
            "dismissed": True
        }
        assert "closed already" in await command(stage, "review", "dismiss", str(again["id"]))
        assert (await data(stage, "review", "list"))["items"] == []


async def test_sending_again_is_confirmed(tmp_path: Path) -> None:
    """Without --yes and without a terminal nothing is sent again; with it, the message goes out."""
    config = RevicomConfig(token="token-of-revicom", delivered_share=1.0, findable_after_seconds=3600)
    faults = RevicomFaults(next={"reset_before": 1})
    async with open_stage(tmp_path, provider=config, provider_faults=faults) as stage:
        await stage.send()
        items = await eventually(lambda: _items(stage), 30)
        review_id = str(items[0]["id"])
        code, _, err = await stage.bridge.command("review", "replay", review_id, "--resend")
        assert code == 1
        assert "--yes" in err
        assert stage.provider_has(0)
        assert await data(stage, "review", "replay", review_id, "--resend", "--yes") == {
            "matched": 1,
            "replayed": 1,
        }
        await eventually(lambda: stage.provider_has(1))


async def _items(stage: Stage) -> Any:
    return (await api(stage, "/api/review"))["items"]


async def test_changes_need_an_operator_in_the_settings(tmp_path: Path) -> None:
    """Nobody to act for, or a token that the service does not know: refused with the mend."""
    async with open_stage(tmp_path) as stage:
        settings = stage.bridge.settings.read_text()
        stage.bridge.settings.write_text(settings.replace('role = "operator"', 'role = "viewer"'))
        code, _, err = await stage.bridge.command("contacts", "delete", "player1")
        assert code == 1
        assert "[[ops.operators]]" in err
        stage.bridge.settings.write_text(settings.replace("an-operator-token", "another-operator-token"))
        code, _, err = await stage.bridge.command("contacts", "delete", "player1")
        assert code == 1
        assert "refuses the operator token" in err
        assert (await api(stage, "/api/contacts/player1"))["ext_user_id"] == "player1"


async def test_a_second_service_is_refused_and_the_first_stops_in_order(tmp_path: Path) -> None:
    """The first prints where it answers and what it serves; Ctrl-C ends it with 0."""
    async with open_stage(tmp_path) as stage:
        code, out, err = await stage.bridge.command("serve", "--port", "0")
        assert (code, out) == (1, "")
        assert "Another process already serves" in err
        assert await stage.bridge.stop(signal.SIGINT) == 0
        log = stage.bridge.log.read_text()
        screen = log[log.index("bridge serves") :].splitlines()
        assert stage.bridge.url in screen[0]
        assert f"  database   {tmp_path / 'bridge.db'}, personal data not encrypted" in screen[1]
        assert any(f"{SMS.name} → revicom (SMS): " in line for line in screen)
        assert any("there is no [communications]" in line for line in screen)
        assert not [secret for secret in SECRETS if secret in log]


def test_while_a_command_owns_the_database_others_wait_or_read(bridge: Run, folder: Path) -> None:
    """An owner that is no service can be asked for nothing; reading goes on beside it."""
    assert bridge("db", "migrate").out.endswith(f"went from schema version 0 to {latest_version()}.\n")
    with OwnerLock(folder / "bridge.db"):
        refused = bridge("contacts", "delete", "anna")
        assert refused.code == 1
        assert "try again" in refused.err
        assert bridge("messages", "find", "x").code == 0
        assert bridge("db", "migrate").out.endswith(f"is up to date (schema version {latest_version()}).\n")
        assert bridge("db", "backup", "copy.db").code == 0
    assert bridge("db", "backup", "copy.db").code == 1


def test_an_owner_that_does_not_answer_is_a_sentence(bridge: Run, folder: Path) -> None:
    """The note in the lock may name an address where nobody listens any more."""
    bridge("db", "migrate")
    with OwnerLock(folder / "bridge.db") as lock:
        lock.note({"url": "http://127.0.0.1:1"})
        refused = bridge("contacts", "delete", "anna")
    assert refused.code == 1
    assert "does not answer at http://127.0.0.1:1" in refused.err


@pytest.mark.parametrize("ext_user_id", [".", ".."])
def test_a_person_that_no_address_can_name_is_not_said_to_be_unknown(
    bridge: Run, folder: Path, ext_user_id: str
) -> None:
    """A slash would make another address of it; without a service the person is erased as any other."""
    (folder / "people.csv").write_text(f"ext_user_id,phone,email\n{ext_user_id},+447700900123,\n")
    assert bridge("contacts", "import", "people.csv").code == 0
    with OwnerLock(folder / "bridge.db") as lock:
        lock.note({"url": "http://127.0.0.1:1"})
        refused = bridge("contacts", "delete", ext_user_id)
    assert refused.code == 1
    assert "stop the service" in refused.err
    assert bridge("contacts", "delete", ext_user_id).code == 0


def test_reading_makes_a_database_where_there_is_none(bridge: Run, folder: Path) -> None:
    """But not beside an owner that has not made it yet."""
    with OwnerLock(folder / "bridge.db"):
        assert bridge("messages", "find", "x").code == 1
    assert bridge("messages", "find", "x", "--json").json == {"items": [], "next": None}
    assert (folder / "bridge.db").exists()
