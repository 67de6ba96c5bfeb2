"""What the tests of SMTP share: a configured mail server, and mails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bridge.core.content import EmailExtra
from bridge.core.model import id_from_text
from bridge.providers.protocol import OutgoingMessage
from bridge.providers.smtp import Smtp
from bridge.secret import Secret
from bridge.settings import SmtpSettings

PASSWORD = "mail-top-secret"

MakeMessage = Callable[..., OutgoingMessage]


@pytest.fixture(scope="session")
def smtp() -> Smtp:
    """A mail server with a password."""
    return Smtp(SmtpSettings(name="mail", username="me", password=Secret(PASSWORD)), "https://bridge.example")


@pytest.fixture(scope="session")
def make_message() -> MakeMessage:
    """Makes Smartico's sample; keywords that an EmailExtra has go there."""

    def make(**changes: Any) -> OutgoingMessage:
        message_id = id_from_text("0197f3a2-b1c4-7d3e-8f00-112233445566")
        assert message_id is not None
        extra = {
            "subject": "The best offer your can find on the market",
            "reply_to": "Amazing <noreply@amazing.co>",
            "text": "Get the offer.....",
        }
        values: dict[str, Any] = {
            "message_id": message_id,
            "channel": "EMAIL",
            "destination": "test@amazing.co",
            "sender": "Amazing <noreply@amazing.co>",
            "body": "<html>..........</html>",
            "extra": EmailExtra(**{**extra, **{key: changes.pop(key) for key in extra if key in changes}}),
        }
        return OutgoingMessage(**{**values, **changes})

    return make
