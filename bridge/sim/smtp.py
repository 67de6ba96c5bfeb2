"""A simulated SMTP server on a real socket, in the running event loop: takes mails, or fails to.

The protocol is aiosmtpd's (`smtp_protocol`). Optional: AUTH LOGIN and PLAIN, STARTTLS, TLS from the first
byte, both with a self-signed certificate made at the start (`certificate_path`). SMTPUTF8 and 8BITMIME are
always on. An HTTP socket beside it has the addresses under `/_sim/`, and only those: that is `url`.
"""

import asyncio
import contextlib
import ssl
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

from bridge.sim.server import Simulator
from bridge.sim.smtp_certificate import make_certificate, server_context
from bridge.sim.smtp_config import SmtpConfig, SmtpFaults
from bridge.sim.smtp_ledger import SmtpLedger
from bridge.sim.smtp_protocol import Connection, Post
from bridge.sim.verdict import Sent

_GOODBYE_SECONDS = 1.0  # how long connections may take to end when the server stops


class SmtpSimulator(Simulator[SmtpFaults]):
    """The mail server. `ledger` holds all it saw; `faults` may be changed at any time."""

    def __init__(self, config: SmtpConfig | None = None, faults: SmtpFaults | None = None) -> None:
        self.config = config or SmtpConfig()
        super().__init__(self.config.host, self.config.control_port, self.config.seed, faults or SmtpFaults())
        self.ledger = SmtpLedger()
        self.smtp_host = self.config.host
        self.smtp_port = self.config.port  # the real one once it listens
        self.certificate_path: Path | None = None  # PEM, for clients that trust it; None: no TLS
        self._post: Post
        self._server: asyncio.Server
        self._stack = contextlib.ExitStack()

    async def opened(self) -> None:
        secure = self.config.tls != "none"
        context = self._make_context() if secure else None
        post = self._post = Post(self.config, self.dice, self.ledger, context)
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Connection(post),
            self.config.host,
            self.config.port,
            ssl=context if self.config.tls == "tls" else None,
            backlog=1024,
        )
        self.smtp_port = self._server.sockets[0].getsockname()[1]

    async def closing(self) -> None:
        self._server.close()
        for connection in list(self._post.open):
            connection.end()
        loop = asyncio.get_running_loop()
        end = loop.time() + _GOODBYE_SECONDS
        while self._post.open and loop.time() < end:
            await asyncio.sleep(0.001)
        self._stack.close()

    def routes(self) -> list[web.RouteDef]:
        return []

    def summary(self) -> dict[str, Any]:
        return self.ledger.summary()

    def messages(self) -> Sequence[Sent]:
        return self.ledger.listing()

    def _make_context(self) -> ssl.SSLContext:
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="sim-smtp-")))
        self.certificate_path, key = make_certificate(folder)
        return server_context(self.certificate_path, key)
