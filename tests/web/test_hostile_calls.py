"""Calls that want to be more than they are: packed bodies, line breaks for headers and logs, several lengths."""

from __future__ import annotations

import gzip
import json
import zlib

import httpx
import pytest

from bridge.log import set_up_logging
from tests.web.conftest import OPERATOR

pytestmark = pytest.mark.only_sqlite  # nothing of this reaches a database

BASIC = "Basic cmV2aWNvbTpwYXNzd29yZC1vZi1jYWxsYmFja3M="
NEAR = "185.203.96.7"
BOMB = b'[{"message_uuid":"' + b"0" * 10_000_000 + b'"}]'
PLACES = [
    ("POST", "/smartico/sms", {"Authorization": "old-secret"}),
    ("POST", "/callbacks/revicom", {"Authorization": BASIC, "X-Forwarded-For": NEAR}),
    ("POST", "/api/contacts", OPERATOR),
    ("PUT", "/api/contacts/u1", OPERATOR),
    ("POST", "/api/reports/replay", OPERATOR),
    ("POST", "/ops/sign-in", {}),
    ("POST", "/ops/theme", {}),
]


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "identity"])
async def test_nothing_is_unpacked(web: httpx.AsyncClient, encoding: str) -> None:
    """Ten megabytes in ten kilobytes stay ten kilobytes: the bytes are read as they came, and are no JSON."""
    packed = {"deflate": zlib.compress(BOMB)}.get(encoding, gzip.compress(BOMB))
    for method, path, headers in PLACES:
        answer = await web.request(
            method, path, content=packed, headers={**headers, "Content-Encoding": encoding}
        )
        assert answer.status_code in (200, 303, 400, 401), path
        if "smartico" in path:
            assert answer.json()["error_code"] == 2
        assert len(answer.content) < 5_000
    assert (await web.get("/healthz")).status_code == 200


async def test_the_limit_holds_everywhere(web: httpx.AsyncClient) -> None:
    """A body over the limit is refused at every address that takes one, a form over its own limit as well."""
    for method, path, headers in PLACES:
        answer = await web.request(method, path, content=b"x" * 70_000, headers=headers)
        assert answer.status_code == 413, path


CLIMBS = ("..", "%2e%2e", ".%2e", "..%5c..", "..%00", "%252e%252e", "....", "")


@pytest.mark.parametrize("climb", CLIMBS)
async def test_no_path_leads_to_a_file(web: httpx.AsyncClient, climb: str) -> None:
    """However somebody climbs, or names a file outright: there is nothing of it, and no answer holds the settings."""
    for root in ("/ops/static/", "/ops/export/", "/api/export/", "/api/messages/"):
        for slash in ("/", "%2f", "%5c"):
            for name in ("bridge.toml", "bridge.db", "etc/passwd"):
                path = f"{root}{slash.join([climb] * 3)}{slash}{name}"
                answer = await web.get(path, headers=OPERATOR)
                assert answer.status_code in (303, 400, 404), path
                assert b"secret" not in answer.content
                assert b"root:" not in answer.content


LINES = "\r\nX-Injected: yes\r\n\r\n<script>"


async def test_no_value_becomes_a_header(web: httpx.AsyncClient) -> None:
    """Whatever stands in a query, a path or a form, every answer has the headers that it should have."""
    answers = [
        await web.get("/ops/messages", params={"query": LINES, LINES: "x"}),
        await web.get("/ops/sign-in", params={"next": f"/ops/{LINES}"}),
        await web.post(
            "/ops/sign-in", data={"token": "an-operator-token-for-tests", "next": f"/ops/{LINES}"}
        ),
        await web.post("/ops/theme", data={"theme": LINES, "next": f"/ops/x?a={LINES}"}),
        await web.get("/api/export/messages.csv%0d%0aX-Injected:%20yes", headers=OPERATOR),
        await web.get("/api/messages", params={"cursor": LINES, "since": LINES}, headers=OPERATOR),
        await web.get("/ops/static/ops.css%0d%0aX-Injected:%20yes"),
    ]
    cookie = answers[2].headers["set-cookie"].partition(";")[0]
    page = await web.get("/ops/audit", headers={"Cookie": cookie})
    csrf = page.text.partition('name="csrf" value="')[2][:64]
    answers.append(
        await web.post("/ops/search", data={"csrf": csrf, "text": LINES}, headers={"Cookie": cookie})
    )
    for answer in answers:
        assert "x-injected" not in answer.headers
        assert not {*b"\r\n"} & {*b"".join(value for _, value in answer.headers.raw)}


async def test_a_line_of_the_log_is_one_line(
    web: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody writes lines, colours or turned-around text into the log by what he sends."""
    set_up_logging("INFO")
    evil = "x\r\n2026-11-21 all is well\x1b[2J\u202e\u2028\x00"
    body = {"ext_user_id": evil, "im_uid": evil, "body": evil, "callback_url": f"https://{evil}/"}
    for content in (json.dumps(body).encode(), evil.encode(), b"{"):
        await web.post("/smartico/sms", content=content, headers={"Authorization": "old-secret"})
        await web.post(
            "/callbacks/revicom", content=content, headers={"Authorization": BASIC, "X-Forwarded-For": NEAR}
        )
    await web.post("/ops/sign-in", data={"token": evil})
    await web.get("/ops/messages", params={"query": evil})
    await web.post("/smartico/%0a%1b%5b2J", content=b"{}")
    lines = capsys.readouterr().err.splitlines()
    assert lines
    for line in lines:
        assert isinstance(json.loads(line), dict)
        assert line.isprintable()
        assert "all is well" not in line
