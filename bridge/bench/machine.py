"""What was measured with and on: versions, and two small figures of the machine, so that days can be compared."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

from bridge import __version__
from bridge.bench.seed import sqlite_version

__all__ = ["machine", "version_of", "versions"]

_PACKAGES = ("litestar", "uvicorn", "uvloop", "httptools", "msgspec", "aiohttp", "httpx")
_ADDITIONS = 5_000_000
_SYNCS = 50


def versions() -> dict[str, str | None]:
    """Of the bridge and of what it stands on."""
    known = {"bridge": __version__, "python": platform.python_version(), "sqlite": sqlite_version()}
    return known | {name: version_of(name) for name in _PACKAGES}


def version_of(package: str) -> str | None:
    """None where the package is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def machine(folder: Path) -> dict[str, Any]:
    """Processors, the seconds of a plain Python loop, and what it takes to get 4 KiB onto the disk of the folder."""
    return {
        "cpus": os.cpu_count(),
        "python_loop_seconds": _loop_seconds(),
        "fdatasync_ms": _sync_ms(folder / "sync"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def _loop_seconds() -> float:
    started = time.perf_counter()
    total = 0
    for number in range(_ADDITIONS):
        total += number
    return round(time.perf_counter() - started, 3)


def _sync_ms(path: Path) -> float:
    took = []
    file = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        for _ in range(_SYNCS):
            os.write(file, bytes(4096))
            started = time.perf_counter()
            os.fdatasync(file)
            took.append(time.perf_counter() - started)
    finally:
        os.close(file)
        path.unlink()
    return round(median(took) * 1000, 3)
