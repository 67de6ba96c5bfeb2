"""A process that plays Smartico's side of status reports: takes every one with the same bytes, and counts.

`python -m bridge.bench.smartico`, see `child`. It judges afterwards, from what it was told: which (message, status)
pairs never came, and which came twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic_ns
from typing import Any

from bridge.bench.child import Command, run_child
from bridge.bench.files import read_rows, write_lines
from bridge.bench.wire import listen, response_bytes

_TAKEN = response_bytes(200, b'{"error_code": 0}')
_ID = b"ext_message_id="
_STATUS = b"&status="
_ID_LENGTH = 36
_SHOWN = 5  # examples of what is wrong


class Smartico:
    """Counts reports. `silent`: hears, and never answers. `timed`: notes when each came."""

    def __init__(self) -> None:
        self._clear(silent=False, timed=False)

    def _clear(self, *, silent: bool, timed: bool) -> None:
        self._counts: dict[bytes, int] = {}
        self._times: list[tuple[bytes, int]] = []
        self._silent, self._timed = silent, timed
        self._total = self._first = self._last = 0

    def handle(self, _: str, target: bytes, __: bytes) -> bytes:
        self._last = monotonic_ns()
        if not self._total:
            self._first = self._last
        self._total += 1
        if self._silent:
            return b""
        at, status = target.find(_ID) + len(_ID), target.find(_STATUS) + len(_STATUS)
        end = target.find(b"&", status)
        pair = target[at : at + _ID_LENGTH] + target[status : end if end > 0 else None]
        self._counts[pair] = self._counts.get(pair, 0) + 1
        if self._timed:
            self._times.append((pair, self._last))
        return _TAKEN

    async def listen(self, port: int) -> int:
        """Opens the door; gives the port."""
        server = await listen(self.handle, port=port)
        taken: int = server.sockets[0].getsockname()[1]
        return taken

    async def reset(self, silent: bool = False, timed: bool = False) -> None:
        """Forgets everything."""
        self._clear(silent=silent, timed=timed)

    async def seen(self) -> dict[str, int]:
        """Different pairs, all requests, and when the first and the last came."""
        return {
            "pairs": len(self._counts),
            "total": self._total,
            "first_ns": self._first,
            "last_ns": self._last,
        }

    async def verdict(self, ids: str, statuses: list[str]) -> dict[str, Any]:
        """What was lost, doubled or never asked for; `ids`: a file, the last word of a line is an ext_message_id."""
        words = [status.encode() for status in statuses]
        messages = [row[-1].encode() for row in read_rows(ids)]
        expected = {message + word for message in messages for word in words}
        lost = expected - self._counts.keys()
        return {
            "lost": len(lost),
            "duplicated": sum(self._counts.values()) - len(self._counts),
            "unexpected": len(self._counts.keys() - expected),
            "examples": [pair.decode(errors="replace") for pair in sorted(lost)[:_SHOWN]],
        }

    async def times(self, path: str) -> None:
        """Writes when each message's report came: a line "id ns"."""
        write_lines(path, [f"{pair[:_ID_LENGTH].decode()} {at}" for pair, at in self._times])


async def _commands() -> Mapping[str, Command]:
    peer = Smartico()
    return {
        "listen": peer.listen,
        "reset": peer.reset,
        "seen": peer.seen,
        "verdict": peer.verdict,
        "times": peer.times,
    }


if __name__ == "__main__":
    run_child(_commands)
