"""Secrets and personal data appear nowhere: not in logs, not in answers, not in the database when there is a key."""

from __future__ import annotations

from pathlib import Path

from bridge.sim import RevicomFaults, SmarticoFaults
from tests.databases import every_byte
from tests.e2e.stage import PHONES, SMS, WHATSAPP, eventually, open_stage

TEXT = "A very private text about 50 free spins"
SECRETS = (
    "key-of-smartico",
    "token-of-revicom",
    "password-of-callbacks",
    "secret-of-sms",
    "an-operator-token-for-tests",
)


async def test_the_log_holds_no_secret_and_no_phone_number(tmp_path: Path) -> None:
    """With every kind of fault on, the log of the service names nobody and gives no secret away."""
    provider = RevicomFaults(reset_after=0.3, error_after=0.2, malformed=0.3, foreign=0.3, unknown_status=0.3)
    smartico = SmarticoFaults(error=0.2, html=0.2, reset=0.2, redirect=0.05)
    async with open_stage(tmp_path, provider_faults=provider, smartico_faults=smartico) as stage:
        for number in range(30):
            await stage.send(f"player{number}", [SMS, WHATSAPP][number % 2], TEXT)
        await stage.smartico.send(stage.bridge.url, SMS, "nobody")
        await eventually(lambda: sum(stage.smartico.ledger.statuses.values()) >= 20)
        await stage.bridge.stop()
        log = stage.bridge.log.read_text()
    assert log
    for secret in (*SECRETS, TEXT, "api_key=", *(phone.removeprefix("+") for phone in PHONES.values())):
        assert secret not in log


async def test_with_a_key_the_database_holds_nobody_in_the_clear(tmp_path: Path, database: str) -> None:
    """database.pii_key: no number, text or callback address stands in the database or its write-ahead log."""
    key = 'pii_key = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="'
    async with open_stage(tmp_path, database=key) as stage:
        ext_message_id = await stage.send(text=TEXT)
        await eventually(lambda: stage.statuses(ext_message_id) == ["accepted", "delivered"])
        found = await stage.api.get("/api/messages", params={"query": PHONES["player1"]})
        assert [item["ext_message_id"] for item in found.json()["items"]] == [ext_message_id]
        everything = await every_byte(database, tmp_path)
        await stage.bridge.kill()
    assert b"player1" in everything
    for clear in (TEXT, PHONES["player1"].removeprefix("+"), "/callback"):
        assert clear.encode() not in everything


async def test_the_address_is_gone_once_the_message_is_sent(tmp_path: Path) -> None:
    """Without a key, too, a number stays with the contact alone: erase the contact, and it is nowhere to be found."""
    async with open_stage(tmp_path) as stage:
        ext_message_id = await stage.send()
        await eventually(lambda: stage.statuses(ext_message_id) == ["accepted", "delivered"])
        erased = await stage.api.delete("/api/contacts/player1")
        assert erased.json() == {
            "messages_failed": 0, "texts": 1, "contact": True, "notifications": 0, "inbound": 0, "forwards": 0,
        }  # fmt: skip
        found = await stage.api.get("/api/messages", params={"query": PHONES["player1"]})
        assert found.json()["items"] == []
        assert (await stage.message(ext_message_id))["address_masked"] is None
