"""docs/backup.md: its way to dump and restore a PostgreSQL database leads to one that the bridge goes on with."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.databases import rows
from tests.docs.pages import blocks, page
from tests.flows.desk import open_desk
from tests.postgres import PostgresServer

PAGE = page("backup.md")
PHASES = "SELECT phase FROM sends ORDER BY phase"


def run(command: str, folder: Path, server: PostgresServer, source: str) -> None:
    """A block of the page, with the server and the databases of this test."""
    restored = server.url("bridge_restored")
    for theirs, ours in (("bridge_restored ", f"{restored} "), ("bridge ", f"{source} ")):
        command = command.replace(f"postgresql://bridge@db.example/{theirs}", ours)
    environ = {
        **os.environ,
        "PATH": f"{server.programs}{os.pathsep}{os.environ['PATH']}",
        "PGHOST": "127.0.0.1",
        "PGPORT": str(server.port),
        "PGUSER": "bridge",
    }
    subprocess.run(["sh", "-ec", command], check=True, cwd=folder, env=environ, capture_output=True)


async def test_dump_and_restore(tmp_path: Path, postgres: PostgresServer) -> None:
    """Everything is there again, and what waited to be sent counts as perhaps sent."""
    dump, restore = [block for block in blocks(PAGE, "sh") if "pg_" in block]
    (doubt,) = blocks(PAGE, "sql")
    source, restored = await postgres.create(), postgres.url("bridge_restored")
    desk = await open_desk(tmp_path, database=source)
    await desk.add_contact()
    message_id = await desk.accept()
    run(dump, tmp_path, postgres, source)
    await desk.accept()
    await desk.store.close()
    run(restore, tmp_path, postgres, source)
    try:
        assert await rows(restored, tmp_path, PHASES) == [("queued",)]
        await rows(restored, tmp_path, doubt)
        desk = await open_desk(tmp_path, database=restored)
        assert (await desk.show(message_id)).state == "queued"
        assert await desk.claim() == []
        assert await rows(restored, tmp_path, PHASES) == [("handed",)]
        await desk.store.close()
    finally:
        await postgres.drop(source)
        await postgres.drop(restored)
