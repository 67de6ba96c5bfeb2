"""A process that makes load: sends as Smartico does, callbacks as the provider does, searches as a script does.

Where a service has several ports, connections are spread over them in turn, as a load balancer would do it.
`python -m bridge.bench.load`, see `child`. Times are CLOCK_MONOTONIC, which Linux shares between processes.
"""

from __future__ import annotations

import asyncio
from array import array
from collections import deque
from collections.abc import Iterator, Mapping
from itertools import count as count_up
from itertools import cycle, islice
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

    def __init__(self, run: str, callback_url: str, people: int) -> None:
        self._run, self._url, self._people = run, callback_url, people
        self.ids: list[str] = []
        self.latencies = array("q")
        self.refused = self.overloaded = 0

    async def connection(self, port: int, numbers: Iterator[int], end_ns: int) -> None:
        client = await Client.open(HOST, port)
        for number in numbers:
            uid = f"{self._run}-{(number * 0x9E3779B97F4A7C15) % 2**64:016x}"  # unique, and in no order
            await self._one(client, send_request(port, uid, person(number % self._people), self._url))
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
    ports: list[int],
    count: int,
    connections: int,
    run: str,
    callback_url: str,
    people: int,
    ids: str,
    seconds: float = 86_400.0,
) -> dict[str, Any]:
    """Sends `count` messages as quickly as they are taken, or for so long; writes their ids to a file."""
    sending = _Sending(run, callback_url, people)
    numbers = iter(range(count))
    first = monotonic_ns()
    end = first + int(seconds * 1e9)
    chosen = islice(cycle(ports), min(connections, count))
    await asyncio.gather(*(sending.connection(port, numbers, end) for port in chosen))
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
    ports: list[int],
    path: str,
    authorization: str,
    ids: str,
    skip: int,
    count: int,
    batch: int,
    connections: int,
) -> dict[str, Any]:
    """Posts one `delivered` for each of `count` messages, `batch` in a request, as quickly as they are kept."""
    elements = [element(uuid, "delivered") for uuid, *_ in read_rows(ids, skip, count)]
    parts = [elements[start : start + batch] for start in range(0, len(elements), batch)]
    host = f"{HOST}:{ports[0]}"
    requests = [(callback_request(path, host, authorization, part), len(part)) for part in parts]
    latencies, kept = array("q"), [0]
    waiting = iter(requests)

    async def connection(port: int) -> None:
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
    chosen = islice(cycle(ports), min(connections, len(requests)))
    await asyncio.gather(*(connection(port) for port in chosen))
    return {
        "elements": len(elements),
        "acknowledged": kept[0],
        "first_ns": first,
        "last_ns": monotonic_ns(),
        "latency_ms": percentiles(latencies),
    }


class _Pacing:
    """Callbacks on as many connections as are needed; each port has one from the start, and they take turns."""

    def __init__(self, ports: list[int]) -> None:
        self._ports = cycle(ports)
        self._free: deque[Client] = deque()
        self.started: list[str] = []
        self.latencies = array("q")
        self.kept = self.put_off = 0

    async def open(self, connections: int) -> None:
        self._free += [await self._connect() for _ in range(connections)]

    def close(self) -> None:
        for client in self._free:
            client.close()

    async def _connect(self) -> Client:
        return await Client.open(HOST, next(self._ports))

    async def post(self, request: bytes, name: str) -> None:
        """Until it is kept, or refused for good: "not now" is put off, as a provider does it."""
        first = monotonic_ns()
        self.started.append(f"{name} {first}")
        while (status := await self._try(request)) == 503:
            self.put_off += 1
            await asyncio.sleep(_PAUSE)
        self.latencies.append(monotonic_ns() - first)
        self.kept += status == 200

    async def _try(self, request: bytes) -> int:
        client = await self._connection()
        status, _ = await client.exchange(request)
        self._free.append(client)
        return status

    async def _connection(self) -> Client:
        while self._free:
            client = self._free.popleft()
            if not client.closed:  # the service closes what was idle for long
                return client
        return await self._connect()


async def paced(
    ports: list[int], path: str, authorization: str, ids: str, skip: int, count: int, rate: float, times: str
) -> dict[str, Any]:
    """Posts callbacks of one element, evenly, whether or not earlier ones were answered; writes when each left."""
    host = f"{HOST}:{ports[0]}"
    ready = [
        (callback_request(path, host, authorization, [element(uuid, "delivered")]), name)
        for uuid, name in read_rows(ids, skip, count)
    ]
    pacing = _Pacing(ports)
    await pacing.open(len(ports))
    await _evenly(ready, rate, pacing.post)
    pacing.close()
    write_lines(times, pacing.started)
    return {
        "elements": len(ready),
        "acknowledged": pacing.kept,
        "put_off": pacing.put_off,
        "answer_ms": percentiles(pacing.latencies),
    }


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
