"""What `bridge.toml` can say: one frozen struct a table, with types, rules and defaults beside each other.

The field names are the keys and the defaults are the defaults of an unwritten key; `reader.py` walks over these
declarations, so a key exists once, here. Seconds and hours are floats, days are whole. A field that is marked
`REQUIRED` or `FromEnvironment` has a blank default only so that a struct can be built while problems are collected:
settings that were loaded never hold it.

Nothing here reads anything, and nothing but `load.py` should build a `Settings` outside of tests.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import force_setattr

from bridge.secret import Secret
from bridge.settings import rules
from bridge.settings.rules import REQUIRED, FromEnvironment, NamedDefaults, Tagged

__all__ = [
    "ADAPTERS",
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
    "ProviderCommon",
    "ProviderSettings",
    "RevicomSettings",
    "SendgridSettings",
    "ServerSettings",
    "Settings",
    "SmarticoSettings",
    "SmtpSettings",
    "WebhookSettings",
]

Network = IPv4Network | IPv6Network

Seconds = Annotated[float, rules.SECONDS]
SecondsOrZero = Annotated[float, rules.SECONDS_OR_ZERO]
Hours = Annotated[float, rules.HOURS]
HoursOrZero = Annotated[float, rules.HOURS_OR_ZERO]
Days = Annotated[int, rules.DAYS]
Count = Annotated[int, rules.COUNT]
Schedule = Annotated[tuple[Seconds, ...], rules.NOT_EMPTY]
Networks = tuple[Annotated[Network, rules.NETWORK], ...]
Text = Annotated[str, rules.TEXT]
TextOrEmpty = Annotated[str, rules.TEXT_OR_EMPTY]
Url = Annotated[str, rules.URL]
UrlOrEmpty = Annotated[str, rules.URL_OR_EMPTY]
BaseUrl = Annotated[str, rules.BASE_URL]
SecretText = Annotated[Secret, rules.TEXT]
SecretOrEmpty = Annotated[Secret, rules.TEXT_OR_EMPTY]
ReceivedHeader = Annotated[Secret, rules.HEADER_RECEIVED]
SentHeader = Annotated[Secret, rules.HEADER_SENT]
ProviderToken = Annotated[Secret, rules.TOKEN]
Headers = dict[Annotated[str, rules.HEADER_NAME], SentHeader]
Authorizations = Annotated[tuple[ReceivedHeader, ...], rules.NOT_EMPTY]

Event = Literal["delivered", "sent", "read", "click", "price"]
UnknownSend = Literal["review", "resend", "fail"]
MessageType = Literal["sms", "email", "cim"]

_BLANK = Secret("")
_CHANNELS: dict[MessageType, str] = {"sms": "SMS", "email": "EMAIL", "cim": "CIM"}


class ServerSettings(Struct, frozen=True, kw_only=True):
    """`[server]`: where the service listens, and where the world reaches it."""

    host: Annotated[str, rules.HOST] = "127.0.0.1"
    port: Annotated[int, rules.PORT_OR_FREE] = 8080
    public_url: BaseUrl = "http://127.0.0.1:8080"
    trusted_proxies: Networks = ()
    max_body_bytes: Count = 4_194_304
    metrics_public: bool = True


class DatabaseSettings(Struct, frozen=True, kw_only=True):
    """`[database]`: where everything is kept, and for how long. The address is a secret: it may hold a password."""

    url: Annotated[Secret, rules.DATABASE_URL] = Secret("sqlite:///bridge.db")
    pii_key: Annotated[Secret, rules.PII_KEY] = _BLANK
    pii_key_old: Annotated[Secret, rules.PII_KEY] = _BLANK
    retention_days: Days = 90
    raw_retention_days: Days = 7
    lease_seconds: Seconds = 15
    max_inbox: Count = 1_000_000

    @property
    def is_sqlite(self) -> bool:
        """True for SQLite, False for PostgreSQL."""
        return self.url.reveal().startswith("sqlite:")

    def reveal_keys(self) -> tuple[str, str]:
        """`pii_key` and `pii_key_old`, as a database is opened with them."""
        return self.pii_key.reveal(), self.pii_key_old.reveal()


class SmarticoSettings(Struct, frozen=True, kw_only=True):
    """`[smartico]`: who may call us, whom we report to, and how patiently."""

    api_key: Annotated[Secret, rules.API_KEY, FromEnvironment("SMARTICO_API_KEY")] = _BLANK
    callback_hosts: tuple[Annotated[str, rules.HOST_PATTERN], ...] = ("*.smartico.ai",)
    fallback_callback_url: UrlOrEmpty = ""
    allow_insecure_callbacks: bool = False
    allowed_ips: Networks = ()
    timeout_seconds: Seconds = 10
    max_in_flight: Count = 64
    max_per_second: Annotated[float, rules.RATE] = 0
    settle_seconds: SecondsOrZero = 1.0
    retry_schedule: Schedule = (5, 15, 60, 300, 900, 3600, 7200, 14400, 28800, 43200)
    not_found_schedule: Schedule = (1, 2, 5, 15, 60, 300, 1800)
    report_max_age_hours: Hours = 72


class ContactsHttpSettings(Struct, frozen=True, kw_only=True):
    """`[contacts.http]`: how the operator's platform is asked. `{ext_user_id}` in `url` stands for the user."""

    url: UrlOrEmpty = ""
    headers: Headers = {}
    phone: Annotated[str, rules.JSON_PATH] = "phone"
    email: Annotated[str, rules.JSON_PATH] = "email"
    timeout_seconds: Seconds = 3
    cache_seconds: SecondsOrZero = 300
    not_found_cache_seconds: SecondsOrZero = 30


class ContactsSettings(Struct, frozen=True, kw_only=True):
    """`[contacts]`: where a user's phone number and e-mail address come from."""

    source: Literal["table", "http"] = "table"
    default_region: Annotated[str, rules.REGION] = ""
    http: ContactsHttpSettings = ContactsHttpSettings()


class OptOutSettings(Struct, frozen=True, kw_only=True):
    """`[opt_out]`: the first words by which a person closes a channel."""

    keywords: tuple[Annotated[str, rules.KEYWORD], ...] = (
        "STOP",
        "STOPALL",
        "UNSUBSCRIBE",
        "CANCEL",
        "END",
        "QUIT",
        "OPTOUT",
        "REVOKE",
    )


class ProviderCommon(Struct, frozen=True, kw_only=True):
    """What every `[providers.NAME]` has; each adapter adds what it needs.

    An empty `callback_password` closes the Basic sign-in of `/callbacks/NAME`. A message whose end nobody told for
    `silent_after_hours` is looked up, and then under review; 0: it never is.
    """

    name: str
    adapter: str
    max_in_flight: Count = 8
    timeout_seconds: Seconds = 70
    unknown_send: UnknownSend = "review"
    unknown_after_seconds: SecondsOrZero = 120
    silent_after_hours: HoursOrZero = 0
    allowed_ips: Networks = ()
    callback_username: Annotated[str, rules.USERNAME] = ""
    callback_password: SecretOrEmpty = _BLANK

    def __post_init__(self) -> None:
        if not self.callback_username:
            force_setattr(self, "callback_username", self.name)


class RevicomSettings(ProviderCommon, frozen=True, kw_only=True):
    """Revicom Direct, and i-Digital Direct by `base_url`."""

    adapter: Literal["revicom"] = "revicom"
    base_url: BaseUrl = "https://direct.revicom.ltd/api/v1"
    token: Annotated[ProviderToken, FromEnvironment("REVICOM_TOKEN")] = _BLANK
    callback_password: Annotated[SecretText, FromEnvironment("REVICOM_CALLBACK_PASSWORD")] = _BLANK
    callback_events: Annotated[tuple[Event, ...], rules.NOT_EMPTY] = (
        "delivered",
        "sent",
        "read",
        "click",
        "price",
    )
    max_batch: Annotated[int, rules.BATCH] = 100
    silent_after_hours: HoursOrZero = 30  # a message lives for 25 hours, and the last callback may come late
    external_id: bool = False


class SmtpSettings(ProviderCommon, frozen=True, kw_only=True):
    """E-mail through any SMTP server."""

    adapter: Literal["smtp"] = "smtp"
    host: Annotated[str, rules.HOST] = "localhost"
    port: Annotated[int, rules.PORT] = 587
    username: TextOrEmpty = ""
    password: SecretOrEmpty = _BLANK
    tls: Literal["starttls", "tls", "none"] = "starttls"


class SendgridSettings(ProviderCommon, frozen=True, kw_only=True):
    """E-mail with events; their signature stands in for the Basic sign-in."""

    adapter: Literal["sendgrid"] = "sendgrid"
    base_url: BaseUrl = "https://api.sendgrid.com/v3"
    token: Annotated[ProviderToken, FromEnvironment("SENDGRID_TOKEN")] = _BLANK
    webhook_public_key: Annotated[str, rules.PUBLIC_KEY] = ""
    silent_after_hours: HoursOrZero = 78  # a mail is tried for 72 hours


class WebhookSettings(ProviderCommon, frozen=True, kw_only=True):
    """The operator's own notification centre, for Custom IM."""

    adapter: Literal["webhook"] = "webhook"
    url: Annotated[Url, REQUIRED] = ""
    headers: Headers = {}
    callback_password: Annotated[SecretText, FromEnvironment("INBOX_CALLBACK_PASSWORD")] = _BLANK
    unknown_send: UnknownSend = "resend"


ProviderSettings = RevicomSettings | SmtpSettings | SendgridSettings | WebhookSettings
ADAPTERS: dict[str, type[ProviderSettings]] = {
    "revicom": RevicomSettings,
    "smtp": SmtpSettings,
    "sendgrid": SendgridSettings,
    "webhook": WebhookSettings,
}


class GatewaySettings(Struct, frozen=True, kw_only=True):
    """`[gateways.NAME]`: one Smartico gateway. The first of `senders` is the default."""

    name: str
    type: MessageType = "sms"
    provider: str = "revicom"
    channel: TextOrEmpty = ""
    authorization: Annotated[Authorizations, FromEnvironment("SMARTICO_{}_SECRET")] = ()
    senders: tuple[Annotated[str, rules.SENDER], ...] = ("Amazing",)
    api_key: Annotated[Secret, rules.API_KEY] = _BLANK
    ttl_seconds: Annotated[float, rules.TTL] = 0
    short_links: bool = False
    max_age_hours: Hours = 24
    cascade_steps: Count = 1
    max_pending: Count = 100_000
    pass_headers: tuple[Annotated[str, rules.HEADER_PASSED], ...] = ()

    def __post_init__(self) -> None:
        if not self.channel:
            force_setattr(self, "channel", _CHANNELS[self.type])


class CommunicationsSettings(Struct, frozen=True, kw_only=True):
    """`[communications]`: "an asset was sent" notifications. Without this table the address is off."""

    authorization: Annotated[Authorizations, FromEnvironment("SMARTICO_COMMUNICATIONS_SECRET")] = ()
    forward_url: UrlOrEmpty = ""
    forward_headers: Headers = {}


class InboundSettings(Struct, frozen=True, kw_only=True):
    """`[inbound]`: where messages from handsets are passed on to; empty: nowhere."""

    forward_url: UrlOrEmpty = ""
    forward_headers: Headers = {}


class OperatorSettings(Struct, frozen=True, kw_only=True):
    """`[[ops.operators]]`: a person or a script that may look (viewer) or also act (operator)."""

    name: Annotated[Text, REQUIRED] = ""
    token: Annotated[Secret, rules.OPERATOR_TOKEN, FromEnvironment("OPS_{}_TOKEN")] = _BLANK
    role: Literal["viewer", "operator"] = "operator"


class OpsSettings(Struct, frozen=True, kw_only=True):
    """`[ops]`: the pages and the API for people and scripts."""

    secure_cookies: bool = True
    operators: tuple[OperatorSettings, ...] = ()


# The tables that the contract shows by name have the values it shows, where others have to say them.
_PROVIDER_DEFAULTS = NamedDefaults(
    {
        "revicom": {"adapter": "revicom"},
        "mail": {"adapter": "smtp"},
        "sendgrid": {"adapter": "sendgrid"},
        "inbox": {"adapter": "webhook"},
    }
)
_GATEWAY_DEFAULTS = NamedDefaults(
    {"email": {"type": "email", "provider": "mail"}, "cim": {"type": "cim", "provider": "inbox"}}
)
_GATEWAY_NAME = rules.Rule(
    "another name (/smartico/communications takes the asset notifications)",
    lambda name: name != "communications",
)
_Providers = dict[Annotated[str, rules.SEGMENT], Annotated[ProviderSettings, Tagged("adapter", ADAPTERS)]]
_Gateways = dict[Annotated[str, rules.SEGMENT, _GATEWAY_NAME], GatewaySettings]


class Settings(Struct, frozen=True, kw_only=True):
    """All of `bridge.toml`. `base_dir` is the folder that relative paths start from; `warnings` are sentences."""

    file: Path
    base_dir: Path
    warnings: tuple[str, ...] = ()
    mappings_dir: TextOrEmpty = ""
    server: ServerSettings = ServerSettings()
    database: DatabaseSettings = DatabaseSettings()
    smartico: SmarticoSettings = SmarticoSettings()
    contacts: ContactsSettings = ContactsSettings()
    opt_out: OptOutSettings = OptOutSettings()
    providers: Annotated[_Providers, _PROVIDER_DEFAULTS] = {}
    gateways: Annotated[_Gateways, _GATEWAY_DEFAULTS] = {}
    communications: CommunicationsSettings | None = None
    inbound: InboundSettings = InboundSettings()
    ops: OpsSettings = OpsSettings()

    def database_path(self) -> Path:
        """The file of the SQLite database; ValueError where the database is PostgreSQL (a bug of the caller)."""
        if not self.database.is_sqlite:
            raise ValueError("only SQLite has a database file")
        return self.base_dir / self.database.url.reveal().removeprefix("sqlite:///")

    def database_name(self) -> str:
        """What to call the database where people read it: the file, or the address without user and password."""
        if self.database.is_sqlite:
            return str(self.database_path())
        parts = urlsplit(self.database.url.reveal())
        return f"postgresql://{parts.netloc.rpartition('@')[2]}{parts.path}"

    def mappings_path(self) -> Path | None:
        """The folder of the operator's own mapping tables; None where there is none."""
        return self.base_dir / self.mappings_dir if self.mappings_dir else None

    def gateway_api_key(self, name: str) -> Secret:
        """The key for the status reports of a gateway: its own, else Smartico's. KeyError: no such gateway."""
        return self.gateways[name].api_key or self.smartico.api_key
