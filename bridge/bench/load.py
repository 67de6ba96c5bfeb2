"""A process that makes load: sends as Smartico does, callbacks as the provider does, searches as a script does.

`python -m bridge.bench.load`, see `child`. Times are CLOCK_MONOTONIC, which Linux shares between processes.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Iterator, Mapping
from itertools import count as count_up
from time import monotonic_ns
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import Struct

from bridge.bench.child import Command, run_child
from bridge.bench.figures import percentiles
from bridge.bench.files import read_rows, write_lines
from bridge.bench.scene import HOST, api_request, callback_request, element, person, send_request
from bridge.bench.wire import Client

_OVERLOADED = 8
_PAUSE = 0.1  # seconds, after "overloaded"


class _SendAnswer(Struct):
    error_code: int
    ext_message_id: str = ""


_send_answer = msgspec.json.Decoder(_SendAnswer)


class _Sending:
    """One run of sends, over as many connections as wanted."""

    def __init__(self, port: int, run: str, callback_url: str, people: int) -> None:
        self._port, self._run, self._url, self._people = port, run, callback_url, people
        self.ids: list[str] = []
        self.latencies = array("q")
        self.refused = self.overloaded = 0

    async def connection(self, numbers: Iterator[int], end_ns: int) -> None:
        client = await Client.open(HOST, self._port)
        for number in numbers:
            uid = f"{self._run}-{(number * 0x9E3779B97F4A7C15) % 2**64:016x}"  # unique, and in no order
            await self._one(client, send_request(self._port, uid, person(number % self._people), self._url))
            if monotonic_ns() >= end_ns:
                break
        client.close()

    async def _one(self, client: Client, request: bytes) -> None:
        while True:
            started = monotonic_ns()
            status, body = await client.exchange(request)
            took = monotonic_ns() - started
            answer = _send_answer.decode(body) if status == 200 else _SendAnswer(-status)
            if answer.error_code != _OVERLOADED:
                break
            self.overloaded += 1
            await asyncio.sleep(_PAUSE)
        self.latencies.append(took)
        if answer.error_code == 0:
            self.ids.append(answer.ext_message_id)
        else:
            self.refused += 1


async def sends(
    port: int,
    count: int,
    connections: int,
    run: str,
    callback_url: str,
    people: int,
    ids: str,
    seconds: float = 86_400.0,
) -> dict[str, Any]:
    """Sends `count` messages as quickly as they are taken, or for so long; writes their ids to a file."""
    sending = _Sending(port, run, callback_url, people)
    numbers = iter(range(count))
    first = monotonic_ns()
    end = first + int(seconds * 1e9)
    await asyncio.gather(*(sending.connection(numbers, end) for _ in range(min(connections, count))))
    last = monotonic_ns()
    write_lines(ids, sending.ids)
    return {
        "accepted": len(sending.ids),
        "refused": sending.refused,
        "overloaded": sending.overloaded,
        "first_ns": first,
        "last_ns": last,
        "latency_ms": percentiles(sending.latencies),
    }


async def callbacks(
    port: int, path: str, authorization: str, ids: str, skip: int, count: int, batch: int, connections: int
) -> dict[str, Any]:
    """Posts one `delivered` for each of `count` messages, `batch` in a request, as quickly as they are kept."""
    elements = [element(uuid, "delivered") for uuid, *_ in read_rows(ids, skip, count)]
    parts = [elements[start : start + batch] for start in range(0, len(elements), batch)]
    requests = [(callback_request(path, f"{HOST}:{port}", authorization, part), len(part)) for part in parts]
    latencies, kept = array("q"), [0]
    waiting = iter(requests)

    async def connection() -> None:
        client = await Client.open(HOST, port)
        for request, size in waiting:
            status = 503
            while status == 503:  # "not now": a provider posts it again
                started = monotonic_ns()
                status, _ = await client.exchange(request)
                latencies.append(monotonic_ns() - started)
                if status == 503:
                    await asyncio.sleep(_PAUSE)
            kept[0] += size if status == 200 else 0
        client.close()

    first = monotonic_ns()
    await asyncio.gather(*(connection() for _ in range(min(connections, len(requests)))))
    return {
        "elements": len(elements),
        "acknowledged": kept[0],
        "first_ns": first,
        "last_ns": monotonic_ns(),
        "latency_ms": percentiles(latencies),
    }


async def paced(
    port: int, path: str, authorization: str, ids: str, skip: int, count: int, rate: float, times: str
) -> dict[str, Any]:
    """Posts callbacks of one element, evenly, whether or not earlier ones were answered; writes when each left."""
    ready = [
        (callback_request(path, f"{HOST}:{port}", authorization, [element(uuid, "delivered")]), name)
        for uuid, name in read_rows(ids, skip, count)
    ]
    free: list[Client] = []
    started: list[str] = []
    latencies = array("q")
    kept = [0]

    async def post(request: bytes, name: str) -> None:
        client = free.pop() if free else await Client.open(HOST, port)
        while client.closed:  # the service closes what was idle for long
            client = free.pop() if free else await Client.open(HOST, port)
        now = monotonic_ns()
        started.append(f"{name} {now}")
        status, _ = await client.exchange(request)
        latencies.append(monotonic_ns() - now)
        kept[0] += status == 200
        free.append(client)

    await _evenly(ready, rate, post)
    write_lines(times, started)
    return {"elements": len(ready), "acknowledged": kept[0], "answer_ms": percentiles(latencies)}


async def _evenly(ready: list[tuple[bytes, str]], rate: float, post: Command) -> None:
    loop = asyncio.get_running_loop()
    begin = loop.time() + 0.05
    tasks = []
    for number, (request, name) in enumerate(ready):
        wait = begin + number / rate - loop.time()
        if wait > 0:
            await asyncio.sleep(wait)
        tasks.append(asyncio.ensure_future(post(request, name)))
    await asyncio.gather(*tasks)


async def searches(port: int, queries: list[tuple[str, str]], seconds: float) -> dict[str, Any]:
    """Asks `GET /api/messages?query=`, one after the other, for so long; each kind at least once."""
    end = monotonic_ns() + int(seconds * 1e9)
    took: dict[str, array[int]] = {kind: array("q") for kind, _ in queries}
    found: dict[str, int] = dict.fromkeys(took, 0)
    client = await Client.open(HOST, port)
    for number in count_up():
        if monotonic_ns() > end and number >= len(took):
            break
        kind, text = queries[number % len(queries)]
        started = monotonic_ns()
        status, body = await client.exchange(
            api_request("GET", f"/api/messages?query={quote(text, safe='')}", port)
        )
        took[kind].append(monotonic_ns() - started)
        found[kind] += status == 200 and b"ext_message_id" in body
        await asyncio.sleep(0.01)
    client.close()
    return {
        kind: {"searches": len(times), "found": found[kind], "latency_ms": percentiles(times)}
        for kind, times in took.items()
    }


async def _commands() -> Mapping[str, Command]:
    return {"sends": sends, "callbacks": callbacks, "paced": paced, "searches": searches}


if __name__ == "__main__":
    run_child(_commands)
