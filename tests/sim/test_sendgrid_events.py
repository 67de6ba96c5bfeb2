"""Events of the simulated SendGrid: fields, signatures, outcomes, resends and faults."""

from __future__ import annotations

import base64
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from bridge.sim import SendgridConfig, SendgridFaults, SendgridSimulator
from bridge.sim.sendgrid_events import OUTCOMES, choose_plan

if TYPE_CHECKING:
    from tests.sim.conftest import Eventually, Received, Recorder

GOOD = {"Authorization": "Bearer sim-token"}
ARGUMENTS = {"ext_message_id": "0190a540-f662-745b-8311-eebe56024200", "event": "hijacked"}
COMMON = {"email", "timestamp", "event", "sg_event_id", "sg_message_id", "ext_message_id"}
DELIVERY = COMMON | {"smtp-id"}
FIELDS = {
    "processed": DELIVERY,
    "deferred": DELIVERY | {"response", "attempt"},
    "delivered": DELIVERY | {"response", "ip", "tls"},
    "bounce": DELIVERY | {"reason", "status", "type", "bounce_classification", "tls"},
    "dropped": DELIVERY | {"reason", "status"},
    "open": COMMON | {"useragent", "ip", "sg_machine_open"},
    "click": COMMON | {"useragent", "ip", "url", "url_offset"},
    "spamreport": COMMON,
    "unsubscribe": COMMON,
    "group_unsubscribe": COMMON | {"useragent", "ip", "url", "asm_group_id"},
}


def simulator(recorder: Recorder, outcome: str, **changes: Any) -> SendgridSimulator:
    """Everything quick and in order, one outcome, and events to the recorder."""
    faults = changes.pop("faults", None)
    quick = {"step_seconds": 0.01, "flush_seconds": 0.005, "resend_seconds": 0.03, "callback_connections": 1}
    config = SendgridConfig(outcome_by_suffix={"": outcome}, **(quick | changes))
    sim = SendgridSimulator(config, faults)
    sim.webhook_url = f"{recorder.url}/callbacks/sendgrid"
    return sim


async def send(client: aiohttp.ClientSession, sim: SendgridSimulator, count: int = 1) -> None:
    """Send mails."""
    mail = {
        "personalizations": [{"to": [{"email": "ann@example.com"}]}],
        "from": {"email": "noreply@amazing.co"},
        "subject": "Hello",
        "content": [{"type": "text/html", "value": "<a href='https://a.bc/d'>Hi</a>"}],
        "custom_args": ARGUMENTS,
    }
    for _ in range(count):
        async with client.post(f"{sim.url}/v3/mail/send", json=mail, headers=GOOD) as answer:
            assert answer.status == 202


def drained(sim: SendgridSimulator) -> bool:
    """Whether SendGrid owes nothing more."""
    return bool(sim.ledger.mails) and sim.ledger.callbacks_pending == 0


def verify(sim: SendgridSimulator, received: Received) -> bool:
    """Whether the signature of a request is right, by the public key as it is shown."""
    key = load_der_public_key(base64.b64decode(sim.public_key))
    assert isinstance(key, ec.EllipticCurvePublicKey)
    headers = received.headers
    signature = base64.b64decode(headers["X-Twilio-Email-Event-Webhook-Signature"])
    signed = headers["X-Twilio-Email-Event-Webhook-Timestamp"].encode() + received.raw
    try:
        key.verify(signature, signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


@pytest.mark.parametrize("outcome", sorted(OUTCOMES))
async def test_events_have_the_documented_fields(
    client: aiohttp.ClientSession, recorder: Recorder, eventually: Eventually, outcome: str
) -> None:
    """Each event has the fields of SendGrid's page, the custom arguments among them, and all ids fit."""
    async with simulator(recorder, outcome) as sim:
        await send(client, sim)
        await eventually(lambda: drained(sim))
    [mail] = sim.ledger.mails
    expected = ["bounce" if step == "blocked" else step for step in OUTCOMES[outcome]]
    assert [event["event"] for event in recorder.elements] == expected
    for event in recorder.elements:
        assert set(event) == FIELDS[event["event"]]
        assert event["sg_message_id"].startswith(f"{mail.x_message_id}.filter")
        assert event["ext_message_id"] == ARGUMENTS["ext_message_id"]
        assert type(event["timestamp"]) is int
    assert len({event["sg_event_id"] for event in recorder.elements}) == len(expected)
    assert list(sim.ledger.listing()[0].acknowledged) == expected


async def test_bounces_have_a_type(
    client: aiohttp.ClientSession, recorder: Recorder, eventually: Eventually
) -> None:
    """A bounce that is a block says so, and a click names its link."""
    for outcome in ("bounced", "blocked", "clicked"):
        async with simulator(recorder, outcome) as sim:
            await send(client, sim)
            await eventually(lambda sim=sim: drained(sim))  # type: ignore[misc]
    assert [event["type"] for event in recorder.elements if event["event"] == "bounce"] == [
        "bounce",
        "blocked",
    ]
    assert recorder.elements[-1]["url"] == "https://a.bc/d"


async def test_batches_are_signed(
    client: aiohttp.ClientSession, recorder: Recorder, eventually: Eventually
) -> None:
    """Every batch carries a signature that its timestamp and bytes, CR LF included, stand up to."""
    async with simulator(recorder, "clicked", batch_size=3) as sim:
        await send(client, sim, 3)
        await eventually(lambda: drained(sim))
        assert all(verify(sim, received) for received in recorder.received)
    assert all(received.raw.endswith(b"]\r\n") for received in recorder.received)
    assert max(len(received.json) for received in recorder.received) <= 3
    assert all(received.headers["Content-Type"] == "application/json" for received in recorder.received)


async def test_signatures_can_be_wrong(
    client: aiohttp.ClientSession, recorder: Recorder, eventually: Eventually
) -> None:
    """A batch signed with another key is repeated when refused, and then signed rightly, at its own time."""
    faults = SendgridFaults(next={"bad_signature": 1})
    async with simulator(recorder, "dropped", faults=faults) as sim:
        recorder.answer = lambda received: (200 if verify(sim, received) else 401, b"")
        await send(client, sim)
        await eventually(lambda: drained(sim))
    assert sim.ledger.callback_answers == {"401": 1, "200": 1}
    assert recorder.received[0].raw == recorder.received[1].raw


async def test_signing_can_be_switched_off(
    client: aiohttp.ClientSession, recorder: Recorder, eventually: Eventually
) -> None:
    """Without signing there are no such headers; credentials in the URL become Basic authorization."""
    async with simulator(recorder, "dropped", signed=False) as sim:
        sim.webhook_url = recorder.with_login("sendgrid:secret")
        await send(client, sim)
        await eventually(lambda: drained(sim))
    assert "X-Twilio-Email-Event-Webhook-Signature" not in recorder.received[0].headers
    assert recorder.received[0].headers["Authorization"].startswith("Basic ")


async def test_without_a_webhook_nothing_is_posted(
    client: aiohttp.ClientSession, recorder: Recorder, eventually: Eventually
) -> None:
    """A mail that was taken before there was a webhook has no events; later ones do."""
    async with simulator(recorder, "delivered") as sim:
        url, sim.webhook_url = sim.webhook_url, ""
        await send(client, sim)
        sim.webhook_url = url
        await send(client, sim)
        await eventually(lambda: sim.ledger.callbacks_acknowledged == 2)
        await eventually(lambda: sim.ledger.events["delivered"] == 2)
    assert len(recorder.elements) == 2
    assert sim.ledger.mails[0].planned == ()


async def test_what_is_not_2xx_is_repeated(
    client: aiohttp.ClientSession, recorder: Recorder, eventually: Eventually
) -> None:
    """The same batch comes again until it is answered with 2xx, or until its time is over."""
    recorder.answers.extend([(503, b""), (302, b"")])
    async with simulator(recorder, "dropped") as sim:
        await send(client, sim)
        await eventually(lambda: drained(sim))
    assert len({received.raw for received in recorder.received}) == 1
    assert len(recorder.received) == 3
    recorder.answer = lambda _: (500, b"")
    async with simulator(recorder, "dropped", resend_for_seconds=0.1) as sim:
        await send(client, sim)
        await eventually(lambda: sim.ledger.callbacks_abandoned == 1)


async def test_early_events(client: aiohttp.ClientSession, recorder: Recorder) -> None:
    """Delivery events may be there before the answer to the mail is."""
    async with simulator(recorder, "clicked", step_seconds=60, faults=SendgridFaults(early=1)) as sim:
        await send(client, sim)
        assert [event["event"] for event in recorder.elements] == ["processed", "delivered"]


async def test_shuffles(client: aiohttp.ClientSession, recorder: Recorder, eventually: Eventually) -> None:
    """A shuffled batch has all its events, in another order than they happened in."""
    faults, changes = SendgridFaults(shuffle=1), {"batch_size": 40, "flush_seconds": 30}
    async with simulator(recorder, "delivered", faults=faults, **changes) as sim:
        await send(client, sim, 20)
        await eventually(lambda: drained(sim))
    [batch] = [received.json for received in recorder.received]
    assert len({event["sg_event_id"] for event in batch}) == 40
    early = [event["sg_message_id"] for event in batch[:20] if event["event"] == "delivered"]
    assert early


async def test_repeats(client: aiohttp.ClientSession, recorder: Recorder, eventually: Eventually) -> None:
    """A batch and an event that were acknowledged come again, as they were."""
    faults = SendgridFaults(next={"repeat_batch": 1, "repeat_element": 1})
    async with simulator(recorder, "dropped", faults=faults) as sim:
        await send(client, sim)
        await eventually(lambda: sim.ledger.callbacks_repeated == 2)
    assert len({received.raw for received in recorder.received}) == 1
    assert (len(recorder.received), sim.ledger.callbacks_acknowledged) == (3, 1)


async def test_strange_elements(
    client: aiohttp.ClientSession, recorder: Recorder, eventually: Eventually
) -> None:
    """Broken, foreign and unknown events come beside the right ones, and nobody owes them."""
    faults = SendgridFaults(next={"malformed": 1, "foreign": 1, "unknown_event": 1})
    async with simulator(recorder, "dropped", faults=faults) as sim:
        await send(client, sim)
        await eventually(lambda: drained(sim) and len(recorder.elements) == 4)
    right, unknown, _, foreign = recorder.elements
    assert (right["event"], unknown["event"]) == ("dropped", "teleported")
    assert "ext_message_id" not in foreign
    assert foreign["sg_message_id"] != right["sg_message_id"]
    assert sim.ledger.callbacks_planned == 1


async def test_late_events(client: aiohttp.ClientSession, recorder: Recorder, eventually: Eventually) -> None:
    """A late event comes after those that follow it."""
    faults = SendgridFaults(next={"late": 1}, late_seconds=0.2)
    async with simulator(recorder, "delivered", faults=faults) as sim:
        await send(client, sim)
        await eventually(lambda: drained(sim))
    assert [event["event"] for event in recorder.elements] == ["delivered", "processed"]


def test_outcomes_are_drawn_by_their_shares() -> None:
    """Thousands of plans have about the configured shares of ends, and every event occurs."""
    config, draw = SendgridConfig(), random.Random(1)
    plans = [choose_plan("ann@example.com", config, draw) for _ in range(20_000)]
    happened = Counter(step for plan in plans for step in set(plan))
    assert 17_700 < happened["delivered"] < 18_300
    assert 1_000 < happened["dropped"] + happened["blocked"] < 1_500
    assert 8_500 < happened["open"] < 9_300
    assert set(happened) == set(FIELDS) | {"blocked"}
    assert sum("delivered" in plan and "bounce" in plan for plan in plans) > 100
