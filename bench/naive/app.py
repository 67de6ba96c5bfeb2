"""A messaging bridge "as simple as people write it": what `--compare naive` measures the real one against.

Litestar, one httpx client with its defaults, one aiosqlite connection, a commit after each step. The request that
brings a message calls the provider, the request that brings a callback calls Smartico; no worker, no retries.
README.md says what else it does not do. It believes every `Authorization`: for loopback only.
"""

import argparse
import logging
import random
import socket
import sys
import uuid
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import uvicorn
from litestar import Litestar, post
from litestar.datastructures import State

try:
    import aiosqlite
except ImportError:
    sys.exit(
        "The naive bridge keeps its messages with aiosqlite, which is not installed: pip install aiosqlite"
    )

SCHEMA = """
CREATE TABLE IF NOT EXISTS messages (
    id TEXT PRIMARY KEY, im_uid TEXT, ext_user_id TEXT, phone TEXT, sender TEXT, body TEXT, callback_url TEXT,
    message_uuid TEXT, state TEXT NOT NULL, reported TEXT
);
CREATE INDEX IF NOT EXISTS messages_by_uuid ON messages (message_uuid);
"""
INSERT = """
INSERT INTO messages (id, im_uid, ext_user_id, phone, sender, body, callback_url, message_uuid, state)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
STATUSES = {"sent": "accepted", "delivered": "delivered"}  # the provider's word → Smartico's

logger = logging.getLogger("naive")


@post("/smartico/sms", status_code=200)
async def send(data: dict[str, Any], state: State) -> dict[str, Any]:
    message_id = uuid.uuid4()
    user, body, sender = data["ext_user_id"], data["body"], data.get("from_number") or "Bridge"
    phone = phone_of(user)
    row = (str(message_id), data["im_uid"], user, phone, sender, body, data["callback_url"], None, "queued")
    await state.db.execute(INSERT, row)
    await state.db.commit()

    item = {
        "channelType": "SMS",
        "senderName": sender,
        "destination": phone,
        "content": body,
        "tags": [message_id.hex],
        "callbackUrl": state.callback_url,
        "callbackEvents": ["sent", "delivered"],
    }
    headers = {"Authorization": "Basic token-of-revicom"}
    try:
        answer = await state.http.post(f"{state.provider_url}/api/v1/message", json=[item], headers=headers)
        message_uuid = answer.raise_for_status().json()["items"][0]["messageUuid"]
    except (httpx.HTTPError, ValueError, LookupError) as error:
        logger.warning("message %s was not sent: %r", message_id, error)
        return {"error_code": 9, "error_message": "the provider did not take the message"}

    update = "UPDATE messages SET message_uuid = ?, state = 'submitted' WHERE id = ?"
    await state.db.execute(update, (message_uuid, str(message_id)))
    await state.db.commit()
    return {"error_code": 0, "ext_message_id": str(message_id)}


@post("/callbacks/revicom", status_code=200)
async def receive_callbacks(data: list[dict[str, Any]], state: State) -> dict[str, Any]:
    for element in data:
        select = "SELECT id, callback_url FROM messages WHERE message_uuid = ?"
        async with state.db.execute(select, (element["message_uuid"],)) as cursor:
            message = await cursor.fetchone()
        if message is None:
            logger.warning("no message has the id %s", element["message_uuid"])
            continue
        message_id, callback_url = message
        await state.db.execute("UPDATE messages SET state = ? WHERE id = ?", (element["status"], message_id))
        await state.db.commit()

        status = STATUSES.get(element["status"])
        if status and await report(state.http, callback_url, message_id, status):
            await state.db.execute("UPDATE messages SET reported = ? WHERE id = ?", (status, message_id))
            await state.db.commit()
    return {}


async def report(http: httpx.AsyncClient, callback_url: str, message_id: str, status: str) -> bool:
    """Tells Smartico a status; whether that worked."""
    query = {"type": "sms", "ext_message_id": message_id, "status": status, "api_key": "key-of-smartico"}
    try:
        answer = await http.get(httpx.URL(callback_url).copy_merge_params(query))
        answer.raise_for_status()
    except httpx.HTTPError as error:
        logger.warning("status %s of message %s was not reported: %r", status, message_id, error)
        return False
    return True


@post("/seed", status_code=200)
async def seed(data: dict[str, Any], state: State) -> dict[str, Any]:
    """Makes messages that the provider has already, for load that begins with their callbacks."""
    draw, rows = random.Random(data["seed"]), []
    for number in range(data["count"]):
        message_uuid = str(uuid.UUID(int=draw.getrandbits(128), version=4))
        user, im_uid = f"player{number}", f"seed-{data['seed']}-{number}"
        row = (
            str(uuid.uuid4()),
            im_uid,
            user,
            phone_of(user),
            "Bridge",
            "Best offer ever",
            data["callback_url"],
        )
        rows.append((*row, message_uuid, "submitted"))
    await state.db.executemany(INSERT, rows)
    await state.db.commit()
    return {"count": len(rows)}


def phone_of(ext_user_id: str) -> str:
    """A number in place of a contact directory: always the same one for the same user."""
    return f"1415{zlib.crc32(ext_user_id.encode()) % 10_000_000:07}"


def build_app(port: int, database: str, provider_url: str) -> Litestar:
    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncIterator[None]:
        async with aiosqlite.connect(database) as db, httpx.AsyncClient() as http:
            await db.execute("PRAGMA journal_mode = WAL")
            await db.execute("PRAGMA synchronous = FULL")
            await db.executescript(SCHEMA)
            app.state.db, app.state.http = db, http
            yield

    callback_url = f"http://revicom:x@127.0.0.1:{port}/callbacks/revicom"
    state = State({"provider_url": provider_url.rstrip("/"), "callback_url": callback_url})
    return Litestar([send, receive_callbacks, seed], state=state, lifespan=[lifespan], openapi_config=None)


class Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            print("ready", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="A messaging bridge as simple as people write it.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--database", required=True, metavar="FILE")
    parser.add_argument("--provider-url", required=True, metavar="URL", help="without /api/v1")
    arguments = parser.parse_args()
    logging.getLogger("httpx").setLevel(logging.WARNING)  # or it writes a line for each request
    app = build_app(arguments.port, arguments.database, arguments.provider_url)
    Server(uvicorn.Config(app, port=arguments.port, log_level="warning")).run()


if __name__ == "__main__":
    main()
