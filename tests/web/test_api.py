"""`/api`, health and the description of it all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from bridge.app import Service
from bridge.store.contacts import close_channel_of_user
from tests.web.conftest import OPERATOR


async def test_health(web: httpx.AsyncClient) -> None:
    """The process answers, and the service takes work, whether its peers are there or not."""
    assert (await web.get("/healthz")).status_code == 200
    ready = await web.get("/readyz")
    assert (ready.status_code, ready.json()) == (200, {"ready": True})


async def test_every_route_is_described(web: httpx.AsyncClient) -> None:
    """/openapi.json has every address, with bodies and credentials; every reference in it leads somewhere."""
    described: dict[str, Any] = (await web.get("/openapi.json")).json()
    assert {"/smartico/{gateway}", "/callbacks/{provider}", "/api/messages", "/metrics"} <= set(
        described["paths"]
    )
    assert "requestBody" in described["paths"]["/smartico/{gateway}"]["post"]
    assert described["paths"]["/api/review"]["get"]["security"] == [{"operator": []}]

    def references(value: object) -> list[str]:
        if isinstance(value, dict):
            own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
            return own + [each for inner in value.values() for each in references(inner)]
        return [each for inner in value for each in references(inner)] if isinstance(value, list) else []

    for reference in references(described):
        assert reference.rsplit("/", 1)[1] in described["components"]["schemas"]


@pytest.mark.parametrize(
    ("path", "fragment"),
    [
        ("/api/messages?limit=0&query=447700900123", "limit"),
        ("/api/messages?limit=1001", "limit"),
        ("/api/messages?cursor=rubbish", "cursor"),
        ("/api/messages?since=yesterday", "since"),
        ("/api/reports?state=lost", "state"),
        ("/api/review?cursor=WyJ4Il0", "cursor"),
    ],
)
async def test_wrong_queries_are_named_and_not_repeated(
    web: httpx.AsyncClient, path: str, fragment: str
) -> None:
    """400 with problem details that name the parameter, and hold nothing of the others."""
    answer = await web.get(path, headers=OPERATOR)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert fragment in answer.json()["detail"]
    assert "447700900123" not in answer.text


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b"[" * 10_000, b'{"ids": 1}', b'{"surprise": 1}', b"{}"]
)
async def test_bad_bodies_are_problems(web: httpx.AsyncClient, body: bytes) -> None:
    """Whatever the body holds, the answer is 400 with a sentence."""
    answer = await web.post("/api/reports/replay", content=body, headers=OPERATOR)
    assert (answer.status_code, answer.json()["status"]) == (400, 400)


async def test_contacts_are_kept_shown_masked_and_erased(web: httpx.AsyncClient) -> None:
    """PUT, GET and DELETE; a bad number is refused without repeating it."""
    put = await web.put(
        "/api/contacts/u1",
        json={"phone": "+44 7700 900123", "email": "Jane@Example.com", "opted_out": ["sms"]},
        headers=OPERATOR,
    )
    assert put.status_code == 200
    shown = (await web.get("/api/contacts/u1", headers=OPERATOR)).json()
    assert (shown["phone"], shown["email"], shown["opted_out"]) == (
        "+44•••••0123",
        "J•••••@example.com",
        ["SMS"],
    )
    assert shown["opt_outs"][0]["reason"] == "set by alice"
    bad = await web.put("/api/contacts/u1", json={"phone": "0770090012399"}, headers=OPERATOR)
    assert bad.status_code == 400
    assert "0770090012399" not in bad.text
    assert (await web.delete("/api/contacts/u1", headers=OPERATOR)).status_code == 200
    assert (await web.get("/api/contacts/u1", headers=OPERATOR)).status_code == 404
    assert (await web.delete("/api/contacts/u1", headers=OPERATOR)).status_code == 404


async def test_whoever_has_only_closed_channels_is_erased(web: httpx.AsyncClient, service: Service) -> None:
    """Who is shown can be erased, and that is in the audit trail: also where only a closed channel is known."""
    store = service.store
    await store.write(lambda tx: close_channel_of_user(tx, "ghost", "CIM", "unsubscribed", 1))
    assert (await web.get("/api/contacts/ghost", headers=OPERATOR)).json()["opted_out"] == ["CIM"]
    assert (await web.delete("/api/contacts/ghost", headers=OPERATOR)).status_code == 200
    assert (await web.get("/api/contacts/ghost", headers=OPERATOR)).status_code == 404
    assert (await web.delete("/api/contacts/ghost", headers=OPERATOR)).status_code == 404
    trail = (await web.get("/api/audit", headers=OPERATOR)).json()["items"]
    assert [line["action"] for line in trail] == ["contact.delete"]


@pytest.mark.parametrize("path", ["/api/messages/{id}/reveal", "/api/review/7/dismiss"])
async def test_a_body_in_chunks_is_read(web: httpx.AsyncClient, path: str) -> None:
    """Without a Content-Length a body is a body: what does not fit is refused, and not passed over."""

    async def chunks() -> AsyncIterator[bytes]:
        yield b'{"surprise": 1}'

    path = path.format(id="0190a540-f662-745b-8311-eebe56024200")
    answer = await web.post(path, content=chunks(), headers=OPERATOR)
    assert (answer.status_code, "surprise" in answer.text) == (400, True)


async def test_who_changed_a_contact_is_written_down(web: httpx.AsyncClient) -> None:
    """Setting, importing and erasing are in the audit trail with the name of the operator, and without any address."""
    phone = {"phone": "+447700900123", "email": "jane@example.com"}
    await web.put("/api/contacts/u1", json=phone, headers=OPERATOR)
    await web.post(
        "/api/contacts", json=[{"ext_user_id": f"u{n}", **phone} for n in range(3)], headers=OPERATOR
    )
    await web.post("/api/contacts", json=[], headers=OPERATOR)
    await web.delete("/api/contacts/u1", headers=OPERATOR)
    trail = await web.get("/api/audit", headers=OPERATOR)
    told = [(line["actor"], line["action"], line["detail"]) for line in trail.json()["items"]]
    assert told == [
        ("alice", "contact.delete", {}),
        ("alice", "contacts.import", {"contacts": 3}),
        ("alice", "contact.set", {"user": "u1"}),
    ]
    assert "7700900123" not in trail.text
    assert "jane" not in trail.text


@pytest.mark.parametrize("ext_user_id", ["684:f21aaf49", "a/b", "/a//b", "ünï code", "50%"])
async def test_an_ext_user_id_may_be_anything(web: httpx.AsyncClient, ext_user_id: str) -> None:
    """Whatever stands in an id, percent-encoded it names this contact and no other."""
    path = f"/api/contacts/{quote(ext_user_id, safe='')}"
    kept = await web.put(path, json={"phone": "+447700900123"}, headers=OPERATOR)
    assert kept.json()["ext_user_id"] == ext_user_id
    assert (await web.get(path, headers=OPERATOR)).json() == kept.json()


async def test_an_import_is_all_or_nothing(web: httpx.AsyncClient) -> None:
    """One bad row refuses the request, and says which row it is."""
    rows = [{"ext_user_id": "good", "phone": "+447700900123"}, {"ext_user_id": "bad", "phone": "1"}]
    answer = await web.post("/api/contacts", json=rows, headers=OPERATOR)
    assert answer.status_code == 400
    assert "[1]" in answer.json()["detail"]
    assert (await web.get("/api/contacts/good", headers=OPERATOR)).status_code == 404


async def test_pages_have_cursors(web: httpx.AsyncClient) -> None:
    """limit bounds a page, next leads through all of them exactly once, newest first."""
    for number in range(5):
        await web.post(
            "/callbacks/revicom", content=f"no json {number}", headers={"X-Forwarded-For": "185.203.96.7"}
        )
    rows = [{"ext_user_id": f"u{number}", "phone": f"+44770090010{number}"} for number in range(5)]
    await web.post("/api/contacts", json=rows, headers=OPERATOR)
    for number in range(5):
        body = {"ext_user_id": f"u{number}", "body": "x", "im_uid": f"{number}"}
        body["callback_url"] = "https://api.smartico.ai/c"
        await web.post("/smartico/sms", json=body, headers={"Authorization": "old-secret"})
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = (
            await web.get("/api/messages", params={"limit": 2, "cursor": cursor}, headers=OPERATOR)
        ).json()
        assert len(page["items"]) <= 2
        seen += [item["smartico_uid"] for item in page["items"]]
        cursor = page["next"]
    assert seen == ["4", "3", "2", "1", "0"]


async def test_unknown_addresses_are_problems(web: httpx.AsyncClient) -> None:
    """404 and 405 are problem details like everything else."""
    assert (await web.get("/nothing/here")).json()["status"] == 404
    assert (await web.get("/smartico/sms")).json()["status"] == 405
