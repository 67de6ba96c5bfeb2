"""How a command gets at the database: the only place that decides.

Reading: the file is opened read-only, beside a running service if there is one. Changing: one process owns a SQLite
file, so while a service runs, changes go through its `/api`; else the command becomes the owner and calls the very same
flows. A file that is missing or not up to date is made or brought up to date first, which only the owner may do.
PostgreSQL has no owner: there a command is one more process on the database, which leaves the work to the workers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from bridge.errors import BridgeError

if TYPE_CHECKING:
    from bridge.cli.remote import RemoteBackend
    from bridge.flows.directory import ContactDraft, Erased
    from bridge.flows.review import Replayed
    from bridge.flows.rotating import Rotated
    from bridge.secret import Secret
    from bridge.settings import Settings
    from bridge.store.tx import Store
    from bridge.web.api.reports import ReplayRequest

__all__ = [
    "Backend",
    "find_owner",
    "open_for_changing",
    "open_for_reading",
    "open_service",
    "prepare_database",
]


class Backend(Protocol):
    """The changes that commands make. None: there is nothing of that name. All methods raise BridgeError."""

    async def keep_contacts(self, drafts: Sequence[ContactDraft]) -> None:
        """Adds or replaces contacts."""

    async def delete_contact(self, ext_user_id: str) -> Erased | None:
        """Erases a person."""

    async def replay_reports(self, wanted: ReplayRequest) -> Replayed:
        """Makes dead reports pending again."""

    async def replay_review(self, review_id: int, reason: str, *, resend: bool) -> Replayed | None:
        """Runs what is behind a review item again."""

    async def dismiss_review(self, review_id: int, note: str) -> bool | None:
        """Closes a review item; False: it was closed already."""

    async def rotate_keys(self, key: str) -> Rotated:
        """Seals more rows with the key of this name; to be repeated until it says that it is done."""

    async def close(self) -> None:
        """Lets go of the database, or of the connection."""


def find_owner(settings: Settings) -> dict[str, str] | None:
    """What the process that owns the database says of itself; None where there is none, as on PostgreSQL."""
    from bridge.store.sqlite import read_owner

    return read_owner(settings.database_path()) if settings.database.is_sqlite else None


async def prepare_database(settings: Settings) -> None:
    """Makes the SQLite file, or brings it up to date, where that is needed and nobody owns it. Raises StoreError."""
    from bridge.store.sqlite import latest_version, open_store, schema_version

    owner, path = find_owner(settings), settings.database_path()
    if owner is None and schema_version(path) < latest_version():
        await open_store(path, *settings.database.reveal_keys()).close()


@asynccontextmanager
async def open_for_reading(settings: Settings) -> AsyncIterator[Store]:
    """The database, to read only. Raises StoreError."""
    store = await _open_reader(settings)
    try:
        yield store
    finally:
        await store.close()


async def _open_reader(settings: Settings) -> Store:
    if not settings.database.is_sqlite:
        from bridge.assembly import open_shared

        return await open_shared(settings, worker=False)
    from bridge.store.sqlite import open_reader

    await prepare_database(settings)
    return open_reader(settings.database_path(), *settings.database.reveal_keys())


@asynccontextmanager
async def open_for_changing(settings: Settings) -> AsyncIterator[Backend]:
    """The running service, or the database itself where none runs. Raises BridgeError."""
    owner = find_owner(settings)
    backend = await _open_local(settings) if owner is None else _open_remote(settings, owner)
    try:
        yield backend
    finally:
        await backend.close()


@asynccontextmanager
async def open_service(settings: Settings) -> AsyncIterator[RemoteBackend]:
    """The running service, for what only it can do. Raises BridgeError where none runs here."""
    owner = find_owner(settings)
    if owner is None and settings.database.is_sqlite:
        raise BridgeError("No service runs on this database: start one with bridge serve, then repeat it.")
    if owner is None:  # nobody owns a PostgreSQL database: the one with these settings is meant
        from bridge.app import local_url

        owner = {"url": local_url(settings.server.host, settings.server.port)}
    backend = _open_remote(settings, owner)
    try:
        yield backend
    finally:
        await backend.close()


async def _open_local(settings: Settings) -> Backend:
    from bridge.cli.local import LocalBackend

    return await LocalBackend.open(settings)


def _open_remote(settings: Settings, owner: dict[str, str]) -> RemoteBackend:
    from bridge.cli.remote import RemoteBackend

    if "url" not in owner:
        raise BridgeError(
            f"Another command, or a service that is just starting (process {owner.get('pid', 'unknown')}), uses the "
            "database: try again when it is done."
        )
    return RemoteBackend(owner["url"], _token(settings, owner["url"]))


def _token(settings: Settings, url: str) -> Secret:
    for operator in settings.ops.operators:
        if operator.role == "operator":
            return operator.token
    raise BridgeError(
        f"A service runs, and this goes through it ({url}), but no operator may do that: add one with "
        f'role = "operator" under [[ops.operators]] in {settings.file} and restart the service, or stop it first.'
    )
