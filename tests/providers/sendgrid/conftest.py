"""What the tests of SendGrid share: a configured provider, messages, a key pair, and the golden payloads."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bridge.providers.protocol import OutgoingMessage
from bridge.providers.sendgrid import Sendgrid
from bridge.secret import Secret
from bridge.settings import SendgridSettings
from tests.providers.mails import make_mail

TOKEN = "SG.top-secret.key"
PASSWORD = "pa:ss/word"
_FIXTURES = Path(__file__).parent / "fixtures"

MakeSendgrid = Callable[..., Sendgrid]
MakeMessage = Callable[..., OutgoingMessage]
Golden = Callable[[str], bytes]


class KeyPair:
    """SendGrid's side of the signature."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        der = self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.public_key = b64encode(der).decode()

    def sign(self, body: bytes, timestamp: str = "1795190400") -> dict[str, str]:
        """The headers of a body, as a provider gets them."""
        signature = self._key.sign(timestamp.encode() + body, ec.ECDSA(SHA256()))
        return {
            "x-twilio-email-event-webhook-signature": b64encode(signature).decode(),
            "x-twilio-email-event-webhook-timestamp": timestamp,
        }


@pytest.fixture(scope="session")
def make_sendgrid() -> MakeSendgrid:
    """Makes a provider; keywords are settings."""

    def make(**changes: Any) -> Sendgrid:
        values: dict[str, Any] = {
            "name": "sendgrid",
            "token": Secret(TOKEN),
            "callback_username": "send@grid",
            "callback_password": Secret(PASSWORD),
        }
        return Sendgrid(SendgridSettings(**{**values, **changes}), "https://bridge.example")

    return make


@pytest.fixture(scope="session")
def sendgrid(make_sendgrid: MakeSendgrid) -> Sendgrid:
    """The provider with its default settings: no key for signatures."""
    return make_sendgrid()


@pytest.fixture(scope="session")
def key_pair() -> KeyPair:
    """A key pair."""
    return KeyPair()


@pytest.fixture(scope="session")
def signed(make_sendgrid: MakeSendgrid, key_pair: KeyPair) -> Sendgrid:
    """The provider with the public key of the pair."""
    return make_sendgrid(webhook_public_key=key_pair.public_key)


@pytest.fixture(scope="session")
def make_message() -> MakeMessage:
    """Makes Smartico's sample, with changes."""
    return make_mail


@pytest.fixture(scope="session")
def golden() -> Golden:
    """Reads a golden payload by its file name."""
    return lambda name: (_FIXTURES / name).read_bytes()
