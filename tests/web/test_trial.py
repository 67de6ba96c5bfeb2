"""A test message: it goes out like any other, and Smartico is told nothing about it."""

from __future__ import annotations

import httpx
import pytest

from tests.web.conftest import OPERATOR, VIEWER

PATH = "/api/gateways/sms/test"


async def contact(web: httpx.AsyncClient) -> None:
    await web.put("/api/contacts/player1", json={"phone": "+14155550142"}, headers=OPERATOR)


async def test_it_is_stored_and_audited(web: httpx.AsyncClient) -> None:
    """Its timeline says that it is a test and of whom, the audit trail too, and no report is owed for it."""
    await contact(web)
    answer = await web.post(PATH, json={"ext_user_id": "player1"}, headers=OPERATOR)
    assert answer.status_code == 200, answer.text
    name = answer.json()["ext_message_id"]
    message = (await web.get(f"/api/messages/{name}", headers=VIEWER)).json()
    kinds = [entry["kind"] for entry in message["timeline"]]
    assert kinds[:2] == ["accepted", "test"]
    assert message["timeline"][1]["actor"] == "alice"
    (line,) = (await web.get("/api/audit", headers=OPERATOR)).json()["items"][:1]
    assert (line["action"], line["actor"]) == ("message.test", "alice")


@pytest.mark.parametrize(
    ("path", "body", "headers", "code", "words"),
    [
        (PATH, {"ext_user_id": "player1"}, {}, 401, ""),
        (PATH, {"ext_user_id": "player1"}, VIEWER, 403, ""),
        ("/api/gateways/none/test", {"ext_user_id": "player1"}, OPERATOR, 404, "no gateway"),
        (PATH, {"ext_user_id": "nobody"}, OPERATOR, 409, "User was not found"),
        (PATH, {"ext_user_id": ""}, OPERATOR, 409, "ext_user_id"),
        (
            PATH,
            {"ext_user_id": "player1", "callback_url": "https://evil.example"},
            OPERATOR,
            400,
            "callback_url",
        ),
    ],
)
async def test_what_is_refused(
    web: httpx.AsyncClient, path: str, body: dict[str, str], headers: dict[str, str], code: int, words: str
) -> None:
    """Only an operator may, only to a known user, and nothing can be smuggled in."""
    await contact(web)
    answer = await web.post(path, json=body, headers=headers)
    assert (answer.status_code, words in answer.text) == (code, True), answer.text
