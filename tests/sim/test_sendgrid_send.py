"""POST /v3/mail/send of the simulated SendGrid: what is accepted and refused, the answers, and the faults."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import aiohttp
import pytest

from bridge.sim import SendgridConfig, SendgridFaults, SendgridSimulator

ID = "0190a540-f662-745b-8311-eebe56024200"
TAG = ID.replace("-", "")
GOOD = {"Authorization": "Bearer sim-token"}
MAIL: dict[str, Any] = {
    "personalizations": [{"to": [{"email": "ann@example.com"}], "custom_args": {"ext_message_id": ID}}],
    "from": {"email": "noreply@amazing.co", "name": "Amazing"},
    "reply_to": {"email": "help@amazing.co"},
    "subject": "Hello",
    "content": [{"type": "text/plain", "value": "Hi"}, {"type": "text/html", "value": "<p>Hi</p>"}],
    "headers": {"X-Kind": "offer"},
    "custom_args": {"brand": "7"},
}


async def send(
    client: aiohttp.ClientSession, sim: SendgridSimulator, mail: Any = None, headers: Any = None
) -> tuple[int, Any, str]:
    """Send a mail; status, decoded body (None: empty) and X-Message-Id."""
    async with client.post(f"{sim.url}/v3/mail/send", json=mail or MAIL, headers=headers or GOOD) as answer:
        body = await answer.read()
        json = await answer.json() if body and answer.content_type == "application/json" else None
        return answer.status, json, answer.headers.get("X-Message-Id", "")


async def test_a_mail_is_taken(client: aiohttp.ClientSession) -> None:
    """A right request is answered with 202, an empty body and an id, and all of it is in the ledger."""
    async with SendgridSimulator() as sim:
        status, body, message_id = await send(client, sim)
    [mail] = sim.ledger.mails
    assert (status, body, message_id) == (202, None, mail.x_message_id)
    assert len(message_id) == 22
    assert (mail.to, mail.sender, mail.reply_to) == ("ann@example.com", MAIL["from"], MAIL["reply_to"])
    assert (mail.subject, mail.text, mail.html) == ("Hello", "Hi", "<p>Hi</p>")
    assert (mail.headers, mail.tag) == ({"X-Kind": "offer"}, TAG)
    assert mail.custom_args == {"brand": "7", "ext_message_id": ID}
    assert sim.ledger.listing()[0].tags == (TAG,)


def without(name: str) -> dict[str, Any]:
    """The mail without one field."""
    return {key: value for key, value in MAIL.items() if key != name}


@pytest.mark.parametrize(
    ("mail", "field"),
    [
        (without("personalizations"), "personalizations"),
        (MAIL | {"personalizations": []}, "personalizations"),
        (MAIL | {"personalizations": [{}]}, "personalizations.0.to"),
        (MAIL | {"personalizations": [{"to": []}]}, "personalizations.0.to"),
        (MAIL | {"personalizations": [{"to": [{"email": "nobody"}]}]}, "personalizations.0.to.0.email"),
        (
            MAIL | {"personalizations": [{"to": [{"email": "a@b.cd"}, {"email": "A@b.cd"}]}]},
            "personalizations.0.to",
        ),
        (without("from"), "from.email"),
        (MAIL | {"from": {"email": "a@b.cd", "name": None}}, "from.name"),
        (MAIL | {"from": {"email": "a@b.cd", "nick": "x"}}, "from"),
        (MAIL | {"reply_to": "a@b.cd"}, "reply_to"),
        (without("subject"), "subject"),
        (MAIL | {"subject": ""}, "subject"),
        (MAIL | {"subject": "Hi\r\nBcc: b@c.de"}, "subject"),
        (without("content"), "content"),
        (MAIL | {"content": []}, "content"),
        (MAIL | {"content": [{"type": "text/plain", "value": ""}]}, "content.0.value"),
        (MAIL | {"content": list(reversed(MAIL["content"]))}, "content"),
        (MAIL | {"content": [MAIL["content"][0]] * 2}, "content"),
        (MAIL | {"custom_args": {"number": 7}}, "custom_args.number"),
        (MAIL | {"custom_args": {"long": "x" * 10_001}}, "custom_args"),
        (MAIL | {"headers": {"Subject": "other"}}, "headers.Subject"),
        (MAIL | {"headers": {"X-A": "b\r\nBcc: c@d.ef"}}, "headers.X-A"),
        (MAIL | {"categories": ["a", "a"]}, "categories"),
        (MAIL | {"nonsense": 1}, ""),
        ([MAIL], None),
    ],
)
async def test_what_is_wrong_is_refused(client: aiohttp.ClientSession, mail: Any, field: str | None) -> None:
    """Each wrong field gets 400 with SendGrid's envelope, naming the field; nothing is taken."""
    async with SendgridSimulator() as sim:
        status, body, _ = await send(client, sim, mail)
    assert status == 400
    assert [error["field"] for error in body["errors"]] == [field]
    assert all(set(error) == {"message", "field", "help"} for error in body["errors"])
    assert (len(sim.ledger.mails), len(sim.ledger.refused)) == (0, 1)


async def test_a_refusal_names_the_message(client: aiohttp.ClientSession) -> None:
    """The verdict learns which message was refused, as its custom argument says."""
    async with SendgridSimulator() as sim:
        await send(client, sim, without("content"))
    [row] = sim.ledger.listing()
    assert (row.refused, row.tags, row.destination) == (True, (TAG,), "ann@example.com")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer other"}, 401),
        ({"Authorization": "Basic sim-token"}, 401),
        ({**GOOD, "Content-Type": "text/plain"}, 415),
    ],
)
async def test_headers_are_checked(
    client: aiohttp.ClientSession, headers: dict[str, str], status: int
) -> None:
    """A wrong key and another content type than JSON are refused."""
    async with (
        SendgridSimulator() as sim,
        client.post(f"{sim.url}/v3/mail/send", json=MAIL, headers=headers) as answer,
    ):
        assert (answer.status, "errors" in await answer.json()) == (status, True)
    assert sim.ledger.requests_by_outcome == {str(status): 1}


async def test_broken_json_is_refused(client: aiohttp.ClientSession) -> None:
    """Broken UTF-8 and deep nesting are 400, not a failure of the simulator."""
    headers = {**GOOD, "Content-Type": "application/json"}
    async with SendgridSimulator() as sim:
        for body in (b"{", b'"\xff"', b"[" * 100_000):
            async with client.post(f"{sim.url}/v3/mail/send", data=body, headers=headers) as answer:
                assert answer.status == 400


async def test_a_key_can_be_tried_out(client: aiohttp.ClientSession) -> None:
    """GET /v3/scopes tells whether the key is right, without a mail."""
    async with SendgridSimulator(SendgridConfig(token="other")) as sim:
        async with client.get(f"{sim.url}/v3/scopes", headers=GOOD) as answer:
            assert answer.status == 401
        async with client.get(f"{sim.url}/v3/scopes", headers={"Authorization": "Bearer other"}) as answer:
            assert answer.status == 200


@pytest.mark.parametrize(
    ("faults", "status", "refused"),
    [
        (SendgridFaults(unauthorized=1), 401, 0),
        (SendgridFaults(forbidden=1), 403, 0),
        (SendgridFaults(too_many_requests=1), 429, 0),
        (SendgridFaults(bad_request=1), 400, 1),
        (SendgridFaults(too_large=1), 413, 1),
        (SendgridFaults(error_before=1), 503, 0),
    ],
)
async def test_faults_that_take_nothing(
    client: aiohttp.ClientSession, faults: SendgridFaults, status: int, refused: int
) -> None:
    """Each fault answers in its way; nothing is taken, and only what is about the mail refuses it."""
    async with SendgridSimulator(faults=faults) as sim:
        assert (await send(client, sim))[0] == status
    assert (len(sim.ledger.mails), len(sim.ledger.refused)) == (0, refused)


async def test_a_rate_limit_says_when(client: aiohttp.ClientSession) -> None:
    """A 429 names the moment, in seconds since 1970, and on demand the seconds until then."""
    faults = SendgridFaults(too_many_requests=1, rate_limit_reset_seconds=5, retry_after_seconds=5)
    async with (
        SendgridSimulator(faults=faults) as sim,
        client.post(f"{sim.url}/v3/mail/send", json=MAIL, headers=GOOD) as answer,
    ):
        assert 0 < int(answer.headers["X-RateLimit-Reset"]) - time.time() < 7
        assert answer.headers["Retry-After"] == "5"


@pytest.mark.parametrize(
    ("faults", "taken"),
    [
        (SendgridFaults(reset_before=1), 0),
        (SendgridFaults(reset_after=1), 1),
        (SendgridFaults(timeout_after=1, timeout_seconds=0.01), 1),
    ],
)
async def test_connections_that_are_cut(
    client: aiohttp.ClientSession, faults: SendgridFaults, taken: int
) -> None:
    """Without an answer the mail may have been taken or not."""
    async with SendgridSimulator(faults=faults) as sim:
        with pytest.raises(aiohttp.ClientError):
            await send(client, sim)
    assert len(sim.ledger.mails) == taken


async def test_answers_that_hide_a_taken_mail(client: aiohttp.ClientSession) -> None:
    """A 500 and a 202 without an id, though the mail was taken."""
    async with SendgridSimulator(faults=SendgridFaults(next={"error_after": 1})) as sim:
        assert (await send(client, sim))[0] == 500
        sim.faults = SendgridFaults(next={"no_message_id": 1})
        assert await send(client, sim) == (202, None, "")
    assert len(sim.ledger.mails) == 2
    assert sim.ledger.duplicates_by_tag() == {TAG: 2}


async def test_slow_answers(client: aiohttp.ClientSession) -> None:
    """A slow answer can be timed out by the client."""
    async with SendgridSimulator(faults=SendgridFaults(slow=1, slow_seconds=0.5)) as sim:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(send(client, sim), 0.05)


async def test_everybody_gets_a_mail(client: aiohttp.ClientSession) -> None:
    """Each recipient of each personalization has a mail of its own, with one X-Message-Id."""
    everybody = [
        {"to": [{"email": "a@b.cd"}], "cc": [{"email": "b@b.cd"}], "custom_args": {"brand": "8"}},
        {"to": [{"email": "c@b.cd"}], "subject": "Other"},
    ]
    async with SendgridSimulator() as sim:
        _, _, message_id = await send(client, sim, MAIL | {"personalizations": everybody})
    mails = sim.ledger.by_id[message_id]
    assert [mail.to for mail in mails] == ["a@b.cd", "b@b.cd", "c@b.cd"]
    assert [mail.custom_args["brand"] for mail in mails] == ["8", "8", "7"]
    assert [mail.subject for mail in mails] == ["Hello", "Hello", "Other"]
    assert len({mail.sg_message_id for mail in mails}) == 3


async def test_everything_shows_over_http(client: aiohttp.ClientSession) -> None:
    """Summary, messages, the public key and the faults are there for another process."""
    async with SendgridSimulator() as sim:
        await send(client, sim)
        async with client.get(f"{sim.url}/_sim/summary") as answer:
            assert (await answer.json())["accepted"] == 1
        async with client.get(f"{sim.url}/_sim/messages") as answer:
            assert (await answer.json())[0]["tags"] == [TAG]
        async with client.get(f"{sim.url}/_sim/public_key") as answer:
            assert (await answer.json()) == {"public_key": sim.public_key}
        async with client.put(f"{sim.url}/_sim/faults", json={"next": {"bad_request": 1}}) as answer:
            assert answer.status == 200
        assert (await send(client, sim))[0] == 400
