"""Databases made in advance, by the real service: empty with contacts, or with one message at a certain point.

Each is made once in a run and copied for every scenario; `Prepared.copy` adds as many such messages as are wanted.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from enum import StrEnum
from pathlib import Path

import msgspec
from msgspec import Struct

from bridge.bench.files import write_lines
from bridge.bench.scene import HOST, PEOPLE, api_request, callback_request, element, person, send_request
from bridge.bench.seed import Original, Seeder, snapshot
from bridge.bench.subjects import DATABASE, BridgeSubject, Running
from bridge.bench.workbench import Workbench
from bridge.core.model import id_from_text, id_text
from bridge.errors import BridgeError

__all__ = ["Kind", "Prepared", "Seeded"]

_UID = "bench-original"
_OLDER = 10_000  # milliseconds between the youngest message that is made, and now


class Kind(StrEnum):
    """How far the message of a database has come."""

    EMPTY = "empty"  # there is none, only contacts
    SUBMITTED = "submitted"  # the provider has it
    OWED = "owed"  # it was delivered, and one report is due
    DONE = "done"  # it was sent and delivered, and Smartico knows


class Template(Struct, frozen=True):
    """A database, and its message."""

    database: Path
    original: Original | None


class Seeded(Struct, frozen=True):
    """A copy of a template, with more messages. `ids`: a file with a line "provider's id, ext_message_id" for each."""

    folder: Path
    ids: Path
    seeder: Seeder | None

    @property
    def database(self) -> Path:
        return self.folder / DATABASE


class Prepared:
    """Templates of one run of the benchmark."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench
        self._subject = BridgeSubject()
        self._templates: dict[str, Template] = {}

    async def copy(self, kind: Kind, messages: int = 0) -> Seeded:
        """A database of this kind with so many messages besides the first, which is the first line of `ids`."""
        template = await self._template(kind)
        folder = self._bench.new_folder()
        await asyncio.to_thread(shutil.copy, template.database, folder / DATABASE)
        ids = folder / "ids.txt"
        write_lines(ids, [])
        if template.original is None:
            return Seeded(folder, ids, None)
        write_lines(ids, [f"{template.original.provider_uuid} {id_text(template.original.message_id)}", ""])
        seeded = Seeded(folder, ids, Seeder(folder / DATABASE, template.original))
        await self.add(seeded, messages)
        return seeded

    async def add(self, seeded: Seeded, messages: int, *, note: bool = True) -> None:
        """Adds messages to a copy whose service does not run. `note`: add them to the file of ids, too."""
        if seeded.seeder is None or messages == 0:
            return
        chunks = seeded.seeder.add(messages, time.time_ns() // 1_000_000 - messages - _OLDER)
        done = 0
        with seeded.ids.open("a") as lines:
            while chunk := await asyncio.to_thread(next, chunks, None):
                if note:
                    lines.writelines(f"{uuid} {name}\n" for uuid, name in chunk)
                done += len(chunk)
                if messages > len(chunk):
                    self._bench.say(f"Prepared {done:,} of {messages:,} messages.")

    async def _template(self, kind: Kind) -> Template:
        if kind not in self._templates:
            await (self._make_done() if kind is Kind.DONE else self._make_first())
        return self._templates[kind]

    async def _make_first(self) -> None:
        """One message on its way through a service, whose database is copied at each point.

        Smartico never answers: in the end there is what a crash would leave, a report that was on its way.
        """
        self._bench.say("Preparing databases.")
        await self._bench.reset(silent=True)
        folder = self._bench.new_folder()
        async with self._bench.running(self._subject, folder) as service:
            await self._subject.load_people(service, PEOPLE)
            await self._keep(Kind.EMPTY, folder, None)
            original = await self._send(service, folder)
            await self._keep(Kind.SUBMITTED, folder, original)
            await self._report(service, original, ("delivered",))
            await self._keep(Kind.OWED, folder, original)
            await service.kill()

    async def _make_done(self) -> None:
        """From the submitted message, with a Smartico that answers."""
        submitted = await self._template(Kind.SUBMITTED)
        assert submitted.original is not None
        folder = (await self.copy(Kind.SUBMITTED)).folder
        await self._bench.reset()
        async with self._bench.running(self._subject, folder) as service:
            await self._report(service, submitted.original, ("sent", "delivered"))
        await self._keep(Kind.DONE, folder, submitted.original)

    async def _keep(self, kind: Kind, folder: Path, original: Original | None) -> None:
        target = self._bench.folder / f"{kind}.db"
        await asyncio.to_thread(snapshot, folder / DATABASE, target)
        self._templates[kind] = Template(target, original)

    async def _send(self, service: Running, folder: Path) -> Original:
        request = send_request(service.port, _UID, person(0), self._bench.callback_url)
        status, body = await service.ask(request)
        answer = msgspec.json.decode(body) if status == 200 else {}
        if answer.get("error_code") != 0:
            raise BridgeError(f"The first message was not accepted: HTTP {status} {body[:200]!r}")
        name: str = answer["ext_message_id"]
        await _until_taken(service, name)
        uuid = await self._bench.provider.ask("uuids", path=str(folder / "uuids.txt"))
        message_id = id_from_text(name)
        assert message_id is not None
        return Original(message_id, _UID, uuid, person(0))

    async def _report(self, service: Running, original: Original, events: tuple[str, ...]) -> None:
        """Posts the events, and waits until Smartico was asked for each."""
        elements = [element(original.provider_uuid, event) for event in events]
        address = (service.callback_path, f"{HOST}:{service.port}", service.callback_authorization)
        await service.ask(callback_request(*address, elements))
        if not await self._bench.until(self._bench.asked, len(events)):
            raise BridgeError("The first message did not come through: no status report was made.")


async def _until_taken(service: Running, name: str, within: float = 20.0) -> None:
    """Until it is stored that the provider took the message, as scripts see it."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        _, body = await service.ask(api_request("GET", f"/api/messages/{name}", service.port))
        if msgspec.json.decode(body).get("state") == "submitted":
            return
        await asyncio.sleep(0.02)
    raise BridgeError("The first message was not taken by the simulated provider.")
