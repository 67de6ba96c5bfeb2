"""Custom IM, end to end: to the operator's own notification centre, and what it reports back."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from aiohttp import web

from bridge.sim import PlatformConfig, PlatformFaults, PlatformSimulator
from bridge.sim.smartico_ledger import Known
from tests.e2e.stage import CIM, SMS, Stage, eventually, open_stage

CONFIG = PlatformConfig(
    authorization="secret-of-the-platform",
    callback_connections=1,  # one after the other: their order is certain
    resend_seconds=0.3,
    outcome_by_suffix={
        "player1": "clicked",
        "player2": "unsubscribed",
        "player3": "failed",
        "player9": "silent",
        "": "delivered",
    },
)
PASSED = {
    "X-Brand": "brand seven",
    "x-tenant": "7",
    "Authorization": "secret-of-cim",
    "X-Other": "stays here",
}


class Inbox(PlatformSimulator):
    """The platform, which keeps the bytes of what was posted as well."""

    def __init__(self, config: PlatformConfig = CONFIG, faults: PlatformFaults | None = None) -> None:
        super().__init__(config, faults)
        self.bodies: list[bytes] = []

    async def _read(self, request: web.Request, kind: str) -> Any:
        if kind == "notifications":
            self.bodies.append(await request.read())
        return await super()._read(request, kind)


async def post(stage: Stage, uid: str, extension: str, user: str = "stranger") -> dict[str, Any]:
    """What Smartico is answered to a Custom IM with the JSON text of an extension."""
    raw = (
        f'{{"ext_user_id":"{user}","from_number":null,"body":"Best offer ever","im_uid":"{uid}",'
        f'"callback_url":"{stage.smartico.url}/callback/cim","extension":{extension}}}'
    )
    async with httpx.AsyncClient() as client:
        answer = await client.post(f"{stage.bridge.url}/smartico/cim", content=raw.encode(), headers=PASSED)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


async def send(stage: Stage, uid: str, extension: str) -> str:
    """Sends one; gives its ext_message_id."""
    answer = await post(stage, uid, extension)
    assert answer["error_code"] == 0, answer
    stage.smartico.ledger.learn(Known(answer["ext_message_id"], "cim", uid, "stranger"))
    return str(answer["ext_message_id"])


def received(inbox: Inbox, ext_message_id: str) -> int:
    """How often the platform took it."""
    known = inbox.ledger.by_id.get(ext_message_id)
    return known.received if known else 0


async def in_state(stage: Stage, ext_message_id: str, state: str) -> bool:
    return bool((await stage.message(ext_message_id))["state"] == state)


async def test_extensions_of_every_shape_arrive_untouched(tmp_path: Path) -> None:
    """The JSON text of the extension is handed on as it came, beside the four other fields and nothing else."""
    shapes = [
        '{"title":"Microsoft is raising","description":"The bullish trend...","action":"BUY/SELL"}',
        "{}",
        "null",
        "[]",
        '"text"',
        "true",
        '[[[[{"a":[{}]}]]]]',
        '{"big":123456789012345678901234567890,"small":1e-300,"huge":1E300,"zero":-0.0,"one":1.0,"exp":1e+2}',
        '{"a":1,"a":2,"":{"":null}}',
        '{"escaped":"\\u00e9\\ud83c\\udf81\\/\\u2028","raw":"é🎁\u2028"}',
        '{ "spaces" : [ 1 ,\n\t2 ] }',
        '{"ext_message_id":"mine","callback_url":"https://evil.example","body":"other"}',
    ]
    inbox = Inbox()
    async with open_stage(tmp_path, platform=inbox, cim='pass_headers = ["X-Brand", "X-Tenant"]') as stage:
        ids = [await send(stage, f"uid-{number}", shape) for number, shape in enumerate(shapes)]
        without = await stage.send("nobody-at-all", CIM)
        await eventually(lambda: len(inbox.bodies) >= len(shapes) + 1)
        by_id = {json.loads(body)["ext_message_id"]: body for body in inbox.bodies}
        for ext_message_id, shape in zip(ids, shapes, strict=True):
            body = by_id[ext_message_id]
            fields = dict(json.loads(body, object_pairs_hook=lambda pairs: pairs))
            assert set(fields) == {"ext_message_id", "ext_user_id", "body", "extension", "callback_url"}, (
                shape
            )
            assert f'"extension":{shape}'.encode() in body, shape
            assert (fields["ext_user_id"], fields["body"]) == ("stranger", "Best offer ever")
        assert json.loads(by_id[without])["extension"] == CIM.extension
        headers = {name.lower(): value for name, value in inbox.ledger.notification_headers[0].items()}
        assert (headers["x-brand"], headers["x-tenant"]) == ("brand seven", "7")
        assert headers["authorization"] == "secret-of-the-platform"
        assert "x-other" not in headers
        history = ["accepted", "delivered"]
        await eventually(lambda: all(stage.has_learned(each, history) for each in [*ids, without]))
        callback = json.loads(by_id[without])["callback_url"]
        assert callback == f"http://inbox:password-of-reports@{stage.bridge.url[7:]}/callbacks/inbox"
        # Half a character is no JSON for us; what holds NUL is refused by the name of its field.
        for shape, named in (
            ('{"half":"\\ud83c"}', "JSON"),
            ('{"a":"\\u0000b"}', "extension"),
            ('{"\\u0000":1}', "extension"),
        ):
            refused = await post(stage, "uid-refused", shape)
            assert (refused["error_code"], named in refused["error_message"]) == (2, True), refused


async def test_the_platforms_words_reach_smartico(tmp_path: Path) -> None:
    """Statuses come back as type=cim and in order; odd elements and wrong credentials spoil nothing."""
    faults = PlatformFaults(unknown_status=0.3, malformed=0.3, foreign=0.3, repeat_batch=0.5, early=0.5)
    inbox = Inbox(faults=faults)
    async with open_stage(tmp_path, platform=inbox) as stage:
        histories = {
            "player1": ["accepted", "delivered", "opened", "clicked"],
            "player3": ["accepted", "failed"],
            "player4": ["accepted", "delivered"],
        }
        ids = {user: await stage.send(user, CIM) for user in histories}
        for user, history in histories.items():
            await eventually(partial(stage.has_learned, ids[user], history))
        shown = await eventually(
            partial(stage.told, ids["player1"], "report_done", len(stage.statuses(ids["player1"])))
        )
        assert (shown["type"], shown["channel"], shown["state"]) == ("cim", "CIM", "read")
        assert shown["address_masked"] is None
        assert not stage.smartico.ledger.errors
        report = [{"ext_message_id": ids["player4"], "status": "opened", "time": "2026-11-21T08:00:00Z"}]
        answer = await stage.api.post("/callbacks/inbox", json=report, auth=("inbox", "guess"))
        assert answer.status_code == 401
        # Any 2xx is acceptance, also one without a body or a report.
        inbox.faults = PlatformFaults(next={"refused": 1}, refused_status=204)
        ext_message_id = await stage.send("player5", CIM)
        await eventually(partial(in_state, stage, ext_message_id, "submitted"))
        assert received(inbox, ext_message_id) == 0


async def test_an_ambiguous_answer_is_sent_again_with_the_same_id(tmp_path: Path) -> None:
    """After a lost answer, a time-out or a 500 it goes again with its ext_message_id, unless a report proves it."""
    inbox = Inbox()
    async with open_stage(tmp_path, platform=inbox) as stage:
        ids = []
        for fault, times in (("reset_after", 2), ("timeout_after", 1), ("error", 1)):
            inbox.faults = PlatformFaults(next={fault: times})
            ids.append(await stage.send("player9", CIM))
            await eventually(lambda: inbox.faults.next[fault] == 0)  # noqa: B023
        for each, times in zip(ids, (3, 2, 1), strict=True):
            await eventually(lambda: received(inbox, each) == times)  # noqa: B023
            await eventually(partial(in_state, stage, each, "submitted"))
        inbox.faults = PlatformFaults(next={"reset_after": 1})
        proved = await stage.send("player4", CIM)
        await eventually(partial(stage.has_learned, proved, ["accepted", "delivered"]))
        assert received(inbox, proved) == 1
        assert len(inbox.ledger.by_id) == 4
        assert stage.smartico.ledger.repeated == 0


async def test_a_refusing_platform_is_waited_for(tmp_path: Path) -> None:
    """403 and 429 fail no message: they leave once the platform takes them; 422 rejects the one message."""
    inbox = Inbox(faults=PlatformFaults(refused=1.0, refused_status=403))
    async with open_stage(tmp_path, platform=inbox) as stage:
        ids = [await stage.send(f"player{number}", CIM) for number in (4, 5, 6)]
        await eventually(lambda: inbox.ledger.answers["403"] >= 1)
        assert {(await stage.message(each))["state"] for each in ids} == {"queued"}
        assert 'provider_paused{provider="inbox"} 1' in (await stage.api.get("/metrics")).text
        inbox.faults = PlatformFaults(next={"refused": 1}, refused_status=429)
        for each in ids:
            await eventually(partial(stage.has_statuses, each, ["accepted", "delivered"]))
        inbox.faults = PlatformFaults(next={"refused": 1}, refused_status=422)
        refused = await stage.send("player4", CIM)
        await eventually(partial(stage.has_statuses, refused, ["rejected"]))
        assert received(inbox, refused) == 0


async def test_unsubscribed_closes_custom_im_for_that_user(tmp_path: Path) -> None:
    """The next Custom IM to the user is refused (4), others and SMS are not; `PUT` opens the channel again."""
    inbox = Inbox()
    async with open_stage(tmp_path, platform=inbox) as stage:
        for user in ("player2", "unlisted player2"):  # one is in the directory, one is not
            ext_message_id = await stage.send(user, CIM)
            history = ["accepted", "delivered", "unsubscribed"]
            await eventually(partial(stage.has_statuses, ext_message_id, history))
            assert (await stage.smartico.send(stage.bridge.url, CIM, user)).error_code == 4
            shown = (await stage.api.get(f"/api/contacts/{user}")).json()
            assert (shown["opted_out"], len(shown["opt_outs"])) == (["CIM"], 1)
            assert "inbox" in shown["opt_outs"][0]["reason"]
            opened = (await stage.api.put(f"/api/contacts/{user}", json={"opted_out": []})).json()
            assert opened["opted_out"] == []
            assert [each["change"] for each in opened["opt_out_history"]] == ["closed", "opened"]
            assert (await stage.smartico.send(stage.bridge.url, CIM, user)).error_code == 0
        assert (await stage.smartico.send(stage.bridge.url, CIM, "player4")).error_code == 0
        assert (await stage.smartico.send(stage.bridge.url, SMS, "player3")).error_code == 0
