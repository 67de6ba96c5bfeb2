"""Mails over SMTP against a simulated server, on the event loop of production and on the standard one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Literal

import pytest
import uvloop

from bridge.core.exchange import Mail, MailReply, NoConnection, NoReply, SendOutcome
from bridge.secret import Secret
from bridge.sim import SmtpConfig, SmtpFaults, SmtpSimulator
from bridge.transport import MailServer, MailTransport

Tls = Literal["starttls", "tls", "none"]
Use = Callable[[MailTransport, SmtpSimulator], Awaitable[None]]

CONTENT = b"Subject: hi\r\nMessage-ID: <0199c0de-0000-7000-8000-000000000001@a.co>\r\n\r\none\n.two\n.\nthree"


def mail(content: bytes = CONTENT, timeout: float = 20.0, **changes: object) -> Mail:
    values: dict[str, object] = {"sender": "a@a.co", "recipient": "b@b.co", "utf8": False, **changes}
    return Mail(content=content, timeout=timeout, **values)  # type: ignore[arg-type]


def faults(name: str) -> SmtpFaults:
    return SmtpFaults(**{name: 1.0})  # type: ignore[arg-type]


async def _serve(
    use: Use,
    config: SmtpConfig,
    faults: SmtpFaults | None,
    user: str,
    trust: Callable[[str], None],
) -> None:
    async with SmtpSimulator(config, faults) as server:
        if server.certificate_path:
            trust(str(server.certificate_path))
        tls: Tls = config.tls  # type: ignore[assignment]
        address = MailServer("localhost", server.smtp_port, user, Secret("a password"), tls)
        transport = MailTransport(address)
        try:
            await use(transport, server)
        finally:
            await transport.close()


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs something with a transport and its server, on each event loop."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop

    def trust(certificate: str) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", certificate)

    def start(
        use: Use, config: SmtpConfig | None = None, faults: SmtpFaults | None = None, user: str = ""
    ) -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(_serve(use, config or SmtpConfig(), faults, user, trust))

    return start


@pytest.mark.parametrize("tls", ["none", "starttls", "tls"])
def test_a_mail_arrives_as_it_was_written(run: Callable[..., None], tls: Tls) -> None:
    """Lines that begin with dots, and bare line ends, arrive as lines; with and without encryption and sign-in."""

    async def use(transport: MailTransport, server: SmtpSimulator) -> None:
        for _ in range(3):
            outcome = await transport.exchange(mail())
            assert isinstance(outcome, MailReply)
            assert (outcome.stage, outcome.code) == ("content", 250)
        assert [each.content.splitlines()[-4:] for each in server.ledger.mails] == [
            [b"one", b".two", b".", b"three"]
        ] * 3
        assert server.ledger.connections == 1
        assert {each.secure for each in server.ledger.mails} == {tls != "none"}

    run(use, SmtpConfig(tls=tls, username="bridge", password="a password"), user="bridge")


def test_before_the_dot_it_is_certain(run: Callable[..., None]) -> None:
    """A connection that is cut while a large mail is being written leaves no doubt: nothing was taken."""

    async def use(transport: MailTransport, server: SmtpSimulator) -> None:
        large = CONTENT + b"\r\n" + b"x" * 70 + b"\r\n" * 2 + (b"y" * 75 + b"\r\n") * 200_000
        assert isinstance(await transport.exchange(mail(large)), NoConnection)
        assert not server.ledger.mails

    run(use, faults=SmtpFaults(reset_before_dot=1.0))


@pytest.mark.parametrize("fault", ["reset_after_dot", "timeout_after_dot"])
def test_after_the_dot_nobody_knows(run: Callable[..., None], fault: str) -> None:
    """The server took the mail and its answer is missing: that is the one end that leaves it open."""

    async def use(transport: MailTransport, server: SmtpSimulator) -> None:
        assert isinstance(await transport.exchange(mail(timeout=1.5)), NoReply)
        assert len(server.ledger.mails) == 1

    run(use, faults=faults(fault))


@pytest.mark.parametrize(
    ("fault", "stage", "code"),
    [
        ("greeting", "greeting", 421),
        ("sender_later", "sender", 451),
        ("sender_refused", "sender", 550),
        ("recipient_later", "recipient", 450),
        ("recipient_refused", "recipient", 550),
        ("data_later", "content", 451),
        ("content_later", "content", 451),
        ("content_refused", "content", 554),
    ],
)
def test_refusals_say_where(run: Callable[..., None], fault: str, stage: str, code: int) -> None:
    """Every refusal comes back with its stage and code, and the next mail goes through all the same."""

    async def use(transport: MailTransport, server: SmtpSimulator) -> None:
        outcome = await transport.exchange(mail())
        assert isinstance(outcome, MailReply)
        assert (outcome.stage, outcome.code) == (stage, code)
        server.faults = SmtpFaults()
        after = await transport.exchange(mail())
        assert isinstance(after, MailReply)
        assert after.code == 250
        assert len(server.ledger.mails) == 1

    run(use, faults=faults(fault))


@pytest.mark.parametrize("fault", ["auth_refused", "auth_later"])
def test_who_was_not_let_in_begins_anew(run: Callable[..., None], fault: str) -> None:
    """A connection on which the sign-in was refused is not kept: the next mail signs in again, and arrives."""

    async def use(transport: MailTransport, server: SmtpSimulator) -> None:
        outcome = await transport.exchange(mail())
        assert isinstance(outcome, MailReply)
        assert outcome.stage == "login"
        server.faults = SmtpFaults()
        assert isinstance(taken := await transport.exchange(mail()), MailReply)
        assert taken.code == 250
        assert server.ledger.connections == 2

    run(use, SmtpConfig(username="bridge", password="a password"), faults(fault), user="bridge")


def test_a_wrong_password_is_about_us(run: Callable[..., None]) -> None:
    """The sign-in is a stage of its own, so that it pauses the provider instead of failing the mail."""

    async def use(transport: MailTransport, server: SmtpSimulator) -> None:
        outcome = await transport.exchange(mail())
        assert isinstance(outcome, MailReply)
        assert (outcome.stage, outcome.code) == ("login", 535)
        assert (await transport.check() or "").startswith("login: 535")
        assert not server.ledger.mails

    run(use, SmtpConfig(username="bridge", password="another"), user="bridge")


@pytest.mark.parametrize("answer", [b"250 ok", b"200 ok", b"what?", b"354"])
def test_without_a_go_ahead_nothing_was_taken(run: Callable[..., None], answer: bytes) -> None:
    """An answer to DATA that is no go-ahead is no acceptance, whatever it says; the connection is not used again."""

    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while line := await reader.readline():
                is_data = line.startswith(b"DATA")
                writer.write((answer if is_data else b"250 ok") + b"\r\n")
                if is_data and answer == b"354":
                    await reader.readuntil(b"\r\n.\r\n")
                    writer.write(b"what?\r\n")
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        ended.set()

    async def use(_: MailTransport, __: SmtpSimulator) -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        transport = MailTransport(MailServer("127.0.0.1", port, "", Secret(""), "none"))
        outcome = await transport.exchange(mail())
        if answer == b"354":
            assert isinstance(outcome, MailReply | NoReply)
            assert not (isinstance(outcome, MailReply) and 200 <= outcome.code < 600)
        else:
            assert isinstance(outcome, NoConnection)
        await ended.wait()  # it was not kept
        await transport.close()
        server.close()
        await server.wait_closed()

    run(use)


@pytest.mark.parametrize("silently", [True, False])
def test_a_kept_connection_that_is_gone_is_replaced(run: Callable[..., None], silently: bool) -> None:
    """A server that closes connections after each mail costs nothing, whether it says so or not."""

    async def use(transport: MailTransport, server: SmtpSimulator) -> None:
        outcomes: list[SendOutcome] = [await transport.exchange(mail()) for _ in range(4)]
        assert [each.code for each in outcomes if isinstance(each, MailReply)] == [250] * 4
        assert len(server.ledger.mails) == 4
        assert server.ledger.connections == 4

    run(use, SmtpConfig(messages_per_connection=1), SmtpFaults(close_idle_silently=silently))


def test_an_address_that_the_server_cannot_take(run: Callable[..., None]) -> None:
    """An address that cannot be written is refused by itself, before anything of the mail is."""

    async def use(transport: MailTransport, server: SmtpSimulator) -> None:
        outcome = await transport.exchange(mail(recipient="ö@b.co"))
        assert isinstance(outcome, MailReply)
        assert (outcome.stage, outcome.code) == ("recipient", 553)
        taken = await transport.exchange(mail(recipient="ö@b.co", utf8=True))
        assert isinstance(taken, MailReply)
        assert taken.code == 250
        assert [each.recipient for each in server.ledger.mails] == ["ö@b.co"]

    run(use)


def test_nobody_listens(run: Callable[..., None]) -> None:
    """Without a server it is certain that nothing was taken, and `bridge check` gets a sentence."""

    async def use(transport: MailTransport, server: SmtpSimulator) -> None:
        await server.__aexit__(None, None, None)
        assert isinstance(await transport.exchange(mail()), NoConnection)
        assert await transport.check() == "no connection could be made"

    run(use)
