"""What the tests of Revicom share: a configured provider, messages, and the golden payloads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bridge.core.model import id_from_text
from bridge.providers.protocol import OutgoingMessage
from bridge.providers.revicom import Revicom
from bridge.secret import Secret
from bridge.settings import RevicomSettings

TOKEN = "a2V5OnRvcC1zZWNyZXQ="
PASSWORD = "pa:ss/word"
_FIXTURES = Path(__file__).parent / "fixtures"

MakeRevicom = Callable[..., Revicom]
MakeMessage = Callable[..., OutgoingMessage]
Golden = Callable[[str], bytes]


@pytest.fixture(scope="session")
def make_revicom() -> MakeRevicom:
    """Makes a provider; keywords are settings."""

    def make(public_url: str = "https://bridge.example", **changes: Any) -> Revicom:
        values: dict[str, Any] = {
            "name": "revicom",
            "token": Secret(TOKEN),
            "callback_username": "revi@com",
            "callback_password": Secret(PASSWORD),
        }
        return Revicom(RevicomSettings(**{**values, **changes}), public_url)

    return make


@pytest.fixture(scope="session")
def revicom(make_revicom: MakeRevicom) -> Revicom:
    """The provider with its default settings."""
    return make_revicom()


@pytest.fixture(scope="session")
def make_message() -> MakeMessage:
    """Makes a message; the last digits of its id are `number`."""

    def make(number: int = 0x5566, **changes: Any) -> OutgoingMessage:
        message_id = id_from_text(f"0197f3a2-b1c4-7d3e-8f00-11223344{number:04x}")
        assert message_id is not None
        values: dict[str, Any] = {
            "message_id": message_id,
            "channel": "SMS",
            "destination": "+14085553911",
            "sender": "Amazing",
            "body": "message text – §",
        }
        return OutgoingMessage(**{**values, **changes})

    return make


@pytest.fixture(scope="session")
def pair(make_message: MakeMessage) -> tuple[OutgoingMessage, OutgoingMessage]:
    """A batch of two."""
    return make_message(1), make_message(2)


@pytest.fixture(scope="session")
def golden() -> Golden:
    """Reads a golden payload by its file name."""
    return lambda name: (_FIXTURES / name).read_bytes()
