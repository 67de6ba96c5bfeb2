"""docs/api.md has every address of /api and no other, and its examples do what they say."""

from __future__ import annotations

import re
import shlex
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from bridge.store.stats import Dimension
from tests.docs.pages import blocks, page
from tests.docs.served import serving

PAGE = page("api.md")
ID = "0199c0de-0000-7000-8000-000000000001"


def examples() -> list[list[str]]:
    """The words of every example, without the name of the command."""
    lines = [line for block in blocks(PAGE, "sh") for line in block.splitlines() if line.startswith("api ")]
    return [shlex.split(line.replace("$URL", "").replace("$ID", ID))[1:] for line in lines]


def request(words: list[str]) -> tuple[str, str, str | None]:
    """The method, the path and the body that curl makes of them."""
    rest = [word for word in words if word != "-OJ"]
    options = dict(zip(rest[:-1:2], rest[1:-1:2], strict=True))
    assert set(options) <= {"-X", "-d"}
    return options.get("-X", "GET"), rest[-1], options.get("-d")


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a service on SQLite, with the token of an operator."""
    async with serving(tmp_path) as client:
        yield client


async def test_every_address_is_there(client: httpx.AsyncClient) -> None:
    """Each call of /openapi.json has its row, and each row its call; every address has an example."""
    described: dict[str, Any] = (await client.get("/openapi.json")).json()["paths"]
    calls = {
        f"{method.upper()} {path}"
        for path, methods in described.items()
        for method in methods
        if path.startswith("/api")
    }
    assert set(re.findall(r"^\| `([A-Z]+ /api[^`]*)` \|", PAGE, re.MULTILINE)) == calls
    tried = [request(words) for words in examples()]
    for call in calls:
        method, _, path = call.partition(" ")
        form = re.sub(r"\\\{\w+\\\}", "[^/?]+", re.escape(path)) + r"(\?.*)?"
        assert any(each[0] == method and re.fullmatch(form, each[1]) for each in tried), call


async def test_every_parameter_exists(client: httpx.AsyncClient) -> None:
    """What an example asks with is a parameter of the address, and what the page calls one is described."""
    described: dict[str, Any] = (await client.get("/openapi.json")).json()["paths"]
    for method, path, _ in [request(words) for words in examples()]:
        url = httpx.URL(path)
        known = [
            {each["name"] for each in operations[method.lower()].get("parameters", [])}
            for form, operations in described.items()
            if method.lower() in operations
            and re.fullmatch(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(form)), url.path)
        ]
        assert any(set(url.params) <= names for names in known), path


async def test_the_examples(client: httpx.AsyncClient) -> None:
    """In their order: each is understood, and answers 200, or 404 where its id is made up (409: the user or key)."""
    for method, path, body in [request(words) for words in examples()]:
        answer = await client.request(method, path, content=body)
        made_up = ID in path or "/review/7" in path
        expected = 404 if made_up else 409 if path.endswith(("/test", "/rotate")) else 200
        assert answer.status_code == expected, f"{method} {path}: {answer.text}"


async def test_what_a_put_leaves_out_is_gone(client: httpx.AsyncClient) -> None:
    """A contact is replaced: only the closed channels stay where they are not named."""
    path = "/api/contacts/anna"
    first = await client.put(path, json={"phone": "+447700900123", "opted_out": ["SMS"]})
    assert first.json()["phone"] is not None
    again = (await client.put(path, json={"email": "anna@example.com"})).json()
    assert (again["phone"], again["opted_out"]) == (None, ["SMS"])


async def test_errors_have_the_shape_of_the_page(client: httpx.AsyncClient) -> None:
    """The example of a problem is what the service says."""
    (example,) = blocks(PAGE, "json")
    answer = await client.get("/api/reports?state=lost")
    assert answer.text.replace(":", ": ").replace(",", ", ").replace("  ", " ") == example.strip()
    assert answer.headers["content-type"] == "application/problem+json"


def test_every_word_of_by() -> None:
    """The page names all that figures can be grouped by."""
    row = next(line for line in PAGE.splitlines() if line.startswith("| `GET /api/stats`"))
    assert {str(word) for word in Dimension} <= set(re.findall(r"`(\w+)`", row))
