"""One HTTP/1.1 connection that carries GETs, one after the other; httptools (the parser of Node) reads the answers.

Nothing here raises for what a peer does: every exchange ends with an `Outcome`. A request is written once; whatever
happens to the connection after that is doubt (`NoReply`).
"""

from __future__ import annotations

import asyncio
from typing import cast

import httptools

from bridge.core.exchange import NoReply, Outcome, Reply
from bridge.transport.protocol import MAX_REPORT_ANSWER

__all__ = ["Connection"]

_MAX_HEAD = 64 * 1024  # bytes
_WITHOUT_BODY = (204, 304)


class Connection(asyncio.Protocol):
    """`exchange` while it is `open`.

    For whoever holds it, in the loop's time: the `deadline` of the exchange under way; `idle_until` it may wait for
    the next one.
    """

    def __init__(self) -> None:
        self.idle_until = 0.0
        self.deadline = 0.0
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Outcome] | None = None
        self._spoke_unasked = False
        self._parser = httptools.HttpResponseParser(self)
        self._begin()

    def _begin(self, size: int = 0) -> None:
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._size = size  # of all that came, head and framing too
        self._body_size = 0
        self._in_body = False

    @property
    def open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def exchange(self, request: bytes) -> Outcome:
        """Writes a whole request, and waits for the answer; whoever holds the connection watches its deadline."""
        assert self._transport is not None
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            return await self._waiting
        except asyncio.CancelledError:
            self.abort("given up")
            raise

    def abort(self, reason: str) -> None:
        """Ends the connection at once; an exchange that is under way is in doubt."""
        self._end(NoReply(reason))
        if self._transport is not None:
            self._transport.abort()

    # --- what asyncio calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it

    def data_received(self, data: bytes) -> None:
        if self._waiting is None:
            self.abort("the peer spoke without being asked")
            return
        self._size += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.abort("the peer changed the protocol")
        except httptools.HttpParserError:
            self.abort("the answer is no HTTP")
        if self._is_too_large():
            self.abort("the answer is too large")
        elif self._spoke_unasked:
            self.abort("the peer spoke without being asked")

    def connection_lost(self, exc: Exception | None) -> None:
        if self._in_body and exc is None and self._is_unframed():
            self._end(self._reply())  # the end of the connection is the end of the answer
        else:
            lost = (
                "the connection was reset" if exc else "the connection was closed before the answer was whole"
            )
            self._end(NoReply(lost))

    # --- what httptools calls ---

    def on_message_begin(self) -> None:
        # More than one answer to a request: what follows must not be taken for the answer to the next one.
        self._spoke_unasked = self._waiting is None

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._in_body = True

    def on_body(self, body: bytes) -> None:
        self._body_size += len(body)
        self._body.append(body)

    def on_message_complete(self) -> None:
        if (
            self._parser.get_status_code() < 200
        ):  # an interim answer: the real one follows, or more and more of these
            self._begin(self._size)
            return
        if self._body_size > MAX_REPORT_ANSWER:
            return  # `data_received` ends it
        keep = self._parser.should_keep_alive()
        self._end(self._reply())
        self._begin()
        if not keep and self._transport is not None:
            self._transport.close()

    def _reply(self) -> Reply:
        return Reply(self._parser.get_status_code(), b"".join(self._body), self._headers)

    def _is_too_large(self) -> bool:
        if not self._in_body:
            return self._size > _MAX_HEAD
        return self._body_size > MAX_REPORT_ANSWER or self._size > MAX_REPORT_ANSWER + _MAX_HEAD

    def _is_unframed(self) -> bool:
        framed = "content-length" in self._headers or "transfer-encoding" in self._headers
        return not framed and self._parser.get_status_code() not in _WITHOUT_BODY

    def _end(self, outcome: Outcome) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():
            waiting.set_result(outcome)
