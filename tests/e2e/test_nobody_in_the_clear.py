"""With `pii_key`, and everything switched on: no number, address or text in anything that the service leaves behind."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from bridge.sim import PlatformConfig, PlatformSimulator, RevicomConfig, SmtpConfig, SmtpSimulator
from tests.databases import every_byte, execute
from tests.e2e.receiver import PATH, SECRET, SETTINGS, receiving
from tests.e2e.stage import CIM, EMAIL, EMAILS, OPERATOR_TOKEN, PHONES, SMS, Stage, eventually, open_stage
from tests.postgres import PostgresServer, running_postgres

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]

TEXT = "Fifty private spins for you"
HANDSET = "+14155509876"  # of somebody who is no contact
PEOPLE = [PHONES["player1"], PHONES["player2"], EMAILS["player1"], EMAILS["player2"], HANDSET]
SAID = [
    TEXT,
    "Subject of a secret kind",
    "Inbound words of a player",
    "https://view.example/of-jane",
    "Jane Quux",
]
KEY = 'pii_key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="'
AUTH = ("revicom", "password-of-callbacks")


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    """One of its own: the files and the log of a shared server hold what other tests wrote."""
    with running_postgres() as server:
        yield server


def spellings(clear: str) -> set[bytes]:
    """How a text may stand in a file: as it is, encoded for an address, in base64, in two bytes a letter, in hex."""
    found: set[bytes] = set()
    for text in {clear, clear.removeprefix("+"), clear.upper(), clear.lower()}:
        raw = text.encode()
        found |= {raw, quote(text, safe="").encode(), json.dumps(text)[1:-1].encode(), raw.hex().encode()}
        found |= {text.encode("utf-16-le"), text.encode("utf-16-be")}
        for shift in range(3):  # base64 has three forms, by where in it the text begins
            found.add(b64encode(bytes(shift) + raw)[(shift * 8 + 5) // 6 : -4])
    return found


def leaks(where: str, content: bytes, secrets: list[str]) -> list[tuple[str, str]]:
    return [(where, each) for each in secrets if any(form in content for form in spellings(each))]


@pytest.mark.only_sqlite
def test_the_search_finds_what_it_looks_for() -> None:
    """Each spelling would be found, so that finding nothing means something."""
    for clear in (*PEOPLE, *SAID):
        for form in (clear, f"x{clear}"):
            for content in (
                b64encode(form.encode()),
                b64encode(b"x" + form.encode() + b"yz"),
                form.encode("utf-16"),
            ):
                assert leaks("x", b"..." + content + b"...", [clear]), (clear, content)


async def use_everything(stage: Stage) -> None:
    """Messages of every type, an answer, an opt-out, a click, notifications, and callbacks that nobody can read."""
    sms = [await stage.send(user, SMS, TEXT) for user in ("player1", "player2")]
    mail = {
        "ext_user_id": "player1", "from_email_address": "Amazing <noreply@amazing.co>", "subject": SAID[1],
        "body": f"<p>{TEXT}</p>", "text_body": TEXT, "email_uid": "mail-1",
        "callback_url": f"{stage.smartico.url}/callback/email",
    }  # fmt: skip
    head = {"Authorization": EMAIL.authorization}
    assert (await stage.api.post("/smartico/email", json=mail, headers=head)).json()["error_code"] == 0
    await stage.send("player2", CIM, TEXT)
    await eventually(lambda: all("delivered" in stage.statuses(each) for each in sms))
    for number, handset in enumerate((PHONES["player1"], HANDSET)):
        inbound = {
            "message_uuid": f"inbound-{number}", "callback_event": "inbound_sent", "channel_type": "SMS",
            "item": {"destination": handset, "content": SAID[2]},
        }  # fmt: skip
        broken = {"message_uuid": 7, "callback_event": "inbound_sent", "item": inbound["item"]}
        strange = {
            "message_uuid": "x",
            "callback_event": "inbound_sent",
            "item": {"destination": f"call {handset}", "content": SAID[2]},
        }
        orphan = {"message_uuid": "nobody", "callback_event": "strange", "status": handset}
        for body in ([inbound], [broken], [strange], [orphan]):
            assert (await stage.api.post("/callbacks/revicom", json=body, auth=AUTH)).status_code == 200
        garbage = (
            f"{handset} is in what is no JSON".encode()
        )  # a person has to read it: only numbers are masked
        await stage.api.post("/callbacks/revicom", content=garbage, auth=AUTH)
    told = {
        "login": "player1",
        "channel": "SMS",
        "campaign_name": "Flow",
        "view_url": SAID[3],
        "name": SAID[4],
        "phone": PHONES["player1"],
    }
    assert (await stage.api.post(PATH, json=told, headers=SECRET)).json() == {"error_code": 0}
    await stage.api.put(
        "/api/contacts/player2",
        json={"phone": PHONES["player2"], "email": EMAILS["player2"], "opted_out": ["SMS"]},
    )
    await stage.api.post(
        "/smartico/sms",
        json={"ext_user_id": "player2", "im_uid": "late", "body": TEXT},
        headers={"Authorization": SMS.authorization},
    )

    async def read() -> bool:
        return len((await stage.api.get("/api/review")).json()["items"]) >= 2

    await eventually(read)


async def everything_shown(stage: Stage) -> dict[str, bytes]:
    """What people and machines are shown, page by page."""
    found: dict[str, bytes] = {}
    items = (await stage.api.get("/api/messages")).json()["items"]
    paths = [
        f"/api/{name}"
        for name in ("messages", "reports", "review", "audit", "communications", "stats", "status")
    ]
    paths += [
        f"/api/export/{what}.{kind}"
        for what in ("messages", "reports", "callbacks", "costs")
        for kind in ("csv", "jsonl")
    ]
    paths += ["/api/contacts/player1", "/metrics", "/readyz", "/openapi.json"]
    paths += [f"/api/messages/{item['ext_message_id']}" for item in items]
    for path in paths:
        answer = await stage.api.get(path)
        assert answer.status_code == 200, (path, answer.text)
        found[path] = answer.content
    entered = await stage.api.post("/ops/sign-in", data={"token": OPERATOR_TOKEN})
    cookie = {"Cookie": entered.headers["set-cookie"].partition(";")[0]}
    for path in (
        "",
        "messages",
        "reports",
        "review",
        "costs",
        "communications",
        "audit",
        "users?id=player1",
        f"messages/{items[0]['ext_message_id']}",
    ):
        answer = await stage.api.get(f"/ops/{path}", headers=cookie)
        assert answer.status_code == 200
        found[f"/ops/{path}"] = answer.content
    return found


async def break_it(stage: Stage, database: str) -> None:
    """Fails in the database, and in our own code, while personal data are at hand."""
    broken = "x'00ff'" if database.startswith("sqlite") else r"'\x00ff'"  # no UTF-8
    await execute(database, stage.bridge.folder, f"UPDATE contacts SET phone = {broken}, email = {broken}")
    await execute(database, stage.bridge.folder, "ALTER TABLE texts RENAME TO lost")
    body = {"ext_user_id": "player1", "body": TEXT, "callback_url": f"{stage.smartico.url}/callback"}
    mail = {
        **body, "email_uid": "crash", "subject": SAID[1], "activity_type": "preview",
        "to_email_address": EMAILS["player1"], "from_email_address": "noreply@amazing.co",
    }  # fmt: skip
    for gateway, wanted in ((SMS, {**body, "im_uid": "crash"}), (EMAIL, mail)):
        head = {"Authorization": gateway.authorization}
        answer = await stage.api.post(f"/smartico/{gateway.name}", json=wanted, headers=head)
        assert answer.json()["error_code"] == 9, answer.text
    assert (await stage.api.get("/api/contacts/player1")).status_code == 500


async def left_behind(database: str, folder: Path, server: PostgresServer | None) -> dict[str, bytes]:
    """Every file by its name: settings, log and database, with its write-ahead log; a backup and the rows as well."""
    files = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    files["rows"] = await every_byte(database, folder)
    if server is not None:
        files |= await server.files()
        files["backup"] = server.dump(database)
    return files


async def test_nobody_is_found(tmp_path: Path, database: str, request: pytest.FixtureRequest) -> None:
    """Files, log and traceback, exports, metrics, pages, answers and what commands print hold no number and no address;
    and no text, but for what a person answered and what Smartico told, which timelines tell."""
    is_sqlite = database.startswith("sqlite")
    server = None if is_sqlite else request.getfixturevalue("postgres")
    platform = PlatformSimulator(PlatformConfig(authorization="secret-of-the-platform"))
    revicom = RevicomConfig(
        token="token-of-revicom", resend_seconds=0.3, delivered_share=1.0, callback_connections=1
    )
    async with (
        receiving() as receiver,
        open_stage(
            tmp_path,
            database=KEY,
            provider=revicom,
            smtp=SmtpSimulator(SmtpConfig()),
            platform=platform,
            sms=SETTINGS.format(url=receiver.url),
        ) as stage,
    ):
        stage.api.timeout = httpx.Timeout(60)
        await use_everything(stage)
        shown = await everything_shown(stage)
        printed = b""
        for arguments in (
            ["check"],
            ["messages", "find", PHONES["player1"], "--json"],
            ["contacts", "show", "player1"],
            ["db", "status"],
            ["review", "list"],
            ["db", "backup", str(tmp_path / "saved.db")],  # refused on PostgreSQL
        ):
            _, out, err = await stage.bridge.command(*arguments)
            printed += out.encode() + err.encode()
        files = await left_behind(database, tmp_path, server)
        needed = (
            {"bridge.db", "bridge.db-wal", "saved.db"} if is_sqlite else {"log", "backup", "data/PG_VERSION"}
        )
        assert needed | {"bridge.log", "rows"} <= set(files)
        assert b"player1" in files["rows"]
        assert is_sqlite or b"player1" in files["backup"]
        await break_it(stage, database)
        await stage.bridge.stop()
        after = await left_behind(database, tmp_path, server)
        assert b"Traceback" in after["bridge.log"]
        assert b"a message could not be stored" in after["bridge.log"]
    found = leaks("printed", printed, [*PEOPLE, TEXT])
    for name, content in [*files.items(), *((f"{name} after a crash", each) for name, each in after.items())]:
        found += leaks(name, content, [*PEOPLE, *SAID])
    for path, content in shown.items():
        found += leaks(path, content, [*PEOPLE, *SAID[:2]])
        if not path.startswith(("/api/messages/", "/ops/messages/", "/ops/users", "/api/communications")):
            found += leaks(path, content, SAID[2:])
    assert found == []
