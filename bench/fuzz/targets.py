"""What is fuzzed: every function that reads what somebody else wrote, with something to begin from.

A target takes any bytes and returns; an exception is a find. Some compare two readers of the same text.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from litestar.exceptions import ValidationException
from msgspec import Struct

from bridge.assembly import build_providers
from bridge.cli.contacts_csv import ContactFile, RejectedRow
from bridge.contacts import Directory, read_lookup
from bridge.core.callback_url import find_destination
from bridge.core.exchange import Reply
from bridge.core.json_text import batch_elements, holds_nul, split_elements, without_trailing_commas
from bridge.core.mailbox import read_mailbox
from bridge.core.mapping import read_provider_mapping, read_vocabulary
from bridge.core.moments import format_time, read_when
from bridge.core.redact import redact
from bridge.errors import BridgeError
from bridge.flows.export_formats import CsvFormat, JsonLines, safe_cell
from bridge.flows.rules import opt_out_keyword
from bridge.flows.showing import hide_addresses, mask_sample
from bridge.notifications import Notification, read_notification
from bridge.pii import mask_email, mask_phone, normalise_email, normalise_phone
from bridge.providers.mime import build_mime
from bridge.providers.protocol import CallbackUnreadable, OutgoingMessage, Provider
from bridge.settings import parse_settings
from bridge.smartico import SendRequest, decode_send, read_status_reply
from bridge.web.api.common import RowNumber, read_cursor, write_cursor

__all__ = ["DIRECTORY", "MESSAGE", "PROVIDERS", "TARGETS", "Target"]

SETTINGS = """
[smartico]
api_key = "key"
[providers.revicom]
token = "token"
callback_password = "password-of-callbacks"
[providers.mailing]
adapter = "sendgrid"
token = "token"
[providers.inbox]
adapter = "webhook"
url = "https://inbox.example/x"
callback_password = "password-of-reports"
[gateways.sms]
authorization = ["secret"]
"""
MAPPINGS = Path(__file__).parents[2] / "mappings"
DIRECTORY = Directory("https://crm.example/{ext_user_id}", {}, "user.phone", "user.email", 1.0, "GB")
NOW = 1_795_000_000_000
ID = "0190a540-f662-745b-8311-eebe56024200"


class Target(Struct, frozen=True):
    """`run` takes any bytes; `seeds`: good ones; `words`: what is worth to be put in."""

    run: Callable[[bytes], None]
    seeds: Sequence[bytes]
    words: Sequence[bytes] = ()


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _providers() -> dict[str, Provider]:
    settings = parse_settings(SETTINGS, file="bridge.toml", base_dir=Path(), environ={})
    return dict(build_providers(settings, "https://bridge.example"))


PROVIDERS = _providers()
MESSAGE = OutgoingMessage(bytes(16), "SMS", "+14155550142", "Amazing", "Hello")


def _send(kind: str) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        request = decode_send(data, kind)
        if isinstance(request, SendRequest):
            for text in (request.ext_user_id, request.uid, request.body):
                assert text
                assert "\0" not in text
                text.encode()  # whole characters only

    return run


def _callback(name: str) -> Callable[[bytes], None]:
    provider = PROVIDERS[name]

    def run(data: bytes) -> None:
        count = provider.check_callback(data)
        elements = list(provider.parse_callback(data))
        assert isinstance(count, CallbackUnreadable) or len(elements) == count
        for each in elements:
            repr(each.element)
        mask_sample(data[:2000].decode(errors="replace"))

    return run


def _answer(name: str) -> Callable[[bytes], None]:
    provider = PROVIDERS[name]

    def run(data: bytes) -> None:
        status = 200 + data[0] if data else 200
        reply = Reply(status, data[1:], {"retry-after": _text(data[-9:])})
        provider.parse_send([MESSAGE], reply)
        provider.parse_lookup(MESSAGE, reply)

    return run


def _credentials(data: bytes) -> None:
    for provider in PROVIDERS.values():
        headers = {"authorization": _text(data), **dict.fromkeys(provider.signs, _text(data))}
        assert not provider.verify_callback(headers, data)


def _notification(data: bytes) -> None:
    kind, _, rest = data.partition(b"\n")
    query, _, body = rest.partition(b"\n")
    read = read_notification(_text(kind), query, body)
    if isinstance(read, Notification):
        json.loads(read.body)
        assert "\0" not in read.login + read.channel + read.campaign_name + read.view_url


def _status_answer(data: bytes) -> None:
    read_status_reply(Reply(200, data, {}))
    without_trailing_commas(data)


def _platform_answer(data: bytes) -> None:
    read_lookup(DIRECTORY, Reply(200, data, {}))


def _elements(data: bytes) -> None:
    found, split = batch_elements(data), split_elements(data.removeprefix(b"\xef\xbb\xbf"))
    assert (found is None) == (split is None) or split is None
    holds_nul(data)
    try:
        value = json.loads(data.decode(), parse_constant=lambda _: 1 / 0)
    except (ValueError, RecursionError, ZeroDivisionError):
        return
    if isinstance(value, list):
        assert split is not None
        assert len(split) == len(value)
        assert found is not None
        assert len(found) == len(value)
        assert [json.loads(each) for each in split] == value


def _callback_url(data: bytes) -> None:
    """What is allowed is read by two others in the same way."""
    url = _text(data)
    found = find_destination(url, ["*.smartico.ai", "10.0.0.5", "[::1]"], allow_insecure=True)
    if not isinstance(found, str):
        return
    host = found.rpartition(":")[0] if found[-1].isdigit() and ":" in found.rpartition("]")[2] else found
    bare = host.strip("[]")
    split = urlsplit(url)
    assert split.hostname == bare
    assert split.username is None
    assert httpx.URL(url).raw_host == bare.encode()  # `host` would read "xn--…", and refuse what is none
    assert bare.endswith(".smartico.ai") or bare in {"10.0.0.5", "::1"}


def _mapping(data: bytes) -> None:
    read_provider_mapping(_text(data), file="x.toml")
    read_vocabulary(_text(data), file="x.toml")


def _settings(data: bytes) -> None:
    try:
        parse_settings(_text(data), file="bridge.toml", base_dir=Path(), environ={})
    except BridgeError:
        return


def _cursor(data: bytes) -> None:
    for kind in (tuple[str], tuple[RowNumber], tuple[str, RowNumber]):
        for text in (
            _text(data),
            write_cursor(_text(data.replace(b"\xff", b"")).encode("utf-8", "replace").decode()),
        ):
            try:
                read_cursor(text, kind)
            except ValidationException:
                continue


def _texts(data: bytes) -> None:
    text = _text(data)
    at = read_when(text, NOW)
    if at is not None:
        format_time(at)
    read_mailbox(text)
    assert len(redact(text)) <= 200
    hide_addresses(text)


def _contacts(data: bytes) -> None:
    """A file of contacts: every row is a contact that can be kept, or is put aside."""
    try:
        rows = list(ContactFile(Path(__file__), io.BufferedReader(io.BytesIO(data)), "GB"))
    except BridgeError:
        return
    for row in rows:
        if not isinstance(row, RejectedRow):
            assert row.contact.ext_user_id.encode()
            assert "\0" not in f"{row.contact}"
            assert (row.contact.phone or "+").startswith("+")


def _exports(data: bytes) -> None:
    """What is exported comes back as it was, but for the apostrophe before what a spreadsheet would work out."""
    cells = data.decode("utf-8", "replace").split("\x1e")
    made = CsvFormat(["x"] * len(cells))
    text = (made.head() + made.lines([tuple(cells)])).decode()
    _, row = csv.reader(io.StringIO(text, newline=""), strict=True)
    assert row == [safe_cell(cell) for cell in cells]
    assert all(_is_number(cell) or cell[0] not in "=+-@\t\r\n" for cell in row if cell)
    (line,) = JsonLines(["a", "b"]).lines([(cells[0], len(cells))]).splitlines()
    assert json.loads(line)["a"] == cells[0]


def _is_number(cell: str) -> bool:
    try:
        return cell.isascii() and float(cell) is not None
    except ValueError:
        return False


def _addresses(data: bytes) -> None:
    """Numbers and mailboxes are known again by what they were made into, and a mask hides most of them."""
    text = _text(data)
    for region in ("", "GB"):
        phone = normalise_phone(text, region)
        if phone is not None:
            assert normalise_phone(phone) == phone
            assert phone not in mask_phone(phone)
    email = normalise_email(text)
    if email is not None:
        assert normalise_email(email) == email
        assert email not in mask_email(email)
    opt_out_keyword(text, frozenset({"STOP"}))


_HEAD = {
    "From", "To", "Reply-To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type",
    "Content-Transfer-Encoding",
}  # fmt: skip


def _mail(data: bytes) -> None:
    """A request that is taken becomes a mail with the head that we write, and no other line in it."""
    request = decode_send(data, "email")
    if not isinstance(request, SendRequest):
        return
    sender = request.sender or "noreply@example.com"
    to = request.to_address or "a@b.example"
    content, _ = build_mime(
        OutgoingMessage(bytes(16), "EMAIL", to, sender, request.body, extra=request.extra)
    )
    head = content.partition(b"\r\n\r\n")[0].decode()
    lines = head.split("\r\n")
    assert not any("\r" in line or "\n" in line for line in lines)
    names = [line.partition(":")[0] for line in lines if line[:1] not in (" ", "\t")]
    assert {*names} <= _HEAD
    assert len({*names}) == len(names)


_SMS = json.dumps(
    {
        "ext_user_id": "u1",
        "im_uid": "x",
        "body": "Hello",
        "callback_url": "https://api.smartico.ai/c",
        "from_number": "A",
    }
).encode()
_MAIL = json.dumps(
    {
        "ext_user_id": 5, "email_uid": "x", "from_email_address": "Jo <jo@example.com>", "subject": "S", "body": "<p>",
        "activity_type": "preview", "to_email_address": "a@b.example", "reply_to_email_address": "r@b.example",
    }
).encode()  # fmt: skip
_STATUS = {
    "message_uuid": "a-b", "callback_event": "delivered", "status": "delivered", "channel_type": "SMS",
    "status_time": "2026-11-21T18:51:13Z", "error_code": 5, "cascade_message_uuid": "c", "cascade_step": 2,
}  # fmt: skip
_PRICE = {
    "message_uuid": "a", "callback_event": "price", "price": 0.05, "currency": "EUR", "parts": 1,
    "price_time": "2026-11-21T18:51:13+02:00",
}  # fmt: skip
_INBOUND = {
    "message_uuid": "a", "callback_event": "inbound_sent",
    "item": {"destination": "14155550142", "content": "STOP", "specialContent": {"text": "x"}},
}  # fmt: skip
_CLICK = {
    "message_uuid": "a",
    "callback_event": "click",
    "url": "https://x/?a",
    "click_time": "2026-11-21T18:51:13Z",
}
_EVENT = {
    "event": "bounce", "sg_message_id": "a.b", "timestamp": 1795000000, "type": "blocked", "status": "5.1.1",
    "reason": "550 5.1.1 no", "ext_message_id": ID, "url": "https://x",
}  # fmt: skip
_JSON_WORDS = (
    b"null", b"true", b"[", b"]", b"{", b"}", b'"', b"\\u0000", b"\\ud800", b"\\", b",", b":", b"1e400", b"-0", b"1E-9",
    b"99999999999999999999", b"9" * 400, b"[" * 300, b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"NaN", b"/*", b"0x1",
)  # fmt: skip

TARGETS: dict[str, Target] = {
    "send-sms": Target(_send("sms"), [_SMS], _JSON_WORDS),
    "send-email": Target(
        _send("email"), [_MAIL], (*_JSON_WORDS, b"\r\nBcc: x@y.example", b"=?utf-8?q?=0a?=")
    ),
    "send-cim": Target(_send("cim"), [_SMS[:-1] + b', "extension": {"a": [1]}}'], _JSON_WORDS),
    "callback-revicom": Target(
        _callback("revicom"),
        [json.dumps([_STATUS, _PRICE]).encode(), json.dumps([_INBOUND, _CLICK]).encode()],
        _JSON_WORDS,
    ),
    "callback-sendgrid": Target(
        _callback("mailing"), [json.dumps([_EVENT, {"event": "open"}]).encode()], _JSON_WORDS
    ),
    "callback-webhook": Target(
        _callback("inbox"),
        [json.dumps({"ext_message_id": ID, "status": "read", "time": "2026-11-21T18:51:13Z"}).encode()],
        _JSON_WORDS,
    ),
    "answer-revicom": Target(
        _answer("revicom"),
        [
            b"\0"
            + json.dumps(
                {"messages": [{"message_uuid": "a", "tag": "0" * 32, "status": "accepted"}]}
            ).encode(),
            b"\xc8[]",
        ],
        _JSON_WORDS,
    ),
    "answer-sendgrid": Target(
        _answer("mailing"), [b"\xc8" + json.dumps({"errors": [{"message": "no"}]}).encode()], _JSON_WORDS
    ),
    "answer-webhook": Target(_answer("inbox"), [b"\xc8no"], _JSON_WORDS),
    "credentials": Target(_credentials, [b"Basic cmV2aWNvbTp4", b"MEUCIQ=="]),
    "notification": Target(
        _notification,
        [
            (
                b"application/json\nlogin=u1\n"
                b'{"login": "u1", "time": 1664115803000, "view_url": "v", "channel": "SMS", "campaign_name": ""}'
            ),
            b"application/x-www-form-urlencoded\n\nlogin=u1&time=2026-11-21T18:51:13Z&channel=Mail&x=%ff",
        ],
        (*_JSON_WORDS, b"%00", b"%ed%a0%80", b"&", b"=", b"+", b";"),
    ),
    "status-answer": Target(
        _status_answer,
        [b'{"error_code": 0,}', b'{"error_code": "4", "error_message": "not found"}'],
        _JSON_WORDS,
    ),
    "platform-answer": Target(
        _platform_answer, [b'{"user": {"phone": "+447700900123", "email": "a@b.example"}}'], _JSON_WORDS
    ),
    "json-elements": Target(
        _elements, [b'[{"a": [1, "x\\"]"]}, 2.5e3, null, "\\u00e9"]', b'{"a": {"b": []}}'], _JSON_WORDS
    ),
    "callback-url": Target(
        _callback_url,
        [
            b"https://api.smartico.ai/c?x=1#f",
            b"http://10.0.0.5:81/",
            b"https://[::1]:9/",
            b"HTTPS://A.b.SMARTICO.ai:443",
        ],
        (
            b"@",
            b"\\",
            b"%2f",
            b"..",
            b":",
            b"[",
            b"]",
            b"\t",
            b"#",
            b"?",
            b".smartico.ai",
            b"xn--",
            "\u212a".encode(),
            b"/",
        ),
    ),
    "mapping": Target(
        _mapping,
        [path.read_bytes() for path in sorted(MAPPINGS.glob("*.toml"))],
        (b"[", b"]", b"=", b'"""', b"#"),
    ),
    "settings": Target(
        _settings, [SETTINGS.encode()], (b"[[", b"]]", b"=", b"'''", b"${X}", b"${", b"1e400", b"0x", b"\0")
    ),
    "contacts-csv": Target(
        _contacts,
        [
            b"ext_user_id,phone,email,opted_out\r\nu1,+447700900123,a@b.example,SMS\r\n",
            b'\xef\xbb\xbfphone,ext_user_id,email\n,"u ""2""",\n07700900123,u3,a@b.example\n',
        ],
        (b",", b'"', b"\r", b"\n", b"\0", b'"' * 3, b"-", b"\xff", b"x" * 140_000),
    ),
    "exports": Target(
        _exports,
        [b"=1+1\x1e-1.5\x1ea,b", b'\x1e"\x1e\r\n'],
        (b"\x1e", b"=", b"+", b"@", b"\t", b"\r", b'"', b"'"),
    ),
    "addresses": Target(
        _addresses,
        [b"+44 7700 900123", b"07700900123", b"Jane.Doe@Example.com", b"stop!"],
        (b"+", b"@", b".", b"00", b"xn--", "\u0660".encode(), "\u017f".encode(), b";ext=1", b"tel:"),
    ),
    "mail": Target(
        _mail,
        [_MAIL, _MAIL.replace(b"Jo <jo", '\\"J\u00f6, x\\" <jo'.encode())],
        (
            *_JSON_WORDS,
            b"\\r\\nBcc: x@y.example",
            b"=?utf-8?q?=0a?=",
            b"\\u2028",
            b"\\u0085",
            b"\\n",
            b"xn--",
        ),
    ),
    "cursor": Target(_cursor, [b"WyJhIl0", b"WzVd", b'["a", 5]'], (b"=", b"-", b"_")),
    "texts": Target(
        _texts,
        [
            b"2026-11-21T18:51:13Z",
            b"90d",
            b"Jo <jo@example.com>",
            b"no +1 415 555 0142 at http://u:p@h/x jo@example.com",
        ],
        (b"@", b"://", b'"', b"\\", b"9" * 20, b"\xc2\xa0", b"-23:59"),
    ),
}
