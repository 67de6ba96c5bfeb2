"""What the tests of the webhook share: a configured notification centre, and messages for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec import Raw

from bridge.core.content import CustomExtra
from bridge.core.model import id_from_text
from bridge.providers.protocol import OutgoingMessage
from bridge.providers.webhook import Webhook
from bridge.secret import Secret
from bridge.settings import WebhookSettings

SECRET = "inbox-top-secret"
PASSWORD = "pa:ss/word"

MakeWebhook = Callable[..., Webhook]
MakeMessage = Callable[..., OutgoingMessage]


@pytest.fixture(scope="session")
def make_webhook() -> MakeWebhook:
    """Makes a provider; keywords are settings."""

    def make(**changes: Any) -> Webhook:
        values: dict[str, Any] = {
            "name": "inbox",
            "url": "https://platform.example/notifications",
            "headers": {"Authorization": Secret(SECRET)},
            "callback_username": "in@box",
            "callback_password": Secret(PASSWORD),
        }
        return Webhook(WebhookSettings(**{**values, **changes}), "https://bridge.example")

    return make


@pytest.fixture(scope="session")
def webhook(make_webhook: MakeWebhook) -> Webhook:
    """The provider with a secret header."""
    return make_webhook()


@pytest.fixture(scope="session")
def make_message() -> MakeMessage:
    """Makes a Custom IM; `extension` and `headers` go into its extra."""

    def make(
        extension: bytes = b"null", headers: dict[str, str] | None = None, **changes: Any
    ) -> OutgoingMessage:
        message_id = id_from_text("0197f3a2-b1c4-7d3e-8f00-112233445566")
        assert message_id is not None
        values: dict[str, Any] = {
            "message_id": message_id,
            "channel": "CIM",
            "destination": "",
            "sender": "Amazing",
            "body": "Best offer ever",
            "ext_user_id": "hhu234556",
            "extra": CustomExtra(Raw(extension), headers or {}),
        }
        return OutgoingMessage(**{**values, **changes})

    return make
