"""One connection to the simulated SMTP server: aiosmtpd's protocol, with faults and a ledger around it.

What aiosmtpd does itself: EHLO, SIZE, 8BITMIME, SMTPUTF8, STARTTLS, the dialogue of AUTH LOGIN and PLAIN,
dots of transparency, the order of commands; the names of methods are its own. Answers to MAIL, RCPT and the
content are decided here. A cut is a TCP reset.
"""

import asyncio
import contextlib
import logging
import socket
import ssl
import struct
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from bridge.sim.faults import Dice
from bridge.sim.smtp_config import SmtpConfig, SmtpFaults
from bridge.sim.smtp_ledger import SmtpLedger, SmtpMail, SmtpRefusal

# aiosmtpd warns of its own use of what it deprecated, at each AUTH.
logging.getLogger("mail.log").setLevel(logging.ERROR)
_NO_LINGER = struct.pack("ii", 1, 0)


class Post:
    """What all connections share: settings, chance, ledger and the certificate."""

    def __init__(
        self, config: SmtpConfig, dice: Dice[SmtpFaults], ledger: SmtpLedger, tls: ssl.SSLContext | None
    ) -> None:
        self.config = config
        self.dice = dice
        self.ledger = ledger
        self.tls = tls
        self.open: set[Connection] = set()

    def throws(self, name: str) -> bool:
        """Whether the fault happens now; it is counted then."""
        if not self.dice.throws(name):
            return False
        self.ledger.faults[name] += 1
        return True

    def authenticate(self, login: LoginPassword) -> bool:
        """Whether the credentials are the right ones."""
        expected = (self.config.username.encode(), self.config.password.encode())
        return (login.login, login.password) == expected


class Connection(SMTP):
    """One connection. Commands are counted, and each may go wrong."""

    def __init__(self, post: Post) -> None:
        config = post.config
        starttls = config.tls == "starttls"
        super().__init__(
            _Answers(post),
            data_size_limit=config.max_bytes,
            enable_SMTPUTF8=True,
            hostname=config.hostname,
            ident="ESMTP",
            tls_context=post.tls if starttls else None,
            require_starttls=starttls,
            timeout=config.idle_seconds,
            auth_require_tls=starttls,
            authenticator=self._authenticate_login,
            loop=asyncio.get_running_loop(),
        )
        self.post = post
        self.number = 0
        self.taken = 0  # contents so far
        self._socket: Any = None
        self._fresh: list[SmtpMail] = []  # taken, and not answered yet

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self.number:  # it is called again after STARTTLS
            self.post.ledger.commands["STARTTLS"] += 1
        else:
            self.number = self.post.ledger.opened()
            self.post.open.add(self)
            self._socket = transport.get_extra_info("socket")
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self in self.post.open:
            self.post.open.discard(self)
            self.post.ledger.open_connections -= 1
        super().connection_lost(error)

    def cut(self) -> None:
        """Reset the connection."""
        if self not in self.post.open:
            return
        with contextlib.suppress(OSError, ValueError):  # uvloop's, when the client has closed it already
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        transport: Any = self.transport  # uvloop's are of no common class
        if transport is not None:
            with contextlib.suppress(AttributeError):  # of a TLS one that was closed twice (Python 3.11.2)
                transport.abort()

    def end(self) -> None:
        """End the connection, whatever it is doing; a TLS one that says goodbye already cannot be reset."""
        self.cut()
        with contextlib.suppress(OSError, ValueError):
            number = self._socket.fileno()  # uvloop hands out a socket without shutdown
            with socket.fromfd(number, socket.AF_INET, socket.SOCK_STREAM) as connection:
                connection.shutdown(socket.SHUT_RDWR)

    async def cut_for_good(self) -> None:
        """Reset the connection, and wait for the end that this brings to its task."""
        self.cut()
        await asyncio.get_running_loop().create_future()

    async def check_auth_needed(self, caller_method: str) -> bool:
        """Whether AUTH has to come first; then that was the answer. (With aiosmtpd's own switch it warns.)"""
        session = self.session
        if not self.post.config.username or (session is not None and session.authenticated):
            return False
        await self.push(f"530 5.7.0 Authentication required before {caller_method}")
        return True

    async def smtp_AUTH(self, arg: str) -> None:  # noqa: N802
        self.post.ledger.commands["AUTH"] += 1
        if self.post.throws("auth_later"):
            await self.push("454 4.7.0 Temporary authentication failure")
        elif not self.post.config.username:
            await self.push("502 5.5.1 AUTH not available")
        else:
            await super().smtp_AUTH(arg)

    async def smtp_STARTTLS(self, arg: str) -> None:  # noqa: N802
        """TLS; a client that hangs up over the certificate leaves nothing to wait for."""
        await super().smtp_STARTTLS(arg)
        if self._tls_protocol is not None and self.session is not None and self.session.ssl is None:
            self.connection_lost(None)

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802
        """The content, and what goes wrong around it."""
        self.post.ledger.commands["DATA"] += 1
        ready = self.envelope is not None and bool(self.envelope.rcpt_tos)
        if ready and self.post.throws("data_later"):
            await self.push("451 4.3.0 Try again later")
            return
        if ready and self.post.throws("reset_before_dot"):
            await self.push("354 End data with <CR><LF>.<CR><LF>")
            await self._reader.readline()
            await self.cut_for_good()
        await super().smtp_DATA(arg)
        self._settle()
        await self._close_after()

    def note_taken(self, mails: list[SmtpMail]) -> None:
        """Remember what was taken; it counts as answered once the answer is written."""
        self.post.ledger.mails.extend(mails)
        self._fresh = mails
        self.taken += 1

    def _settle(self) -> None:
        for mail in self._fresh:
            mail.answered = True
        self._fresh = []

    async def _close_after(self) -> None:
        """Close a connection that was used, as servers do: with 421, or without a word."""
        post, limit = self.post, self.post.config.messages_per_connection
        full = limit > 0 and self.taken >= limit
        if not full and not post.throws("close_idle"):
            return
        faults = post.dice.faults
        await asyncio.sleep(faults.close_idle_seconds)
        if not faults.close_idle_silently:
            await self.push(f"421 4.4.2 {post.config.hostname} closes this connection")
        if self.transport is not None:
            self.transport.close()

    async def _handle_client(self) -> None:
        if not self.post.throws("greeting"):
            await super()._handle_client()
            return
        await self.push(f"421 4.3.2 {self.post.config.hostname} is not available, try again later")
        if self.transport is not None:
            self.transport.close()

    async def _call_handler_hook(self, command: str, *args: Any) -> Any:
        if command not in ("AUTH", "DATA"):
            self.post.ledger.commands[command] += 1
        return await super()._call_handler_hook(command, *args)

    def _authenticate_login(self, _: SMTP, __: Session, ___: Envelope, ____: str, login: Any) -> AuthResult:
        good = not self.post.throws("auth_refused") and self.post.authenticate(login)
        return AuthResult(success=good, handled=False)


class _Answers:
    """aiosmtpd's hooks: what each command is answered with."""

    def __init__(self, post: Post) -> None:
        self._post = post

    async def handle_EHLO(  # noqa: N802
        self, server: Connection, session: Session, _: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        return [one for one in responses if server.post.config.username or not one.startswith("250-AUTH")]

    async def handle_MAIL(  # noqa: N802
        self, _: Connection, __: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        faults = self._post.dice.faults
        if self._post.throws("sender_later"):
            return f"{faults.sender_later_code} 4.7.1 Sender: try again later"
        if self._post.throws("sender_refused"):
            self._refuse(faults.sender_refused_code, address)
            return f"{faults.sender_refused_code} 5.7.1 Sender refused"
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 Sender OK"

    async def handle_RCPT(  # noqa: N802
        self, _: Connection, __: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        faults = self._post.dice.faults
        if self._post.throws("recipient_later"):
            return f"{faults.recipient_later_code} 4.2.1 Recipient: try again later"
        if self._post.throws("recipient_refused"):
            self._refuse(faults.recipient_refused_code, envelope.mail_from or "", address)
            return f"{faults.recipient_refused_code} 5.1.1 No such recipient"
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 Recipient OK"

    async def handle_DATA(self, server: Connection, session: Session, envelope: Envelope) -> str:  # noqa: N802
        post, faults = self._post, self._post.dice.faults
        mails = [self._mail(server, session, envelope, one) for one in envelope.rcpt_tos]
        if post.throws("content_later"):
            return self._noted(f"{faults.content_later_code} 4.3.0 Content: try again later")
        if post.throws("content_refused"):
            for mail in mails:
                self._refuse(faults.content_refused_code, mail.sender, mail.recipient, mail.tag)
            return self._noted(f"{faults.content_refused_code} 5.6.0 Content refused")
        server.note_taken(mails)
        await self._fail_after(server)
        return self._noted(f"250 2.0.0 Taken as {server.number}-{server.taken}")

    async def _fail_after(self, server: Connection) -> None:
        """What goes wrong between the dot and its answer."""
        faults = self._post.dice.faults
        if self._post.throws("slow"):
            await asyncio.sleep(faults.slow_seconds)
        if self._post.throws("reset_after_dot"):
            self._noted("reset_after_dot")
            await server.cut_for_good()
        if self._post.throws("timeout_after_dot"):
            self._noted("timeout_after_dot")
            await asyncio.sleep(faults.timeout_seconds)
            await server.cut_for_good()

    def _mail(self, server: Connection, session: Session, envelope: Envelope, recipient: str) -> SmtpMail:
        content = envelope.original_content
        return SmtpMail(
            sender=envelope.mail_from or "",
            recipient=recipient,
            content=content if content is not None else b"",
            smtputf8=bool(envelope.smtp_utf8),
            secure=session.ssl is not None or self._post.config.tls == "tls",
            connection=server.number,
        )

    def _refuse(self, code: int, sender: str, recipient: str = "", tag: str = "") -> None:
        self._post.ledger.refused.append(SmtpRefusal(code, sender, recipient, tag))

    def _noted(self, answer: str) -> str:
        self._post.ledger.answers[answer.split(" ", 1)[0]] += 1
        return answer
