"""The simulated SMTP server: what it takes, AUTH, TLS, and its ledger. The client is aiosmtplib."""

from __future__ import annotations

import ssl
from email.message import EmailMessage
from typing import TYPE_CHECKING, Any

import aiohttp
import aiosmtplib
import pytest

from bridge.sim import SmtpConfig, SmtpSimulator

if TYPE_CHECKING:
    from tests.sim.conftest import Eventually

ID = "0190a540-f662-745b-8311-eebe56024200"
TAG = ID.replace("-", "")
LOGIN = ("mailer", "s3cret")


def secret(tls: str = "none") -> SmtpConfig:
    """A server that wants the login."""
    return SmtpConfig(tls=tls, username=LOGIN[0], password=LOGIN[1])


def mail(text: str = "Hi", message_id: str = f"<{ID}@bridge.example>") -> EmailMessage:
    """A mail with an id."""
    message = EmailMessage()
    message["From"] = "Amazing <noreply@amazing.co>"
    message["To"] = "ann@example.com"
    message["Subject"] = "Grüße"
    message["Message-ID"] = message_id
    message.set_content(text)
    message.add_alternative(f"<p>{text}</p>", subtype="html")
    return message


def connect(sim: SmtpSimulator, **options: Any) -> aiosmtplib.SMTP:
    """A client for the simulator, which trusts its certificate."""
    context = ssl.create_default_context(cafile=sim.certificate_path) if sim.certificate_path else None
    arguments = {"use_tls": False, "start_tls": False, "tls_context": context, "timeout": 5, **options}
    return aiosmtplib.SMTP(hostname=sim.smtp_host, port=sim.smtp_port, **arguments)


async def test_a_mail_is_taken() -> None:
    """Envelope and content are kept as they came, and can be parsed; the tag is in the Message-ID."""
    async with SmtpSimulator() as sim:
        async with connect(sim) as client:
            await client.send_message(mail("Hi\n.hidden dot\n..two"))
        [taken] = sim.ledger.mails
    assert (taken.sender, taken.recipient) == ("noreply@amazing.co", "ann@example.com")
    assert (taken.message["Subject"], taken.tag) == ("Grüße", TAG)
    part = taken.message.get_body(("plain",))
    assert part is not None
    assert part.get_content().split() == ["Hi", ".hidden", "dot", "..two"]
    assert b"\r\n.hidden dot\r\n..two\r\n" in taken.content
    [row] = sim.ledger.listing()
    assert (row.tags, row.acknowledged, row.channel_type) == ((TAG,), ("taken",), "EMAIL")


async def test_commands_and_connections_are_counted(eventually: Eventually) -> None:
    """One connection can carry several mails, and every command is counted."""
    async with SmtpSimulator() as sim:
        async with connect(sim) as client:
            for _ in range(3):
                await client.send_message(mail())
            await client.noop()
        async with connect(sim) as client:
            await client.send_message(mail())
        await eventually(lambda: (sim.ledger.connections, sim.ledger.open_connections) == (2, 0))
    assert sim.ledger.commands == {"EHLO": 2, "MAIL": 4, "RCPT": 4, "DATA": 4, "NOOP": 1, "QUIT": 2}
    assert [one.connection for one in sim.ledger.mails] == [1, 1, 1, 2]
    assert sim.summary()["duplicates_by_tag"] == {TAG: 4}


async def test_the_tag_may_stand_in_another_header() -> None:
    """Without a UUID in the Message-ID, the first one in an X- header is the tag."""
    message = mail(message_id="<1.2@bridge.example>")
    message["X-Smartico-Uid"] = "abc"
    message["X-Ext-Message-Id"] = ID
    async with SmtpSimulator() as sim:
        async with connect(sim) as client:
            await client.send_message(message)
        assert sim.ledger.mails[0].tag == TAG


async def test_addresses_may_be_international() -> None:
    """SMTPUTF8 is on: addresses and headers may hold what is not ASCII."""
    async with SmtpSimulator() as sim:
        async with connect(sim) as client:
            await client.sendmail(
                "grüße@amazing.co",
                ["müller@example.com"],
                "Subject: Grüße\r\n\r\nHi\r\n".encode(),
                mail_options=["SMTPUTF8", "BODY=8BITMIME"],
            )
        [taken] = sim.ledger.mails
    assert (taken.sender, taken.recipient, taken.smtputf8) == ("grüße@amazing.co", "müller@example.com", True)


@pytest.mark.parametrize("mechanism", ["auth_plain", "auth_login"])
async def test_auth(mechanism: str) -> None:
    """With a username, AUTH has to come first, by either mechanism, with the right password."""
    async with SmtpSimulator(secret()) as sim:
        async with connect(sim) as client:
            with pytest.raises(aiosmtplib.SMTPResponseException, match="Authentication required"):
                await client.send_message(mail())
            await client.ehlo()
            with pytest.raises(aiosmtplib.SMTPAuthenticationError) as refused:
                await getattr(client, mechanism)("mailer", "guess")
            assert refused.value.code == 535
            await getattr(client, mechanism)(*LOGIN)
            await client.send_message(mail())
        assert (len(sim.ledger.mails), sim.ledger.commands["AUTH"]) == (1, 2)


async def test_without_a_username_there_is_no_auth() -> None:
    """AUTH is not offered then."""
    async with SmtpSimulator() as sim, connect(sim) as client:
        await client.ehlo()
        assert not client.supports_extension("auth")


async def test_starttls() -> None:
    """STARTTLS has to come first, with the certificate as a file, and AUTH is offered after it only."""
    async with SmtpSimulator(secret("starttls")) as sim:
        async with connect(sim) as client:
            await client.ehlo()
            assert not client.supports_extension("auth")
            with pytest.raises(aiosmtplib.SMTPResponseException, match="STARTTLS"):
                await client.mail("a@b.cd")
            await client.starttls()
            await client.login(*LOGIN)
            await client.send_message(mail())
        assert sim.ledger.mails[0].secure
        assert sim.ledger.commands["STARTTLS"] == 1
        path = sim.certificate_path
        assert path is not None
        assert path.read_bytes().startswith(b"-----BEGIN CERTIFICATE")
    assert not path.exists()
    assert (sim.ledger.connections, sim.ledger.open_connections) == (1, 0)


async def test_tls_from_the_first_byte() -> None:
    """Implicit TLS, with AUTH at once."""
    async with SmtpSimulator(secret("tls")) as sim:
        async with connect(sim, use_tls=True, username=LOGIN[0], password=LOGIN[1]) as client:
            await client.send_message(mail())
        assert sim.ledger.mails[0].secure


async def test_the_certificate_has_to_be_trusted() -> None:
    """A client that does not know the certificate does not get through."""
    async with SmtpSimulator(SmtpConfig(tls="starttls")) as sim, connect(sim) as client:
        with pytest.raises(ssl.SSLCertVerificationError):
            await client.starttls(tls_context=ssl.create_default_context())


async def test_the_size_is_bounded() -> None:
    """A content above max_bytes is refused, and the server says so in advance."""
    async with SmtpSimulator(SmtpConfig(max_bytes=1000)) as sim:
        async with connect(sim) as client:
            with pytest.raises(aiosmtplib.SMTPResponseException) as refused:
                await client.send_message(mail("x\n" * 1000))
        assert refused.value.code == 552
        assert not sim.ledger.mails


async def test_everything_shows_over_http(client: aiohttp.ClientSession) -> None:
    """Summary, messages and faults are at an HTTP address beside the server."""
    async with SmtpSimulator() as sim:
        async with connect(sim) as smtp:
            await smtp.send_message(mail())
        async with client.get(f"{sim.url}/_sim/summary") as answer:
            assert (await answer.json())["accepted"] == 1
        async with client.get(f"{sim.url}/_sim/messages") as answer:
            assert (await answer.json())[0]["tags"] == [TAG]
        async with client.put(f"{sim.url}/_sim/faults", json={"recipient_refused": 1}) as answer:
            assert answer.status == 200
        async with connect(sim) as smtp:
            with pytest.raises(aiosmtplib.SMTPRecipientsRefused):
                await smtp.send_message(mail())


async def test_it_stops_with_open_connections() -> None:
    """A connection that a client keeps does not keep the server."""
    async with SmtpSimulator() as sim:
        client = connect(sim)
        await client.connect()
    assert sim.ledger.open_connections == 0
    client.close()
