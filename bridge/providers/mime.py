"""A mail as it goes over the wire: its head, and its parts.

The head is written here, value by value: the standard library decodes encoded words in what it is given, and so would
make headers of them. What is not plain ASCII goes as encoded words. Source: RFC 5322, RFC 2047, RFC 6531.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.header import Header
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from bridge.core.content import EmailExtra
from bridge.core.mailbox import Mailbox, ascii_domain, read_mailbox
from bridge.core.model import id_text, id_time
from bridge.providers.protocol import OutgoingMessage

__all__ = ["build_mime", "message_id_of", "read_mailbox_of"]

_POLICY = SMTP.clone(cte_type="7bit")
_LONGEST_WORD = 60  # characters of a text that stands in its line as it is
_LONGEST_NAME = (
    400  # the same of a name in quotes: some readers put a blank where encoded words of a name meet
)
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")


def build_mime(message: OutgoingMessage) -> tuple[bytes, bool]:
    """The message, and whether an address in it needs SMTPUTF8."""
    extra = message.extra if isinstance(message.extra, EmailExtra) else EmailExtra()
    head = [
        ("From", _mailbox("From", read_mailbox_of(message.sender))),
        ("To", _one_line(ascii_domain(message.destination))),
        *([("Reply-To", _mailbox("Reply-To", read_mailbox_of(extra.reply_to)))] if extra.reply_to else []),
        ("Subject", _text("Subject", extra.subject)),
        # An id knows when it was made: when the request came in.
        ("Date", format_datetime(datetime.fromtimestamp(id_time(message.message_id) / 1000, UTC))),
        ("Message-ID", f"<{message_id_of(message)}>"),
    ]
    lines = "".join(f"{name}: {value}\r\n" for name, value in head)
    parts = _parts(text=extra.text, html=message.body, boundary=f"=_{message.message_id.hex()}")
    return lines.encode() + parts, not lines.isascii()


def message_id_of(message: OutgoingMessage) -> str:
    """The Message-ID without its brackets; it carries our own id."""
    _, _, domain = read_mailbox_of(message.sender).address.rpartition("@")
    return f"{id_text(message.message_id)}@{domain}"


def read_mailbox_of(text: str) -> Mailbox:
    """A mailbox that was checked when the request came in, its domain in ASCII."""
    found = read_mailbox(text)
    return Mailbox(found.name, ascii_domain(found.address)) if found else Mailbox("", _one_line(text))


def _one_line(text: str) -> str:
    """A text that was checked long before; should it not have been, it must not begin another header."""
    return "".join(each for each in text if each.isprintable())


def _mailbox(header: str, mailbox: Mailbox) -> str:
    """`name <address>`, the address in a line of its own."""
    if not mailbox.name:
        return mailbox.address
    if _ATOMS.fullmatch(mailbox.name) and _is_plain(mailbox.name):
        name = mailbox.name
    elif _is_plain(mailbox.name, longest=_LONGEST_NAME):
        name = '"' + re.sub(r'(["\\\\])', r"\\\1", mailbox.name) + '"'
    else:
        name = _encoded(header, mailbox.name)
    return f"{name}\r\n <{mailbox.address}>"


def _text(header: str, text: str) -> str:
    return text if _is_plain(text) else _encoded(header, text)


def _is_plain(text: str, longest: int = _LONGEST_WORD) -> bool:
    """Whether a text may stand in a header as it is: nobody would take it for something else, or have to fold it."""
    return (
        text.isascii()
        and text.isprintable()
        and text == text.strip()
        and "=?" not in text
        and len(text) <= longest
    )


def _encoded(header: str, text: str) -> str:
    """Encoded words, as many as it takes, each in a line of its own."""
    return Header(text, "utf-8", header_name=header).encode(linesep="\r\n")


def _parts(*, text: str, html: str, boundary: str) -> bytes:
    """Content headers, and one part, or two alternatives."""
    mail = EmailMessage(_POLICY)
    if text.strip() and html.strip():
        mail.set_content(text)
        mail.add_alternative(html, subtype="html")
        mail.set_boundary(boundary)
    elif html.strip():
        mail.set_content(html, subtype="html")
    else:
        mail.set_content(text)
    return mail.as_bytes()
