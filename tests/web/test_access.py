"""Who may call what, and what everybody else is told."""

from __future__ import annotations

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


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/reports/replay"),
        ("POST", "/api/review/1/replay"),
        ("POST", "/api/review/1/dismiss"),
        ("PUT", "/api/contacts/u"),
        ("POST", "/api/contacts"),
        ("DELETE", "/api/contacts/u"),
    ],
)
async def test_changes_want_an_operator(web: httpx.AsyncClient, method: str, path: str) -> None:
    """No token 401, a viewer 403, in problem details."""
    nobody = await web.request(method, path)
    viewer = await web.request(method, path, headers=VIEWER)
    assert (nobody.status_code, viewer.status_code) == (401, 403)
    assert nobody.headers["content-type"] == "application/problem+json"
    assert nobody.json()["status"] == 401


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
