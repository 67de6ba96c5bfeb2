"""`/smartico/communications` and `/api/communications`: who may, what is taken, and what is shown of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from bridge.app import Service
from tests.databases import every_byte
from tests.servers import NO_TLS
from tests.web.conftest import OPERATOR, VIEWER
from tests.web.started import start_service

PATH = "/smartico/communications"
SECRET = {"Authorization": "new-secret"}
KEPT = {"error_code": 0}
SETTINGS = """
[database]
url = "{database}"
pii_key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
[server]
max_body_bytes = 20000
[smartico]
api_key = "key-of-smartico"
[providers.revicom]
token = "token-of-revicom"
base_url = "http://127.0.0.1:9/api/v1"
callback_password = "password-of-callbacks"
[gateways.sms]
authorization = ["secret-of-sms"]
[communications]
authorization = ["old-secret", "new-secret"]
forward_url = "http://127.0.0.1:9/"
[[ops.operators]]
name = "alice"
token = "an-operator-token-for-tests"
role = "operator"
[[ops.operators]]
name = "victor"
token = "a-viewer-token-for-tests"
role = "viewer"
"""
SAMPLE: dict[str, Any] = {
    "login": "u1",
    "time": 1664115803000,
    "view_url": "https://view.example/secret",
    "channel": "SMS",
    "campaign_name": "RND Flow",
}


@pytest.fixture
async def taking(tmp_path: Path, database: str) -> AsyncIterator[Service]:
    """A service whose settings have a section for communications; the `service` of all web tests has none."""
    service = await start_service(SETTINGS, tmp_path, database)
    yield service
    await service.stop()


@pytest.fixture
async def client(taking: Service) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=taking.url, verify=NO_TLS) as client:
        yield client


async def items(client: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    answer = await client.get("/api/communications", params=query, headers=VIEWER)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


async def test_without_its_settings_there_is_no_such_address(web: httpx.AsyncClient) -> None:
    """404 in the shape of a refused send, for POST and GET."""
    for answer in (await web.post(PATH, json=SAMPLE, headers=SECRET), await web.get(PATH, headers=SECRET)):
        assert answer.status_code == 404
        assert answer.json()["error_code"] == 2


@pytest.mark.parametrize("headers", [{}, {"Authorization": "wrong"}, {"Authorization": "secret-of-sms"}])
async def test_who_has_no_secret_is_refused(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    """401 before anything is read, and nothing is kept."""
    for answer in (
        await client.post(PATH, json=SAMPLE, headers=headers),
        await client.get(PATH, headers=headers),
    ):
        assert answer.status_code == 401
        assert answer.json()["error_code"] == 2
    assert await items(client) == []


async def test_every_secret_counts_while_rotating(client: httpx.AsyncClient) -> None:
    """Both of the list are accepted."""
    for number, secret in enumerate(("old-secret", "new-secret")):
        answer = await client.post(PATH, json={**SAMPLE, "login": number}, headers={"Authorization": secret})
        assert (answer.status_code, answer.json()) == (200, KEPT)


async def test_methods_and_sizes(client: httpx.AsyncClient) -> None:
    """Other methods are 405, a body over the limit 413, and gateways are where they were."""
    assert (await client.put(PATH, json=SAMPLE, headers=SECRET)).status_code == 405
    large = await client.post(PATH, content=b"x" * 20_001, headers=SECRET)
    assert (large.status_code, large.json()["error_code"]) == (413, 2)
    assert (await client.get("/smartico/sms")).status_code == 405
    assert (await client.post("/smartico/nothing", json={})).status_code == 404


async def test_json_form_and_query(client: httpx.AsyncClient) -> None:
    """Each is kept, and shown alike; the same notification in another form is a repeat."""
    expected = {
        "login": "u1",
        "time": "2022-09-25T14:23:23.000Z",
        "view_url": "https://view.example/secret",
        "channel": "SMS",
        "campaign_name": "RND Flow",
        "ext_message_id": None,
        "body": {"brand": "7"},
    }
    sample = {**SAMPLE, "brand": "7"}
    answers = [
        await client.post(PATH, json=sample, headers=SECRET),
        await client.post(PATH, data=sample, headers=SECRET),
        await client.get(f"{PATH}?{urlencode(sample)}", headers=SECRET),
        await client.post(f"{PATH}?brand=7", json=SAMPLE, headers=SECRET),
        await client.post(f"{PATH}/", json=sample, headers=SECRET),
    ]
    assert [(answer.status_code, answer.json()) for answer in answers] == [(200, KEPT)] * 5
    (shown,) = await items(client)
    assert {name: shown[name] for name in expected} == expected
    assert shown["forward"]["state"] == "pending"
    assert shown["received_at"].endswith("Z")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"no json",
        b'{"login": "\xff"}',
        b"[" * 19_000,
        b'{"a":' * 3_000,
        b'{"a":' * 100 + b"1" + b"}" * 100,
    ],
)
async def test_what_cannot_be_read_is_not_kept(client: httpx.AsyncClient, body: bytes) -> None:
    """200 with error_code 2 and a sentence."""
    answer = await client.post(PATH, content=body, headers=SECRET)
    assert (answer.status_code, answer.json()["error_code"]) == (200, 2)
    assert answer.json()["error_message"]
    assert await items(client) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"login": "a\0b", "channel": "\0", "campaign_name": "c\0", "view_url": "\0", "x\0": "y\0"},
        {"login": {"a": 1}, "time": "later", "channel": ["SMS"], "view_url": None, "campaign_name": True},
        {"login": "x" * 5000, "time": 10**30, "view_url": "v" * 5000, "channel": "c" * 5000},
        {"time": 1e300, "big": 10**40, "deep": [[[[{}]]]], "e": "\U0001f600"},
    ],
)
async def test_odd_values_are_kept(client: httpx.AsyncClient, fields: dict[str, Any]) -> None:
    """Whatever stands in the fields, it is taken, shown and searched without an error, on both engines."""
    answer = await client.post(PATH, json=fields, headers=SECRET)
    assert (answer.status_code, answer.json()) == (200, KEPT)
    (shown,) = await items(client)
    assert len(await items(client, query=shown["login"])) == 1
    for name in ("login", "channel", "campaign_name", "view_url"):
        assert isinstance(shown[name], str)


async def test_while_draining_it_says_not_now(client: httpx.AsyncClient, taking: Service) -> None:
    """error_code 8, as for sends."""
    taking.lifespan.draining = True
    answer = await client.post(PATH, json=SAMPLE, headers=SECRET)
    assert (answer.status_code, answer.json()["error_code"]) == (200, 8)


async def test_a_database_that_is_away_is_told(client: httpx.AsyncClient, taking: Service) -> None:
    """error_code 9: Smartico must not take it for kept."""
    await taking.store.close()
    answer = await client.post(PATH, json=SAMPLE, headers=SECRET)
    assert (answer.status_code, answer.json()["error_code"]) == (200, 9)


async def test_pages_and_filters(client: httpx.AsyncClient) -> None:
    """Newest first, page by page; by query, channel and time."""
    for number in range(5):
        fields = {**SAMPLE, "login": f"u{number}", "channel": "Email" if number == 3 else "SMS"}
        assert (await client.post(PATH, json=fields, headers=SECRET)).json() == KEPT
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        params: dict[str, str | int] = {"limit": 2, "cursor": cursor}
        page = (await client.get("/api/communications", params=params, headers=VIEWER)).json()
        seen += [item["login"] for item in page["items"]]
        cursor = page["next"]
    assert sorted(seen) == ["u0", "u1", "u2", "u3", "u4"]
    assert [item["login"] for item in await items(client, channel="EMAIL")] == ["u3"]
    assert [item["login"] for item in await items(client, query="u2")] == ["u2"]
    assert len(await items(client, query="RND")) == 5
    assert await items(client, until="1h") == []
    assert (await client.get("/api/communications")).status_code == 401
    assert (await client.get("/api/communications?since=x", headers=VIEWER)).status_code == 400


async def test_it_is_described(client: httpx.AsyncClient) -> None:
    """/openapi.json has the address with both methods, a body and its credentials, and the list."""
    described = (await client.get("/openapi.json")).json()
    operations = described["paths"][PATH]
    assert sorted(operations) == ["get", "post"]
    assert "requestBody" in operations["post"]
    assert operations["post"]["security"] == [{"gateway": []}]
    assert "/api/communications" in described["paths"]


async def test_nothing_personal_stands_in_the_clear(
    client: httpx.AsyncClient, tmp_path: Path, database: str
) -> None:
    """With a pii_key neither view_url nor other fields nor what is passed on can be read in the database."""
    await client.post(PATH, json={**SAMPLE, "name": "Jane Doe"}, headers=SECRET)
    stored = await every_byte(database, tmp_path)
    assert b"u1" in stored
    assert b"view.example" not in stored
    assert b"Jane" not in stored


async def test_an_erased_person_is_gone(client: httpx.AsyncClient) -> None:
    """`DELETE /api/contacts` takes the notifications along, though the user was no contact."""
    await client.post(PATH, json=SAMPLE, headers=SECRET)
    await client.post(PATH, json={**SAMPLE, "login": "u2"}, headers=SECRET)
    assert (await client.delete("/api/contacts/u1", headers=OPERATOR)).status_code == 200
    assert [item["login"] for item in await items(client)] == ["u2"]


async def test_metrics(client: httpx.AsyncClient) -> None:
    """Taken and refused notifications are counted; no label holds what somebody sent."""
    await client.post(PATH, json=SAMPLE, headers=SECRET)
    await client.post(PATH, content=b"x", headers=SECRET)
    text = (await client.get("/metrics")).text
    assert 'bridge_send_requests_total{error_code="0",gateway="communications"} 1.0' in text
    assert 'bridge_send_requests_total{error_code="2",gateway="communications"} 1.0' in text
    assert json.dumps("u1") not in text
