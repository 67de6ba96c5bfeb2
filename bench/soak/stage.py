"""Everything that a run needs, up and running: peers, database, bridges, and the gates between them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from bench.soak.bridges import ROOT, START, Bridge
from bench.soak.databases import Database
from bench.soak.gate import Gate
from bench.soak.scene import CONTACTS, OPERATOR_TOKEN, Settings
from bridge.bench.processes import Child
from bridge.errors import BridgeError

__all__ = ["Stage", "open_stage"]

_POLL = 0.2
_QUIET = 5  # looks in a row that find nothing left to do


class Stage:
    """The peers are a process of their own. `gates`: before a peer that may be away."""

    def __init__(
        self,
        peers: Child,
        bridges: Sequence[Bridge],
        url: str,
        database: Database,
        gates: dict[str, Gate],
        folder: Path,
    ) -> None:
        self.bridges = bridges
        self.url = url
        self.database = database
        self.gates = gates
        self._peers = peers
        self._asking = asyncio.Lock()
        self._folder = folder
        self._moments = 0
        self._api = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {OPERATOR_TOKEN}", "Connection": "close"},
            timeout=300,  # a person may decide about thousands at once
        )

    async def close(self) -> None:
        await self._api.aclose()

    async def ask(self, do: str, **arguments: Any) -> Any:
        """Asks the peers; one question at a time."""
        async with self._asking:
            return await self._peers.ask(do, within=300, **arguments)

    async def load_contacts(self) -> None:
        answer = await self._api.post("/api/contacts", json=CONTACTS)
        if answer.status_code != 200:
            raise BridgeError(f"The contacts were not taken: {answer.text}")

    async def note_kill(self, at: float) -> None:
        """Remembers which reports were pending when the bridge was killed, or a peer cut off."""
        self._moments += 1
        file = self._folder / f"pending-{self._moments}.txt"
        file.write_text("".join(f"{id_} {status}\n" for id_, status in await self.database.pending()))
        await self.ask("killed", at=at, pending=str(file))
        file.unlink()

    async def kill(self, bridge: Bridge) -> None:
        """kill -9, whatever it does now."""
        await bridge.kill()
        await self.note_kill(time.time())

    async def drain(
        self,
        seconds: float,
        say: Callable[[dict[str, Any], str], None] = lambda *_: None,
        poll: float = _POLL,
    ) -> bool:
        """Waits until everything is told that the bridge tells by itself; False when that takes longer."""
        end, quiet = time.monotonic() + seconds, 0
        while quiet < _QUIET and time.monotonic() < end:
            await asyncio.sleep(poll)
            progress = await self.ask("progress")
            left = await self.database.open()
            say(progress, f"draining, {left:,} left")
            done = not (progress["sending"] or progress["callbacks_pending"] or left)
            quiet = quiet + 1 if done else 0
        return quiet == _QUIET

    async def decide(self) -> int:
        """What a person does with messages without trace: lets them be sent again. Gives how many there were."""
        count = await self.database.undecided()
        if count:
            for item in (await self._api.get("/api/review", params={"limit": 1000})).json()["items"]:
                if item["kind"] == "unknown_send":
                    path = f"/api/review/{item['id']}/replay"
                    answer = await self._api.post(path, json={"reason": "the soak", "resend": True})
                    answer.raise_for_status()
        return count


@asynccontextmanager
async def open_stage(
    folder: Path,
    database: str,
    *,
    surfaces: Sequence[str],
    instances: int = 1,
    seed: int = 1,
    faults: bool = False,
    flap: str = "",
    step_seconds: float = 0.2,
    outcome: str = "",
    **more: Any,
) -> AsyncIterator[Stage]:
    """All started and ready, with contacts; ended again at the end. `more`: further `scene.Settings`."""
    async with AsyncExitStack() as stack:
        peers = await Child.start(
            "peers", folder, package="bench.soak", within=START, more={"PYTHONPATH": str(ROOT)}
        )
        stack.push_async_callback(peers.stop)
        urls = await peers.ask(
            "open", surfaces=surfaces, seed=seed, step_seconds=step_seconds, faults=faults, outcome=outcome
        )
        gates = {
            name: await stack.enter_async_context(Gate([_port(urls[_PEER[name]])]))
            for name in ([flap] if flap else [])
        }
        urls |= {_PEER[name]: gate.url for name, gate in gates.items()}
        bridges = [Bridge(folder, f"bridge-{number}") for number in range(1, instances + 1)]
        url = bridges[0].url
        if instances > 1:
            url = (await stack.enter_async_context(Gate([each.port for each in bridges]))).url
        await peers.ask("lead", bridge=url, smartico=urls.pop("smartico"))
        for each in bridges:
            each.write_settings(Settings(port=each.port, public_url=url, database=database, **urls, **more))
            stack.push_async_callback(each.kill)
            await each.start()
        for each in bridges:
            await each.ready()
        stage = Stage(peers, bridges, url, Database(database, folder), gates, folder)
        stack.push_async_callback(stage.close)
        await stage.load_contacts()
        yield stage


_PEER = {"provider": "revicom", "smartico": "smartico"}


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])
