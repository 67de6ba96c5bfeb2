"""What a message holds beside its text: an e-mail has a subject and more, a Custom IM its `extension`.

The text and this are kept as one text in the store (`pack`, `unpack`), since both are needed until the message is sent
and forgotten together. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Raw, Struct

__all__ = ["CustomExtra", "EmailExtra", "Extra", "pack", "unpack"]


class EmailExtra(Struct, frozen=True, tag="email", omit_defaults=True):
    """`reply_to` is a mailbox as it was given ("Amazing <noreply@amazing.co>"), `text` the variant without HTML."""

    subject: str = ""
    reply_to: str = ""
    text: str = ""

    def __repr__(self) -> str:
        return "<EmailExtra>"


class CustomExtra(Struct, frozen=True, tag="cim", omit_defaults=True):
    """`extension` is the JSON text as it came, of any shape; `headers` those of the request that are handed on."""

    extension: Raw = Raw(b"null")
    headers: Mapping[str, str] = {}

    def __repr__(self) -> str:
        return "<CustomExtra>"


Extra = EmailExtra | CustomExtra | None


class _Kept(Struct, array_like=True, frozen=True):
    body: str
    extra: EmailExtra | CustomExtra


_kept = msgspec.json.Decoder(_Kept)


def pack(body: str, extra: Extra) -> str:
    """The one text that is kept: of a message without more, its body as it is."""
    return body if extra is None else msgspec.json.encode(_Kept(body, extra)).decode()


def unpack(kept: str, type: str) -> tuple[str, Extra]:  # noqa: A002 - Smartico's name for it
    """What was kept for a message of this type; empty where it was forgotten."""
    if type == "sms" or not kept:
        return kept, None
    found = _kept.decode(kept)
    return found.body, found.extra
