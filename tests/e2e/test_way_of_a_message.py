"""One message, end to end: real processes, real HTTP."""

from __future__ import annotations

import asyncio
import base64
import json
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from bridge.sim import RevicomConfig, RevicomFaults, SmarticoFaults
from tests.e2e.stage import PHONES, SMS, VIEWER_TOKEN, WHATSAPP, Stage, eventually, open_stage
from tests.servers import NO_TLS

SEND = {"Authorization": "secret-of-sms"}


def body(stage: Stage, **changes: Any) -> dict[str, Any]:
    """A request as Smartico's page shows it."""
    return {
        "ext_user_id": "player1",
        "from_number": "Amazing",
        "body": "Best offer ever",
        "im_uid": "ksjhdf3428yqwr8fhjhfkdj",
        "callback_url": f"{stage.smartico.url}/callback/x",
    } | changes


def basic(password: str = "password-of-callbacks") -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"revicom:{password}".encode()).decode()}


async def post(
    stage: Stage, content: Any, gateway: str = "sms", headers: dict[str, str] = SEND
) -> httpx.Response:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    async with httpx.AsyncClient(verify=NO_TLS) as client:
        return await client.post(f"{stage.bridge.url}/smartico/{gateway}", content=raw, headers=headers)


async def test_an_sms_reaches_the_provider_and_its_statuses_reach_smartico(stage: Stage) -> None:
    """The whole way: accepted, handed over as documented, sent and delivered reported in order."""
    ext_message_id = await stage.send()
    await eventually(lambda: stage.statuses(ext_message_id) == ["accepted", "delivered"])
    (message,) = stage.provider.ledger.messages
    assert message.tags == (ext_message_id.replace("-", ""),)
    assert message.destination == PHONES["player1"].removeprefix("+")
    shown = await eventually(partial(stage.told, ext_message_id, "report_done", 2))
    assert (shown["state"], shown["provider_message_id"]) == ("delivered", message.uuid)
    assert (shown["parts"], shown["price"], shown["currency"]) == (1, "0.1", "EUR")
    assert shown["address_masked"] == "+1•••••0001"
    kinds = [step["kind"] for step in shown["timeline"]]
    assert kinds[:2] == ["accepted", "submitted"]


async def test_a_read_whatsapp_message_is_reported_as_opened(tmp_path: Path) -> None:
    """WHATSAPP goes out with its own content form, and `read` becomes `opened` after `delivered`."""
    config = RevicomConfig(token="token-of-revicom", delivered_share=1.0, read_share=1.0)
    async with open_stage(tmp_path, provider=config) as stage:
        ext_message_id = await stage.send(gateway=WHATSAPP)
        await eventually(lambda: stage.statuses(ext_message_id)[-2:] == ["delivered", "opened"])


async def test_a_repeat_gets_the_same_answer_and_sends_nothing(stage: Stage) -> None:
    """(gateway, im_uid) is the idempotency key, also for twins at the same moment and changed bodies."""
    first = (await post(stage, body(stage))).json()
    again = (await post(stage, body(stage, body="another text"))).json()
    assert first["error_code"] == 0
    assert again == first
    other = await post(stage, body(stage), "whatsapp", {"Authorization": "secret-of-whatsapp"})
    assert other.json()["ext_message_id"] != first["ext_message_id"]
    await eventually(lambda: len(stage.provider.ledger.messages) == 2)


async def test_http_errors_before_the_body_is_looked_at(stage: Stage) -> None:
    """Unknown gateway, wrong secret and too large a body are HTTP errors with the usual shape."""
    unknown = await post(stage, body(stage), "nobody")
    wrong = await post(stage, body(stage), headers={"Authorization": "guess"})
    missing = await post(stage, body(stage), headers={})
    large = await post(stage, b"x" * 4194305)
    assert [each.status_code for each in (unknown, wrong, missing, large)] == [404, 401, 401, 413]
    for answer in (unknown, wrong, missing, large):
        assert set(answer.json()) == {"error_code", "error_message"}


async def test_bad_bodies_get_200_and_a_sentence(stage: Stage) -> None:
    """Whatever the body holds, the answer is HTTP 200 with an error_code and names the field."""
    cases: list[tuple[Any, int, str]] = [
        (b"{", 2, ""),
        (b"\xff\xfe", 2, ""),
        (b"[" * 1_000_000, 2, ""),
        ([], 2, ""),
        (body(stage, im_uid=""), 2, "im_uid"),
        (body(stage, body=None), 2, "body"),
        (body(stage, body="a\0b"), 2, ""),
        (body(stage, ext_user_id=["x"]), 2, "ext_user_id"),
        (body(stage, ext_user_id="nobody"), 1, "User was not found"),
        (body(stage, callback_url=None), 2, "callback_url"),
        (body(stage, callback_url="https://evil.example/"), 5, "callback_url"),
    ]
    for content, code, fragment in cases:
        answer = await post(stage, content)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("application/json")
        assert answer.json()["error_code"] == code
        assert fragment in answer.json()["error_message"]
    assert not stage.provider.ledger.messages


async def test_a_numeric_user_and_an_unlisted_sender_are_fine(stage: Stage) -> None:
    """ext_user_id may be a number, from_number may be anything: outside the list the default sender is used."""
    await stage.api.put("/api/contacts/12345", json={"phone": "+14155557777"})
    answer = await post(stage, body(stage, ext_user_id=12345, from_number="Nobody"))
    assert answer.json()["error_code"] == 0
    await eventually(lambda: len(stage.provider.ledger.messages) == 1)
    shown = await stage.message(answer.json()["ext_message_id"])
    assert shown["sender"] == "Amazing"


async def test_contacts_without_a_number_or_with_a_closed_channel_are_refused(stage: Stage) -> None:
    """No number is error_code 3, a closed channel 4; the refused request is judged anew when it comes again."""
    await stage.api.put("/api/contacts/mail-only", json={"email": "someone@example.com"})
    await stage.api.put("/api/contacts/quiet", json={"phone": "+14155558888", "opted_out": ["SMS"]})
    assert (await post(stage, body(stage, ext_user_id="mail-only"))).json()["error_code"] == 3
    quiet = body(stage, ext_user_id="quiet", im_uid="quiet-1")
    assert (await post(stage, quiet)).json()["error_code"] == 4
    await stage.api.put("/api/contacts/quiet", json={"phone": "+14155558888", "opted_out": []})
    assert (await post(stage, quiet)).json()["error_code"] == 0


async def test_callbacks_want_credentials_and_json(stage: Stage) -> None:
    """401 without the password, 400 for what is no batch (kept for review), 200 for an empty batch, else 404."""
    async with httpx.AsyncClient(base_url=stage.bridge.url, verify=NO_TLS) as client:
        assert (await client.post("/callbacks/revicom", content=b"[]")).status_code == 401
        assert (
            await client.post("/callbacks/revicom", content=b"[]", headers=basic("no"))
        ).status_code == 401
        assert (await client.post("/callbacks/nobody", content=b"[]", headers=basic())).status_code == 404
        assert (await client.post("/callbacks/revicom", content=b"[]", headers=basic())).status_code == 200
        assert (
            await client.post("/callbacks/revicom", content=b"nonsense", headers=basic())
        ).status_code == 400
        assert (await client.post("/callbacks/revicom", content=b'"x"', headers=basic())).status_code == 400
    items = (await stage.api.get("/api/review")).json()["items"]
    assert {item["kind"] for item in items} == {"unreadable"}
    assert sum(item["count"] for item in items) == 2


async def test_bad_elements_spoil_no_others_and_show_under_review(stage: Stage) -> None:
    """A batch with an unreadable, an unmapped and a foreign element still delivers its good one."""
    ext_message_id = await stage.send()
    await eventually(lambda: stage.statuses(ext_message_id) == ["accepted", "delivered"])
    uuid = stage.provider.ledger.messages[0].uuid
    time = "2026-11-21T08:00:00Z"
    click = {"message_uuid": uuid, "callback_event": "click", "channel_type": "SMS", "click_time": time}
    batch = [
        17,
        {"callback_event": "delivered"},
        {"message_uuid": uuid, "callback_event": "delivered", "status": "teleported", "status_time": time},
        click | {"url": "https://example.com", "short_url": "a.bc/1"},
    ]
    async with httpx.AsyncClient(base_url=stage.bridge.url, verify=NO_TLS) as client:
        answer = await client.post("/callbacks/revicom", json=batch, headers=basic())
    assert answer.status_code == 200
    await eventually(lambda: stage.statuses(ext_message_id)[-1:] == ["clicked"])
    items = (await stage.api.get("/api/review")).json()["items"]
    kinds = sorted((item["kind"], item["count"]) for item in items)
    assert ("unmapped", 1) in kinds
    assert sum(count for kind, count in kinds if kind == "malformed") == 2


async def test_stop_from_a_handset_closes_the_channel_and_reports_unsubscribed(stage: Stage) -> None:
    """An opt-out keyword reports `unsubscribed` for the last message and refuses the next one with error_code 4."""
    ext_message_id = await stage.send(gateway=WHATSAPP)
    await eventually(lambda: "delivered" in stage.statuses(ext_message_id))
    stage.provider.send_inbound(PHONES["player1"].removeprefix("+"), " stop! now", "WHATSAPP")
    await eventually(lambda: stage.statuses(ext_message_id)[-1] == "unsubscribed")
    refused = await stage.smartico.send(stage.bridge.url, WHATSAPP, "player1")
    assert refused.error_code == 4
    assert (await stage.smartico.send(stage.bridge.url, SMS, "player1")).error_code == 0


async def test_one_bad_message_is_rejected_alone(tmp_path: Path) -> None:
    """400 for a batch is split until the bad message stands alone; the others are sent."""
    bad = PHONES["player7"].removeprefix("+")
    config = RevicomConfig(
        token="token-of-revicom", delivered_share=1.0, invalid_destinations=frozenset({bad}), refusal_code=404
    )
    faults = RevicomFaults(next={"too_many_requests": 1})
    async with open_stage(tmp_path, provider=config, provider_faults=faults) as stage:
        ids = [await stage.send(f"player{number}") for number in range(20)]
        await eventually(lambda: all(stage.statuses(each)[-1:] for each in ids))
        await eventually(lambda: len(stage.provider.ledger.messages) == 19)
        assert stage.statuses(ids[7]) == ["rejected"]
        assert not stage.provider.ledger.duplicates_by_tag


async def test_a_lost_answer_is_looked_up_and_nothing_is_sent_twice(tmp_path: Path) -> None:
    """After a reset, a 5xx, a broken and a short answer the ids are restored from the provider; each goes out once."""
    faults = RevicomFaults(next={"reset_after": 1, "error_after": 1, "broken_json": 1, "short_items": 1})
    async with open_stage(tmp_path, provider_faults=faults) as stage:
        ids = []
        for number in range(6):
            ids.append(await stage.send(f"player{number}"))
            await eventually(partial(stage.provider_has, number + 1))
        for each in ids:
            await eventually(partial(stage.is_delivered, each))
        assert not stage.provider.ledger.duplicates_by_tag


async def test_a_send_without_trace_goes_to_review_and_is_sent_again_only_on_demand(tmp_path: Path) -> None:
    """unknown_send = review: state unknown, one review item; replay looks up, replay with resend hands over."""
    faults = RevicomFaults(next={"reset_before": 1})
    async with open_stage(tmp_path, provider_faults=faults) as stage:
        ext_message_id = await stage.send()

        async def open_items() -> list[dict[str, Any]]:
            items: list[dict[str, Any]] = (await stage.api.get("/api/review")).json()["items"]
            return items

        (item,) = await eventually(open_items)
        assert item["kind"] == "unknown_send"
        assert (await stage.message(ext_message_id))["state"] == "unknown"
        again = await stage.api.post(f"/api/review/{item['id']}/replay", json={"reason": "look once more"})
        assert again.json() == {"matched": 1, "replayed": 1}
        (item,) = await eventually(open_items)
        assert not stage.provider.ledger.messages
        await stage.api.post(f"/api/review/{item['id']}/replay", json={"reason": "sure", "resend": True})
        await eventually(lambda: stage.statuses(ext_message_id) == ["accepted", "delivered"])
        assert not await open_items()


async def test_a_refusing_provider_is_paused_and_nothing_is_lost(tmp_path: Path) -> None:
    """401 and 402 fail no message: they wait as queued and leave once the provider takes them again."""
    faults = RevicomFaults(unauthorized=1.0)
    async with open_stage(tmp_path, provider_faults=faults) as stage:
        ext_message_id = await stage.send()
        await eventually(lambda: stage.provider.ledger.requests_by_outcome.total() >= 2)
        assert (await stage.message(ext_message_id))["state"] == "queued"
        stage.provider.faults = RevicomFaults()
        await eventually(lambda: stage.statuses(ext_message_id) == ["accepted", "delivered"], 30)


async def test_dead_reports_are_visible_and_replayable(tmp_path: Path) -> None:
    """A redirect makes a report dead at once; the later one still goes; a replay, after a preview, sends it."""
    faults = SmarticoFaults(next={"redirect": 1})
    async with open_stage(tmp_path, smartico_faults=faults) as stage:
        ext_message_id = await stage.send()
        await eventually(lambda: stage.statuses(ext_message_id) == ["delivered"])
        (dead,) = (await stage.api.get("/api/reports", params={"state": "dead"})).json()["items"]
        assert (dead["status"], dead["ext_message_id"]) == ("accepted", ext_message_id)
        preview = {"filter": {"state": "dead"}, "dry_run": True}
        assert (await stage.api.post("/api/reports/replay", json=preview)).json() == {
            "matched": 1,
            "replayed": 0,
        }
        replay = {"ids": [dead["id"]], "reason": "Smartico is back"}
        viewer = {"Authorization": f"Bearer {VIEWER_TOKEN}"}
        assert (await stage.api.post("/api/reports/replay", json=replay, headers=viewer)).status_code == 403
        assert (await stage.api.post("/api/reports/replay", json=replay)).json() == {
            "matched": 1,
            "replayed": 1,
        }
        await eventually(lambda: stage.statuses(ext_message_id) == ["delivered", "accepted"])


async def test_not_found_is_tried_again_on_its_own_schedule(tmp_path: Path) -> None:
    """Smartico does not know the id yet: the report waits a little and then arrives."""
    faults = SmarticoFaults(not_found_attempts=2)
    async with open_stage(tmp_path, smartico_faults=faults) as stage:
        ext_message_id = await stage.send()
        await eventually(lambda: stage.statuses(ext_message_id) == ["accepted", "delivered"])


async def test_a_full_gateway_answers_8_and_repeats_still_get_their_answer(tmp_path: Path) -> None:
    """max_pending bounds what waits for a provider that is away."""
    faults = RevicomFaults(too_many_requests=1.0)
    async with open_stage(tmp_path, provider_faults=faults, sms="max_pending = 2") as stage:
        first = (await post(stage, body(stage, im_uid="a"))).json()
        await post(stage, body(stage, im_uid="b"))
        assert (await post(stage, body(stage, im_uid="c"))).json()["error_code"] == 8
        assert (await post(stage, body(stage, im_uid="a"))).json() == first


async def test_old_messages_fail(tmp_path: Path) -> None:
    """What could not be sent within max_age_hours ends as failed, and Smartico learns it."""
    faults = RevicomFaults(forbidden=1.0)
    async with open_stage(tmp_path, provider_faults=faults, sms="max_age_hours = 0.0005") as stage:
        ext_message_id = await stage.send()
        await eventually(lambda: stage.statuses(ext_message_id) == ["failed"])
        assert (await stage.message(ext_message_id))["error_code"] == "expired"


async def test_a_host_that_is_down_is_probed_and_its_reports_lose_no_attempts(tmp_path: Path) -> None:
    """The breaker opens: no storm of requests meanwhile, everything arrives in order afterwards, nothing is dead."""
    async with open_stage(tmp_path, smartico_faults=SmarticoFaults(error=1.0)) as stage:
        ids = [await stage.send(f"player{number}") for number in range(40)]
        await eventually(partial(stage.provider_has, 40))
        await eventually(lambda: stage.smartico.ledger.status_answers.total() >= 8)
        await asyncio.sleep(3)
        assert stage.smartico.ledger.status_answers.total() <= 40 + 8
        stage.smartico.faults = SmarticoFaults()
        for each in ids:
            await eventually(partial(stage.is_delivered, each))
        assert (await stage.api.get("/api/reports", params={"state": "dead"})).json()["items"] == []


async def test_a_refused_key_pauses_the_reports_and_costs_no_attempt(tmp_path: Path) -> None:
    """401 of Smartico: the report waits, is probed, and goes out as its first attempt once the key is accepted."""
    async with open_stage(tmp_path, smartico_faults=SmarticoFaults(unauthorized=1.0)) as stage:
        ext_message_id = await stage.send()
        await eventually(lambda: stage.smartico.ledger.status_answers.total() >= 3)
        stage.smartico.faults = SmarticoFaults()
        await eventually(partial(stage.has_statuses, ext_message_id, ["accepted", "delivered"]))
        shown = await eventually(partial(stage.told, ext_message_id, "report_done", 2))
        assert [step["attempts"] for step in shown["timeline"] if step["kind"] == "report_done"] == [1, 1]
