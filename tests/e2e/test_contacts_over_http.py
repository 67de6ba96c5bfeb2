"""Contacts that are asked from the operator's platform, end to end."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

from bridge.sim import PlatformConfig, PlatformFaults, PlatformSimulator, SmtpSimulator
from tests.e2e.stage import CIM, EMAIL, SMS, WHATSAPP, eventually, open_stage

PHONE = "+14155551001"
CONFIG = PlatformConfig(
    authorization="secret-of-the-platform",
    users={
        "both": {"phone": PHONE, "email": "both@example.com"},
        "mail only": {"email": "mail@example.com"},
        "phone/only": {"phone": "+14155551002"},
        "odd": {"phone": "no number", "email": "no address"},
    },
)
AWAY = PlatformFaults(only=("users",), error=1.0)


async def test_users_are_asked_for_and_judged(tmp_path: Path) -> None:
    """Found: it is sent; unknown (1), without the address that is needed (3), both asked once while they are kept."""
    platform, smtp = PlatformSimulator(CONFIG), SmtpSimulator()
    async with open_stage(tmp_path, platform=platform, smtp=smtp, contacts="") as stage:
        found = {
            (user, gateway.name): await stage.send(user, gateway)
            for user, gateway in (("both", SMS), ("both", EMAIL), ("mail only", EMAIL), ("phone/only", SMS))
        }
        for user, gateway, code in (
            ("nobody", SMS, 1),
            ("nobody", EMAIL, 1),
            ("mail only", SMS, 3),
            ("phone/only", EMAIL, 3),
            ("odd", SMS, 3),
            ("odd", EMAIL, 3),
            ("../both", SMS, 1),
        ):
            assert (await stage.smartico.send(stage.bridge.url, gateway, user)).error_code == code, user
        for (_, gateway_name), ext_message_id in found.items():
            history = ["accepted", "delivered"] if gateway_name == "sms" else ["accepted"]
            await eventually(partial(stage.has_learned, ext_message_id, history))
        numbers = {message.destination for message in stage.provider.ledger.messages}
        assert numbers == {PHONE.removeprefix("+"), "14155551002"}
        assert {mail.recipient for mail in smtp.ledger.mails} == {"both@example.com", "mail@example.com"}
        assert dict(platform.ledger.lookups) == dict.fromkeys([*platform.user_ids(), "nobody"], 1)
        await stage.send("nobody", CIM)
        assert platform.ledger.lookups["nobody"] == 1
        shown = (await stage.api.get("/api/contacts/both")).json()
        assert (shown["phone"], shown["email"]) == ("+1•••••1001", "b•••••@example.com")
        assert (await stage.api.get("/api/contacts/nobody")).status_code == 404


async def test_a_platform_that_is_away_is_error_code_6_and_nothing_is_stored(tmp_path: Path) -> None:
    """Nothing of a refused request is kept, a repeat of an accepted one gets its answer, and it works again after."""
    platform = PlatformSimulator(CONFIG)
    contacts = "cache_seconds = 0\nnot_found_cache_seconds = 0"
    async with open_stage(tmp_path, platform=platform, contacts=contacts) as stage:
        url = stage.bridge.url
        accepted = await stage.smartico.send(url, SMS, "both", im_uid="uid-1")
        assert accepted.error_code == 0
        for number, faults in enumerate(
            (
                AWAY,
                PlatformFaults(only=("users",), reset=1.0),
                PlatformFaults(only=("users",), slow=1.0, slow_seconds=3),
            )
        ):
            platform.faults = faults
            away = await stage.smartico.send(url, SMS, "both", im_uid=f"uid-away-{number}")
            assert away.error_code == 6
        assert (await stage.smartico.send(url, SMS, "both", im_uid="uid-1")) == accepted
        other = await stage.smartico.send(url, WHATSAPP, "both", im_uid="uid-1")
        assert other.error_code == 6
        items = (await stage.api.get("/api/messages")).json()["items"]
        assert [item["ext_message_id"] for item in items] == [accepted.ext_message_id]
        assert (await stage.api.get("/api/contacts/both")).status_code == 503
        timeline = (await stage.api.get("/api/timeline", params={"ext_user_id": "both"})).json()["items"]
        assert [item["kind"] for item in timeline] == ["message"]
        closing = await stage.api.put("/api/contacts/both", json={"opted_out": ["WHATSAPP"]})
        assert closing.status_code in (200, 503)  # it was closed; what is shown of the contact has to wait
        opening = await stage.api.put("/api/contacts/both", json={"opted_out": []})
        assert opening.status_code == 503
        assert (await stage.api.get("/readyz")).status_code == 200
        assert (await stage.smartico.send(url, CIM, "both")).error_code == 0
        platform.faults = PlatformFaults()

        async def back() -> Any:
            answer = await stage.smartico.send(url, SMS, "both", im_uid="uid-away-0")
            return answer if answer.error_code == 0 else None

        again = await eventually(back)
        assert again.ext_message_id != accepted.ext_message_id
        await eventually(lambda: len(stage.provider.ledger.messages) == 2)


async def test_sends_at_the_same_moment_ask_once(tmp_path: Path) -> None:
    """Twenty sends to one user, and twins with one im_uid, while the platform thinks: one question."""
    platform = PlatformSimulator(CONFIG, PlatformFaults(slow=1.0, slow_seconds=0.5))
    async with open_stage(tmp_path, platform=platform, contacts="") as stage:
        url = stage.bridge.url
        answers = await asyncio.gather(
            *(stage.smartico.send(url, SMS, "both") for _ in range(20)),
            *(stage.smartico.send(url, SMS, "both", im_uid="twin") for _ in range(3)),
        )
        assert {answer.error_code for answer in answers} == {0}
        assert len({answer.ext_message_id for answer in answers}) == 21
        assert platform.ledger.lookups == {"both": 1}
        await eventually(lambda: len(stage.provider.ledger.messages) == 21)


async def test_stop_closes_the_channel_of_a_user_whom_only_the_platform_knows(tmp_path: Path) -> None:
    """STOP from the handset refuses the next one (4), says so under /api/contacts, and `PUT` opens it again."""
    platform = PlatformSimulator(CONFIG)
    async with open_stage(tmp_path, platform=platform, contacts="") as stage:
        url = stage.bridge.url
        ext_message_id = await stage.send("both", WHATSAPP)
        await eventually(lambda: "delivered" in stage.statuses(ext_message_id))
        stage.provider.send_inbound(PHONE.removeprefix("+"), "Stop.", "WHATSAPP")
        await eventually(lambda: stage.statuses(ext_message_id)[-1] == "unsubscribed")
        assert (await stage.smartico.send(url, WHATSAPP, "both")).error_code == 4
        assert (await stage.smartico.send(url, SMS, "both")).error_code == 0
        shown = (await stage.api.get("/api/contacts/both")).json()
        assert shown["opted_out"] == ["WHATSAPP"]
        assert "STOP" in shown["opt_outs"][0]["reason"]
        refused = await stage.api.put("/api/contacts/both", json={"phone": PHONE, "opted_out": []})
        assert refused.status_code == 400
        opened = (await stage.api.put("/api/contacts/both", json={"opted_out": []})).json()
        assert opened["opted_out"] == []
        changes = [each["change"] for each in opened["opt_out_history"]]
        assert changes == ["closed", "opened"]
        assert (await stage.smartico.send(url, WHATSAPP, "both")).error_code == 0
