"""The pages over HTTP: signing in and out, forms, searches, decisions, and what never stands on a page."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest

from tests.web.conftest import OPERATOR

TOKEN, VIEWER_TOKEN = "an-operator-token-for-tests", "a-viewer-token-for-tests"
PHONE = "+14155550142"
PAGES = (
    "/ops/",
    "/ops/messages",
    "/ops/reports",
    "/ops/review",
    "/ops/costs",
    "/ops/communications",
    "/ops/audit",
)


async def sign_in(web: httpx.AsyncClient, token: str = TOKEN) -> None:
    answer = await web.post("/ops/sign-in", data={"token": token, "next": "/ops/"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/ops/")
    cookie = answer.headers["set-cookie"]
    for word in ("__Host-bridge=", "HttpOnly", "Secure", "SameSite=lax", "Path=/"):
        assert word in cookie
    web.headers["Cookie"] = cookie.partition(";")[0]  # httpx keeps a secure cookie from http


def csrf_of(page: str) -> str:
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', page)
    assert found
    return found[1]


async def send(web: httpx.AsyncClient, uid: str = "uid-1", user: str = "player1") -> str:
    """Stores a message; gives its id."""
    await web.put(f"/api/contacts/{user}", json={"phone": PHONE}, headers=OPERATOR)
    body = {"ext_user_id": user, "body": "Hello", "im_uid": uid, "callback_url": "https://api.smartico.ai/c"}
    answer = await web.post(
        "/smartico/sms", content=json.dumps(body).encode(), headers={"Authorization": "old-secret"}
    )
    return str(answer.json()["ext_message_id"])


@pytest.mark.parametrize(
    "path", [*PAGES, "/ops/messages/x", "/ops/users?id=1", "/ops/live", "/ops/export/messages.csv"]
)
async def test_nobody_comes_in_without_a_token(web: httpx.AsyncClient, path: str) -> None:
    """Every page leads to the sign-in, and back from there."""
    answer = await web.get(path)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/ops/sign-in?next=%2Fops")
    assert answer.text == ""


async def test_a_wrong_token(web: httpx.AsyncClient) -> None:
    """It is told so, without repeating it; after ten times the client has to wait."""
    for _ in range(10):
        answer = await web.post("/ops/sign-in", data={"token": "a wrong token", "next": "/ops/"})
        assert (answer.status_code, "set-cookie" in answer.headers) == (401, False)
        assert "a wrong token" not in answer.text
    assert (await web.post("/ops/sign-in", data={"token": TOKEN})).status_code == 429


@pytest.mark.parametrize(
    "to",
    [
        "https://evil.example/", "//evil.example", "/\\evil.example", "/ops/\r\nX: y", "", "/api", "/ops/\x7f",
        "/ops/\x85", "/ops/é", "/ops/\u202e", "/ops/?query=\U0001f44b", "javascript:alert(1)",
    ],
)  # fmt: skip
async def test_the_sign_in_leads_nowhere_else(web: httpx.AsyncClient, to: str) -> None:
    """Whatever `next` says, it is a page of ours."""
    answer = await web.post("/ops/sign-in", data={"token": TOKEN, "next": to})
    assert answer.headers["location"] == "/ops/"


@pytest.mark.parametrize("path", PAGES)
async def test_pages(web: httpx.AsyncClient, path: str) -> None:
    """Each answers, small and with a strict policy, and loads nothing from elsewhere; nothing is inline."""
    await send(web)
    await sign_in(web)
    answer = await web.get(path)
    assert answer.status_code == 200
    assert len(answer.content) < 100_000
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"
    assert not re.search(r'(?:src|href|action)="(?!/|\?|#)', answer.text)
    assert not re.search(r"<script(?![^>]* src=)|style=|onclick", answer.text)
    assert PHONE not in answer.text
    for asset in re.findall(r'"(/ops/static/[^"]+)"', answer.text):
        assert (await web.get(asset)).status_code == 200


async def test_a_session_ends(web: httpx.AsyncClient) -> None:
    """After the sign-out the cookie is worth nothing."""
    await sign_in(web)
    page = (await web.get("/ops/messages")).text
    answer = await web.post("/ops/sign-out", data={"csrf": csrf_of(page)})
    assert answer.headers["location"] == "/ops/sign-in"
    assert (await web.get("/ops/messages")).status_code == 303


@pytest.mark.parametrize(
    ("fields", "headers"),
    [({}, {}), ({"csrf": "0" * 64}, {}), (None, {"Sec-Fetch-Site": "cross-site"})],
)
async def test_forms_of_others_do_nothing(
    web: httpx.AsyncClient, fields: dict[str, str] | None, headers: dict[str, str]
) -> None:
    """A form without this session's own token, or from another site, is refused."""
    message_id = await send(web)
    await sign_in(web)
    page = (await web.get(f"/ops/messages/{message_id}")).text
    data = {"csrf": csrf_of(page)} if fields is None else fields
    answer = await web.post(f"/ops/messages/{message_id}/reveal", data=data, headers=headers)
    assert answer.status_code == 403
    assert PHONE not in answer.text


async def search(web: httpx.AsyncClient, text: str) -> httpx.Response:
    csrf = csrf_of((await web.get("/ops/review")).text)
    answer = await web.post("/ops/search", data={"csrf": csrf, "text": text})
    assert answer.status_code == 303
    return await web.get(answer.headers["location"], follow_redirects=True)


@pytest.mark.parametrize(
    "text", [PHONE, "1 (415) 555-0142"[0:0] + "+1 415 555 0142", "14155550142", "uid-1", "player1", "{id}"]
)
async def test_one_box_finds_everything(web: httpx.AsyncClient, text: str) -> None:
    """Any id, or a number in any form, leads to the message; the number is in no address."""
    message_id = await send(web)
    await send(web, "uid-2", "other")
    await web.put("/api/contacts/other", json={"phone": "+14155550199"}, headers=OPERATOR)
    await sign_in(web)
    answer = await search(web, text.replace("{id}", message_id))
    assert message_id in answer.text
    assert "4155550142" not in str(answer.url)
    assert PHONE not in answer.text


async def test_nothing_is_found(web: httpx.AsyncClient) -> None:
    """An empty list says the next step; an unknown message is a page, too."""
    await sign_in(web)
    assert "Nothing fits" in (await search(web, "nobody")).text
    answer = await web.get("/ops/messages/00000000-0000-7000-8000-000000000000")
    assert (answer.status_code, "No message has this id" in answer.text) == (404, True)
    answer = await web.get("/ops/messages", params={"since": "nonsense"})
    assert (answer.status_code, "is no time" in answer.text) == (400, True)
    assert (await web.get("/ops/messages", params={"cursor": "%%%"})).status_code == 400


async def test_an_address_is_revealed_and_that_is_written_down(web: httpx.AsyncClient) -> None:
    """An operator sees the number once; who it was stands in the audit trail, and in the story of the message."""
    message_id = await send(web)
    await sign_in(web)
    page = (await web.get(f"/ops/messages/{message_id}")).text
    assert PHONE not in page
    answer = await web.post(f"/ops/messages/{message_id}/reveal", data={"csrf": csrf_of(page)})
    assert PHONE in answer.text
    assert PHONE not in (await web.get(f"/ops/messages/{message_id}")).text
    audit = (await web.get("/ops/audit")).text
    assert "message.reveal" in audit
    assert PHONE not in audit


async def test_who_may_only_look(web: httpx.AsyncClient) -> None:
    """A viewer gets no button, and no answer to a form that was made by hand."""
    message_id = await send(web)
    await sign_in(web, VIEWER_TOKEN)
    page = (await web.get(f"/ops/messages/{message_id}")).text
    assert "Reveal" not in page
    for path in (f"/ops/messages/{message_id}/reveal", "/ops/reports/replay", "/ops/review/1"):
        answer = await web.post(path, data={"csrf": csrf_of(page)})
        assert (answer.status_code, PHONE in answer.text) == (403, False)


async def test_what_others_wrote_is_only_text(web: httpx.AsyncClient) -> None:
    """Markup in ids of users, in searches and in callbacks that cannot be read is shown as what it is."""
    evil = "<script>alert(1)</script>"
    await send(web, user=evil.replace("/", ""))
    await web.post(
        "/callbacks/revicom",
        content=json.dumps([{"x": evil}]).encode(),
        headers={
            "Authorization": "Basic cmV2aWNvbTpwYXNzd29yZC1vZi1jYWxsYmFja3M=",
            "X-Forwarded-For": "185.203.96.7",
        },
    )
    await sign_in(web)
    pages: list[Any] = [await web.get("/ops/messages"), await web.get("/ops/review"), await search(web, evil)]
    pages.append(await web.get("/ops/users", params={"id": evil}))
    for answer in pages:
        assert "<script>alert" not in answer.text


@pytest.mark.parametrize("length", ["1h", "6h", "24h", "7d", "30d", "nonsense"])
async def test_the_overview_of_a_time(web: httpx.AsyncClient, length: str) -> None:
    """Every range has its figures, each chart a link to its numbers, and those say the same."""
    await send(web)
    await sign_in(web)
    page = (await web.get("/ops/", params={"range": length})).text
    links = re.findall(r'href="(/ops/stats\.csv[^"]+)"', page)
    assert len(links) == 3  # no message failed, nobody charged anything
    for link in links:
        answer = await web.get(link.replace("&amp;", "&"))
        assert answer.headers["content-type"].startswith("text/csv")
        head, row = answer.text.splitlines()
        assert dict(zip(head.split(","), row.split(","), strict=True))["messages"] == "1"


async def test_the_overview_of_one_channel(web: httpx.AsyncClient) -> None:
    """A filter stands in the address, is told, and holds for the numbers behind the charts."""
    await send(web)
    await sign_in(web)
    page = (await web.get("/ops/", params={"channel": "SMS", "provider": "revicom"})).text
    assert "Only SMS · revicom" in page
    page = (await web.get("/ops/", params={"channel": "<b>"})).text
    assert "Only &lt;b&gt;" in page
    assert "No message in this time" in page
    answer = await web.get("/ops/stats.csv", params={"channel": "EMAIL", "by": "hour"})
    assert len(answer.text.splitlines()) == 1
    assert (await web.get("/ops/stats.csv", params={"by": "x"})).status_code == 400


async def test_filters_of_the_list(web: httpx.AsyncClient) -> None:
    """By channel, provider and error code among those that failed, as the overview links; among all it is refused."""
    await send(web)
    await sign_in(web)
    for filters, code in (
        ({"channel": "SMS", "provider": "revicom", "error_code": "508", "state": "failed"}, 200),
        ({"channel": "EMAIL"}, 400),
        ({"provider": "mail", "state": "queued"}, 400),
    ):
        assert (await web.get("/ops/messages", params=filters)).status_code == code
        assert (await web.get("/api/messages", params=filters, headers=OPERATOR)).status_code == code
