"""Faults of the simulated SMTP server, as aiosmtplib meets them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiosmtplib
import pytest

from bridge.sim import SmtpConfig, SmtpFaults, SmtpSimulator
from tests.sim.test_smtp import LOGIN, TAG, connect, mail, secret

if TYPE_CHECKING:
    from tests.sim.conftest import Eventually


def codes(error: aiosmtplib.SMTPException) -> list[int]:
    """The codes of an error: of every recipient, or its own."""
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        return [one.code for one in error.recipients]
    assert isinstance(error, aiosmtplib.SMTPResponseException)
    return [error.code]


@pytest.mark.parametrize(
    ("faults", "code", "refused"),
    [
        (SmtpFaults(sender_later=1), 451, 0),
        (SmtpFaults(sender_refused=1), 550, 1),
        (SmtpFaults(sender_refused=1, sender_refused_code=553), 553, 1),
        (SmtpFaults(recipient_later=1), 450, 0),
        (SmtpFaults(recipient_later=1, recipient_later_code=452), 452, 0),
        (SmtpFaults(recipient_refused=1), 550, 1),
        (SmtpFaults(data_later=1), 451, 0),
        (SmtpFaults(content_later=1), 451, 0),
        (SmtpFaults(content_refused=1), 554, 1),
    ],
)
async def test_answers_that_take_nothing(faults: SmtpFaults, code: int, refused: int) -> None:
    """Each answer has its code, nothing is taken, and only a 5xx is a refusal."""
    async with SmtpSimulator(faults=faults) as sim, connect(sim) as client:
        with pytest.raises(aiosmtplib.SMTPException) as error:
            await client.send_message(mail())
        assert codes(error.value) == [code]
        assert (len(sim.ledger.mails), len(sim.ledger.refused)) == (0, refused)


async def test_a_refused_content_has_its_tag() -> None:
    """The verdict learns which mail was refused at its content; before it, there is no tag."""
    async with SmtpSimulator(faults=SmtpFaults(next={"content_refused": 1, "recipient_refused": 1})) as sim:
        async with connect(sim) as client:
            for _ in range(2):
                with pytest.raises(aiosmtplib.SMTPException):
                    await client.send_message(mail())
        assert [row.tags for row in sim.ledger.listing()] == [(), (TAG,)]
        assert all(row.refused for row in sim.ledger.listing())


async def test_a_fault_for_the_next_mail_only() -> None:
    """After a fault the same connection can be used again."""
    async with SmtpSimulator(faults=SmtpFaults(next={"recipient_later": 1})) as sim, connect(sim) as client:
        with pytest.raises(aiosmtplib.SMTPRecipientsRefused):
            await client.send_message(mail())
        await client.send_message(mail())
        assert (len(sim.ledger.mails), sim.ledger.connections) == (1, 1)
        assert sim.ledger.faults == {"recipient_later": 1}


async def test_the_greeting_can_be_a_refusal() -> None:
    """421 instead of 220: nothing was said yet."""
    async with SmtpSimulator(faults=SmtpFaults(next={"greeting": 1})) as sim:
        with pytest.raises(aiosmtplib.SMTPConnectResponseError) as error:
            await connect(sim).connect()
        assert error.value.code == 421
        async with connect(sim) as client:
            await client.send_message(mail())


@pytest.mark.parametrize(("fault", "code"), [("auth_refused", 535), ("auth_later", 454)])
async def test_auth_can_fail(fault: str, code: int) -> None:
    """The right password may be refused, for good or for now."""
    async with SmtpSimulator(secret(), SmtpFaults(next={fault: 1})) as sim, connect(sim) as client:
        await client.ehlo()
        with pytest.raises(aiosmtplib.SMTPAuthenticationError) as error:
            await client.auth_plain(*LOGIN)
        assert error.value.code == code
        await client.auth_plain(*LOGIN)


@pytest.mark.parametrize(("fault", "taken"), [("reset_before_dot", 0), ("reset_after_dot", 1)])
@pytest.mark.parametrize("tls", ["none", "starttls", "tls"])
async def test_connections_that_are_cut(fault: str, taken: int, tls: str) -> None:
    """A cut before the end of the content takes nothing; one after it does, and the client cannot know."""
    async with SmtpSimulator(SmtpConfig(tls=tls), SmtpFaults(next={fault: 1})) as sim:
        client = connect(sim, use_tls=tls == "tls", start_tls=tls == "starttls")
        await client.connect()
        with pytest.raises((aiosmtplib.SMTPServerDisconnected, OSError)):
            await client.send_message(mail("x\n" * 10_000))
        client.close()
        assert [one.answered for one in sim.ledger.mails] == [False] * taken
        assert [one.acknowledged for one in sim.ledger.listing()] == [()] * taken


async def test_an_answer_that_never_comes() -> None:
    """The content is taken, and the client waits in vain; then the connection is cut."""
    faults = SmtpFaults(timeout_after_dot=1, timeout_seconds=0.05)
    async with SmtpSimulator(faults=faults) as sim:
        client = connect(sim)
        await client.connect()
        with pytest.raises((aiosmtplib.SMTPServerDisconnected, OSError)):
            await client.send_message(mail())
        client.close()
        assert [one.answered for one in sim.ledger.mails] == [False]


async def test_slow_answers(eventually: Eventually) -> None:
    """A client that gives up on a slow answer leaves a mail that was taken, and not answered."""
    async with SmtpSimulator(faults=SmtpFaults(slow=1, slow_seconds=30)) as sim:
        client = connect(sim)
        await client.connect()
        sending = asyncio.create_task(client.send_message(mail()))
        await eventually(lambda: sim.ledger.mails)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        client.close()
        await eventually(lambda: sim.ledger.open_connections == 0)
        assert [one.answered for one in sim.ledger.mails] == [False]


@pytest.mark.parametrize("silently", [False, True])
async def test_kept_connections_are_closed(eventually: Eventually, *, silently: bool) -> None:
    """After so many mails the server closes the connection, with 421 or without a word."""
    faults = SmtpFaults(close_idle_silently=silently)
    async with SmtpSimulator(SmtpConfig(messages_per_connection=2), faults) as sim:
        client = connect(sim)
        await client.connect()
        await client.send_message(mail())
        await client.send_message(mail())
        await eventually(lambda: sim.ledger.open_connections == 0)
        with pytest.raises((aiosmtplib.SMTPException, OSError)):
            await client.send_message(mail())
        client.close()
        assert [one.answered for one in sim.ledger.mails] == [True, True]


async def test_a_connection_can_be_closed_once(eventually: Eventually) -> None:
    """close_idle closes after the next mail; the next connection is kept."""
    async with SmtpSimulator(faults=SmtpFaults(next={"close_idle": 1})) as sim:
        client = connect(sim)
        await client.connect()
        await client.send_message(mail())
        await eventually(lambda: sim.ledger.open_connections == 0)
        client.close()
        async with connect(sim) as other:
            await other.send_message(mail())
            await other.send_message(mail())
        assert len(sim.ledger.mails) == 3
