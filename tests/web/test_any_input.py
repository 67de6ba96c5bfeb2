"""Whatever anybody sends to any address: never an answer of 500, never a traceback, and the service goes on.

Schemathesis writes calls from /openapi.json and compares the answers with it; Hypothesis those that no description has.
"""

from __future__ import annotations

import asyncio
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable
from itertools import product
from typing import Any
from urllib.parse import quote_from_bytes

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.web.conftest import OPERATOR, VIEWER

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

BASIC = {"Authorization": "Basic cmV2aWNvbTpwYXNzd29yZC1vZi1jYWxsYmFja3M=", "X-Forwarded-For": "185.203.96.7"}
SECRET = {"Authorization": "old-secret"}
TOKENS = {"nobody": {}, "viewer": VIEWER, "operator": OPERATOR}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
few = settings(
    max_examples=10,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
more = settings(few, max_examples=150)

# --- by the description ---


@pytest.mark.parametrize("who", TOKENS)
async def test_every_address_of_the_description(web: httpx.AsyncClient, who: str) -> None:
    """No answer of 500, and each one as it is described, for good calls and bad ones, whoever asks."""
    schema = schemathesis.openapi.from_dict((await web.get("/openapi.json")).json())
    schema.config.update(base_url=str(web.base_url).rstrip("/"))
    operations = [each.ok() for each in schema.get_all_operations() if isinstance(each, Ok)]
    assert len(operations) > 20

    def tried() -> None:
        for operation in operations:

            @few
            @given(case=operation.as_strategy())
            def test(case: schemathesis.Case[Any]) -> None:
                answer = case.call(headers=TOKENS[who], timeout=30)
                case.validate_response(answer, checks=CHECKS)

            test()

    await asyncio.to_thread(tried)
    assert (await web.get("/readyz")).status_code == 200


# --- beyond any description ---

NASTY = [
    b"",
    b"\0",
    b"\xff\xfe",
    b"\xed\xa0\x80",  # half of a surrogate pair
    b"\r\nX: y",
    b"9" * 5000,
    b"-1",
    b"9223372036854775808",
    b"-9223372036854775809",
    b"1e400",
    "\u0663".encode(),  # a digit, but not one of ours
    b"0001-01-01",
    b"9999-12-31T23:59:59-23:59",
    b"999999999d",
    b"..",
    b"../../etc/passwd",
    b"%",
    b"%00",
    b"'; DROP TABLE messages; --",
    b"<script>alert(1)</script>",
    "\u202e\u2066\x1b[31m".encode(),
    b"x" * 20_001,
]


def cursor(text: bytes) -> bytes:
    return urlsafe_b64encode(text)


CURSORS = [
    cursor(each)
    for each in (
        b"[9223372036854775808]", b"[-9223372036854775809]", b"[1e30]", b'["\\u0000",1]', b'["x",99999999999999999999]',
        b'["0190a540-f662-745b-8311-eebe56024200",9223372036854775808]', b'["\\ud800"]', b"[" * 9000, b"[[1]]", b"{}",
        b'["0190a540-f662-745b-8311-eebe56024200"]', b"[1,2,3]",
    )
]  # fmt: skip
values = (
    st.sampled_from(NASTY + CURSORS)
    | st.binary(max_size=40)
    | st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
NAMES = [
    b"cursor", b"limit", b"since", b"until", b"query", b"state", b"gateway", b"error", b"cause", b"lane", b"channel",
    b"provider", b"error_code", b"address", b"range", b"by", b"id", b"done", b"replayed", b"matched", b"next", b"text",
    b"theme", b"token", b"csrf", b"reason", b"do", b"confirmed", b"v", b"window",
]  # fmt: skip
pairs = st.lists(st.tuples(st.sampled_from(NAMES) | values, values), max_size=5)


def written(fields: list[tuple[bytes, bytes]]) -> bytes:
    return "&".join(f"{quote_from_bytes(name)}={quote_from_bytes(value)}" for name, value in fields).encode()


RAW = (
    "/smartico/sms",
    "/smartico/communications",
    "/smartico/nobody",
    "/callbacks/revicom",
    "/callbacks/nobody",
)
PAGES = (
    "/ops/", "/ops/messages", "/ops/messages/0190a540-f662-745b-8311-eebe56024200", "/ops/users", "/ops/reports",
    "/ops/review", "/ops/costs", "/ops/communications", "/ops/audit", "/ops/stats.csv", "/ops/sign-in",
    "/ops/export/messages.csv", "/ops/static/ops.css",
)  # fmt: skip
API = (
    "/api/messages", "/api/reports", "/api/reports/causes", "/api/review", "/api/review/1", "/api/audit", "/api/stats",
    "/api/status", "/api/communications", "/api/export/costs.jsonl", "/api/contacts/u1", "/healthz", "/metrics",
)  # fmt: skip
FORMS = (
    "/ops/search", "/ops/theme", "/ops/sign-in", "/ops/reports/replay", "/ops/review/1",
    "/ops/review/99999999999999999999999", "/ops/messages/x/reveal",
    "/ops/messages/0190a540-f662-745b-8311-eebe56024200/reveal",
)  # fmt: skip


async def in_a_thread(web: httpx.AsyncClient, run: Callable[[Callable[..., httpx.Response]], None]) -> None:
    """Runs calls that wait for their answers, while the service answers them in this loop."""

    def work() -> None:
        with httpx.Client(base_url=web.base_url, timeout=30) as client:

            def call(
                method: str, path: bytes, headers: dict[bytes, bytes], body: bytes = b""
            ) -> httpx.Response:
                url = client.base_url.copy_with(raw_path=path)
                answer = client.request(method, url, headers=list(headers.items()), content=body)
                assert answer.status_code < 500, (method, path, headers, body[:200], answer.text[:300])
                assert b"Traceback" not in answer.content
                return answer

            run(call)

    await asyncio.to_thread(work)
    assert (await web.get("/readyz")).status_code == 200


def encoded(headers: dict[str, str]) -> dict[bytes, bytes]:
    return {name.lower().encode(): value.encode() for name, value in headers.items()}


async def sign_in(web: httpx.AsyncClient) -> tuple[dict[bytes, bytes], str]:
    """The header with the cookie, and the token of the forms."""
    answer = await web.post("/ops/sign-in", data={"token": "an-operator-token-for-tests"})
    cookie = answer.headers["set-cookie"].partition(";")[0]
    page = await web.get("/ops/review", headers={"Cookie": cookie})
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', page.text)
    assert found
    return {b"cookie": cookie.encode()}, found[1]


async def test_any_bytes_at_the_raw_addresses(web: httpx.AsyncClient) -> None:
    """Any body, header and query, with the right secret and without one."""
    heads = st.dictionaries(
        st.sampled_from(
            [b"content-type", b"content-encoding", b"x-forwarded-for", b"authorization", b"cookie"]
        ),
        # No client sends spaces around a value.
        st.binary(max_size=30).filter(lambda value: not set(value) & {*range(32), 127}).map(bytes.strip),
    )
    bodies = values | st.recursive(
        st.none() | st.booleans() | st.text(max_size=5) | st.sampled_from([10**400, -1, 2**63]),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), inner),
        max_leaves=8,
    ).map(as_json)

    def run(call: Callable[..., httpx.Response]) -> None:
        @more
        @given(st.sampled_from(RAW), st.sampled_from([SECRET, BASIC, {}]), heads, pairs, bodies)
        def test(
            path: str,
            credentials: dict[str, str],
            headers: dict[bytes, bytes],
            query: list[tuple[bytes, bytes]],
            body: bytes,
        ) -> None:
            given_headers = {b"x-forwarded-for": b"127.0.0.1", **headers, **encoded(credentials)}
            call("POST", path.encode() + b"?" + written(query), given_headers, body)

        test()

    await in_a_thread(web, run)


KEYS = [
    "ext_user_id", "im_uid", "body", "callback_url", "from_number", "message_uuid", "callback_event", "status",
    "status_time", "channel_type", "item", "destination", "content", "price", "currency", "parts", "price_time",
    "login", "time", "campaign_name",
]  # fmt: skip


def as_json(value: object) -> bytes:
    """JSON, also with numbers that most readers do not take."""
    match value:
        case dict():
            return (
                b"{" + b",".join(as_json(name) + b":" + as_json(each) for name, each in value.items()) + b"}"
            )
        case list():
            return b"[" + b",".join(map(as_json, value)) + b"]"
        case str():
            return (
                b'"'
                + re.sub(r'(["\\\x00-\x1f])', lambda sign: f"\\u{ord(sign[0]):04x}", value).encode()
                + b'"'
            )
        case None | bool():
            return {None: b"null", True: b"true", False: b"false"}[value]
        case _:
            return str(value).encode()


@pytest.mark.parametrize("paths", [PAGES, API], ids=["pages", "api"])
async def test_any_query(web: httpx.AsyncClient, paths: tuple[str, ...]) -> None:
    """Any parameters with any values, of who is signed in."""
    cookie, _ = await sign_in(web)
    headers = cookie | encoded(OPERATOR)

    def run(call: Callable[..., httpx.Response]) -> None:
        for path, (name, worst) in product(paths, RISKY.items()):
            for value in worst:
                call("GET", path.encode() + b"?" + written([(name, value)]), headers)

        @more
        @given(st.sampled_from(paths), pairs)
        def test(path: str, query: list[tuple[bytes, bytes]]) -> None:
            call("GET", path.encode() + b"?" + written(query), headers)

        test()

    await in_a_thread(web, run)


RISKY = {
    b"cursor": [*CURSORS, b"\xff\xfe", b"\0"],
    b"limit": [b"9" * 5000, b"-1", b"1e400", "\u0663".encode()],
    b"since": [b"999999999d", b"0001-01-01", b"9999-12-31T23:59:59-23:59", b"\0", b"\xff"],
    b"until": [b"999999999d", b"0001-01-01", b"9999-12-31", b"9" * 5000],
    b"query": [b"\0", b"\xff\xfe", b"\xed\xa0\x80", b"%", b"9" * 5000],
    b"replayed": [b"9" * 5000, b"-1"],
    b"address": [b"00,0", b"\xff", b"00" * 5000],
    b"by": [b"x", b"day,day,hour", b"\0"],
}


@pytest.mark.parametrize("path", FORMS)
async def test_any_form(web: httpx.AsyncClient, path: str) -> None:
    """Any fields, from a page of ours and from none."""
    cookie, csrf = await sign_in(web)
    form = cookie | {b"content-type": b"application/x-www-form-urlencoded"}

    def run(call: Callable[..., httpx.Response]) -> None:
        @few
        @given(pairs, st.booleans())
        def test(fields: list[tuple[bytes, bytes]], ours: bool) -> None:
            own = [(b"csrf", csrf.encode()), (b"do", b"replay"), (b"confirmed", b"yes")] if ours else []
            answer = call("POST", path.encode(), form, written(fields + own))
            assert "x" not in answer.headers
            assert answer.headers.get("location", "/ops").startswith("/ops")

        test()
        for value in NASTY:
            for name in (b"text", b"since", b"id", b"reason", b"next", b"token", b"cause", b"lane"):
                call("POST", path.encode(), form, written([(name, value), (b"csrf", csrf.encode())]))
        call("POST", path.encode(), form, b"\xff=\xfe&csrf=" + csrf.encode())
        call("POST", path.encode(), form, b"a&" * 2000 + b"csrf=" + csrf.encode())

    await in_a_thread(web, run)


async def test_any_path(web: httpx.AsyncClient) -> None:
    """Paths that climb, that are encoded twice, or hold what no path holds."""
    cookie, _ = await sign_in(web)

    def run(call: Callable[..., httpx.Response]) -> None:
        for root in (b"/", b"/ops/static/", b"/ops/messages/", b"/ops/export/", b"/api/export/", b"/api/contacts/",
                     b"/api/review/", b"/api/messages/", b"/smartico/", b"/callbacks/", b"/ops/review/"):  # fmt: skip
            for tail in (b"../", b"..%2f..%2fetc%2fpasswd", b"%2e%2e/%2e%2e/bridge.toml", b"....//", b"..\\..\\x",
                         b"..%5c..%5cx", b"%00", b"ops.css%00.txt", b"%c0%ae%c0%ae/", b"%ff", b"%ed%a0%80", b"%252e",
                         b"9" * 5000, b"9" * 20, b"-1", b"~", b";/", b"//etc/passwd", b"a" * 8000):  # fmt: skip
                for headers in (cookie | encoded(OPERATOR), {}):
                    answer = call("GET", root + tail, headers)
                    assert b"root:" not in answer.content
                    assert b"[providers" not in answer.content
                call("DELETE", root + tail, encoded(OPERATOR))
                call("POST", root + tail, encoded(OPERATOR))

    await in_a_thread(web, run)
