"""What the simulated Smartico sends beside SMS: previews of e-mails, and "an asset was sent" notifications."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import aiohttp
import msgspec
import pytest

from bridge.sim import Gateway, SmarticoConfig, SmarticoSimulator

if TYPE_CHECKING:
    from tests.sim.conftest import Received, Recorder

EMAIL = Gateway(name="email", authorization="Secret two", type="email")
ASSETS = SmarticoConfig(communications_authorization="Secret three", campaign_name="Spring")


def accept(received: Received) -> tuple[int, bytes]:
    """What a right bridge answers to a send, and to a notification."""
    if received.path == "/smartico/communications":
        return 200, b'{"error_code": 0}'
    body = received.json
    uid = body.get("im_uid") or body["email_uid"]
    return 200, msgspec.json.encode({"error_code": 0, "ext_message_id": f"ext-{uid}"})


async def test_an_email_has_the_documented_body(recorder: Recorder) -> None:
    """An e-mail is the documented sample, field by field, with what the gateway is set up with."""
    recorder.answer = accept
    gateway = Gateway(
        name="email", authorization="x", type="email", subject="Grüße", from_email_address="a@b.cd"
    )
    async with SmarticoSimulator() as sim:
        await sim.send(recorder.url, gateway, "user1", im_uid="m1", text="Get the offer")
        assert recorder.received[0].json == {
            "ext_user_id": "user1",
            "from_email_address": "a@b.cd",
            "reply_to_email_address": "Amazing <noreply@amazing.co>",
            "subject": "Grüße",
            "body": "<html>Get the offer</html>",
            "text_body": "Get the offer",
            "email_uid": "m1",
            "callback_url": f"{sim.url}/callback/email",
        }
    assert [known.type for known in sim.ledger.messages.values()] == ["email"]


async def test_previews_have_an_address(recorder: Recorder) -> None:
    """A preview has activity_type and to_email_address beside the fields of any e-mail, and is remembered."""
    recorder.answer = accept
    async with SmarticoSimulator(SmarticoConfig(preview_share=1.0)) as sim:
        await sim.send(recorder.url, EMAIL, "user1", im_uid="m1")
        await sim.send(recorder.url, EMAIL, "user1", im_uid="m2", preview_to="p@q.rs")
        await sim.send(recorder.url, Gateway(name="sms", authorization="x"), "user1", im_uid="m3")
    bodies = [received.json for received in recorder.received]
    assert [body.get("activity_type") for body in bodies] == ["preview", "preview", None]
    assert [body.get("to_email_address") for body in bodies] == ["test@amazing.co", "p@q.rs", None]
    assert sim.ledger.previews == {"m1": "test@amazing.co", "m2": "p@q.rs"}


async def test_a_share_of_emails_are_previews(recorder: Recorder) -> None:
    """About the configured share of e-mails are previews."""
    recorder.answer = accept
    async with SmarticoSimulator(SmarticoConfig(preview_share=0.3)) as sim:
        await sim.run_traffic(recorder.url, [EMAIL], ["a"], messages=200)
    assert 35 < len(sim.ledger.previews) < 90


async def test_assets_are_notified(recorder: Recorder) -> None:
    """After each accepted send the sample notification is posted, with its own Authorization."""
    recorder.answer = accept
    async with SmarticoSimulator(ASSETS) as sim:
        answer = await sim.send(recorder.url, EMAIL, "user1")
        notification = recorder.received[1]
        assert notification.json["view_url"] == f"{sim.url}/view/{answer.ext_message_id}"
    assert (notification.method, notification.path) == ("POST", "/smartico/communications")
    assert notification.headers["Authorization"] == "Secret three"
    assert notification.headers["Content-Type"] == "application/json"
    body = notification.json
    assert list(body) == ["login", "time", "view_url", "channel", "campaign_name"]
    assert (body["login"], body["channel"], body["campaign_name"]) == ("user1", "Email", "Spring")
    assert 1_600_000_000_000 < body["time"] < 5_000_000_000_000
    [asset] = sim.ledger.assets
    assert (asset.ext_message_id, asset.body, asset.answer) == (answer.ext_message_id, body, "0")


@pytest.mark.parametrize(("form", "method"), [("form", "POST"), ("query", "GET")])
async def test_assets_in_other_forms(recorder: Recorder, form: str, method: str) -> None:
    """A form and a query carry the same fields, as text."""
    config = SmarticoConfig(communications_authorization="x", communications_form=form)
    recorder.answer = lambda _: (200, b'{"error_code": 0, "ext_message_id": "one"}')
    async with SmarticoSimulator(config) as sim:
        await sim.send(recorder.url, Gateway(name="sms", authorization="x"), "user1")
    notification = recorder.received[1]
    raw = notification.raw.decode() or notification.query
    assert notification.method == method
    assert {**dict(parse_qsl(raw))} == {name: str(value) for name, value in sim.ledger.assets[0].body.items()}


@pytest.mark.parametrize(
    ("answer", "word"),
    [((503, b""), "http 503"), ((200, b"<html>"), "unreadable"), ((200, b'{"error_code": 2}'), "2")],
)
async def test_answers_to_assets_are_kept(recorder: Recorder, answer: tuple[int, bytes], word: str) -> None:
    """Whatever the bridge answers, there is one attempt, and the ledger says what came of it."""
    recorder.answer = accept
    recorder.answers.extend([(200, b'{"error_code": 0, "ext_message_id": "one"}'), answer])
    async with SmarticoSimulator(ASSETS) as sim:
        await sim.send(recorder.url, EMAIL, "user1")
    assert [asset.answer for asset in sim.ledger.assets] == [word]
    assert sim.summary()["asset_answers"] == {word: 1}
    assert len(recorder.received) == 2


async def test_refused_sends_have_no_asset(client: aiohttp.ClientSession, recorder: Recorder) -> None:
    """Nothing was sent, so nothing is notified; the assets show over HTTP."""
    recorder.answers.append((200, b'{"error_code": 1, "error_message": "User was not found"}'))
    recorder.answer = accept
    async with SmarticoSimulator(ASSETS) as sim:
        await sim.send(recorder.url, EMAIL, "user1")
        assert not sim.ledger.assets
        await sim.send(recorder.url, EMAIL, "user1")
        async with client.get(f"{sim.url}/_sim/assets") as answer:
            [asset] = await answer.json()
    assert asset["answer"] == "0"


@pytest.mark.parametrize("kind", ["email", "cim", "sms"])
async def test_the_type_of_each_message_is_known(
    client: aiohttp.ClientSession, recorder: Recorder, kind: str
) -> None:
    """A status is taken with the type of the message's gateway only."""
    recorder.answer = accept
    async with SmarticoSimulator() as sim:
        answer = await sim.send(recorder.url, Gateway(name="g", authorization="x", type=kind), "user1")
        query: dict[str, Any] = {"ext_message_id": answer.ext_message_id, "status": "accepted"}
        for other in ("email", "cim", "sms"):
            params = {**query, "type": other, "api_key": "sim-api-key"}
            async with client.get(f"{sim.url}/callback", params=params) as reply:
                assert (b'"error_code": 0' in await reply.read()) is (other == kind)
    assert sim.ledger.statuses == {"accepted": 1}
    assert len(sim.ledger.errors) == 2
