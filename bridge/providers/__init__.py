"""The providers, by the name of their adapter in the settings.

Adding one: its module, its table in mappings/, its fixtures in tests/providers/, and one line here.
"""

from __future__ import annotations

from typing import Final

from bridge.providers.revicom import Revicom
from bridge.providers.sendgrid import Sendgrid
from bridge.providers.smtp import Smtp
from bridge.providers.webhook import Webhook

__all__ = ["PROVIDERS"]

PROVIDERS: Final[dict[str, type]] = {
    "revicom": Revicom,
    "sendgrid": Sendgrid,
    "smtp": Smtp,
    "webhook": Webhook,
}
