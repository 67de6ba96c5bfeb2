"""`/api/reports` with its filters: the list shows just what the replay would take."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from bridge.app import Service
from bridge.core.model import id_text
from tests.dead_reports import LANE, add_dead_reports
from tests.servers import NO_TLS
from tests.web.conftest import OPERATOR, VIEWER

LOCKED = "error_code 4: ••• is locked"
OTHER = "sms@api2.smartico.ai"


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=service.url, headers=VIEWER, verify=NO_TLS) as client:
        yield client


async def listed(client: httpx.AsyncClient, **query: str) -> dict[str, Any]:
    answer = await client.get("/api/reports", params={"state": "dead", **query})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, [3, 2, 1, 0]),
        ({"cause": LOCKED}, [3, 2, 1]),
        ({"cause": LOCKED, "lane": LANE}, [2, 1]),
        ({"lane": OTHER}, [3]),
        ({"error": "99231 IS"}, [2]),
        ({"since": "1970-01-01T00:00:00.003Z"}, [3, 2]),
        ({"since": "1970-01-01", "gateway": "sms", "error": "http"}, [0]),
        ({"since": "1h"}, []),
        ({"gateway": "email"}, []),
    ],
)
async def test_the_list_shows_what_a_replay_would_take(
    service: Service, client: httpx.AsyncClient, query: dict[str, str], expected: list[int]
) -> None:
    """Every part of the filter means the same in both, alone and together, also from page to page."""
    ids = await add_dead_reports(
        service.store, "HTTP 500", "error_code 4: 48213 is locked", "error_code 4: 99231 is locked"
    )
    ids += await add_dead_reports(service.store, "error_code 4: 50001 is locked", lane=OTHER, first=3)
    wanted = [id_text(ids[number]) for number in expected]
    assert [each["ext_message_id"] for each in (await listed(client, **query))["items"]] == wanted
    walked: list[str] = []
    more: dict[str, str] = {}
    while len(walked) <= len(ids):
        page = await listed(client, **query, **more, limit="1")
        walked += [each["ext_message_id"] for each in page["items"]]
        if page["next"] is None:
            break
        more = {"cursor": page["next"]}
    assert walked == wanted
    counted = await client.post(
        "/api/reports/replay", json={"filter": query, "dry_run": True}, headers=OPERATOR
    )
    assert counted.json() == {"matched": len(wanted), "replayed": 0}


async def test_a_time_that_is_none(client: httpx.AsyncClient) -> None:
    """400, with a sentence that names the parameter."""
    answer = await client.get("/api/reports", params={"since": "yesterday"})
    assert (answer.status_code, "since is no time" in answer.text) == (400, True)
    body = {"filter": {"since": "yesterday"}}
    answer = await client.post("/api/reports/replay", json=body, headers=OPERATOR)
    assert (answer.status_code, "filter.since is no time" in answer.text) == (400, True)


async def test_the_audit_tells_what_was_replayed(service: Service, client: httpx.AsyncClient) -> None:
    """`/api/audit` has what was chosen, and the end of it."""
    await add_dead_reports(service.store, "HTTP 500")
    body = {"filter": {"cause": "HTTP 500", "lane": LANE}, "reason": "mended"}
    assert (await client.post("/api/reports/replay", json=body, headers=OPERATOR)).json()["replayed"] == 1
    done, asked = (await client.get("/api/audit")).json()["items"]
    assert (asked["action"], asked["reason"]) == ("reports.replay", "mended")
    assert asked["detail"] == {"matched": 1, "cause": "HTTP 500", "lane": LANE}
    assert (done["action"], done["detail"]) == ("reports.replayed", {"matched": 1, "replayed": 1})
