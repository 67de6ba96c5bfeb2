"""The operator's platform as the directory: the look-ups written, the answers read."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.contacts import Answer, Away, Directory, Known, UnknownUser, build_lookup, read_lookup
from bridge.core.exchange import NoConnection, NoReply, Outcome, Reply, Request
from bridge.secret import Secret

PHONE = "+447700900123"
EMAIL = "jo@example.com"
NOTHING = Known(None, None)


def directory(url: str = "https://platform.example/users/{ext_user_id}", **changes: Any) -> Directory:
    """A directory with a secret in a header."""
    values: dict[str, Any] = {
        "headers": {"Authorization": Secret("Bearer hush")},
        "phone": "phone",
        "email": "email",
        "timeout_seconds": 3.0,
        "default_region": "",
    }
    return Directory(url=url, **(values | changes))


def build(ext_user_id: str, url: str = "https://platform.example/users/{ext_user_id}") -> str:
    """The address that is asked for a user who may exist."""
    request = build_lookup(directory(url), ext_user_id)
    assert isinstance(request, Request)
    return request.url


def read(body: bytes | object, **changes: Any) -> Answer:
    """What an answer of 200 with this body (bytes, or a value as JSON) says."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_lookup(directory(**changes), Reply(200, raw))


# --- the question ---


def test_a_lookup_is_a_get_with_the_headers() -> None:
    """Method, time-out and revealed headers are those of the settings, and there is no body."""
    assert build_lookup(directory(), "user7") == Request(
        "GET", "https://platform.example/users/user7", 3.0, {"Authorization": "Bearer hush"}, b""
    )


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://p.example/users/{ext_user_id}", "https://p.example/users/a%2Fb%20%3F%26%23%2B%25%C3%A9"),
        (
            "https://p.example/u?id={ext_user_id}&x=1",
            "https://p.example/u?id=a%2Fb%20%3F%26%23%2B%25%C3%A9&x=1",
        ),
        ("http://[::1]:81/{ext_user_id}/of", "http://[::1]:81/a%2Fb%20%3F%26%23%2B%25%C3%A9/of"),
        ("https://p.example?{ext_user_id}", "https://p.example?a%2Fb%20%3F%26%23%2B%25%C3%A9"),
    ],
)
def test_a_user_id_is_one_value(url: str, expected: str) -> None:
    """No character of a user id can end its place, in the path and in the query alike."""
    assert build("a/b ?&#+%é", url) == expected


@pytest.mark.parametrize("ext_user_id", ["..", ".", "../admin", "a/../b", "a/..", "./a", "..\\a", "a\\.", ""])
def test_a_user_id_that_climbs_belongs_to_nobody(ext_user_id: str) -> None:
    """What would lead to another path is an unknown user, in whatever place, and nobody is asked."""
    for url in ("https://p.example/users/{ext_user_id}", "https://p.example/u?id={ext_user_id}"):
        assert build_lookup(directory(url), ext_user_id) == UnknownUser()


@pytest.mark.parametrize("ext_user_id", ["...", "a..b", "jo.smith", ".hidden", "a.", "jo@example.com"])
def test_dots_in_a_name_are_allowed(ext_user_id: str) -> None:
    """Only segments that mean another folder are refused."""
    assert unquote(build(ext_user_id)) == f"https://platform.example/users/{ext_user_id}"


def test_half_a_character_is_nobody() -> None:
    """A lone surrogate cannot be written into an address."""
    assert build_lookup(directory(), "a\ud83d") == UnknownUser()


def test_a_user_id_never_chooses_the_host() -> None:
    """The placeholder is filled behind the host only, whatever an operator wrote."""
    url = "https://{ext_user_id}.example/{ext_user_id}"
    assert build("evil", url) == "https://{ext_user_id}.example/evil"


def test_braces_in_a_user_id_are_no_placeholder() -> None:
    """A user who is called like the placeholder is asked for once, and other braces of the address stay."""
    url = "https://p.example/{x}/{ext_user_id}"
    assert build("{ext_user_id}", url) == "https://p.example/{x}/%7Bext_user_id%7D"


@given(st.text(st.characters(exclude_categories=[])))
def test_every_user_id_comes_back(ext_user_id: str) -> None:
    """Whatever the id: it is nobody's, or exactly one segment that decodes to it."""
    request = build_lookup(directory(), ext_user_id)
    if isinstance(request, Request):
        segment = request.url.removeprefix("https://platform.example/users/")
        assert unquote(segment) == ext_user_id
        assert segment.isascii()
        assert not set(segment) & set("/?#&= \\")
        assert segment not in {".", ".."}


def test_nothing_shows_in_a_repr() -> None:
    """Neither a directory nor a request shows a header, a key in the address or a user."""
    keyed = directory("https://platform.example/{ext_user_id}?key=hush")
    text = f"{keyed!r} {build_lookup(keyed, 'user7')!r}"
    assert "platform.example" in text
    assert "hush" not in text
    assert "user7" not in text


# --- who the user is ---


def test_a_known_user() -> None:
    """Both addresses come in their normal form; other fields do not matter."""
    body = {"phone": " +44 7700 900-123", "email": " jo@EXAMPLE.com ", "name": {"first": "Jo"}}
    assert read(body) == Known(PHONE, EMAIL)


def test_paths_lead_into_the_answer() -> None:
    """Dots go one object deeper."""
    body = {"user": {"mobile": {"e164": PHONE}, "mail": EMAIL}, "phone": "+15005550006"}
    assert read(body, phone="user.mobile.e164", email="user.mail") == Known(PHONE, EMAIL)


@pytest.mark.parametrize(
    "body", [{}, None, {"user": None}, {"user": {}}, {"user": []}, {"user": "x"}, {"user": {"phone": None}}]
)
def test_a_user_without_addresses(body: object) -> None:
    """What is missing, at any depth of the path, is no address: the user is known all the same."""
    assert read(body, phone="user.phone", email="user.mail.first") == NOTHING


@pytest.mark.parametrize(
    "phone",
    ["", " ", "no", "07700 900123", "+44", "+" + "1" * 5000, "\ud800", True, False, 4.5, 1e400, [PHONE], {}],
    ids=ascii,
)
def test_what_is_no_number_is_none(phone: object) -> None:
    """Texts that are no number with a country code, and values that are no text, leave the e-mail address alone."""
    body = json.dumps({"phone": phone, "email": EMAIL}).replace("Infinity", "1e400").encode()
    assert read(body) == Known(None, EMAIL)


@pytest.mark.parametrize(
    "email", ["", "jo", "jo@", "jo@localhost", "a b@x.y", "x" * 400 + "@x.y", 7, [EMAIL], {}]
)
def test_what_is_no_email_address_is_none(email: object) -> None:
    """What cannot be an e-mail address, or is longer than one can be, leaves the phone number alone."""
    assert read({"phone": PHONE, "email": email}) == Known(PHONE, None)


def test_a_region_helps_numbers_without_a_country_code() -> None:
    """`default_region` is used as for the table of contacts."""
    assert read({"phone": "07700 900123"}, default_region="GB") == Known(PHONE, None)


@pytest.mark.parametrize(
    ("number", "region", "phone"),
    [
        (447700900123, "", PHONE),
        (447700900123, "GB", PHONE),
        (7700900123, "GB", PHONE),
        (2025550123, "US", "+12025550123"),
        (447700900123, "US", PHONE),
        (0, "", None),
        (-447700900123, "", None),
        (10**15, "", None),
        (10**400, "", None),
    ],
)
def test_numbers_of_json(number: int, region: str, phone: str | None) -> None:
    """A whole number is read as its digits are; where they are no number, the plus that it lost is put back."""
    assert read({"phone": number}, default_region=region) == Known(phone, None)


def test_json_that_other_readers_give_up() -> None:
    """A byte order mark, and half a character in a field that nobody asked for, cost no user their message."""
    assert read(b'\xef\xbb\xbf{"phone": "+447700900123"}') == Known(PHONE, None)
    assert read(b'{"name": "cut \\ud83d", "phone": "+447700900123"}') == Known(PHONE, None)


def test_an_address_does_not_show() -> None:
    """What is known of a user prints without phone number and e-mail address."""
    assert repr(Known(PHONE, EMAIL)) == str(Known(PHONE, EMAIL)) == "<Known>"


# --- nobody, and nothing ---


@pytest.mark.parametrize("status", [404, 410])
def test_an_unknown_user(status: int) -> None:
    """404 and 410 say that there is no such user, whatever the body."""
    assert read_lookup(directory(), Reply(status, b'{"phone": "+447700900123"}')) == UnknownUser()


@pytest.mark.parametrize(
    "status", [201, 204, 301, 302, 304, 400, 401, 403, 409, 429, 500, 502, 503, 504, 999]
)
def test_any_other_status_is_no_answer(status: int) -> None:
    """Nothing is believed of an answer with another status, and nothing of it is repeated."""
    body = b'{"phone": "+447700900123", "error": "user7"}'
    assert read_lookup(directory(), Reply(status, body)) == Away(f"HTTP {status}")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<h1>user7 +447700900123</h1>",
        b'{"phone": "+447700900123"',
        b'{"phone": "\xff+447700900123"}',
        b'{"phone": NaN}',
        b'{"phone": -Infinity}',
        b'{"phone": ' + b"9" * 5000 + b"}",
        b"[" * 200_000,
        b'{"phone":' * 200_000 + b"1" + b"}" * 200_000,
        b'[{"phone": "+447700900123"}]',
        b'"+447700900123"',
        b"447700900123",
        b"false",
        b"\x00\x00\xfe\xff",
    ],
    ids=lambda body: ascii(body[:20]),
)
def test_a_body_that_is_no_user(body: bytes) -> None:
    """What is no JSON object is no answer; the reason repeats nothing of it."""
    answer = read(body)
    assert isinstance(answer, Away)
    assert answer.reason.startswith("HTTP 200 with")
    assert "447700900123" not in answer.reason
    assert "user7" not in answer.reason


@pytest.mark.parametrize("kind", [NoConnection, NoReply])
def test_no_answer(kind: type[NoConnection] | type[NoReply]) -> None:
    """Why there was none is said, without header, address of the platform or phone number."""
    outcome: Outcome = kind("refused Bearer hush at https://platform.example/users/user7 for +44 7700 900123")
    assert read_lookup(directory(), outcome) == Away("refused ••• at ••• for +•••")
    assert read_lookup(directory(), kind("")) == Away("no answer")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=[])),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["phone", "email", "x"]), inner),
)
DOCUMENTS = st.fixed_dictionaries({}, optional={"phone": VALUES, "email": VALUES, "user": VALUES}).map(
    json.dumps
)


@given(
    st.binary() | DOCUMENTS.map(str.encode),
    st.sampled_from(["phone", "user.phone", "a.b"]),
    st.integers(0, 999),
)
def test_no_answer_raises(body: bytes, phone: str, status: int) -> None:
    """Any bytes and any JSON with any status become an answer; addresses in it are in their normal form."""
    for region in ("", "GB"):
        asked = directory(phone=phone, default_region=region)
        for code in (200, status):
            answer = read_lookup(asked, Reply(code, body))
            if isinstance(answer, Known):
                assert answer.phone is None or (answer.phone[0] == "+" and answer.phone[1:].isdecimal())
                assert answer.email is None or answer.email.isprintable()
