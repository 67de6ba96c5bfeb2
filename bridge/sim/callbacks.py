"""Posts callback elements in batches, one lane for each URL, and repeats what was not answered with 2xx.

Revicom, SendGrid and the operator's platform all do: the body is always an array, login:password of the URL
becomes Basic authorization. Invented: that the very same batch is repeated at even intervals, the size of
batches, how long an incomplete one waits, and how many are in flight at a time. A hook makes further headers
for a body, anew for each attempt: signatures.
"""

import asyncio
import base64
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit, urlunsplit

import aiohttp
import msgspec

from bridge.sim.callbacks_config import CallbackConfig
from bridge.sim.faults import Dice

HeaderMaker = Callable[[bytes], Mapping[str, str]]


class Acknowledged(NamedTuple):
    """A callback element that was answered with 2xx, for the first time."""

    status: str
    at: float


class Acknowledging(Protocol):
    """A message that remembers which of its callbacks were answered with 2xx."""

    @property
    def acknowledged(self) -> list[Acknowledged]:
        """In the order of the answers."""


class CallbackLedger:
    """What was posted and answered. Read its attributes freely; only the simulator writes."""

    def __init__(self) -> None:
        self.callback_answers: Counter[str] = Counter()  # by HTTP status or kind of failure, one a batch
        self.callbacks_planned = 0  # elements that will be, or were, owed to somebody
        self.callbacks_sent = 0  # elements posted, resends and faults included
        self.callbacks_acknowledged = 0  # owed elements answered with 2xx, each counted once
        self.callbacks_repeated = 0  # owed elements answered with 2xx again
        self.callbacks_abandoned = 0  # owed elements given up after resend_for_seconds

    @property
    def callbacks_pending(self) -> int:
        """Owed elements that nobody has acknowledged yet."""
        return self.callbacks_planned - self.callbacks_acknowledged - self.callbacks_abandoned

    def note_acknowledged(self, message: Acknowledging | None, status: str, *, first: bool) -> None:
        """Remember that an owed element was answered with 2xx; the message is None for an inbound one."""
        if not first:
            self.callbacks_repeated += 1
            return
        self.callbacks_acknowledged += 1
        if message is not None:
            message.acknowledged.append(Acknowledged(status, time.time()))

    def callback_counts(self) -> dict[str, Any]:
        """The counts of callbacks, for a summary."""
        return {
            "callbacks_sent": self.callbacks_sent,
            "callbacks_acknowledged": self.callbacks_acknowledged,
            "callbacks_repeated": self.callbacks_repeated,
            "callbacks_pending": self.callbacks_pending,
            "callbacks_abandoned": self.callbacks_abandoned,
            "callback_answers": self.callback_answers,
        }


@dataclass(slots=True, eq=False)
class Element:
    """One element to post. `owed` ones are real; the others are faults that nobody waits for."""

    body: Any
    message: Acknowledging | None = None
    status: str = ""
    owed: bool = True
    acknowledged: int = 0


@dataclass(slots=True, eq=False)
class Batch:
    """Elements posted together; the bytes stay the same in every attempt."""

    elements: list[Element]
    body: bytes
    first_tried: float


class CallbackSender:
    """All lanes. Nothing is posted any more once it is closed. The faults of the dice are CallbackFaults.

    `tail` is what follows the JSON array in every body, `make_headers` what goes beside Content-Type and
    Authorization.
    """

    def __init__(
        self,
        config: CallbackConfig,
        dice: Dice[Any],
        ledger: CallbackLedger,
        *,
        tail: bytes = b"",
        make_headers: HeaderMaker | None = None,
    ) -> None:
        self.config = config
        self.dice = dice
        self.ledger = ledger
        self.tail = tail
        self._make_headers = make_headers
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=config.callback_timeout_seconds),
            skip_auto_headers=("User-Agent", "Accept-Encoding"),
        )
        self._lanes: dict[str, _Lane] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def add(self, url: str, element: Element, delay: float = 0.0) -> None:
        """Post an element with the next batch of its URL, after the delay."""
        if self._closed:
            return
        if delay > 0:
            asyncio.get_running_loop().call_later(delay, self.add, url, element)
        else:
            self._lane(url).add(element)

    async def post_now(self, url: str, elements: list[Element]) -> None:
        """Post elements at once and wait for the answers; what fails is repeated as always."""
        lane, size = self._lane(url), self.config.batch_size
        parts = [elements[start : start + size] for start in range(0, len(elements), size)]
        batches = [make_batch(part, self.tail) for part in parts]
        await asyncio.gather(*(lane.launch(batch) for batch in batches))

    async def close(self) -> None:
        """Stop posting, whatever is still owed."""
        self._closed = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.session.close()

    def start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Run something in the background until the sender is closed."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._closed:
            task.cancel()
        return task

    def headers_for(self, body: bytes) -> Mapping[str, str]:
        """The further headers of one attempt to post a body."""
        return self._make_headers(body) if self._make_headers else {}

    def _lane(self, url: str) -> "_Lane":
        lane = self._lanes.get(url)
        if lane is None:
            lane = self._lanes[url] = _Lane(self, url)
        return lane


class _Lane:
    """What goes to one URL: elements that are due, and batches on their way."""

    def __init__(self, sender: CallbackSender, url: str) -> None:
        self._sender = sender
        self._url, self._headers = split_credentials(url)
        self._original_url = url
        self._due: deque[Element] = deque()
        self._in_flight = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, element: Element) -> None:
        self._due.append(element)
        if len(self._due) >= self._sender.config.batch_size:
            self._flush()
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._sender.config.flush_seconds, self._flush)

    def _flush(self) -> None:
        """Start batches while elements wait and connections are free."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        config, dice = self._sender.config, self._sender.dice
        while self._due and self._in_flight < config.callback_connections:
            if dice.throws("shuffle"):
                dice.random.shuffle(self._due)
            elements = [self._due.popleft() for _ in range(min(len(self._due), config.batch_size))]
            self.launch(make_batch(elements, self._sender.tail))

    def launch(self, batch: Batch) -> "asyncio.Task[None]":
        """Post a batch in the background."""
        self._in_flight += 1
        return self._sender.start(self._post(batch))

    async def _post(self, batch: Batch) -> None:
        """One attempt at one batch, and what follows from its answer."""
        try:
            acknowledged = await self._attempt(batch)
        finally:
            self._in_flight -= 1
        if acknowledged:
            self._settle(batch)
        else:
            self._repeat_later(batch)
        if self._due and self._timer is None:
            self._flush()

    async def _attempt(self, batch: Batch) -> bool:
        ledger = self._sender.ledger
        ledger.callbacks_sent += len(batch.elements)
        headers = {**self._headers, **self._sender.headers_for(batch.body)}
        try:
            async with self._sender.session.post(
                self._url, data=batch.body, headers=headers, allow_redirects=False
            ) as answer:
                await answer.read()
                ledger.callback_answers[str(answer.status)] += 1
                return 200 <= answer.status < 300
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            ledger.callback_answers[type(error).__name__] += 1
            return False

    def _settle(self, batch: Batch) -> None:
        sender = self._sender
        for element in batch.elements:
            if element.owed:
                sender.ledger.note_acknowledged(
                    element.message, element.status, first=element.acknowledged == 0
                )
                element.acknowledged += 1
                if sender.dice.throws("repeat_element"):
                    sender.add(self._original_url, element, sender.config.flush_seconds)
        if sender.dice.throws("repeat_batch"):
            self.launch(batch)

    def _repeat_later(self, batch: Batch) -> None:
        config = self._sender.config
        if time.monotonic() + config.resend_seconds - batch.first_tried > config.resend_for_seconds:
            owed = sum(1 for element in batch.elements if element.owed and not element.acknowledged)
            self._sender.ledger.callbacks_abandoned += owed
        else:
            asyncio.get_running_loop().call_later(config.resend_seconds, self.launch, batch)


def make_batch(elements: list[Element], tail: bytes = b"") -> Batch:
    """A batch that begins its life now."""
    body = msgspec.json.encode([element.body for element in elements]) + tail
    return Batch(elements, body, time.monotonic())


def split_credentials(url: str) -> tuple[str, dict[str, str]]:
    """The URL without its login:password, and the headers of a callback to it."""
    parts = urlsplit(url)
    headers = {"Content-Type": "application/json"}
    userinfo, _, address = parts.netloc.rpartition("@")
    if userinfo:
        login, _, password = userinfo.partition(":")
        pair = f"{unquote(login)}:{unquote(password)}"
        headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    return urlunsplit(parts._replace(netloc=address)), headers
