"""The mail that goes over the wire: its headers, which nothing can break out of, and its bodies, as they were given."""

from __future__ import annotations

from email import message_from_bytes
from email.header import decode_header, make_header
from email.headerregistry import Address, AddressHeader
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.exchange import Mail
from bridge.core.mailbox import read_mailbox
from bridge.providers.smtp import Smtp
from tests.providers.smtp.conftest import MakeMessage

OURS = "0197f3a2-b1c4-7d3e-8f00-112233445566"
HEADERS = ["From", "To", "Reply-To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type"]
BREAKS = ["\r\n", "\n", "\r", "\0", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]
LINES = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=120)


def parse(mail: Mail) -> EmailMessage:
    return message_from_bytes(mail.content, policy=SMTPUTF8 if mail.utf8 else SMTP)


def addresses(mail: EmailMessage, name: str) -> tuple[Address, ...]:
    return cast(AddressHeader, mail[name]).addresses


def part(mail: EmailMessage, kind: str) -> str | None:
    found = mail.get_body((kind,))
    return None if found is None else cast(str, found.get_content()).replace("\r\n", "\n")


def raw_headers(mail: Mail) -> list[bytes]:
    """The names of the headers, as a mail server sees them."""
    head, _, _ = mail.content.partition(b"\r\n\r\n")
    return [line.partition(b":")[0] for line in head.split(b"\r\n") if line[:1] not in b" \t"]


# --- the sample ---


def test_golden(smtp: Smtp, make_message: MakeMessage) -> None:
    """Smartico's sample becomes this mail, for this envelope, on the day of the request."""
    mail = smtp.build_send([make_message()])
    assert (mail.sender, mail.recipient, mail.utf8) == ("noreply@amazing.co", "test@amazing.co", False)
    assert mail.timeout == 70
    parsed = parse(mail)
    assert parsed.keys() == HEADERS
    assert {name: str(parsed[name]) for name in HEADERS[:6]} == {
        "From": "Amazing <noreply@amazing.co>",
        "To": "test@amazing.co",
        "Reply-To": "Amazing <noreply@amazing.co>",
        "Subject": "The best offer your can find on the market",
        "Date": "Thu, 10 Jul 2025 09:20:15 +0000",
        "Message-ID": f"<{OURS}@amazing.co>",
    }
    assert parsed.get_content_type() == "multipart/alternative"
    assert [each.get_content_type() for each in parsed.iter_parts()] == ["text/plain", "text/html"]
    assert (part(parsed, "plain"), part(parsed, "html")) == (
        "Get the offer.....\n",
        "<html>..........</html>\n",
    )


def test_message_id_of_a_foreign_domain(smtp: Smtp, make_message: MakeMessage) -> None:
    """The Message-ID is our id at the domain of the sender, in ASCII."""
    parsed = parse(smtp.build_send([make_message(sender="Bücher <noreply@bücher.example>")]))
    assert parsed["Message-ID"] == f"<{OURS}@xn--bcher-kva.example>"


def test_no_reply_to(smtp: Smtp, make_message: MakeMessage) -> None:
    """Without an address for replies there is no such header."""
    assert "Reply-To" not in parse(smtp.build_send([make_message(reply_to="")]))


# --- bodies ---


@pytest.mark.parametrize(
    ("text", "html", "kind"),
    [
        ("a", "", "text/plain"),
        ("a", " \n", "text/plain"),
        ("", "<p>", "text/html"),
        ("\t", "<p>", "text/html"),
        ("a", "<p>", "multipart/alternative"),
    ],
)
def test_parts(smtp: Smtp, make_message: MakeMessage, text: str, html: str, kind: str) -> None:
    """What is blank is no part."""
    assert parse(smtp.build_send([make_message(text=text, body=html)])).get_content_type() == kind


@pytest.mark.parametrize(
    "text",
    [
        ".\n..\n.hidden\n",
        "From somebody\n--===============\n",
        "Content-Type: text/evil\n\nx",
        "x" * 5000,
        "Grüße 😀 \u2028 =20 =?utf-8?q?x?=",
        "  two blanks at both ends  ",
        "\n\nlines\n\n\n",
        "a\v\f\x1c\x85b",
    ],
    ids=lambda text: repr(text[:20]),
)
def test_bodies(smtp: Smtp, make_message: MakeMessage, text: str) -> None:
    """Bodies arrive as given, with a line break at their end, and nothing on the wire is long or not ASCII."""
    mail = smtp.build_send([make_message(text=text, body=f"<p>{text}")])
    parsed = parse(mail)
    assert part(parsed, "plain") == text + "\n" * (not text.endswith("\n"))
    assert part(parsed, "html") == f"<p>{text}" + "\n" * (not text.endswith("\n"))
    assert mail.content.isascii()
    assert max(map(len, mail.content.split(b"\r\n"))) <= 998


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=200))
def test_any_body(smtp: Smtp, make_message: MakeMessage, text: str) -> None:
    """Whatever the characters of a body are, they arrive, and no header changes."""
    mail = smtp.build_send([make_message(text="", body=f"<{text}>")])
    assert part(parse(mail), "html") == f"<{text}>\n"
    assert sorted(raw_headers(mail)) == sorted(map(str.encode, [*HEADERS, "Content-Transfer-Encoding"]))


def test_line_ends(smtp: Smtp, make_message: MakeMessage) -> None:
    """Line breaks of any kind go as SMTP wants them."""
    mail = smtp.build_send([make_message(text="a\rb\nc\r\nd", body="")])
    assert mail.content.endswith(b"\r\n\r\na\r\nb\r\nc\r\nd\r\n")


# --- headers ---


@pytest.mark.parametrize("line_break", BREAKS, ids=repr)
@pytest.mark.parametrize("field", ["subject", "sender", "reply_to", "destination"])
def test_line_breaks_in_headers(smtp: Smtp, make_message: MakeMessage, field: str, line_break: str) -> None:
    """No header is begun by a line break in another one: there is no such mail, or it is harmless."""
    value = {
        "subject": f"x{line_break}Bcc: evil@example.com",
        "sender": f"x{line_break}Bcc: evil@example.com <a@b.co>",
        "reply_to": f"x{line_break}Bcc: evil@example.com <a@b.co>",
        "destination": f"a{line_break}Bcc: evil@example.com",
    }[field]
    try:
        mail = smtp.build_send([make_message(**{field: value})])
    except ValueError:
        return
    assert b"Bcc" not in raw_headers(mail)


_INJECTED = "=?utf-8?q?=0d=0aBcc:_evil=40example.com=0d=0a?="
# The email package of Python 3.11.7 reads these as encoded words, and writes the line breaks that are in them.


@pytest.mark.parametrize("charset", ["utf-8", "us-ascii"])
def test_encoded_line_breaks_in_the_subject(smtp: Smtp, make_message: MakeMessage, charset: str) -> None:
    """A subject that looks like an encoded word with a line break in it begins no header."""
    mail = smtp.build_send([make_message(subject=_INJECTED.replace("utf-8", charset))])
    assert b"Bcc" not in raw_headers(mail)


@pytest.mark.parametrize("field", ["sender", "reply_to"])
@pytest.mark.parametrize("name", ["=?utf-8?q?=0d=0aBcc=3A_x?=", '"=?utf-8?q?=0d=0aBcc=3A_x?="'])
def test_encoded_line_breaks_in_names(smtp: Smtp, make_message: MakeMessage, field: str, name: str) -> None:
    """The same in the name of a mailbox."""
    mail = smtp.build_send([make_message(**{field: f"{name} <noreply@amazing.co>"})])
    assert b"Bcc" not in raw_headers(mail)


def test_encoded_words_are_texts(smtp: Smtp, make_message: MakeMessage) -> None:
    """A subject that looks like an encoded word arrives as it was given, like any other text."""
    mail = smtp.build_send([make_message(subject="=?utf-8?q?Gr=C3=BC=C3=9Fe?=")])
    assert parse(mail)["Subject"] == "=?utf-8?q?Gr=C3=BC=C3=9Fe?="


@pytest.mark.parametrize(
    "subject",
    ["", "x" * 2000, "ü" * 500, "😀 " * 100, "word " * 300 + "end", "a: b", "<b>", '"', "=20", "=?", "?="],
    ids=lambda subject: repr(subject[:10]),
)
def test_subjects(smtp: Smtp, make_message: MakeMessage, subject: str) -> None:
    """Subjects arrive as given, folded, and in ASCII on the wire."""
    mail = smtp.build_send([make_message(subject=subject)])
    assert parse(mail)["Subject"] == subject
    assert raw_headers(mail) == [name.encode() for name in HEADERS]
    assert mail.content.isascii()


@pytest.mark.parametrize(
    "name",
    [
        "Amazing",
        "Amazing, Inc.",
        'Say "hi"',
        "back\\slash",
        "Grüße, Weiß; und: Co.",
        "(no comment)",
        "a@b.c",
        "很长的名字",
        "😀",
        "O'Neill & Söhne",
        "",
    ],
)
def test_names(smtp: Smtp, make_message: MakeMessage, name: str) -> None:
    """A display name arrives whole, and the address beside it is the one that was given."""
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    mailbox = f'"{escaped}" <noreply@amazing.co>'
    mail = smtp.build_send([make_message(sender=mailbox, reply_to=mailbox)])
    for header in ("From", "Reply-To"):
        assert addresses(parse(mail), header) == (Address(name, addr_spec="noreply@amazing.co"),)
    assert mail.sender == "noreply@amazing.co"
    assert mail.content.isascii()


@pytest.mark.parametrize(
    "name",
    [
        "Department of Something Really Long, Amazing Company Incorporated, Europe and Asia",
        f"{'x' * 200}, y",
        f"{'word ' * 20}evil@example.com, x",
    ],
)
def test_long_names(smtp: Smtp, make_message: MakeMessage, name: str) -> None:
    """A long name with a comma in it stays one name of one address."""
    mail = parse(smtp.build_send([make_message(sender=f'"{name}" <noreply@amazing.co>')]))
    assert [each.addr_spec for each in addresses(mail, "From")] == ["noreply@amazing.co"]


def test_long_foreign_names(smtp: Smtp, make_message: MakeMessage) -> None:
    """A long name that has to be encoded in several pieces is put together again (RFC 2047, section 6.2)."""
    name = "很长的名字" * 10
    mail = smtp.build_send([make_message(sender=f"{name} <noreply@amazing.co>")])
    line, _, _ = mail.content.replace(b"\r\n ", b" ").partition(b"\r\n")
    assert str(make_header(decode_header(line.decode()))) == f"From: {name} <noreply@amazing.co>"


@given(subject=LINES)
def test_any_subject(smtp: Smtp, make_message: MakeMessage, subject: str) -> None:
    """Whatever a subject is that was let in, the headers are those of every mail."""
    if "=?" in subject:  # the defect above
        return
    mail = smtp.build_send([make_message(subject=subject)])
    assert raw_headers(mail) == [name.encode() for name in HEADERS]
    assert str(parse(mail)["Subject"]).strip() == subject.strip()


@given(name=st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=12))
def test_any_name(smtp: Smtp, make_message: MakeMessage, name: str) -> None:
    """Whatever a name is that was let in, it is one mailbox, and the headers are those of every mail."""
    text = f"{name} <noreply@amazing.co>"
    if read_mailbox(text) is None or "=?" in name:
        return
    mail = smtp.build_send([make_message(sender=text, reply_to=text)])
    assert raw_headers(mail) == [each.encode() for each in HEADERS]
    assert [each.addr_spec for each in addresses(parse(mail), "From")] == ["noreply@amazing.co"]


# --- addresses ---


def test_foreign_domains(smtp: Smtp, make_message: MakeMessage) -> None:
    """Domains go as IDNA has them, in envelope and headers, and need no SMTPUTF8."""
    mail = smtp.build_send(
        [make_message(sender="x <a@bücher.example>", destination="b@例え.jp", reply_to="c@bücher.example")]
    )
    assert (mail.sender, mail.recipient, mail.utf8) == ("a@xn--bcher-kva.example", "b@xn--r8jz45g.jp", False)
    assert addresses(parse(mail), "To")[0].addr_spec == "b@xn--r8jz45g.jp"
    assert addresses(parse(mail), "Reply-To")[0].addr_spec == "c@xn--bcher-kva.example"


@pytest.mark.parametrize("field", ["sender", "destination", "reply_to"])
def test_foreign_local_parts(smtp: Smtp, make_message: MakeMessage, field: str) -> None:
    """A local part that is not ASCII asks for SMTPUTF8, and stands in its header as it is."""
    mail = smtp.build_send([make_message(**{field: "jörg@bücher.example"})])
    header = {"sender": "From", "destination": "To", "reply_to": "Reply-To"}[field]
    assert mail.utf8
    assert f"{header}: jörg@xn--bcher-kva.example\r\n".encode() in mail.content


@pytest.mark.parametrize(
    "address", ["a,b@example.com", "a..b@example.com", ".a@example.com", "a.@example.com", "a:b@example.com"]
)
def test_odd_recipients(smtp: Smtp, make_message: MakeMessage, address: str) -> None:
    """What the contact table takes for an address does not break the building of a mail."""
    assert smtp.build_send([make_message(destination=address)]).recipient == address
