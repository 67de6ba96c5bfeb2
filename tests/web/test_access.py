"""Who may call what, and what everybody else is told."""

from __future__ import annotations

import re

import httpx
import pytest

from tests.web.conftest import VIEWER

BASIC = ("revicom", "password-of-callbacks")


async def test_smartico_may_use_any_of_the_secrets_from_an_allowed_address(web: httpx.AsyncClient) -> None:
    """While secrets rotate both are good; the address is that before the trusted proxies, and nobody else's word."""
    for secret in ("old-secret", "new-secret"):
        answer = await web.post("/smartico/sms", content=b"{}", headers={"Authorization": secret})
        assert (answer.status_code, answer.json()["error_code"]) == (200, 2)
    for forwarded, status in (
        ("10.1.2.3", 200),
        ("8.8.8.8", 403),
        ("10.1.2.3, 8.8.8.8", 403),
        ("rubbish", 403),
    ):
        headers = {"Authorization": "old-secret", "X-Forwarded-For": forwarded}
        assert (await web.post("/smartico/sms", content=b"{}", headers=headers)).status_code == status


async def test_the_order_of_refusals(web: httpx.AsyncClient) -> None:
    """404 before 403 before 401 before 413: nobody learns more than he may."""
    far = {"X-Forwarded-For": "8.8.8.8"}
    large = b"x" * 20_001
    assert (await web.post("/smartico/nobody", content=large, headers=far)).status_code == 404
    assert (await web.post("/smartico/sms", content=large, headers=far)).status_code == 403
    assert (await web.post("/smartico/sms", content=large)).status_code == 401
    assert (
        await web.post("/smartico/sms", content=large, headers={"Authorization": "old-secret"})
    ).status_code == 413


async def test_a_body_without_a_length_is_bounded_too(web: httpx.AsyncClient) -> None:
    """Chunks are counted as they come."""

    async def chunks() -> object:
        for _ in range(30):
            yield b"x" * 1000

    answer = await web.post("/smartico/sms", content=chunks(), headers={"Authorization": "old-secret"})  # type: ignore[arg-type]
    assert answer.status_code == 413


async def test_callbacks_come_from_allowed_addresses_only(web: httpx.AsyncClient) -> None:
    """The provider's allowed_ips hold also for who has the password."""
    assert (await web.post("/callbacks/revicom", json=[], auth=BASIC)).status_code == 403
    near = {"X-Forwarded-For": "185.203.96.7"}
    assert (await web.post("/callbacks/revicom", json=[], auth=BASIC, headers=near)).status_code == 200


async def test_changes_want_an_operator(web: httpx.AsyncClient) -> None:
    """Whatever the description of the API has beside GET: no token 401, a viewer 403, in problem details."""
    described = (await web.get("/openapi.json")).json()["paths"]
    found = [
        (method.upper(), re.sub(r"{[^}]*}", "1", path))
        for path, methods in described.items()
        for method in methods
        if path.startswith("/api/") and method != "get"
    ]
    assert {("PUT", "/api/contacts/1"), ("POST", "/api/messages/1/reveal"), ("POST", "/api/keys/rotate")} <= {
        *found
    }
    for method, path in found:
        nobody = await web.request(method, path)
        viewer = await web.request(method, path, headers=VIEWER)
        assert (nobody.status_code, viewer.status_code) == (401, 403), (method, path)
        assert nobody.headers["content-type"] == "application/problem+json"
        assert nobody.json()["status"] == 401


async def test_what_is_looked_at_wants_a_token(web: httpx.AsyncClient) -> None:
    """Of the API nothing is shown to who has no token, by whatever address."""
    described = (await web.get("/openapi.json")).json()["paths"]
    found = {
        path: methods["get"]
        for path, methods in described.items()
        if path.startswith("/api/") and "get" in methods
    }
    assert len(found) > 10
    for path, told in found.items():
        params = {each["name"]: "1" for each in told.get("parameters", []) if each.get("required")}
        assert (await web.get(re.sub(r"{[^}]*}", "1", path), params=params)).status_code == 401, path


@pytest.mark.parametrize(
    "path", ["/api/messages", "/api/reports", "/api/review", "/api/contacts/u", "/metrics"]
)
async def test_looking_wants_a_token(web: httpx.AsyncClient, path: str) -> None:
    """A viewer may look; nobody without a token may."""
    assert (await web.get(path)).status_code == 401
    assert (await web.get(path, headers={"Authorization": "Bearer guess"})).status_code == 401
    assert (
        await web.get(path, headers={"Authorization": "Basic an-operator-token-for-tests"})
    ).status_code == 401
    assert (await web.get(path, headers=VIEWER)).status_code in (200, 404)
