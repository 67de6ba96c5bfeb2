"""`/api/stats`: who may see it, what is asked, and what is answered."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from bridge.store.stats import Dimension
from tests.web.conftest import OPERATOR, VIEWER


async def ask(web: httpx.AsyncClient, **params: str) -> dict[str, Any]:
    answer = await web.get("/api/stats", params=params, headers=VIEWER)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def send(web: httpx.AsyncClient, uid: str) -> None:
    await web.post("/api/contacts", json=[{"ext_user_id": "u", "phone": "+447700900100"}], headers=OPERATOR)
    body = {"ext_user_id": "u", "body": "x", "im_uid": uid, "callback_url": "https://api.smartico.ai/c"}
    answer = await web.post("/smartico/sms", json=body, headers={"Authorization": "old-secret"})
    assert answer.json()["error_code"] == 0, answer.text


async def test_who_may(web: httpx.AsyncClient) -> None:
    """A viewer's token is enough, and without one there is nothing."""
    assert (await web.get("/api/stats")).status_code == 401
    assert (await web.get("/api/stats", headers=VIEWER)).status_code == 200


async def test_an_empty_answer(web: httpx.AsyncClient) -> None:
    """Without messages there are no items and a total of zeros, about the last 24 hours."""
    answer = await ask(web)
    assert list(answer) == ["since", "until", "by", "time_zone", "computed_at", "items", "total"]
    assert (answer["by"], answer["time_zone"], answer["items"]) == ([], "UTC", [])
    total = answer["total"]
    assert (total["messages"], total["delivery_rate"], total["cost"]) == (0, None, {})
    assert total["time_to_delivery_ms"] == {"p50": None, "p90": None, "p99": None}
    length = datetime.fromisoformat(answer["until"]) - datetime.fromisoformat(answer["since"])
    assert timedelta(days=1) <= length <= timedelta(days=1, minutes=10)


async def test_groups(web: httpx.AsyncClient) -> None:
    """A message is in the group of its values, and in the total."""
    await send(web, "1")
    answer = await ask(web, by="gateway, day,channel", since="1h")
    (item,) = answer["items"]
    assert answer["by"] == ["gateway", "day", "channel"]
    assert item["key"] == {
        "gateway": "sms",
        "day": datetime.now(UTC).date().isoformat(),
        "channel": "SMS",
    }
    assert item["messages"] == answer["total"]["messages"] == 1
    assert sum(item["states"].values()) == 1


async def test_times(web: httpx.AsyncClient) -> None:
    """Exact times are taken as they are; with an end alone it is the day before; an age before now has round bounds."""
    answer = await ask(web, since="2026-11-21T08:00:00.123Z", until="2026-11-21T09:00:00Z")
    assert (answer["since"], answer["until"]) == ("2026-11-21T08:00:00.123Z", "2026-11-21T09:00:00.000Z")
    assert (await ask(web, until="2026-11-21"))["since"] == "2026-11-20T00:00:00.000Z"
    answer = await ask(web, since="2h", until="1h")
    assert [answer[name][-7:] for name in ("since", "until")] == ["00.000Z"] * 2
    assert (await ask(web, since="999999999d", until="1900-01-01"))["until"] == "1970-01-01T00:00:00.000Z"


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"by": "gateway,colour"}, ["'colour'", *Dimension]),
        ({"by": "x" * 500}, ["xxx"]),
        ({"since": "yesterday"}, ["since is no time"]),
        ({"until": "soon"}, ["until is no time"]),
        ({"since": "2026-11-21", "until": "2026-11-20"}, ["until is before since"]),
    ],
)
async def test_what_cannot_be_answered(
    web: httpx.AsyncClient, params: dict[str, str], words: list[str]
) -> None:
    """An unknown word, an unreadable time or a time that ends before it begins is 400 with the mend."""
    answer = await web.get("/api/stats", params=params, headers=VIEWER)
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    detail = answer.json()["detail"]
    assert all(word in detail for word in words), detail
    assert len(detail) < 200


async def test_the_description(web: httpx.AsyncClient) -> None:
    """/openapi.json has the address, its parameters with the words of `by`, and the shape of the answer."""
    described = (await web.get("/openapi.json")).json()
    operation = described["paths"]["/api/stats"]["get"]
    parameters = {each["name"]: each for each in operation["parameters"]}
    assert set(parameters) == {"since", "until", "by"}
    assert all(word in parameters["by"]["description"] for word in Dimension)
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    assert "total" in described["components"]["schemas"][schema]["properties"]


async def test_as_csv(web: httpx.AsyncClient) -> None:
    """The same groups as a file, for who may see them."""
    await send(web, "1")
    assert (await web.get("/api/stats.csv")).status_code == 401
    answer = await web.get("/api/stats.csv", params={"by": "gateway,minute"}, headers=VIEWER)
    assert answer.headers["content-type"].startswith("text/csv")
    assert "attachment" in answer.headers["content-disposition"]
    head, row = answer.text.splitlines()
    assert head.startswith("gateway,minute,messages,")
    assert row.startswith("sms,20")
    assert (await web.get("/api/stats.csv", params={"by": "x"}, headers=VIEWER)).status_code == 400
