"""Nobody's text becomes a script: what peers, players and operators can write, looked at with a real browser.

The pages are visited twice: as they are, and with their policy (CSP) switched off, so that the templates alone have to
hold. Whatever is injected and runs calls `ran`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from aiohttp import web
from playwright.async_api import Browser, Page, expect

from tests.browser.conftest import sign_in
from tests.e2e.stage import BridgeProcess, eventually
from tests.servers import serving
from tests.web.everywhere import addresses, write_everywhere

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

TEXTS = (
    "<script>ran()</script>",
    "<img src=x onerror=ran()>",
    '"><svg onload=ran()>',
    "' autofocus onfocus=ran() x='",
    '" autofocus onfocus="ran()" x="',
    "javascript:ran()",
    "</title></textarea></pre></option></script><script>ran()</script>",
    "{{ 7 * 7 }}{% raw %}${ran()}<%= ran() %>",
    "--><iframe srcdoc='<script>parent.ran()</script>'></iframe><!--",
    "<base href=javascript:/><a href=javascript:ran()>x</a>",
    "&lt;img src=x onerror=ran()&gt;&#x22;&#x3e;",
)
ALL = "".join(TEXTS)
RAN = "a script ran"
TOKEN = "a-token-of-somebody-with-a-strange-name"
HEAD = {"Authorization": f"Bearer {TOKEN}"}
AUTH = ("revicom", "password-of-callbacks")
PRICE = {"price": 0.05, "currency": "EUR", "parts": 1, "price_time": "2026-11-21T18:51:13Z"}


def toml(value: object) -> str:
    """As the settings have it, where ${…} would be looked for in the environment."""
    return json.dumps(value).replace("${", "$${")


SECTIONS = f"""
[gateways.odd]
authorization = ["secret-of-odd"]
channel = {toml(ALL)}
senders = {toml(TEXTS)}

[communications]
authorization = ["secret-of-communications"]
forward_url = "{{url}}/forward"

[ops]
secure_cookies = false

[[ops.operators]]
name = {toml(ALL)}
token = "{TOKEN}"
role = "operator"
"""
PENDING = "/ops/reports?state=pending"  # of which the doors leave none
PAGES = (
    "/ops/", "/ops/messages", "/ops/reports", PENDING, "/ops/review", "/ops/costs",
    "/ops/communications", "/ops/audit",
)  # fmt: skip

# What no page of ours has: handlers, addresses elsewhere, foreign elements, scripts beside our own.
STRANGE = """() => {
  if (document.contentType !== "text/html") return [];  // JSON, which is shown as a text
  const found = [];
  const addresses = ["href", "src", "action", "formaction", "data", "xlink:href"];
  for (const each of document.querySelectorAll("*")) {
    for (const { name, value } of each.attributes) {
      if (name.startsWith("on") || ["srcdoc", "style", "autofocus"].includes(name)) found.push(each.outerHTML);
      if (addresses.includes(name) && new URL(value, location.href).origin !== location.origin) found.push(value);
    }
    if (each.matches("iframe, object, embed, base, meta[http-equiv], svg svg")) found.push(each.outerHTML);
  }
  const scripts = [...document.querySelectorAll("script")].map((each) => each.getAttribute("src") ?? "");
  if (scripts.length !== 1 || !scripts[0].startsWith("/ops/static/")) found.push(...scripts, "scripts");
  return found;
}"""


class Peers:
    """Revicom, Smartico and the operator's API in one, which write script into everything that they answer."""

    def __init__(self) -> None:
        self.url = ""

    async def send(self, request: web.Request) -> web.Response:
        (item,) = await request.json()
        number, _, wish = item["content"].partition(" ")[0].partition("-")
        text = TEXTS[int(number)]
        if wish == "refuse":
            return web.json_response({"error": {"code": text, "msg": text}}, status=422)
        return web.json_response({"items": [{"code": 201, "messageUuid": provider_id(int(number))}]})

    async def report(self, request: web.Request) -> web.Response:
        text = TEXTS[int(request.match_info["number"])]
        return web.json_response({"error_code": 7, "error_message": text})

    async def forward(self, _: web.Request) -> web.Response:
        return web.Response(status=400, text=ALL, reason="bad <script>ran()</script>")


def provider_id(number: int) -> str:
    return f"{TEXTS[number]}{number}"


@asynccontextmanager
async def hostile_peers() -> AsyncIterator[Peers]:
    """They run for as long as the block."""
    peers, app = Peers(), web.Application()
    app.router.add_post("/api/v1/message", peers.send)
    app.router.add_get("/report/{number}", peers.report)
    app.router.add_post("/forward", peers.forward)
    async with serving(app) as peers.url:
        yield peers


async def write_script_everywhere(peers: Peers, api: Any) -> tuple[list[str], list[str]]:
    """Through every door, as anybody might; gives the ids of the messages that were taken, and of the others."""
    people = [
        {"ext_user_id": text, "phone": f"+1415555{number:04}", "email": f"p{number}@example.com"}
        for number, text in enumerate(TEXTS)
    ]
    assert (await api.post("/api/contacts", json=people)).status_code == 200
    ids: dict[str, list[str]] = {"take": [], "refuse": []}
    for number, text in enumerate(TEXTS):
        for wish in ("take", "refuse"):
            body = {
                "ext_user_id": text, "im_uid": f"{text}{wish}", "body": f"{number}-{wish} {ALL}", "from_number": text,
                "callback_url": f"{peers.url}/report/{number}?x={quote(ALL)}",
            }  # fmt: skip
            answer = await api.post("/smartico/odd", json=body, headers={"Authorization": "secret-of-odd"})
            assert answer.json()["error_code"] == 0, answer.text
            ids[wish].append(answer.json()["ext_message_id"])
        told = {"login": text, "channel": text[:64], "campaign_name": text, "view_url": text, text: text}
        head = {"Authorization": "secret-of-communications"}
        assert (await api.post("/smartico/communications", json=told, headers=head)).json() == {
            "error_code": 0
        }
        shared = {"message_uuid": provider_id(number), "channel_type": text}
        item = {"destination": f"1415555{number:04}", "content": text}
        elements = [
            {**shared, "callback_event": "delivered", "status": "undelivered", "error_code": text},
            {**shared, "callback_event": "click", "url": text},
            {**shared, "callback_event": "price", **PRICE},
            {**shared, "callback_event": text, "status": text, "error_code": text},
            {
                **shared,
                "callback_event": "inbound_sent",
                "item": item,
                "message_uuid": f"inbound{number}{text}",
            },
            {**shared, "callback_event": "inbound_sent", "item": {**item, "destination": text}},
            {**shared, "callback_event": text, "status": text, "message_uuid": f"nobody's {text}"},
            {"message_uuid": 5, text: text},
        ]
        answer = await api.post("/callbacks/revicom", json=elements, auth=AUTH)
        assert answer.status_code == 200
        await api.post("/callbacks/revicom", content=text.encode(), auth=AUTH)
    return ids["take"], ids["refuse"]


async def everything_is_there(api: Any) -> bool:
    """Whether all that was written was understood, and the reports about it given up."""
    dead = (await api.get("/api/reports", params={"state": "dead"})).json()["items"]
    review = (await api.get("/api/review")).json()["items"]
    kinds = {item["kind"] for item in review}
    return (
        len(dead) >= 2 * len(TEXTS)
        and {"unreadable", "malformed", "unmapped", "dead_report", "dead_forward"} <= kinds
    )


@asynccontextmanager
async def alarmed_page(browser: Browser, *, bypass_csp: bool) -> AsyncIterator[tuple[Page, list[str]]]:
    """A page, and what it should not have done: calls of `ran`, dialogs, errors and refusals in the console."""
    alarms: list[str] = []
    context = await browser.new_context(bypass_csp=bypass_csp)
    await context.expose_function("ran", lambda: alarms.append(RAN))
    page = await context.new_page()
    page.on("pageerror", lambda error: alarms.append(str(error)))
    page.on("console", lambda said: alarms.append(said.text) if said.type == "error" else None)

    async def refuse(dialog: Any) -> None:
        alarms.append(dialog.message)
        await dialog.dismiss()

    page.on("dialog", refuse)
    yield page, alarms
    await context.close()


def rings(alarms: list[str], word: str) -> bool:
    return word in "".join(alarms)


async def look_at(page: Page, alarms: list[str], url: str, paths: list[str]) -> dict[str, str]:
    """Visits pages; gives what is to be read on each. None may hold anything that is not of ours."""
    seen = {}
    for path in paths:
        answer = await page.goto(f"{url}{path}")
        assert answer is not None
        assert answer.status < 500, path
        assert await page.evaluate(STRANGE) == [], path
        # A page that is answered with an error is told in the console, which is no alarm.
        assert [each for each in alarms if "the server responded with a status of 4" not in each] == [], path
        seen[path] = await page.evaluate("document.querySelector('main')?.textContent ?? ''")
    return seen


async def decide(page: Page, url: str) -> None:
    """An operator who means harm writes a script as his reason, and looks for one."""
    await page.goto(f"{url}/ops/reports")
    await page.get_by_role("button", name="Replay").first.click()
    await page.get_by_label("Why").fill(ALL)
    assert await page.evaluate(STRANGE) == []
    await page.get_by_role("button", name="Replay").click()
    await expect(page.get_by_text("Done.")).to_be_visible()
    await page.goto(f"{url}/ops/review")
    await page.get_by_label("Why").first.fill(ALL)
    await page.get_by_role("button", name="Dismiss").first.click()
    await expect(page.get_by_role("status")).to_contain_text("dismissed")
    await page.get_by_role("searchbox").fill(ALL)
    await page.get_by_role("button", name="Find").click()
    await page.wait_for_url("**/ops/messages?query=*")
    assert await page.evaluate(STRANGE) == []


async def test_no_script_runs(browser: Browser, tmp_path: Path) -> None:
    """Script in everything that can be written stays text on every page, with the policy of the pages and without."""
    async with hostile_peers() as peers:
        sections = SECTIONS.replace("{url}", peers.url)
        bridge = BridgeProcess(tmp_path, peers.url, more=sections, revicom="max_batch = 1")
        await bridge.start()
        try:
            async with httpx.AsyncClient(base_url=bridge.url, headers=HEAD, timeout=30) as api:
                taken, refused = await write_script_everywhere(peers, api)
                await eventually(lambda: everything_is_there(api))
            messages = [f"/ops/messages/{each}" for each in (*taken, refused[0])]
            users = [f"/ops/users?id={quote(each)}" for each in TEXTS[:3]]
            async with alarmed_page(browser, bypass_csp=True) as (page, alarms):
                await sign_in(page, bridge.url, TOKEN)
                await decide(page, bridge.url)
                seen = await look_at(page, alarms, bridge.url, [*PAGES, *messages, *users])
                assert {path for path, text in seen.items() if not all(each in text for each in TEXTS)} <= {
                    PENDING
                }
                write_everywhere(tmp_path / "bridge.db", taken[0], ALL)  # also where no door leads
                seen = await look_at(page, alarms, bridge.url, addresses(taken[0], ALL))
                assert ALL in seen[PENDING]
            async with alarmed_page(browser, bypass_csp=False) as (page, alarms):
                await sign_in(page, bridge.url, TOKEN)
                await look_at(page, alarms, bridge.url, [*PAGES, messages[0], users[0]])
        finally:
            await bridge.kill()


async def test_the_alarm_rings(browser: Browser, tmp_path: Path) -> None:
    """What is looked for would be seen: the same texts run where nobody escapes them; and where the policy is in force,
    it keeps them from running even then."""
    bridge = BridgeProcess(tmp_path, "http://127.0.0.1:9")
    await bridge.start()
    try:
        for bypass_csp, told in ((True, RAN), (False, "Content Security Policy")):
            for text in (TEXTS[0], TEXTS[2]):
                async with alarmed_page(browser, bypass_csp=bypass_csp) as (page, alarms):
                    await page.goto(f"{bridge.url}/ops/sign-in")
                    await page.set_content(f"<p>{text}</p>")
                    await eventually(partial(rings, alarms, told))
                    assert bypass_csp or RAN not in alarms
                    assert await page.evaluate(STRANGE) != []
    finally:
        await bridge.kill()
