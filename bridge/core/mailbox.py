"""An e-mail mailbox as people write it, read into display name and address. Pure, and nothing here raises.

Source: RFC 5322, section 3.4, without comments, groups, routes and quoted local parts.
"""

from __future__ import annotations

import re

import idna
from msgspec import Struct

__all__ = ["Mailbox", "ascii_domain", "is_address", "read_mailbox"]

_LONGEST = 320  # characters of an address (RFC 3696, erratum 1003)
_ATOM = r"[^\s<>()\[\]:;@\\,.\"\x00-\x20\x7f]+"
_LABEL = r"[^\W_](?:[\w-]*[^\W_])?"
_ADDRESS = re.compile(rf"{_ATOM}(?:\.{_ATOM})*@(?:{_LABEL}\.)*{_LABEL}\.?")
_NAMED = re.compile(r"(?P<name>[^<>]*)<(?P<address>[^<>]*)>")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class Mailbox(Struct, frozen=True):
    """`name` is empty where only an address was given."""

    name: str
    address: str

    def __repr__(self) -> str:
        return "<Mailbox>"


def read_mailbox(text: str) -> Mailbox | None:
    """`address` or `name <address>`; None where it is neither, several, or holds a control character."""
    text = text.strip()
    if _CONTROL.search(text):
        return None
    named = _NAMED.fullmatch(text)
    name, address = (_unquoted(named["name"].strip()), named["address"].strip()) if named else ("", text)
    return Mailbox(name, address) if is_address(address) else None


def _unquoted(name: str) -> str:
    """The name without the quotes that RFC 5322 asks for around some."""
    if len(name) >= 2 and name[0] == name[-1] == '"':
        return re.sub(r"\\(.)", r"\1", name[1:-1])
    return name


def ascii_domain(address: str) -> str:
    """The address with its domain as it goes over the wire (IDNA 2008); as it is where that cannot be said."""
    local, at, domain = address.rpartition("@")
    try:
        return f"{local}{at}{idna.encode(domain, uts46=True).decode()}" if not domain.isascii() else address
    except idna.IDNAError:
        return address


def is_address(text: str) -> bool:
    """Whether a text is one address, as it stands in an envelope."""
    return len(text) <= _LONGEST and _ADDRESS.fullmatch(text) is not None
