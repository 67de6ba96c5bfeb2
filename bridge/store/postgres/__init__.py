"""PostgreSQL: any number of processes share the database. What one takes on is leased to it by name."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import asyncpg
from asyncpg import exceptions
from asyncpg.connect_utils import SessionAttribute
from asyncpg.exceptions import TargetServerAttributeNotMatched

from bridge.errors import StoreAwayError, StoreError
from bridge.pii import Vault
from bridge.store.keys import open_vault, try_writing
from bridge.store.postgres.bell import NOTIFY, Bell
from bridge.store.postgres.engine import Connection, PostgresTx, Runner, translate
from bridge.store.postgres.schema import check_version, migrate
from bridge.store.tx import Job, Tx

__all__ = ["PostgresStore", "open_store"]

T = TypeVar("T")

# Connections of one process, opened when they are needed: with the one that listens at most eleven.
_WRITERS = 6
_READERS = 2
_SEARCHERS = 2
_PRIMARY = SessionAttribute.primary  # after a fail-over nobody stays at a standby
# What passes: the server does not run, starts or stops, is a standby, has no connection left, or the way to it is cut.
_AWAY = (
    OSError,
    TimeoutError,
    exceptions.PostgresConnectionError,
    exceptions.OperatorInterventionError,
    exceptions.TooManyConnectionsError,
    TargetServerAttributeNotMatched,
)
_CONNECT_SECONDS = 5.0
_QUICK_SECONDS = 10.0  # for one statement
_LONG_SECONDS = 300.0
# The server lets go of a transaction whose client hangs or is cut off, and so of the rows that it has locked.
_IDLE_TRANSACTION = "5s"
_ALIVE = {"tcp_keepalives_idle": "5", "tcp_keepalives_interval": "2", "tcp_keepalives_count": "3"}


# The same on our side: half a minute for a word that is not acknowledged, and for a connection that says nothing.
_OURS = {
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE): 1,
    (socket.IPPROTO_TCP, getattr(socket, "TCP_KEEPIDLE", 0x10)): 10,  # macOS has another name for it
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL): 5,
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT): 4,
    **(
        {(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT): 30_000} if hasattr(socket, "TCP_USER_TIMEOUT") else {}
    ),
}


class PostgresStore:
    """An open database; see `open_store`. `owner` is the name of this process in the leases; None: it takes none."""

    lock = None  # nobody owns the database alone

    def __init__(self, dsn: str, vault: Vault, *, lease_seconds: float, worker: bool) -> None:
        self._dsn = dsn
        self._worker = worker
        self.vault = vault
        self.lease_seconds: float | None = lease_seconds
        self.name = secrets.token_hex(8)
        self._own: Mapping[str, Any] = {
            "owner": self.name if worker else None,
            "lease": round(lease_seconds * 1000) if worker else None,
        }
        self._bell = Bell(partial(connect, dsn), self.name)
        self._writer: Runner | None = None
        self._reader: Runner | None = None
        self._searcher: Runner | None = None

    async def open(self) -> None:
        """Prepares the pools."""
        quick, long = _QUICK_SECONDS, _LONG_SECONDS
        self._searcher = Runner(
            await self._pool(_SEARCHERS, long, read_only=True), self._view, transaction=False
        )
        # A search may take minutes. That nobody will answer it shows in a quick statement that got no answer either;
        # without that word two of them would keep every other search waiting, and the pumps that need one.
        hangs = self._searcher.cut
        self._writer = Runner(await self._pool(_WRITERS, quick), self._tx, transaction=True, hangs=hangs)
        self._reader = Runner(
            await self._pool(_READERS, quick, read_only=True), self._view, transaction=False, hangs=hangs
        )

    async def write(self, job: Job[T]) -> T:
        assert self._writer
        return await self._writer.run(job)

    async def check(self) -> None:
        assert self._writer
        await self._writer.run(try_writing, patience=0)

    async def claim(self, job: Job[T]) -> T:
        return await self.write(job)

    async def read(self, job: Job[T]) -> T:
        assert self._reader
        return await self._reader.run(job)

    async def search(self, job: Job[T]) -> T:
        assert self._searcher
        return await self._searcher.run(job)

    def tell(self, topic: str) -> None:
        self._bell.ring(topic, self._say)

    def listen(self, heard: Callable[[str], None]) -> None:
        self._bell.listen(heard)

    async def close(self) -> None:
        await self._bell.close()
        runners = [each for each in (self._writer, self._reader, self._searcher) if each]
        await asyncio.gather(*(runner.close() for runner in runners))

    async def _say(self, payload: str) -> None:
        async def job(tx: Tx) -> None:
            await tx.select(NOTIFY.replace("$1", "?"), [payload])

        await self.write(job)

    def _tx(self, connection: Connection) -> PostgresTx:
        return PostgresTx(connection, self.vault, self._own)

    def _view(self, connection: Connection) -> PostgresTx:
        return PostgresTx(connection, self.vault, self._own, read_only=True)

    async def _pool(
        self, size: int, seconds: float, *, read_only: bool = False
    ) -> asyncpg.Pool[asyncpg.Record]:
        return await asyncpg.create_pool(
            self._dsn,
            min_size=0,
            max_size=size,
            timeout=_CONNECT_SECONDS,
            target_session_attrs=_PRIMARY,
            command_timeout=seconds,
            statement_cache_size=300,
            server_settings=_settings(read_only=read_only, long=seconds > _QUICK_SECONDS),
            reset=_nothing_to_reset,
            init=_watch_over,
        )


async def _nothing_to_reset(_connection: object) -> None:
    """Jobs leave no settings behind, so that giving a connection back needs no word with the server."""


async def _watch_over(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """The system tells us when the server is gone without a word, as the server is told of us."""
    sock = connection._transport.get_extra_info("socket")  # type: ignore[attr-defined]  # noqa: SLF001  # no other way
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    with socket.fromfd(sock.fileno(), sock.family, sock.type) as own:
        for option, value in _OURS.items():
            own.setsockopt(*option, value)


def _settings(*, read_only: bool = False, long: bool = False) -> dict[str, str]:
    return {
        "application_name": "bridge",
        "idle_in_transaction_session_timeout": _IDLE_TRANSACTION,
        "default_transaction_isolation": "read committed",  # each statement sees what was committed before it
        "default_transaction_read_only": "on" if read_only else "off",
        # Every statement but a search has an index. A plan that was made while a table was empty would read all of it,
        # and is kept until the table is analysed again.
        "enable_seqscan": "on" if long else "off",
        **_ALIVE,
    }


async def connect(dsn: str, seconds: float = _QUICK_SECONDS) -> asyncpg.Connection[asyncpg.Record]:
    """A connection of one's own; `seconds`: how long a statement may take."""
    return await asyncpg.connect(
        dsn,
        timeout=_CONNECT_SECONDS,
        command_timeout=seconds,
        target_session_attrs=_PRIMARY,
        server_settings=_settings(),
    )


async def open_store(
    dsn: str,
    pii_key: str,
    former_key: str = "",
    *,
    lease_seconds: float = 15.0,
    worker: bool = True,
    make: bool = True,
) -> PostgresStore:
    """Opens the database; with `make` it is created where it is empty, and brought up to date.

    `former_key`: database.pii_key_old. `worker`: this process takes work on. Raises StoreError with the mend.
    """
    vault = await _prepare(dsn, open_vault(pii_key, former_key), make=make)
    store = PostgresStore(dsn, vault, lease_seconds=lease_seconds, worker=worker)
    await store.open()
    return store


async def _prepare(dsn: str, opening: Job[Vault], *, make: bool) -> Vault:
    try:
        connection = await connect(dsn, _LONG_SECONDS)
    except Exception as error:
        raise _cannot_connect(error) from None
    try:
        await (migrate if make else check_version)(connection)
        return await _vault(connection, opening)
    except StoreError:
        raise
    except Exception as error:
        raise (
            _cannot_connect(error) if isinstance(error, _AWAY) else translate(error, "the schema")
        ) from None
    finally:
        connection.terminate()


async def _vault(connection: asyncpg.Connection[asyncpg.Record], opening: Job[Vault]) -> Vault:
    """One process at a time: two that start on a new database must agree on its key."""
    async with connection.transaction():
        await connection.execute("LOCK TABLE meta IN SHARE ROW EXCLUSIVE MODE")
        return await opening(PostgresTx(connection, Vault(b""), {}))


def _cannot_connect(error: Exception) -> Exception:
    translated = translate(error, "connecting")
    if isinstance(
        error, ValueError
    ):  # asyncpg names the part of the address that it cannot read, and may quote it
        return StoreError(
            "database.url cannot be understood: postgresql://user:password@host:5432/name is its form."
        )
    if not isinstance(translated, StoreError):
        return translated
    reason = (translated.sentence.partition(": ")[2] or translated.sentence).rstrip(".")
    kind = StoreAwayError if isinstance(error, _AWAY) else StoreError
    return kind(f"PostgreSQL cannot be reached ({reason}): check database.url, and that the server runs.")
