"""The callbacks of SendGrid: whether they are from it, and how many events they have."""

from __future__ import annotations

from base64 import b64decode, b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.model import DeliveryReport, Malformed
from bridge.errors import BridgeError
from bridge.providers.protocol import CallbackUnreadable
from bridge.providers.sendgrid import Sendgrid
from bridge.secret import Secret
from tests.providers.sendgrid.conftest import KeyPair, MakeSendgrid

SIGNATURE = "x-twilio-email-event-webhook-signature"
TIMESTAMP = "x-twilio-email-event-webhook-timestamp"
GOOD = b'{"sg_message_id":"a.b","event":"open"}'
BODY = b"[" + GOOD + b"]\r\n"  # SendGrid ends a batch with a line break, which is signed, too


def basic(credentials: str) -> dict[str, str]:
    return {"authorization": f"Basic {b64encode(credentials.encode()).decode()}"}


# --- signatures ---


@pytest.mark.parametrize("body", [BODY, b"", b"\xff\0", b"x" * 100_000], ids=lambda body: repr(body[:9]))
def test_signed(signed: Sendgrid, key_pair: KeyPair, body: bytes) -> None:
    """A body that was signed with the private key is from SendGrid, byte by byte."""
    assert signed.signs
    assert signed.verify_callback(key_pair.sign(body), body)
    assert not signed.verify_callback(key_pair.sign(body), body + b"\n")


def test_tampered(signed: Sendgrid, key_pair: KeyPair) -> None:
    """Another timestamp, another body, another key, or a bit in the signature: not from SendGrid."""
    good = key_pair.sign(BODY)
    assert signed.verify_callback(good, BODY)
    assert not signed.verify_callback({**good, TIMESTAMP: "1795190401"}, BODY)
    assert not signed.verify_callback({**good, TIMESTAMP: ""}, BODY)
    assert not signed.verify_callback(good, BODY.rstrip())
    assert not signed.verify_callback(KeyPair().sign(BODY), BODY)
    signature = bytearray(b64decode(good[SIGNATURE]))
    signature[-1] ^= 1
    assert not signed.verify_callback({**good, SIGNATURE: b64encode(signature).decode()}, BODY)


def test_what_separates_timestamp_and_body(signed: Sendgrid, key_pair: KeyPair) -> None:
    """Digits that move from the timestamp into the body make no batch: no JSON array begins with a digit."""
    headers = key_pair.sign(BODY)
    moved = headers[TIMESTAMP][-1].encode() + BODY
    assert signed.verify_callback({**headers, TIMESTAMP: headers[TIMESTAMP][:-1]}, moved)
    assert isinstance(signed.check_callback(moved), CallbackUnreadable)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {TIMESTAMP: "1"},
        {SIGNATURE: "", TIMESTAMP: "1"},
        {SIGNATURE: "====", TIMESTAMP: "1"},
        {SIGNATURE: "é", TIMESTAMP: "1"},
        {SIGNATURE: "\udc80", TIMESTAMP: "\udc80"},
        {SIGNATURE: "AAAA", TIMESTAMP: "é"},
        {SIGNATURE: b64encode(b"\x30\x06\x02\x01\x00\x02\x01\x00").decode(), TIMESTAMP: "1"},
    ],
    ids=repr,
)
def test_broken_headers(signed: Sendgrid, headers: dict[str, str]) -> None:
    """No header opens the door without a signature, and none breaks it."""
    assert not signed.verify_callback(headers, BODY)


@given(st.binary(max_size=80), st.text(max_size=20), st.binary(max_size=50))
def test_any_headers(signed: Sendgrid, signature: bytes, timestamp: str, body: bytes) -> None:
    """Whatever signature comes, nothing raises, and nothing matches."""
    for text in (b64encode(signature).decode(), signature.decode("latin-1")):
        assert not signed.verify_callback({SIGNATURE: text, TIMESTAMP: timestamp}, body)


def test_credentials_do_not_replace_a_signature(signed: Sendgrid) -> None:
    """Where a key is configured, only the signature counts."""
    assert not signed.verify_callback(basic("send@grid:pa:ss/word"), BODY)


def test_credentials_without_a_key(
    sendgrid: Sendgrid, make_sendgrid: MakeSendgrid, key_pair: KeyPair
) -> None:
    """Without a key Basic credentials stand in, and the body need not be read for them; without both: nobody."""
    assert not sendgrid.signs
    assert sendgrid.verify_callback(basic("send@grid:pa:ss/word"), b"")
    assert not sendgrid.verify_callback(basic("send@grid:wrong"), b"")
    assert not sendgrid.verify_callback(key_pair.sign(BODY), BODY)
    closed = make_sendgrid(callback_password=Secret(""))
    assert not closed.verify_callback(basic("send@grid:"), BODY)
    assert not closed.verify_callback(key_pair.sign(BODY), BODY)


def _der(key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey, encoding: Encoding = Encoding.DER) -> str:
    return b64encode(key.public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)).decode()


@pytest.mark.parametrize(
    "key",
    [
        "AAAA",
        "not base64",
        "é",
        b64encode(b"\x30\x00").decode(),
        _der(ec.generate_private_key(ec.SECP384R1()).public_key()),
        _der(rsa.generate_private_key(65537, 2048).public_key()),
        _der(ec.generate_private_key(ec.SECP256R1()).public_key(), Encoding.PEM),
        _der(ec.generate_private_key(ec.SECP256R1()).public_key())[:-8],
    ],
    ids=["junk", "no base64", "no ascii", "empty", "P-384", "RSA", "PEM", "cut"],
)
def test_wrong_keys(make_sendgrid: MakeSendgrid, key: str) -> None:
    """A key that is none is said once, at the start, with the name of its setting."""
    with pytest.raises(BridgeError) as caught:
        make_sendgrid(name="mails", webhook_public_key=key)
    assert caught.value.sentence.startswith(
        "providers.mails.webhook_public_key is no public key on the curve P-256"
    )


# --- batches ---


@pytest.mark.parametrize(
    ("body", "count"),
    [
        (b"[]", 0),
        (BODY, 1),
        (GOOD, 1),
        (b"\xef\xbb\xbf[" + GOOD + b" , " + GOOD + b"]", 2),
        (b"[null, 7]", 2),
    ],
)
def test_batches(sendgrid: Sendgrid, body: bytes, count: int) -> None:
    """An array, also an empty one, or a single object is a batch."""
    assert sendgrid.check_callback(body) == count
    assert len(list(sendgrid.parse_callback(body))) == count


@pytest.mark.parametrize("body", [b"", b"7", b"null", b'"x"', b"[", b"a=1", BODY + b"]", b"[" * 100_000])
def test_unreadable(sendgrid: Sendgrid, body: bytes) -> None:
    """What is not JSON, or neither an array nor an object, is refused as a whole."""
    assert isinstance(sendgrid.check_callback(body), CallbackUnreadable)
    assert [type(each.element) for each in sendgrid.parse_callback(body)] == [Malformed]


def test_one_bad_element(sendgrid: Sendgrid) -> None:
    """An element that no decoder takes spoils no other one, and stays as it is."""
    for bad in (b"[" * 100_000 + b"]" * 100_000, b'{"event":"\xff"}', b'{"event":"\\ud800"}', b"7"):
        elements = list(sendgrid.parse_callback(b"[" + GOOD + b"," + bad + b" ," + GOOD + b"]"))
        assert [each.raw for each in elements] == [GOOD, bad, GOOD]
        assert [type(each.element) for each in elements] == [DeliveryReport, Malformed, DeliveryReport]


@given(st.binary(max_size=300))
def test_any_bytes(sendgrid: Sendgrid, body: bytes) -> None:
    """Checking and reading agree on every body, and neither raises."""
    count = sendgrid.check_callback(body)
    elements = list(sendgrid.parse_callback(body))
    assert len(elements) == (count if isinstance(count, int) else 1)
