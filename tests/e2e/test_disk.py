"""A disk that is full, a file that may not be written, and one that is damaged."""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from bridge.sim import RevicomConfig, SmarticoFaults, judge
from bridge.store.sqlite import open_store
from tests.e2e.stage import PHONES, SMS, BridgeProcess, Stage, eventually, open_stage

pytestmark = pytest.mark.only_sqlite
USERS = sorted(PHONES)
BASIC = ("revicom", "password-of-callbacks")
_DROP_FROM_BOUNDING_SET, _DAC_OVERRIDE, _DAC_READ_SEARCH = 24, 1, 2


def obey_rights() -> None:
    """root may write what nobody may write; a process that is started after this may not."""
    libc = ctypes.CDLL(None)
    for capability in (_DAC_OVERRIDE, _DAC_READ_SEARCH):
        libc.prctl(_DROP_FROM_BOUNDING_SET, capability, 0, 0, 0)


class Full:
    """What makes a disk full for a service, and not full any more."""

    async def fill(self, stage: Stage) -> None:
        raise NotImplementedError

    async def make_room(self, stage: Stage) -> None:
        raise NotImplementedError


class Limited(Full):
    """No file of the process may grow: works everywhere. SQLite calls it a disk I/O error."""

    async def fill(self, stage: Stage) -> None:
        await stage.bridge.stop()
        size = (stage.bridge.folder / "bridge.db").stat().st_size
        await stage.bridge.start(max_file_bytes=size + 100_000)

    async def make_room(self, stage: Stage) -> None:
        stage.bridge.lift_limit()


class Small(Full):
    """A small file system that another file fills: what SQLite calls a full disk."""

    def __init__(self, folder: Path) -> None:
        self._pad = folder / "pad"

    async def fill(self, stage: Stage) -> None:
        with self._pad.open("wb", buffering=0) as pad:
            for size in (65536, 4096):
                try:
                    while pad.write(bytes(size)) == size:
                        pass
                except OSError:
                    continue

    async def make_room(self, stage: Stage) -> None:
        self._pad.unlink()


@pytest.fixture(params=["limited", "small"])
def full(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, Full]]:
    """A folder for the service, and what fills it."""
    if request.param == "limited":
        yield tmp_path, Limited()
        return
    folder = tmp_path / "disk"
    folder.mkdir()
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if mount is None or umount is None:
        pytest.skip("there is no mount here")
    command = [mount, "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("file systems cannot be mounted here")
    yield folder, Small(folder)
    subprocess.run([umount, "-l", str(folder)], check=True)


async def taken(stage: Stage, user: str) -> str:
    """Sends one message, again and again until it is taken; gives its ext_message_id."""
    while True:
        answer = await stage.smartico.send(
            stage.bridge.url, SMS, user, text="x" * 20_000, im_uid=f"uid of {user}"
        )
        if answer.error_code == 0:
            return str(answer.ext_message_id)
        assert answer.error_code == 9, answer
        await asyncio.sleep(0.3)


async def readiness(stage: Stage) -> tuple[int, dict[str, Any]]:
    answer = await stage.api.get("/readyz")
    return answer.status_code, answer.json()


async def writable(stage: Stage) -> bool:
    return "bridge_database_writable 1.0" in (await stage.api.get("/metrics")).text


@pytest.mark.timeout(120)
async def test_a_disk_that_fills_up_and_has_room_again(full: tuple[Path, Full]) -> None:
    """While it is full: no success, 503, and it is said; after that all goes on by itself, nothing lost or twice.

    Messages are on their way to the provider when it fills up, and reports to Smartico: what came of them is stored
    once there is room.
    """
    folder, disk = full
    config = RevicomConfig(
        token="token-of-revicom", resend_seconds=0.3, delivered_share=1.0, step_seconds=0.3
    )
    faults = SmarticoFaults(slow=0.5, slow_seconds=0.5)
    async with open_stage(folder, provider=config, smartico_faults=faults) as stage:
        early = [asyncio.create_task(taken(stage, user)) for user in USERS[:20]]
        await eventually(lambda: stage.provider.load.highest >= 1)
        await disk.fill(stage)
        late = [asyncio.create_task(taken(stage, user)) for user in USERS[20:80]]

        async def unready() -> str:
            status, said = await readiness(stage)
            return str(said["reason"]) if status == 503 else ""

        reason = await eventually(unready)
        assert "The database cannot be used now" in reason
        assert "room" in reason
        # While it fills up, a little may still find room.
        numbers, more = itertools.count(), []

        async def post() -> httpx.Response:
            elements = [{"message_uuid": f"u-{next(numbers)}", "pad": "x" * 200} for _ in range(300)]
            return await stage.api.post("/callbacks/revicom", json=elements, auth=BASIC)

        async def callback_refused() -> bool:
            answer = await post()
            return (answer.status_code, answer.headers.get("retry-after")) == (503, "5")

        async def message_refused() -> bool:
            answer = await stage.smartico.send(stage.bridge.url, SMS, USERS[90], text="x" * 20_000)
            assert answer.error_code in (0, 9), answer
            more.extend([str(answer.ext_message_id)] if answer.error_code == 0 else [])
            return answer.error_code == 9

        await eventually(callback_refused)
        await eventually(message_refused)

        async def told() -> bool:
            return not await writable(stage)

        await eventually(told)
        assert (await stage.api.get("/healthz")).status_code == 200
        await disk.make_room(stage)

        async def ready() -> bool:
            return (await readiness(stage))[0] == 200 and await writable(stage)

        await eventually(ready)
        accepted = await asyncio.gather(*early, *late)
        assert len({*accepted, *more}) == 80 + len(more)
        assert (await post()).status_code == 200
        await eventually(
            lambda: all(stage.statuses(each)[-1:] == ["delivered"] for each in [*accepted, *more]), 60
        )
        verdict = judge(stage.provider.ledger.listing(), stage.smartico.ledger.listing())
        assert not verdict.sent_twice
        assert not verdict.lost
        assert not verdict.out_of_order
        log = stage.bridge.log.read_text()
        assert "Traceback" not in log
        assert "the database cannot be written" in log


# --- what may not be written ---


async def refused_start(bridge: BridgeProcess) -> str:
    """What a service says that does not start."""
    before = bridge.log.stat().st_size if bridge.log.exists() else 0
    await bridge.start(ready=False, prepare=obey_rights)
    assert await bridge.ended() == 1
    said = bridge.log.read_bytes()[before:].decode()
    assert "Traceback" not in said
    return said


@pytest.mark.timeout(120)
async def test_a_file_or_folder_that_may_only_be_read(tmp_path: Path) -> None:
    """A sentence says which file it is and what to look at, and nothing is changed."""
    bridge = BridgeProcess(tmp_path, "http://127.0.0.1:9", url="sqlite:///data/bridge.db")
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(0o555)
    said = await refused_start(bridge)
    assert (
        f"{data}/bridge.db.lock cannot be opened (Permission denied); check the folder and its rights" in said
    )
    assert list(data.iterdir()) == []
    data.chmod(0o755)
    file = data / "bridge.db"
    await open_store(file, "").close()
    before = file.read_bytes()
    file.chmod(0o444)
    said = await refused_start(bridge)
    assert f"The database {file} cannot be opened (Permission denied); check the path and its rights" in said
    assert file.read_bytes() == before


@pytest.mark.timeout(120)
async def test_a_damaged_file(tmp_path: Path) -> None:
    """serve says that it is damaged, and what to do; the file is left as it is."""
    bridge = BridgeProcess(tmp_path, "http://127.0.0.1:9")
    file = tmp_path / "bridge.db"
    await open_store(file, "").close()
    damaged = file.read_bytes()[: file.stat().st_size // 2 // 4096 * 4096]
    file.write_bytes(damaged)
    said = await refused_start(bridge)
    assert "damaged" in said
    assert "put a backup in its place" in said
    assert file.read_bytes() == damaged
