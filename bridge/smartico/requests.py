"""A send request of Smartico, read: SMS (also Viber and WhatsApp), e-mail and Custom IM.

Pure. Nothing here raises on what comes in, and no reason repeats a value of a request.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from bridge.core.callback_url import NotAllowed, find_destination
from bridge.core.content import CustomExtra, EmailExtra, Extra
from bridge.core.json_text import holds_nul
from bridge.core.mailbox import read_mailbox
from bridge.smartico.answers import ErrorCode, Refusal

__all__ = ["SendRequest", "check_callback_url", "decode_send"]

_LONGEST_ID = 512  # characters
_SURROGATE = re.compile("[\ud800-\udfff]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class SendRequest(Struct, frozen=True):
    """What Smartico wants sent. `uid` is its own id of the message: the idempotency key.

    `sender` is the wanted number, name or mailbox. `to_address` is given for mails that go elsewhere than to the user
    (a preview); then nobody needs to know the user.
    """

    ext_user_id: str
    uid: str
    body: str
    sender: str | None = None
    callback_url: str | None = None
    extra: Extra = None
    to_address: str | None = None

    def __repr__(self) -> str:
        return "<SendRequest>"


class _Send(Struct):
    ext_user_id: Any = None
    im_uid: Any = None
    body: Any = None
    from_number: Any = None
    callback_url: Any = None


class _Custom(_Send):
    extension: Raw = Raw(b"null")


class _Email(Struct):
    ext_user_id: Any = None
    email_uid: Any = None
    from_email_address: Any = None
    reply_to_email_address: Any = None
    subject: Any = None
    body: Any = None
    text_body: Any = None
    callback_url: Any = None
    activity_type: Any = None
    to_email_address: Any = None


def decode_send(raw: bytes, type: str = "sms") -> SendRequest | Refusal:  # noqa: A002 - Smartico's name for it
    """The request in the body of a gateway of this type (sms, email, cim), or what is wrong with it."""
    wire_type, read = _READERS[type]
    try:
        raw.decode("utf-8")  # the decoder does not look into fields that it does not know
        wire = _DECODERS[type].decode(raw)
    except UnicodeDecodeError:
        return _invalid("the request is not UTF-8")
    except RecursionError:
        return _invalid("the request is nested too deeply")
    except msgspec.ValidationError as error:
        return _invalid(f"the request is not valid: {error}")  # a type and a place, never a value
    except msgspec.DecodeError as error:
        return _invalid(
            _half_character(raw, wire_type.__struct_fields__) or f"the request is not JSON: {error}"
        )
    result = read(wire)
    if isinstance(result, SendRequest) and holds_nul(raw):
        return _invalid("a field that is not known here holds the character NUL")
    return result


def _read_sms(wire: _Send) -> SendRequest | Refusal:
    user, sender, url = _user(wire.ext_user_id), _optional(wire.from_number), _optional(wire.callback_url)
    wrong = (
        _wrong("ext_user_id", user, longest=_LONGEST_ID)
        or _wrong("im_uid", wire.im_uid, longest=_LONGEST_ID)
        or _wrong("body", wire.body)
        or (sender is not None and _wrong("from_number", sender))
        or (url is not None and _wrong("callback_url", url))
    )
    return _invalid(wrong) if wrong else SendRequest(user, wire.im_uid, wire.body, sender, url)


def _read_custom(wire: _Custom) -> SendRequest | Refusal:
    result = _read_sms(wire)
    if isinstance(result, Refusal):
        return result
    if holds_nul(bytes(wire.extension)):
        return _invalid("extension holds the character NUL")
    return msgspec.structs.replace(result, extra=CustomExtra(wire.extension.copy()))


def _read_email(wire: _Email) -> SendRequest | Refusal:
    user, url = _user(wire.ext_user_id), _optional(wire.callback_url)
    html, text, subject = _or_empty(wire.body), _or_empty(wire.text_body), _or_empty(wire.subject)
    sender, reply_to = _optional(wire.from_email_address), _optional(wire.reply_to_email_address)
    preview, to = _optional(wire.activity_type) is not None, _optional(wire.to_email_address)
    wrong = (
        _wrong("ext_user_id", user, longest=_LONGEST_ID)
        or _wrong("email_uid", wire.email_uid, longest=_LONGEST_ID)
        or _wrong_bodies(html, text)
        or _wrong_line("subject", subject)
        or (sender is not None and _wrong_mailbox("from_email_address", sender))
        or (reply_to is not None and _wrong_mailbox("reply_to_email_address", reply_to))
        or (url is not None and _wrong("callback_url", url))
        or (preview and (_wrong("to_email_address", to) or _wrong_mailbox("to_email_address", to)))
    )
    if wrong:
        return _invalid(wrong)
    mail = EmailExtra(subject, reply_to or "", text)
    return SendRequest(user, wire.email_uid, html, sender, url, mail, to if preview else None)


_READERS: Mapping[str, tuple[type[Struct], Callable[[Any], SendRequest | Refusal]]] = {
    "sms": (_Send, _read_sms),
    "email": (_Email, _read_email),
    "cim": (_Custom, _read_custom),
}
_DECODERS = {name: msgspec.json.Decoder(wire) for name, (wire, _) in _READERS.items()}


# --- what may be wrong with a field ---


def _user(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _optional(value: Any) -> Any:
    """An optional field; blank counts as absent."""
    return None if isinstance(value, str) and not value.strip() else value


def _or_empty(value: Any) -> Any:
    return "" if value is None else value


def _wrong(name: str, value: object, *, longest: int | None = None) -> str:
    """What is wrong with a text that has to be there; empty where nothing is."""
    if value is None:
        return f"{name} is missing"
    if not isinstance(value, str):
        return f"{name} has the wrong type"
    if not value.strip():
        return f"{name} is empty"
    if longest is not None and len(value) > longest:
        return f"{name} is longer than {longest} characters"
    return f"{name} holds the character NUL" if "\0" in value else ""


def _wrong_bodies(html: object, text: object) -> str:
    """One of the two is enough."""
    for name, value in (("body", html), ("text_body", text)):
        if not isinstance(value, str):
            return f"{name} has the wrong type"
        if "\0" in value:
            return f"{name} holds the character NUL"
    return "" if f"{html}{text}".strip() else "body and text_body are empty or missing"


def _wrong_line(name: str, value: object) -> str:
    """What is wrong with a text that becomes a header of the mail, and must not begin another one."""
    if not isinstance(value, str):
        return f"{name} has the wrong type"
    return f"{name} holds a line break or another control character" if _CONTROL.search(value) else ""


def _wrong_mailbox(name: str, value: object) -> str:
    wrong = _wrong_line(name, value)
    if wrong or (isinstance(value, str) and read_mailbox(value)):
        return wrong
    return f"{name} is no e-mail address"


def _half_character(raw: bytes, names: Sequence[str]) -> str:
    """Names the field that holds one half of a surrogate pair, such as a cut emoji; empty where none does."""
    try:
        document = json.loads(raw)  # unlike msgspec, it lets them pass
    except (ValueError, RecursionError):
        return ""
    fields = document if isinstance(document, dict) else {}
    for name in names:
        value = fields.get(name)
        if isinstance(value, str) and _SURROGATE.search(value):
            return f"{name} holds half of a character (a lone surrogate)"
    return ""


def _invalid(message: str) -> Refusal:
    return Refusal(ErrorCode.INVALID, message)


def check_callback_url(url: str, hosts: Sequence[str], allow_insecure: bool) -> str | Refusal:
    """The destination that `url` leads to, `host` or `host:port`, or why it is not allowed.

    `hosts` are the patterns of `smartico.callback_hosts`; `allow_insecure` allows http and this machine.
    """
    found = find_destination(url, hosts, allow_insecure=allow_insecure)
    if isinstance(found, NotAllowed):
        return Refusal(ErrorCode.CALLBACK_URL, f"callback_url {found.reason}")
    return found
