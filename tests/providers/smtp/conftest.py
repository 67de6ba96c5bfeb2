"""What the tests of SMTP share: a configured mail server, and mails."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bridge.providers.protocol import OutgoingMessage
from bridge.providers.smtp import Smtp
from bridge.secret import Secret
from bridge.settings import SmtpSettings
from tests.providers.mails import make_mail

PASSWORD = "mail-top-secret"

MakeMessage = Callable[..., OutgoingMessage]


@pytest.fixture(scope="session")
def smtp() -> Smtp:
    """A mail server with a password."""
    return Smtp(SmtpSettings(name="mail", username="me", password=Secret(PASSWORD)), "https://bridge.example")


@pytest.fixture(scope="session")
def make_message() -> MakeMessage:
    """Makes Smartico's sample, with changes."""
    return make_mail
