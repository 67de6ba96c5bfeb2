"""The settings of the bridge: what `bridge.toml` can say, read and checked once, at the start.

`model` declares the keys, `rules` what single values must be, `reader`, `leaf` and `expand` turn TOML into them,
`checks` looks at values together, `warn` says what an operator should know, `template` writes a first file. Settings
do not change while the bridge runs, and no other module reads the environment for them.
"""

from bridge.settings.load import load_settings, parse_settings
from bridge.settings.model import (
    CommunicationsSettings,
    ContactsHttpSettings,
    ContactsSettings,
    DatabaseSettings,
    GatewaySettings,
    InboundSettings,
    Network,
    OperatorSettings,
    OpsSettings,
    OptOutSettings,
    ProviderSettings,
    RevicomSettings,
    SendgridSettings,
    ServerSettings,
    Settings,
    SmarticoSettings,
    SmtpSettings,
    WebhookSettings,
)
from bridge.settings.template import render_template

__all__ = [
    "CommunicationsSettings",
    "ContactsHttpSettings",
    "ContactsSettings",
    "DatabaseSettings",
    "GatewaySettings",
    "InboundSettings",
    "Network",
    "OperatorSettings",
    "OpsSettings",
    "OptOutSettings",
    "ProviderSettings",
    "RevicomSettings",
    "SendgridSettings",
    "ServerSettings",
    "Settings",
    "SmarticoSettings",
    "SmtpSettings",
    "WebhookSettings",
    "load_settings",
    "parse_settings",
    "render_template",
]
