"""Smartico's sample of an e-mail, as a provider is handed it."""

from __future__ import annotations

from typing import Any

from bridge.core.content import EmailExtra
from bridge.core.model import id_from_text
from bridge.providers.protocol import OutgoingMessage


def make_mail(**changes: Any) -> OutgoingMessage:
    """Makes it; keywords that an EmailExtra has go there."""
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
