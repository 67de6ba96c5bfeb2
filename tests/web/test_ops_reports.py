"""The page of status reports: filtered to a cause, a gateway, a time or an error, and from there to the replay."""

from __future__ import annotations

import re
from html import unescape

import httpx

from bridge.app import Service
from bridge.core.model import id_text
from tests.dead_reports import LANE, add_dead_reports
from tests.web.test_ops import VIEWER_TOKEN, csrf_of, sign_in

LOCKED = "error_code 4: ••• is locked"
EVIL = 'error_code 5: "><script>alert(1)</script> & co'


async def page_of(web: httpx.AsyncClient, **query: str) -> str:
    answer = await web.get("/ops/reports", params=query)
    assert answer.status_code == 200
    return answer.text


def causes(page: str) -> dict[str, str]:
    """The causes on a page, each with where its link leads."""
    table = page.partition('aria-label="Causes"')[2].partition("</table>")[0]
    found = re.findall(r'<a class="row-link" href="([^"]+)">([^<]+)</a>', table)
    return {unescape(text): unescape(href) for href, text in found}


def listed(page: str) -> list[str]:
    """The messages whose reports are in the list."""
    table = page.partition('aria-label="Reports"')[2].partition("</table>")[0]
    return re.findall(r'class="row-link" href="/ops/messages/([^"]+)"', table)


def form_with(page: str, button: str) -> dict[str, str]:
    """The hidden fields of the form that has this button."""
    (form,) = [each for each in re.findall(r"<form.*?</form>", page, re.DOTALL) if button in each]
    return {
        name: unescape(value)
        for name, value in re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', form)
    }


async def test_a_cause_leads_to_its_reports(service: Service, web: httpx.AsyncClient) -> None:
    """The link of each cause lists just its reports, says what is filtered, and how to see all again."""
    errors = ["HTTP 500", "error_code 4: 48213 is locked", "error_code 4: 99231 is locked", EVIL]
    ids = [id_text(each) for each in await add_dead_reports(service.store, *errors)]
    await sign_in(web)
    found = causes(await page_of(web))
    assert found.keys() == {"HTTP 500", LOCKED, EVIL}
    assert found["HTTP 500"] == "/ops/reports?state=dead&lane=sms%40api.smartico.ai&cause=HTTP%20500"
    for cause, expected in (("HTTP 500", [ids[0]]), (LOCKED, [ids[2], ids[1]]), (EVIL, [ids[3]])):
        page = (await web.get(found[cause])).text
        assert listed(page) == expected
        assert f"cause “{cause}”, lane “{LANE}”" in unescape(page)
        assert '<a href="/ops/reports?state=dead">Show all</a>' in page
        assert "<script>alert" not in page
        assert causes(page) == {}


async def test_the_filter_is_in_the_address(service: Service, web: httpx.AsyncClient) -> None:
    """Gateway, time and error filter list and causes alike, stay in the form, and go along to a cause."""
    await add_dead_reports(service.store, "HTTP 500", "HTTP 404", "HTTP 404")
    await sign_in(web)
    query = {"state": "dead", "gateway": "sms", "since": "1970-01-01T00:00:00.003Z", "error": "http"}
    page = await page_of(web, **query)
    assert len(listed(page)) == 1
    assert causes(page).keys() == {"HTTP 404"}
    assert "<option selected>sms</option>" in page
    assert 'name="error" value="http"' in page
    narrower = (await web.get(causes(page)["HTTP 404"])).text
    assert len(listed(narrower)) == 1
    assert {**query, "lane": LANE, "cause": "HTTP 404"}.items() >= form_with(narrower, "<button>Show").items()
    nothing = await page_of(web, state="dead", error="HTTP 503")
    assert (listed(nothing), "Nothing fits." in nothing) == ([], True)
    answer = await web.get("/ops/reports", params={"since": "yesterday"})
    assert (answer.status_code, "is no time" in answer.text) == (400, True)


async def test_older_pages_keep_the_filter(service: Service, web: httpx.AsyncClient) -> None:
    """“Older” goes on within the cause."""
    errors = [f"error_code 4: {10_000 + number} is locked" for number in range(60)]
    await add_dead_reports(service.store, *errors)
    await add_dead_reports(service.store, *["HTTP 500"] * 3, first=1000)
    await sign_in(web)
    first = await page_of(web, state="dead", cause=LOCKED)
    older = re.search(r'href="([^"]+)" rel="next"', first)
    assert older
    second = (await web.get(unescape(older[1]))).text
    assert len({*listed(first), *listed(second)}) == 60
    assert 'rel="next"' not in second


async def test_these_are_replayed(service: Service, web: httpx.AsyncClient) -> None:
    """From the filtered list over a preview, which shows the first ten, to the replay of just those."""
    others = [id_text(each) for each in await add_dead_reports(service.store, "HTTP 500", "HTTP 404")]
    errors = [f"error_code 4: {10_000 + number} is locked" for number in range(12)]
    locked = [id_text(each) for each in await add_dead_reports(service.store, *errors, first=100)]
    await sign_in(web)
    page = await page_of(web, state="dead", cause=LOCKED, lane=LANE, since="1970-01-01")
    wanted = form_with(page, "Replay these…")
    assert wanted == {
        "csrf": csrf_of(page),
        "cause": LOCKED,
        "lane": LANE,
        "since": "1970-01-01T00:00:00.000Z",
    }
    preview = (await web.post("/ops/reports/replay", data=wanted)).text
    assert "Replay 12 dead reports?" in preview
    assert listed(preview) == locked[:1:-1]
    confirmed = form_with(preview, "Replay 12")
    assert confirmed == {**wanted, "confirmed": "yes"}
    done = await web.post("/ops/reports/replay", data={**confirmed, "reason": "mended"})
    assert "Done." in done.text
    assert set(listed(await page_of(web, state="dead"))) == set(others)
    audit = unescape((await web.get("/ops/audit")).text)
    assert f"matched: 12 cause: {LOCKED} lane: {LANE} since: 1970-01-01T00:00:00.000Z" in audit


async def test_a_row_of_a_filtered_list_is_replayed_as_it_was_counted(
    service: Service, web: httpx.AsyncClient
) -> None:
    """The button of a cause takes the filter along, an age made exact, and so leads to the number beside it."""
    await add_dead_reports(service.store, "HTTP 500", "HTTP 500")
    await sign_in(web)
    page = await page_of(web, state="dead", since="1970-01-01T00:00:00.002Z")
    wanted = form_with(page, "Replay 1 reports: HTTP 500")
    assert "Replay 1 dead report?" in (await web.post("/ops/reports/replay", data=wanted)).text
    aged = await page_of(web, state="dead", since="99999d")
    assert re.fullmatch(r"\d{4}-.*Z", form_with(aged, "Replay these…")["since"])


async def test_who_may_only_look_gets_no_button(service: Service, web: httpx.AsyncClient) -> None:
    """A viewer filters like everybody, and is offered no replay; nor is anybody where nothing is dead."""
    await add_dead_reports(service.store, "HTTP 500")
    await sign_in(web, VIEWER_TOKEN)
    page = await page_of(web, state="dead", gateway="sms")
    assert (len(listed(page)), "Replay" in page) == (1, False)
    web.headers.pop("Cookie")
    await sign_in(web)
    assert "Replay" not in await page_of(web, state="pending", gateway="sms")
