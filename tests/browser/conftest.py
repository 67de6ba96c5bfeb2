"""A real service with simulated peers, and a real browser: the Chromium of the system.

Where there is none the tests are skipped, loudly: `apt-get install chromium` (or another way to get the program
`chromium`) enables them, and `.ci/run` does that.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, Page, async_playwright

from tests.e2e.stage import OPERATOR_TOKEN

NAMES = ("chromium", "chromium-browser", "google-chrome")


def find_chromium() -> str:
    found = next((path for name in NAMES if (path := shutil.which(name))), "")
    if not found:
        if os.environ.get("CI"):
            pytest.fail("there is no Chromium, and CI has to have one")
        pytest.skip("there is no Chromium: apt-get install chromium")
    return found


@asynccontextmanager
async def open_browser() -> AsyncIterator[Browser]:
    program = find_chromium()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            await browser.close()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with open_browser() as opened:
        yield opened


async def sign_in(page: Page, url: str, token: str = OPERATOR_TOKEN) -> None:
    """From the sign-in page to the overview."""
    await page.goto(f"{url}/ops/")
    await page.get_by_label("Operator token").fill(token)
    await page.get_by_role("button", name="Sign in").click()
    await page.wait_for_url("**/ops/")
