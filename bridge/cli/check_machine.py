"""What `bridge check` looks at on this machine: who can read the settings, the database's disk, the port."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from bridge.app import listen, local_url
from bridge.cli.access import find_owner
from bridge.cli.finding import Finding, Level
from bridge.core.exchange import Outcome, Reply, Request
from bridge.errors import BridgeError
from bridge.settings import Settings
from bridge.settings.warn_secrets import written_secrets
from bridge.transport import ProviderTransport

__all__ = ["ask", "check_file_system", "check_port", "check_rights", "is_bridge", "read_mounts"]

_MOUNTS = Path("/proc/self/mounts")  # Linux; where there is none, nothing is said
_REMOTE = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre"}
_TIMEOUT = 3.0  # seconds: it is this machine


def check_rights(settings: Settings) -> Iterator[Finding]:
    """A warning where others may read a file in which secrets stand themselves, and not only references to them."""
    try:
        mode = settings.file.stat().st_mode
        text = settings.file.read_text(encoding="utf-8")
    except (OSError, ValueError):  # it was there a moment ago
        return
    if mode & stat.S_IROTH and any(secret.reveal() in text for secret in written_secrets(settings)):
        yield Finding(
            "settings",
            Level.WARNING,
            f"{settings.file} holds secrets, and everybody on this machine can read it: chmod o-rwx {settings.file}",
        )


def check_file_system(folder: Path, mounts: str) -> Iterator[Finding]:
    """`mounts`: what the system has mounted, as /proc/self/mounts says it. A warning where the folder is elsewhere."""
    found = [line.split() for line in mounts.splitlines()]
    below = [(Path(_plain(each[1])), each[2]) for each in found if len(each) > 2]
    kinds = [(len(at.parts), kind) for at, kind in below if folder.is_relative_to(at)]
    kind = max(kinds, key=lambda each: each[0])[1] if kinds else ""
    if kind in _REMOTE or kind.startswith("fuse."):
        yield Finding(
            "disk",
            Level.WARNING,
            f"{folder} is on a file system of another machine, or of a program ({kind}), where SQLite may lose what it "
            "wrote: put the database on a disk of this machine (database.url), or use PostgreSQL",
        )


def _plain(path: str) -> str:
    """A path of /proc/self/mounts, where a space is \\040."""
    return path.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")


def read_mounts() -> str:
    """What is mounted; empty where the system does not say it so."""
    try:
        return _MOUNTS.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


async def check_port(settings: Settings) -> Finding | None:
    """Whether the service could listen. None: it is running, or takes any port that is free."""
    host, port = settings.server.host, settings.server.port
    if port == 0 or find_owner(settings) is not None:
        return None
    try:
        listen(host, port).close()
    except BridgeError as error:
        # On PostgreSQL nobody owns the database, so a bridge that answers there may be the one with these settings.
        if not settings.database.is_sqlite and is_bridge(await ask(local_url(host, port), _TIMEOUT)):
            return Finding("port", Level.OK, f"a bridge answers at {host}:{port}")
        return Finding("port", Level.ERROR, error.sentence)
    return Finding("port", Level.OK, f"{host}:{port} is free")


async def ask(url: str, timeout: float) -> Outcome:
    """Whether a bridge answers at an address."""
    transport = ProviderTransport(1)
    try:
        return await transport.exchange(Request("GET", f"{url.rstrip('/')}/healthz", timeout))
    finally:
        await transport.close()


def is_bridge(outcome: Outcome) -> bool:
    """Whether what answered to `ask` is a bridge."""
    return isinstance(outcome, Reply) and outcome.status == 200 and outcome.body.strip() == b'{"status":"ok"}'
