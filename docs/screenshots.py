"""The screenshots of the operations pages for the README: `make screenshots` writes them to docs/images/.

It starts `bridge demo`, waits until there is something to see, signs in with a real browser (the Chromium of the
system, found as tests/browser finds it) and ends the demo again. The pictures are written at the end, all of them or
none.
"""

from __future__ import annotations

import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import httpx
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, sync_playwright
from playwright.sync_api import Error as BrowserError

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")

# It stops sending after 25 seconds, and ends by itself should nobody end it.
MESSAGES = 500
DEMO = ("demo", "--messages", str(MESSAGES), "--rate", "20", "--duration", "120")
ACCEPTED = re.compile(r"accepted (?P<count>[\d,]+) ")
HINT = re.compile(r"Look at (?P<url>http://\S+)/ops/ in a browser; the operator token is (?P<token>\S+)\. ")

DELIVERED = 120  # messages, and as many reports, before the first picture
# As the settings in bridge/demo/scene.py have them: what the simulated provider reports, by chance, may all be clear.
CALLBACKS = ("/callbacks/revicom", ("revicom", "demo-callback-password"))

START_SECONDS = 30.0
PATIENCE_SECONDS = 60.0  # for each condition
END_SECONDS = 90.0  # the demo drains for 60 at most
POLL_SECONDS = 0.2

WIDE, PHONE = 1280, 390
HEIGHT = 1400  # at most; the rest of a page is cut off
# Where a page says no more when it is longer, but weighs more.
OVERVIEW_HEIGHT, REPORTS_HEIGHT, REVIEW_HEIGHT = 1240, 640, 890
AIM_BYTES = 120_000

Found = TypeVar("Found")
Scheme = Literal["light", "dark"]


class ScreenshotError(Exception):
    """What went wrong, in a sentence."""


def main() -> int:
    try:
        pictures = take_all(find_chromium())
    except ScreenshotError as trouble:
        sys.stderr.write(f"No screenshots: {trouble}\n")
        return 1
    except (BrowserError, httpx.HTTPError, OSError) as error:
        first = (str(error).splitlines() or [""])[0]
        sys.stderr.write(f"No screenshots: {type(error).__name__}: {first}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("No screenshots: stopped.\n")
        return 130
    IMAGES.mkdir(parents=True, exist_ok=True)
    for name, picture in pictures.items():
        (IMAGES / name).write_bytes(picture)
        remark = "" if len(picture) <= AIM_BYTES else f"  more than {AIM_BYTES // 1000} kB"
        sys.stdout.write(f"docs/images/{name}  {len(picture) / 1000:.0f} kB{remark}\n")
    return 0


def find_chromium() -> str:
    found = next((path for name in CHROMIUM if (path := shutil.which(name))), None)
    if found is None:
        raise ScreenshotError(
            "there is no Chromium; apt-get install chromium, or get the program another way."
        )
    return found


def take_all(program: str) -> dict[str, bytes]:
    """Every picture by its name, from one run of the demo, which has ended well when this returns."""
    with open_demo() as (url, token), httpx.Client(base_url=url, timeout=10) as client:
        client.headers["Authorization"] = f"Bearer {token}"
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
            try:
                return Photographer(browser, Api(client), url, token).take_all()
            finally:
                browser.close()


# --- the demo ---


@contextmanager
def open_demo() -> Iterator[tuple[str, str]]:
    """A running demo on a free port: its address and its operator token, as it prints them."""
    command = [sys.executable, "-m", "bridge", *DEMO]
    environ = os.environ | {"PYTHONUNBUFFERED": "1"}
    demo = subprocess.Popen(  # noqa: S603 - ours
        command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    lines: queue.Queue[str] = queue.Queue()
    reader = threading.Thread(target=_read, args=(demo, lines), daemon=True)
    reader.start()
    try:
        yield _introduction(demo, lines)
    except BaseException:
        _end(demo)
        raise
    _until_all_are_accepted(demo, lines)
    code = _end(demo)
    reader.join(5)
    if code != 0:
        raise ScreenshotError(f"the demo ended with exit code {code}, and said:\n{_last(lines)}")


def _read(demo: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
    """Keeps the pipe empty, so that the demo never waits for us."""
    assert demo.stdout is not None
    for line in demo.stdout:
        lines.put(line.rstrip())


def _introduction(demo: subprocess.Popen[str], lines: queue.Queue[str]) -> tuple[str, str]:
    end, last = time.monotonic() + START_SECONDS, ""
    while time.monotonic() < end:
        try:
            line = lines.get(timeout=POLL_SECONDS)
        except queue.Empty:
            if demo.poll() is not None:
                raise ScreenshotError(
                    f"the demo did not start (exit code {demo.returncode}): {last}"
                ) from None
            continue
        if said := HINT.search(line):
            return said["url"], said["token"]
        last = line or last
    raise ScreenshotError(f"the demo did not say within {START_SECONDS:.0f} seconds where to look.")


def _until_all_are_accepted(demo: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
    """No request of the simulated Smartico is to be cut off: its message would be missing in the demo's books."""
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end and demo.poll() is None:
        try:
            said = ACCEPTED.match(lines.get(timeout=POLL_SECONDS))
        except queue.Empty:
            continue
        if said and int(said["count"].replace(",", "")) >= MESSAGES:
            return


def _end(demo: subprocess.Popen[str]) -> int:
    """Ends it as Ctrl-C does, and waits until what is under way has finished."""
    if demo.poll() is None:
        demo.send_signal(signal.SIGINT)
    try:
        return demo.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        demo.kill()
        return demo.wait()


def _last(lines: queue.Queue[str]) -> str:
    """What it said after it was told to end."""
    said: list[str] = []
    while not lines.empty():
        line = lines.get()
        said = [] if line.startswith("Draining") else [*said, line]
    return "\n".join(said)


# --- what there is to see ---


class Api:
    """What the pictures wait for, asked as a script asks."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def _get(self, path: str, **params: str | int) -> dict[str, Any]:
        answer = self._client.get(path, params=params)
        if answer.status_code != 200:
            raise ScreenshotError(f"{path} answered {answer.status_code}.")
        got: dict[str, Any] = answer.json()
        return got

    def busy(self) -> bool:
        """Enough was delivered, and enough of it was reported. (The page has its figures from the same place.)"""
        done = self._get("/api/reports", state="done", limit=DELIVERED)["items"]
        return len(done) == DELIVERED and self._get("/api/stats")["total"]["delivered"] >= DELIVERED

    def retrying(self) -> bool:
        """Reports wait for another attempt."""
        return bool(self._get("/api/reports/causes", state="pending")["items"])

    def post_nonsense(self) -> None:
        """An element of a callback that cannot be read, for a person to look at."""
        path, auth = CALLBACKS
        answer = self._client.post(path, json=[{"message_uuid": 5}], auth=auth)
        if answer.status_code != 200:
            raise ScreenshotError(f"{path} answered {answer.status_code}.")

    def to_review(self) -> bool:
        return bool(self._get("/api/review")["items"])

    def best_message(self) -> str | None:
        """The newest delivered message whose price is known and whose every report was taken, one at a retry."""
        for item in self._get("/api/messages", gateway="sms", limit=60)["items"]:
            if item["state"] == "delivered" and item["price"]:
                name = str(item["ext_message_id"])
                if self._tells_much(self._get(f"/api/messages/{name}")["timeline"]):
                    return name
        return None

    @staticmethod
    def _tells_much(timeline: list[dict[str, Any]]) -> bool:
        kinds = [entry["kind"] for entry in timeline]
        attempts = [entry["attempts"] for entry in timeline if entry["kind"] == "report_done"]
        return max(attempts, default=0) > 1 and len(attempts) == kinds.count("report_owed")


def wait_for(what: str, ask: Callable[[], Found | None]) -> Found:
    """Asks until the answer is true."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not (found := ask()):
        if time.monotonic() >= end:
            raise ScreenshotError(f"waited {PATIENCE_SECONDS:.0f} seconds in vain for {what}.")
        time.sleep(POLL_SECONDS)
    return found


# --- the pictures ---


class Photographer:
    """Goes through the pages."""

    def __init__(self, browser: Browser, api: Api, url: str, token: str) -> None:
        self._browser, self._api, self._url, self._token = browser, api, url, token

    def take_all(self) -> dict[str, bytes]:
        pictures: dict[str, bytes] = {}
        self._api.post_nonsense()
        wide = self._page("light", WIDE)
        wait_for(f"{DELIVERED} delivered and reported messages", self._api.busy)
        # First what is only there while messages come in.
        pictures["reports.png"] = wait_for("a status that is tried again", partial(self._reports, wide))
        for name, page in (
            ("overview-light.png", wide),
            ("overview-dark.png", self._page("dark", WIDE)),
            ("phone.png", self._page("light", PHONE)),
        ):
            pictures[name] = wait_for("the charts of the overview", partial(self._overview, page))
        message = wait_for("a message with a price and a retry", self._api.best_message)
        pictures["message-light.png"] = self._take(wide, f"/ops/messages/{message}")
        wait_for("something to review", self._api.to_review)
        pictures["review.png"] = self._take(wide, "/ops/review", REVIEW_HEIGHT)
        return pictures

    def _page(self, scheme: Scheme, width: int) -> Page:
        """A page of somebody who has signed in."""
        size: ViewportSize = {"width": width, "height": 800}
        context: BrowserContext = self._browser.new_context(
            color_scheme=scheme, viewport=size, device_scale_factor=1, locale="en-GB", reduced_motion="reduce"
        )
        page = context.new_page()
        page.goto(f"{self._url}/ops/")
        page.get_by_label("Operator token").fill(self._token)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("button", name="Sign out").wait_for()
        return page

    def _reports(self, page: Page) -> bytes | None:
        """None where the last one was taken before the page came."""
        if not self._api.retrying():
            return None
        picture = self._take(page, "/ops/reports?state=pending", REPORTS_HEIGHT)
        return picture if page.get_by_role("heading", name="By cause").count() else None

    def _overview(self, page: Page) -> bytes | None:
        """None where the figures are still being counted. Six hours: the demo has had one hour at most."""
        picture = self._take(page, "/ops/?range=1h", OVERVIEW_HEIGHT)
        return picture if page.locator("figure svg").count() else None

    def _take(self, page: Page, path: str, most: int = HEIGHT) -> bytes:
        answer = page.goto(f"{self._url}{path}")
        if answer is None or answer.status != 200:
            raise ScreenshotError(f"{path} answered {answer.status if answer else 'nothing'}.")
        _look_for_paths(page, path)
        width, height = page.evaluate("[innerWidth, document.documentElement.scrollHeight]")
        cut = {"x": 0.0, "y": 0.0, "width": float(width), "height": float(min(height, most))}
        return page.screenshot(full_page=True, clip=cut, animations="disabled", scale="css")  # type: ignore[arg-type]


def _look_for_paths(page: Page, path: str) -> None:
    """Nobody should learn from a picture where it was made."""
    text = page.locator("body").inner_text()
    for place in {ROOT, Path.home(), Path(tempfile.gettempdir()), Path(sys.prefix)}:
        if len(place.parts) > 1 and re.search(rf"{re.escape(str(place))}(?![\w-])", text):
            raise ScreenshotError(f"{path} shows a path of this machine ({place}).")


if __name__ == "__main__":
    sys.exit(main())
