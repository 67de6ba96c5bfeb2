"""The pages as people use them: with a mouse, with keys, without a script, in the dark, and read aloud."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, expect

from bridge.sim import SmarticoFaults
from tests.browser.conftest import sign_in
from tests.e2e.stage import SMS, VIEWER_TOKEN, WHATSAPP, Stage, eventually, open_stage

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]
PAGES = ("", "messages", "reports", "reports?state=pending", "review", "costs", "communications", "audit")
INSECURE = "[ops]\nsecure_cookies = false\n"


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """A service with a few messages that went well."""
    async with open_stage(tmp_path, more=INSECURE) as opened:
        ids = [
            await opened.send(f"player{number}", gateway)
            for number, gateway in enumerate((SMS, WHATSAPP, SMS))
        ]
        await eventually(lambda: all("delivered" in opened.statuses(each) for each in ids))
        yield opened


@pytest.fixture
async def page(browser: Browser) -> AsyncIterator[Page]:
    """A page on which no script may fail and nothing be refused by the policy."""
    context = await browser.new_context(viewport={"width": 1280, "height": 900})
    opened = await context.new_page()
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
    yield opened
    await context.close()
    assert problems == []


async def post_nonsense(stage: Stage) -> None:
    """The provider posts an element that cannot be read."""
    auth = ("revicom", "password-of-callbacks")
    answer = await stage.api.post("/callbacks/revicom", json=[{"message_uuid": 5}], auth=auth)
    assert answer.status_code == 200


async def dead(stage: Stage, count: int) -> bool:
    found = (await stage.api.get("/api/reports", params={"state": "dead"})).json()["items"]
    return len(found) == count


async def under_review(stage: Stage) -> bool:
    return bool((await stage.api.get("/api/review")).json()["items"])


async def test_from_the_sign_in_to_the_answer(stage: Stage, page: Page) -> None:
    """Did player0 get it? A search by the number leads to the message, and its story says so in a sentence."""
    await sign_in(page, stage.bridge.url)
    await page.get_by_role("searchbox").fill("+1 415 555 0000")
    await page.get_by_role("button", name="Find").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("•••••0000")
    assert "4155550000" not in page.url
    await page.locator("a.row-link").first.click()
    await expect(page.locator(".lead")).to_contain_text("It was delivered")
    story = page.locator(".story")
    for sentence in (
        "Smartico asked for it",
        "The provider took it",
        "“delivered”",
        "Smartico took the status",
    ):
        await expect(story).to_contain_text(sentence)
    await story.get_by_text("JSON").first.click()
    await expect(story.locator("pre").first).to_be_visible()
    await page.get_by_role("button", name="Reveal").click()
    await expect(page.locator(".revealed")).to_have_text("+14155550000")


async def test_a_dead_status_is_replayed(stage: Stage, page: Page) -> None:
    """By its cause: a preview with the number, the reason, the progress; afterwards Smartico has it."""
    stage.smartico.faults = SmarticoFaults(redirect=1.0)
    ext_message_id = await stage.send("player7")
    await eventually(lambda: dead(stage, 2))
    stage.smartico.faults = SmarticoFaults()
    await sign_in(page, stage.bridge.url)
    await page.get_by_role("link", name="dead statuses").click()
    await page.get_by_role("button", name="Replay").first.click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Replay")
    await page.get_by_label("Why").fill("Smartico is back")
    await page.get_by_role("button", name="Replay").click()
    await expect(page.get_by_text("Done.")).to_be_visible()
    await eventually(lambda: "delivered" in stage.statuses(ext_message_id))
    await page.goto(f"{stage.bridge.url}/ops/audit")
    await expect(page.get_by_role("cell", name="Smartico is back")).to_be_visible()


async def test_what_cannot_be_read_is_dismissed(stage: Stage, page: Page) -> None:
    """The item says what it is and what to do, and is gone with a note."""
    await post_nonsense(stage)
    await sign_in(page, stage.bridge.url)

    async def shown() -> bool:
        await page.goto(f"{stage.bridge.url}/ops/review")
        return await page.locator("article").count() == 1

    await eventually(shown)
    await expect(page.locator("article")).to_contain_text("An element that cannot be read")
    await page.get_by_label("Why").fill("a test of theirs")
    await page.get_by_role("button", name="Dismiss").click()
    await expect(page.get_by_role("status")).to_contain_text("dismissed")
    await expect(page.get_by_text("Nothing waits for you.")).to_be_visible()


async def test_keys(stage: Stage, page: Page) -> None:
    """/ searches, j and k go through rows, Enter opens one, ? tells of all that."""
    await sign_in(page, stage.bridge.url)
    await page.keyboard.press("g")
    await page.keyboard.press("m")
    await page.wait_for_url("**/ops/messages")
    for key in ("j", "j", "k"):
        await page.keyboard.press(key)
    await expect(page.locator("tr.current")).to_have_count(1)
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/ops/messages/*")
    await page.keyboard.press("?")
    await expect(page.get_by_role("dialog")).to_be_visible()
    await page.keyboard.press("Escape")
    await page.keyboard.press("/")
    await expect(page.get_by_role("searchbox")).to_be_focused()


async def test_counts_are_live(stage: Stage, page: Page) -> None:
    """A number on the overview changes without a reload."""
    await sign_in(page, stage.bridge.url)
    number = page.locator("[data-live='review.open']")
    await expect(number).to_have_text("0")
    await post_nonsense(stage)
    await expect(number).to_have_text("1", timeout=20_000)


async def test_without_a_script(stage: Stage, browser: Browser) -> None:
    """Everything that matters works where no script runs: sign-in, search, story, theme, sign-out."""
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await sign_in(page, stage.bridge.url)
    await page.get_by_role("searchbox").fill("player1")
    await page.get_by_role("button", name="Find").click()
    await page.locator("a.row-link").first.click()
    await expect(page.locator(".lead")).to_contain_text("It was")
    await page.get_by_role("button", name="Dark", exact=True).click()
    await expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_label("Operator token")).to_be_visible()
    await context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_dark_and_light(stage: Stage, browser: Browser, scheme: str) -> None:
    """The system's wish is followed, and the toggle overrides it and is kept."""
    context = await browser.new_context(color_scheme=scheme)  # type: ignore[arg-type]
    page = await context.new_page()
    await sign_in(page, stage.bridge.url)
    paper = "getComputedStyle(document.body).backgroundColor"
    dark = {"light": "rgb(251, 252, 253)", "dark": "rgb(16, 22, 29)"}
    assert await page.evaluate(paper) == dark[scheme]
    other = "dark" if scheme == "light" else "light"
    await page.get_by_role("button", name=other.title(), exact=True).click()
    await page.goto(f"{stage.bridge.url}/ops/messages")
    assert await page.evaluate(paper) == dark[other]
    await context.close()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 390)])
async def test_nobody_is_shut_out(stage: Stage, browser: Browser, scheme: str, width: int) -> None:
    """axe finds nothing serious on any page, in both themes and on a phone, and no page is wider than its window."""
    await post_nonsense(stage)
    await eventually(lambda: under_review(stage))
    context = await browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 844})  # type: ignore[arg-type]
    page = await context.new_page()
    await sign_in(page, stage.bridge.url)
    (item,) = (await stage.api.get("/api/messages", params={"query": "player0"})).json()["items"]
    for path in (*PAGES, f"messages/{item['ext_message_id']}", "users?id=player0", "messages?query=nothing"):
        await page.goto(f"{stage.bridge.url}/ops/{path}")
        results = await Axe().run(page)
        serious = [
            (each["id"], each["help"], [node["target"] for node in each["nodes"]])
            for each in results.response["violations"]
            if each["impact"] in ("serious", "critical")
        ]
        assert serious == [], path
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
    await context.close()


async def test_a_viewer_sees_no_buttons(stage: Stage, page: Page) -> None:
    """Who may only look is offered nothing else."""
    await sign_in(page, stage.bridge.url, VIEWER_TOKEN)
    await page.goto(f"{stage.bridge.url}/ops/messages?query=player0")
    await page.locator("a.row-link").first.click()
    await expect(page.get_by_role("button", name="Reveal")).to_have_count(0)
