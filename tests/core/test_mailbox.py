"""Mailboxes as people write them, and domains as they go over the wire."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.mailbox import Mailbox, ascii_domain, read_mailbox


@pytest.mark.parametrize(
    ("text", "name", "address"),
    [
        ("Amazing <noreply@amazing.co>", "Amazing", "noreply@amazing.co"),
        ("noreply@amazing.co", "", "noreply@amazing.co"),
        ("<noreply@amazing.co>", "", "noreply@amazing.co"),
        ("  Amazing   < noreply@amazing.co >  ", "Amazing", "noreply@amazing.co"),
        ('"Amazing, Inc." <a@b.co>', "Amazing, Inc.", "a@b.co"),
        ("Amazing, Inc. <a@b.co>", "Amazing, Inc.", "a@b.co"),
        ('"Say \\"hi\\"" <a@b.co>', 'Say "hi"', "a@b.co"),
        ('"back\\\\slash" <a@b.co>', "back\\slash", "a@b.co"),
        ('" blanks " <a@b.co>', " blanks ", "a@b.co"),
        ('"" <a@b.co>', "", "a@b.co"),
        ('" <a@b.co>', '"', "a@b.co"),
        ("Grüße 😀 <a@b.co>", "Grüße 😀", "a@b.co"),
        ("jörg@bücher.example", "", "jörg@bücher.example"),
        ("a@例え.jp", "", "a@例え.jp"),
        ("first.last+tag=x'y@sub.example.co", "", "first.last+tag=x'y@sub.example.co"),
        ("root@localhost", "", "root@localhost"),
        ("a@b.co.", "", "a@b.co."),
        ("a@xn--bcher-kva.example", "", "a@xn--bcher-kva.example"),
    ],
)
def test_mailboxes(text: str, name: str, address: str) -> None:
    """Names lose their quotes, and nothing else is lost."""
    assert read_mailbox(text) == Mailbox(name, address)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "Amazing",
        "@",
        "a@",
        "@b.co",
        "a b@c.co",
        "a@b c.co",
        "a@b@c.co",
        "a..b@c.co",
        ".a@c.co",
        "a.@c.co",
        "a@b..co",
        "a@.co",
        "a@-b.co",
        "a@b-.co",
        "a@[1.2.3.4]",
        '"a b"@c.co',
        "a,b@c.co",
        "a@b.co, c@d.co",
        "a@b.co; c@d.co",
        "A <a@b.co>, B <c@d.co>",
        "A <a@b.co> x",
        "A <<a@b.co>>",
        "<>",
        "A a@b.co",
        "group: a@b.co;",
        f"{'a' * 320}@b.co",
        "a\u00a0b@c.co",
    ],
    ids=repr,
)
def test_no_mailboxes(text: str) -> None:
    """Several, none, or half of one: no mailbox."""
    assert read_mailbox(text) is None


@pytest.mark.parametrize(
    "char", ["\r\n", "\r", "\n", "\0", "\t", "\v", "\f", "\x1b", "\x7f", "\x85", "\u2028", "\u2029"], ids=repr
)
def test_control_characters(char: str) -> None:
    """No control character and no line break gets in, wherever it stands."""
    for text in (
        f"A{char}B <a@b.co>",
        f'"A{char}" <a@b.co>',
        f"A <a{char}@b.co>",
        f"a@b{char}.co",
        f"a{char}@b.co",
    ):
        assert read_mailbox(text) is None


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("a@b.co", "a@b.co"),
        ("A@B.Co", "A@B.Co"),
        ("a@bücher.example", "a@xn--bcher-kva.example"),
        ("a@BÜCHER.example", "a@xn--bcher-kva.example"),
        ("jörg@bücher.example", "jörg@xn--bcher-kva.example"),
        ("a@例え.jp", "a@xn--r8jz45g.jp"),
        ("a@xn--bcher-kva.example", "a@xn--bcher-kva.example"),
        ("a@b..co", "a@b..co"),
        (f"a@{'ü' * 64}.co", f"a@{'ü' * 64}.co"),
    ],
)
def test_domains(address: str, expected: str) -> None:
    """A domain that is not ASCII is written in ASCII; what cannot be written so stays as it is."""
    assert ascii_domain(address) == expected


@pytest.mark.parametrize(
    ("address", "expected"),
    [("a@straße.de", "a@xn--strae-oqa.de"), ("a@βόλος.com", "a@xn--nxasmm1c.com")],
)
def test_domains_of_2008(address: str, expected: str) -> None:
    """Domains with ß and ς are domains of their own (RFC 5891): a mail to one must not go to another."""
    assert ascii_domain(address) == expected


def test_no_domain() -> None:
    """What has no domain stays as it is."""
    assert ascii_domain("amazing") == "amazing"


@given(st.text(max_size=60))
def test_any_text(text: str) -> None:
    """Whatever the text is, nothing raises; what is read has one @ and no blank in its address, and no line break."""
    ascii_domain(text)
    mailbox = read_mailbox(text)
    if mailbox is not None:
        assert mailbox.address.count("@") == 1
        assert not any(char.isspace() for char in mailbox.address)
        assert len((mailbox.name + mailbox.address).splitlines()) == 1


@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=30))
def test_any_name(name: str) -> None:
    """A name in quotes is read back, whatever its characters are."""
    if "<" in name or ">" in name:
        return
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    assert read_mailbox(f'"{quoted}" <a@b.co>') == Mailbox(name, "a@b.co")


def test_repr() -> None:
    """A mailbox prints without what is in it."""
    assert repr(Mailbox("Amazing", "a@b.co")) == "<Mailbox>"
