"""Mails over SMTP: aiosmtplib, on connections that are kept.

What happened before the final dot is certain: the server took nothing. Only between that dot and its answer nobody
knows. So the content is written out first, and the dot by itself.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from typing import Literal, cast

from msgspec import Struct

from bridge.core.exchange import Mail, MailReply, NoConnection, NoReply, Stage
from bridge.errors import BridgeError
from bridge.secret import Secret
from bridge.transport.protocol import CONNECT_WITHIN

try:
    import aiosmtplib
except ImportError:  # an extra: only who sends mails needs it
    aiosmtplib = None  # type: ignore[assignment]

__all__ = ["MailServer", "MailTransport"]

_FIRST_DOT = re.compile(rb"(?m)^\.")
_LINE_END = re.compile(rb"\r\n|\r|\n")
_COMPLETED = 250
_GO_AHEAD = 354  # the content may follow
_REFUSALS = range(400, 600)
_CLOSING = 421  # the server goes away
_BAD_ADDRESS = 553
_NOT_OFFERED = 502
_BEFORE_MAILS = ("greeting", "login")  # who was refused there is to begin anew
_LEAVE_WITHIN = 1.0  # seconds
_LOOK_EVERY = 0.01  # seconds between looks at whether the content has left


_Outcome = MailReply | NoConnection | NoReply


class MailServer(Struct, frozen=True):
    """Where mails go, and as whom. `tls`: "starttls" insists on it, "tls" from the first byte on."""

    host: str
    port: int
    username: str
    password: Secret
    tls: Literal["starttls", "tls", "none"]


class MailTransport:
    """Keeps as many connections as there were exchanges at a time. Never raises for what a server does."""

    def __init__(self, server: MailServer) -> None:
        if aiosmtplib is None:
            raise BridgeError(
                "A provider has the adapter smtp, and aiosmtplib is not installed: install bridge[email]."
            )
        self._server = server
        self._idle: list[aiosmtplib.SMTP] = []

    async def exchange(self, mail: Mail) -> _Outcome:
        """Hands one mail over. Connections that turn out to be gone are replaced, and nobody sees that."""
        end = asyncio.get_running_loop().time() + mail.timeout
        while self._idle:
            outcome = await self._attempt(_Session(self._server, self._idle.pop()), mail, end)
            if not _was_gone(outcome):
                return outcome
        return await self._attempt(_Session(self._server), mail, end)

    async def _attempt(self, session: _Session, mail: Mail, end: float) -> _Outcome:
        try:
            return await _guarded(session, mail, end)
        finally:
            if session.usable:
                self._idle.append(session.client)
            else:
                session.client.close()

    async def check(self) -> str | None:
        """Connects and signs in; gives what is wrong, if anything."""
        session = _Session(self._server)
        outcome = await _guarded(session, None, asyncio.get_running_loop().time() + CONNECT_WITHIN)
        await _leave(session.client)
        return None if isinstance(outcome, MailReply) and outcome.code == _COMPLETED else outcome.reason

    async def close(self) -> None:
        clients, self._idle = self._idle, []
        await asyncio.gather(*map(_leave, clients))


class _Session:
    """One mail on one connection, step by step. `stage` is what is being done, `dotted`: the final dot has left."""

    def __init__(self, server: MailServer, client: aiosmtplib.SMTP | None = None) -> None:
        self._server = server
        self._new = client is None
        self.client = client or aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            use_tls=server.tls == "tls",
            start_tls=False,
            timeout=None,  # the whole exchange has one
        )
        self.stage: Stage = "greeting"
        self.dotted = False
        self.usable = False

    async def run(self, mail: Mail | None) -> _Outcome:
        """Everything up to the server's last word; without a mail, up to the sign-in."""
        if self._new:
            await self._connect()
        else:
            await self.client.rset()
        if mail is None:
            return MailReply(self.stage, _COMPLETED, "ready")
        return await self._hand_over(mail)

    async def _connect(self) -> None:
        await self.client.connect(timeout=CONNECT_WITHIN)
        await self.client.ehlo()
        if self._server.tls == "starttls":
            await self.client.starttls()
        if self._server.username:
            self.stage = "login"
            await self.client.login(self._server.username, self._server.password.reveal())

    async def _hand_over(self, mail: Mail) -> MailReply | NoConnection:
        options, encoding = self._options(mail)
        self.stage = "sender"
        await self.client.mail(mail.sender, options=options, encoding=encoding)
        self.stage = "recipient"
        await self.client.rcpt(mail.recipient, encoding=encoding)
        self.stage = "content"
        go_ahead = await self.client.execute_command(b"DATA")
        if go_ahead.code in _REFUSALS:
            return MailReply(self.stage, go_ahead.code, go_ahead.message)
        if go_ahead.code != _GO_AHEAD:  # perhaps the answer to something else: nothing of the mail has left
            return NoConnection("the server gave no go-ahead")
        await self._write(mail.content)
        self.dotted = True
        answer = await self.client.execute_command(b".")
        return MailReply(self.stage, answer.code, answer.message)

    def _options(self, mail: Mail) -> tuple[list[str], str]:
        if not mail.utf8:
            return [], "ascii"
        if not self.client.supports_extension("smtputf8"):
            self.stage = "recipient"
            raise ValueError
        return ["SMTPUTF8", "BODY=8BITMIME"], "utf-8"

    async def _write(self, content: bytes) -> None:
        """Writes the content out, its line ends and first dots as SMTP wants them (RFC 5321, section 4.5.2)."""
        lines = _FIRST_DOT.sub(b"..", _LINE_END.sub(b"\r\n", content))
        protocol = self.client.protocol
        transport = cast(
            "asyncio.WriteTransport", self.client.transport
        )  # uvloop's do not say that they are one
        assert protocol is not None
        protocol.write(lines if lines.endswith(b"\r\n") else lines + b"\r\n")
        await asyncio.sleep(_LOOK_EVERY)  # a server that wants no more of it may say so before the dot is out
        while transport.get_write_buffer_size():
            await asyncio.sleep(_LOOK_EVERY)
        if not self.client.is_connected:
            raise aiosmtplib.SMTPServerDisconnected("Connection lost")

    def cut(self, reason: str) -> NoConnection | NoReply:
        """It ended without the server's last word."""
        return NoReply(reason) if self.dotted else NoConnection(reason)


async def _guarded(session: _Session, mail: Mail | None, end: float) -> _Outcome:
    try:
        async with asyncio.timeout_at(end):
            outcome: _Outcome = await session.run(mail)
    except aiosmtplib.SMTPResponseException as error:
        outcome = MailReply(session.stage, error.code, error.message)
        if not _well_formed(outcome):
            return session.cut("an answer that is not SMTP")
    except aiosmtplib.SMTPServerDisconnected:
        return session.cut("the connection was closed")
    except TimeoutError:  # aiosmtplib's among them
        return session.cut("no answer in time")
    except OSError as error:
        return session.cut(_SENTENCES.get(type(error).__name__, "no connection could be made"))
    except ValueError:  # no server takes such an address, or this one does not
        outcome = MailReply(session.stage, _BAD_ADDRESS, "the address cannot be written for this server")
    except aiosmtplib.SMTPException as error:  # what we insist on is not offered
        return MailReply(session.stage, _NOT_OFFERED, str(error))
    session.usable = (
        session.client.is_connected and session.stage not in _BEFORE_MAILS and _well_formed(outcome)
    )
    return outcome


def _well_formed(outcome: _Outcome) -> bool:
    """Whether the server's answers can be told apart still."""
    return isinstance(outcome, MailReply) and 200 <= outcome.code < 600


def _was_gone(outcome: _Outcome) -> bool:
    """Whether a kept connection was of no use any more: nothing was taken on it."""
    return isinstance(outcome, NoConnection) or (isinstance(outcome, MailReply) and outcome.code == _CLOSING)


_SENTENCES = {
    "SSLCertVerificationError": "the server's certificate is not trusted",
    "SSLError": "no encrypted connection could be made",
}


async def _leave(client: aiosmtplib.SMTP) -> None:
    """Says goodbye, but waits for no answer for long."""
    with suppress(aiosmtplib.SMTPException, OSError, TimeoutError):
        async with asyncio.timeout(_LEAVE_WITHIN):
            await client.quit()
    client.close()
