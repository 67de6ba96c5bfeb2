"""The pages against people who mean harm: markup in everything that others write, sessions and forms that are not ours.

A page is read as a browser reads it: whatever stands in the database, it has the same elements and attributes.
"""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from itertools import product
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from tests.web.conftest import OPERATOR, VIEWER
from tests.web.everywhere import addresses, write_everywhere

TOKEN = "an-operator-token-for-tests"
TAME = "zzz"
EVIL = [
    "\"'><img src=x onerror=alert(1)></title></pre></script><script>alert(2)</script><!--",
    "javascript:alert(3)",
    "' autofocus onfocus=alert(4) x={{ 7 * 7 }}&lt;svg/onload=alert(5)&gt;&#x22;",
]


class Reader(HTMLParser):
    """What a page is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: set[tuple[str, tuple[str, ...]]] = set()
        self.links: list[str] = []
        self.others: list[str] = []  # comments and the like

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add((tag, tuple(name for name, _ in attrs)))
        self.links += [
            value or "" for name, value in attrs if name in ("href", "src", "action", "formaction")
        ]

    def handle_comment(self, data: str) -> None:
        self.others.append(data)

    def unknown_decl(self, data: str) -> None:
        self.others.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    return reader


async def sign_in(web: httpx.AsyncClient, token: str = TOKEN) -> str:
    answer = await web.post("/ops/sign-in", data={"token": token})
    cookie: str = answer.headers["set-cookie"].partition(";")[0]
    web.headers["Cookie"] = cookie  # httpx keeps a secure cookie from http
    return cookie


def csrf_of(page: str) -> str:
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', page)
    assert found
    return found[1]


async def send(web: httpx.AsyncClient) -> str:
    await web.put("/api/contacts/player1", json={"phone": "+14155550142"}, headers=OPERATOR)
    body = {
        "ext_user_id": "player1",
        "body": "Hello",
        "im_uid": "uid",
        "callback_url": "https://api.smartico.ai/c",
    }
    answer = await web.post("/smartico/sms", json=body, headers={"Authorization": "old-secret"})
    return str(answer.json()["ext_message_id"])


async def looked_at(web: httpx.AsyncClient, ext_message_id: str, word: str) -> dict[int, Reader]:
    """Every page, by its number; none of them may fail."""
    found = {}
    for number, address in enumerate(addresses(ext_message_id, word)):
        answer = await web.get(address)
        assert answer.status_code < 500, (address, answer.text[-800:])
        found[number] = read(answer.text)
    form = {
        "csrf": csrf_of((await web.get("/ops/audit")).text),
        "cause": word,
        "lane": f"{word}@{word}",
        "reason": word,
    }
    for path in ("/ops/reports/replay", "/ops/review/1", f"/ops/messages/{ext_message_id}/reveal"):
        answer = await web.post(path, data=form)
        assert answer.status_code < 500, path
        found[len(found)] = read(answer.text)
    answer = await web.post("/ops/sign-in", data={"token": word, "next": word})
    found[len(found)] = read(answer.text)
    return found


@pytest.mark.only_sqlite
@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_markup_is_only_text(web: httpx.AsyncClient, tmp_path: Path) -> None:
    """Markup in every field that anybody can write, and in every parameter, adds no element and no attribute to a page,
    and no address that leads elsewhere."""
    ext_message_id = await send(web)
    await sign_in(web)
    write_everywhere(tmp_path / "bridge.db", ext_message_id, TAME)
    tame = await looked_at(web, ext_message_id, TAME)
    assert any(TAME in link for link in tame[0].links)
    for word in EVIL:
        write_everywhere(tmp_path / "bridge.db", ext_message_id, word)
        for number, page in (await looked_at(web, ext_message_id, word)).items():
            known = tame[number].elements | tame[6].elements  # an empty list has a hint in place of a table
            new = {each for each in page.elements - known if each[0] != "p"}
            assert new == set(), (number, word)
            assert page.others == []
            assert [link for link in page.links if not re.match(r"(/(?!/|\\)|\?|#|$)", link)] == []


@pytest.mark.only_sqlite
async def test_markup_reaches_no_stream(web: httpx.AsyncClient, tmp_path: Path) -> None:
    """The live counts are numbers; exports and the API say what they are, so that no browser takes them for a page."""
    ext_message_id = await send(web)
    await sign_in(web)
    write_everywhere(tmp_path / "bridge.db", ext_message_id, EVIL[0])
    async with web.stream("GET", "/ops/live") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        line = await anext(answer.aiter_lines())
    assert all(type(value) is int for value in json.loads(line.removeprefix("data: ")).values())
    for path in ("/ops/export/messages.csv", "/ops/stats.csv?by=channel"):
        answer = await web.get(path)
        assert answer.headers["content-type"].startswith("text/csv")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-disposition"].startswith("attachment")
    for path in ("/api/messages", "/api/review", "/api/audit", "/api/communications"):
        answer = await web.get(path, headers=OPERATOR)
        assert answer.headers["content-type"] == "application/json"


# --- sessions ---


async def test_a_cookie_from_before_the_sign_in_is_worth_nothing(web: httpx.AsyncClient) -> None:
    """Whoever plants a cookie does not share the session that follows: each sign-in has a value of its own."""
    planted = "__Host-bridge=planted-by-somebody-else"
    answer = await web.post("/ops/sign-in", data={"token": TOKEN}, headers={"Cookie": planted})
    first = answer.headers["set-cookie"].partition(";")[0]
    assert first != planted
    assert (await web.get("/ops/messages", headers={"Cookie": planted})).status_code == 303
    answer = await web.post("/ops/sign-in", data={"token": TOKEN}, headers={"Cookie": first})
    second = answer.headers["set-cookie"].partition(";")[0]
    assert second not in (first, planted)
    assert (await web.get("/ops/messages", headers={"Cookie": second})).status_code == 200


async def test_an_old_token_of_a_form(web: httpx.AsyncClient) -> None:
    """The token of a form belongs to one session: that of another one of the same person is refused."""
    first = await sign_in(web)
    old = csrf_of((await web.get("/ops/audit")).text)
    second = await sign_in(web)
    answer = await web.post("/ops/search", data={"csrf": old, "text": "x"}, headers={"Cookie": second})
    assert answer.status_code == 403
    answer = await web.post("/ops/search", data={"csrf": old, "text": "x"}, headers={"Cookie": first})
    assert answer.status_code == 303


FORMS = ("/ops/sign-out", "/ops/search", "/ops/reports/replay", "/ops/review/1", "/ops/messages/x/reveal")


@pytest.mark.only_sqlite
async def test_every_form_wants_its_token(web: httpx.AsyncClient) -> None:
    """Nothing is done without the token of this very session."""
    await sign_in(web)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for path, csrf in product(FORMS, (None, "", "0" * 64, "ä", "\ud800", "x" * 60_000)):
        written = b"" if csrf is None else b"csrf=" + quote(csrf.encode("utf-8", "surrogatepass")).encode()
        answer = await web.post(path, content=written, headers=form)
        assert answer.status_code in (400, 403), (path, csrf)
    assert (await web.get("/ops/messages")).status_code == 200  # and nobody was signed out


async def test_the_forms_are_all(web: httpx.AsyncClient) -> None:
    """No page changes anything by GET, and every form of a page posts to one of the addresses that are tested here."""
    await send(web)
    await sign_in(web)
    for path in ("/ops/", "/ops/messages", "/ops/reports", "/ops/review", "/ops/costs", "/ops/audit"):
        page = (await web.get(path)).text
        for action in re.findall(r'<form[^>]*method="post"[^>]*action="([^"]+)"', page):
            assert action in {*FORMS, "/ops/theme"}
    for path in FORMS:
        assert (await web.get(path)).status_code in (404, 405)


@pytest.mark.only_sqlite
async def test_a_form_on_another_site(web: httpx.AsyncClient) -> None:
    """What a browser sends from a page of somebody else is refused, signing in among it."""
    await sign_in(web)
    data = {"csrf": csrf_of((await web.get("/ops/audit")).text), "token": TOKEN}
    for path, site in product(("/ops/sign-in", "/ops/theme", *FORMS), ("cross-site", "same-site")):
        answer = await web.post(path, data=data, headers={"Sec-Fetch-Site": site})
        assert (answer.status_code, "set-cookie" in answer.headers) == (403, False), (path, site)


async def test_the_cookie_of_the_colours(web: httpx.AsyncClient) -> None:
    """It holds one of the words that there are, whatever a form or a cookie says."""
    answer = await web.post("/ops/theme", data={"theme": "x; Domain=evil.example\r\nX: y", "next": "/ops/"})
    assert "evil" not in str(answer.headers)
    answer = await web.get("/ops/sign-in", headers={"Cookie": 'bridge_theme="><script>'})
    assert "data-theme" not in answer.text


async def test_a_token_of_the_api_is_no_cookie(web: httpx.AsyncClient) -> None:
    """A session opens no `/api`, and a token in a header no page: another site can use neither of the two."""
    cookie = await sign_in(web)
    assert (await web.get("/api/messages", headers={"Cookie": cookie})).status_code == 401
    del web.headers["Cookie"]
    assert (await web.get("/ops/messages", headers=VIEWER)).status_code == 303
