"""`/api/export`: a download that begins at once, needs no memory, and ends when the client goes."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from bridge.core.model import new_id
from bridge.flows.exporting import COLUMNS, What
from tests.web.conftest import OPERATOR, VIEWER

NOW = 1_795_234_921_250
PHONE = "+447700900123"
SEND = {
    "ext_user_id": "u1",
    "im_uid": "m1",
    "body": "Your code is 4711",
    "callback_url": "https://api.smartico.ai/status/9f3c",
}
MANY = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)
INSERT INTO messages (id, gateway, type, channel, provider, smartico_uid, ext_user_id, sender, callback_url, lane,
    state, created_at, updated_at)
SELECT id_at(i), 'sms', 'sms', 'SMS', 'revicom', 'uid-' || i, 'u1', 'Amazing', x'00', 'sms@x', 'delivered', 0, 0
FROM n
"""


async def send(web: httpx.AsyncClient) -> str:
    """One message, which stays in the outbox, for nobody is there to take it."""
    await web.put("/api/contacts/u1", json={"phone": PHONE}, headers=OPERATOR)
    answer = await web.post("/smartico/sms", json=SEND, headers={"Authorization": "new-secret"})
    return str(answer.json()["ext_message_id"])


def add_many(folder: Path) -> None:
    """60,000 messages, written beside the service: more than any buffer on the way holds."""
    with closing(sqlite3.connect(folder / "bridge.db")) as file:
        file.create_function("id_at", 1, lambda number: new_id(NOW + number, 1))
        file.execute(MANY)
        file.commit()


def streams() -> list[str]:
    """The requests that are being answered in this process, as uvicorn calls them."""
    return [name for task in asyncio.all_tasks() if ".run_asgi" in (name := repr(task.get_coro()))]


@pytest.mark.parametrize("what", What)
async def test_nothing_is_a_header(web: httpx.AsyncClient, what: What) -> None:
    """CSV always has its header; a viewer may have it; nobody keeps a copy; the name is ours."""
    answer = await web.get(f"/api/export/{what}.csv", headers=VIEWER)
    assert (answer.status_code, answer.text) == (200, ",".join(COLUMNS[what]) + "\r\n")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == f'attachment; filename="bridge-{what}.csv"'
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    answer = await web.get(f"/api/export/{what}.jsonl", headers=VIEWER)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"] == "application/x-ndjson"


async def test_a_message_is_in_it_masked(web: httpx.AsyncClient) -> None:
    """Both formats have it under its id, without number, text and callback address."""
    ext_message_id = await send(web)
    table = await web.get("/api/export/messages.csv", headers=VIEWER)
    (row,) = csv.DictReader(io.StringIO(table.text, newline=""), strict=True)
    lines = await web.get("/api/export/messages.jsonl", headers=VIEWER)
    line = json.loads(lines.text)
    assert row["ext_message_id"] == line["ext_message_id"] == ext_message_id
    assert (row["address_masked"], line["address_masked"]) == ("'+44•••••0123", "+44•••••0123")
    assert row["created_at"] == line["created_at"]
    for secret in ("900123", "4711", "9f3c"):
        assert secret not in table.text + lines.text


async def test_since_and_until(web: httpx.AsyncClient) -> None:
    """The bounds are the time at which the message was accepted; since is within, until is not."""
    await send(web)
    created = json.loads((await web.get("/api/export/messages.jsonl", headers=VIEWER)).text)["created_at"]

    async def count(**query: str) -> int:
        answer = await web.get("/api/export/messages.jsonl", params=query, headers=VIEWER)
        assert answer.status_code == 200
        return len(answer.text.splitlines())

    assert await count(since=created) == await count(since="1h") == await count(until="2100-01-01") == 1
    assert await count(until=created) == await count(since="2100-01-01") == 0


@pytest.mark.parametrize(
    "name",
    [
        "people.csv",
        "messages.parquet",
        "messages",
        "messages.csv.csv",
        "MESSAGES.csv",
        "%2e%2e",
        "a%0d%0ab.csv",
    ],
)
async def test_what_is_not_there_is_404(web: httpx.AsyncClient, name: str) -> None:
    """Another name is answered with problem details, and never becomes the name of a file."""
    answer = await web.get(f"/api/export/{name}", headers=VIEWER)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert "content-disposition" not in answer.headers


async def test_who_and_when_are_checked_before_anything_is_sent(web: httpx.AsyncClient) -> None:
    """Without a token 401, whatever the name; a time that is none is 400."""
    assert (await web.get("/api/export/messages.csv")).status_code == 401
    assert (await web.get("/api/export/people.csv")).status_code == 401
    answer = await web.get("/api/export/messages.csv?since=yesterday", headers=VIEWER)
    assert answer.status_code == 400
    assert "since" in answer.json()["detail"]


async def test_it_is_described(web: httpx.AsyncClient) -> None:
    """/openapi.json has the address with every name, the bounds and the credentials."""
    described: dict[str, Any] = (await web.get("/openapi.json")).json()
    operation = described["paths"]["/api/export/{name}"]["get"]
    assert operation["security"] == [{"operator": []}]
    parameters = {each["name"]: each for each in operation["parameters"]}
    assert {"name", "since", "until"} == set(parameters)
    assert set(parameters["name"]["schema"]["enum"]) == {f"{w}.{f}" for w in What for f in ("csv", "jsonl")}
    assert "text/csv" in operation["responses"]["200"]["content"]


@pytest.mark.only_sqlite
async def test_all_rows_come_in_pieces(web: httpx.AsyncClient, tmp_path: Path) -> None:
    """60,000 rows are all there, once each, in order, in pieces of some 64 kB."""
    add_many(tmp_path)
    pieces = 0
    found = bytearray()
    async with web.stream("GET", "/api/export/messages.csv", headers=VIEWER) as answer:
        assert "content-length" not in answer.headers
        async for piece in answer.aiter_raw():
            pieces += 1
            found += piece
    ids = [row["ext_message_id"] for row in csv.DictReader(io.StringIO(found.decode(), newline=""))]
    assert len(set(ids)) == 60_000
    assert ids == sorted(ids)
    assert pieces > 50


@pytest.mark.only_sqlite
async def test_whoever_does_not_read_is_waited_for_and_may_go(web: httpx.AsyncClient, tmp_path: Path) -> None:
    """A client that reads nothing holds the reading up, and nothing else; when it is gone the reading ends."""
    add_many(tmp_path)
    async with web.stream("GET", "/api/export/messages.csv", headers=VIEWER) as answer:
        pieces = answer.aiter_raw(1000)
        await anext(pieces)
        await asyncio.sleep(0.5)
        assert len(streams()) == 1
        assert (await web.get("/healthz")).status_code == 200
    for _ in range(100):
        if not streams():
            break
        await asyncio.sleep(0.05)
    assert streams() == []


@pytest.mark.only_sqlite
async def test_half_a_download_does_not_look_like_a_whole_one(web: httpx.AsyncClient, tmp_path: Path) -> None:
    """A database that fails before the first row is 503; one that fails later breaks the connection off."""
    add_many(tmp_path)
    with closing(sqlite3.connect(tmp_path / "bridge.db")) as file, pytest.raises(httpx.RemoteProtocolError):  # noqa: PT012
        async with web.stream("GET", "/api/export/messages.csv", headers=VIEWER) as answer:
            file.execute("ALTER TABLE messages RENAME TO gone")
            async for _ in answer.aiter_raw():
                pass
    assert (await web.get("/api/export/messages.csv", headers=VIEWER)).status_code == 503
    with closing(sqlite3.connect(tmp_path / "bridge.db")) as file:
        file.execute("ALTER TABLE gone RENAME TO messages")
