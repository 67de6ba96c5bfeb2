"""What `bridge check` looks at without peers: mapping tables, database (SQLite: also library and disk) and clock."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from bridge.cli.access import find_owner, open_for_reading
from bridge.cli.check_machine import check_file_system, check_port, check_rights, read_mounts
from bridge.cli.finding import Finding, Level
from bridge.errors import SettingsError, StoreError
from bridge.settings import Settings
from bridge.store.contacts import has_contacts
from bridge.store.keys import is_rotating
from bridge.store.sqlite import latest_version, open_store
from bridge.store.sqlite.library import sqlite_version, too_old
from bridge.store.tx import Job
from bridge.tables import load_mapping, load_vocabulary

__all__ = ["check_clock", "check_disk", "check_here"]

T = TypeVar("T")

_MIB = 1024 * 1024
_LITTLE = 1024 * _MIB
_TOO_LITTLE = 100 * _MIB
_SANE_YEARS = range(2026, 2100)


async def check_here(settings: Settings) -> AsyncIterator[Finding]:
    for finding in _check_tables(settings):
        yield finding
    for finding in check_rights(settings):
        yield finding
    async for finding in (
        _check_sqlite_file(settings) if settings.database.is_sqlite else _check_postgres(settings)
    ):
        yield finding
    async for finding in _check_keys(settings):
        yield finding
    async for finding in _check_contacts(settings):
        yield finding
    if port := await check_port(settings):
        yield port
    yield check_clock(datetime.now(UTC))


async def _check_sqlite_file(settings: Settings) -> AsyncIterator[Finding]:
    library = _check_sqlite()
    yield library
    if library.level is Level.OK:  # else the database would only say it again
        yield await _check_database(settings)
    folder = settings.database_path().parent
    if folder.is_dir():
        yield check_disk(folder, shutil.disk_usage(folder).free)
        for finding in check_file_system(folder.resolve(), read_mounts()):
            yield finding


async def _check_postgres(settings: Settings) -> AsyncIterator[Finding]:
    from bridge.cli.check_postgres import check_postgres

    for finding in await check_postgres(settings):
        yield finding


def _check_tables(settings: Settings) -> Iterator[Finding]:
    from bridge.providers import PROVIDERS

    folder = settings.mappings_path()
    adapters = sorted({each.adapter for each in settings.providers.values() if each.adapter in PROVIDERS})
    problems = _problems(load_vocabulary, folder)
    for adapter in adapters:
        problems += _problems(partial(load_mapping, adapter), folder)
    for problem in dict.fromkeys(problems):
        yield Finding("mappings", Level.ERROR, problem)
    if not problems:
        yield Finding("mappings", Level.OK, f"the tables can be used: {', '.join(['smartico', *adapters])}")
    yield from _unused_tables(folder, set(PROVIDERS))


def _problems(load: Callable[[Path | None], object], folder: Path | None) -> list[str]:
    try:
        load(folder)
    except SettingsError as error:
        return [str(problem) for problem in error.problems]
    return []


def _unused_tables(folder: Path | None, adapters: set[str]) -> Iterator[Finding]:
    if folder is None or not folder.is_dir():
        return
    for file in sorted(folder.glob("*.toml")):
        if file.stem not in adapters | {"smartico"}:
            yield Finding("mappings", Level.WARNING, f"{file} is not used: no adapter has this name")


def _check_sqlite() -> Finding:
    version = sqlite_version()
    if wrong := too_old(version):
        return Finding("sqlite", Level.ERROR, wrong)
    # 3.40 to 3.51.2 can lose writes when two connections write and reset the log at once; we have one that writes.
    return Finding("sqlite", Level.OK, f"version {'.'.join(map(str, version))}")


async def _check_database(settings: Settings) -> Finding:
    """Becomes the owner for a moment, which shows that it can be written; beside a service it only reads."""
    try:
        owner = find_owner(settings)
        path = settings.database_path()
        if owner is None:
            store = open_store(path, *settings.database.reveal_keys())
            try:
                await store.check()
            finally:
                await store.close()
            state = "nobody uses it now"
        else:
            async with open_for_reading(settings):
                state = f"process {owner.get('pid', 'unknown')} owns it"
    except StoreError as error:
        return Finding("database", Level.ERROR, error.sentence)
    encrypted = "encrypted" if settings.database.pii_key else "not encrypted (pii_key is empty)"
    return Finding(
        "database", Level.OK, f"{path}, schema version {latest_version()}, personal data {encrypted}; {state}"
    )


async def _read(settings: Settings, job: Job[T]) -> T | None:
    """None where the database cannot be opened, which was said before."""
    try:
        async with open_for_reading(settings) as store:
            return await store.read(job)
    except StoreError:
        return None


async def _check_keys(settings: Settings) -> AsyncIterator[Finding]:
    """Only where something is to be done."""
    rotating = await _read(settings, is_rotating)
    if rotating is None:
        return
    if rotating:
        yield Finding(
            "keys",
            Level.WARNING,
            "values are sealed with the former database.pii_key still, or not sealed: run bridge keys rotate",
        )
    elif settings.database.pii_key_old:
        yield Finding("keys", Level.WARNING, "nothing needs database.pii_key_old any more: take it out")


async def _check_contacts(settings: Settings) -> AsyncIterator[Finding]:
    """Whether anybody is in the directory, where it is the source of addresses."""
    if settings.contacts.source != "table":
        return
    anybody = await _read(settings, has_contacts)
    if anybody is None:
        return
    if anybody:
        yield Finding("contacts", Level.OK, "somebody is in the directory")
    else:
        mend = "run bridge contacts import FILE.csv, or set contacts.source"
        yield Finding(
            "contacts",
            Level.WARNING,
            f"nobody is in the directory, so every message would be refused with error_code 1: {mend}",
        )


def check_disk(folder: Path, free: int) -> Finding:
    """`free`: bytes on the disk of `folder`."""
    text = f"{free // _MIB:,} MiB are free for {folder}"
    if free < _TOO_LITTLE:
        return Finding("disk", Level.ERROR, f"only {text}: make room, or move the database (database.url)")
    if free < _LITTLE:
        return Finding("disk", Level.WARNING, f"only {text}: make room soon")
    return Finding("disk", Level.OK, text)


def check_clock(now: datetime) -> Finding:
    text = f"{now:%Y-%m-%d %H:%M:%S} UTC"
    if now.year not in _SANE_YEARS:
        return Finding(
            "clock", Level.ERROR, f"it says {text}, which cannot be: set the clock, and keep it with NTP"
        )
    return Finding("clock", Level.OK, text)
