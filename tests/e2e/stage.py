"""Real processes: `bridge serve` as a child process, the simulated peers in this one, real sockets between them."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import httpx

from bridge.sim import (
    Gateway,
    PlatformSimulator,
    RevicomConfig,
    RevicomFaults,
    RevicomSimulator,
    SendgridSimulator,
    SmarticoConfig,
    SmarticoFaults,
    SmarticoSimulator,
    SmtpSimulator,
    free_port,
)
from tests.servers import NO_TLS

OPERATOR_TOKEN = "an-operator-token-for-tests"
VIEWER_TOKEN = "a-viewer-token-for-tests"
SMS = Gateway(name="sms", authorization="secret-of-sms")
WHATSAPP = Gateway(name="whatsapp", authorization="secret-of-whatsapp")
EMAIL = Gateway(name="email", type="email", authorization="secret-of-email")
MAILING = Gateway(name="mailing", type="email", authorization="secret-of-mailing")
CIM = Gateway(
    name="cim",
    type="cim",
    authorization="secret-of-cim",
    from_number=None,
    extension={"title": "Microsoft is raising", "instrument": "MSFT", "urgent": True},
)
PHONES = {f"player{number}": f"+1415555{number:04}" for number in range(200)}
EMAILS = {user: f"{user}@example.com" for user in PHONES}

DATABASE = ContextVar("DATABASE", default="sqlite:///bridge.db")  # of the stages that are opened from now on

SETTINGS = """
[server]
port = {port}
public_url = "{public_url}"

[database]
url = "{url}"
lease_seconds = 2
{database}

[smartico]
api_key = "key-of-smartico"
callback_hosts = ["127.0.0.1"]
allow_insecure_callbacks = true
timeout_seconds = 2
settle_seconds = 0.1
retry_schedule = [0.2, 0.4, 0.8, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]
not_found_schedule = [0.1, 0.2, 0.5, 1]
{smartico}

[providers.revicom]
base_url = "{provider}/api/v1"
token = "token-of-revicom"
callback_password = "password-of-callbacks"
timeout_seconds = 2
unknown_after_seconds = 2
{revicom}

[gateways.sms]
authorization = ["secret-of-sms"]
senders = ["Amazing", "Other"]
{sms}

[gateways.whatsapp]
channel = "WHATSAPP"
authorization = ["secret-of-whatsapp"]
senders = ["Amazing"]

[[ops.operators]]
name = "alice"
token = "an-operator-token-for-tests"
role = "operator"

[[ops.operators]]
name = "victor"
token = "a-viewer-token-for-tests"
role = "viewer"

{more}
"""

# Sections for the peers that a stage has beside Revicom, each with lines of the test's own.
SMTP_SETTINGS = """
[providers.mail]
adapter = "smtp"
host = "127.0.0.1"
port = {port}
tls = "none"
timeout_seconds = 2
unknown_after_seconds = 0.5
{mail}

[gateways.email]
type = "email"
provider = "mail"
authorization = ["secret-of-email"]
{email}
"""
SENDGRID_SETTINGS = """
[providers.sendgrid]
adapter = "sendgrid"
base_url = "{url}/v3"
token = "token-of-sendgrid"
webhook_public_key = "{key}"
timeout_seconds = 2
unknown_after_seconds = 4
{sendgrid}

[gateways.mailing]
type = "email"
provider = "sendgrid"
authorization = ["secret-of-mailing"]
"""
PLATFORM_SETTINGS = """
[providers.inbox]
adapter = "webhook"
url = "{url}/notifications"
headers = {{ Authorization = "secret-of-the-platform" }}
callback_password = "password-of-reports"
timeout_seconds = 2
{inbox}

[gateways.cim]
type = "cim"
provider = "inbox"
authorization = ["secret-of-cim"]
{cim}
"""
CONTACTS_SETTINGS = """
[contacts]
source = "http"

[contacts.http]
url = "{url}/users/{{ext_user_id}}"
headers = {{ Authorization = "secret-of-the-platform" }}
timeout_seconds = 1
{contacts}
"""


async def eventually(condition: Callable[[], Any | Awaitable[Any]], seconds: float = 40.0) -> Any:
    """The first true value of the condition; fails when it stays false for too long."""
    end = asyncio.get_running_loop().time() + seconds
    while True:
        value = condition()
        if isinstance(value, Awaitable):
            value = await value
        if value:
            return value
        assert asyncio.get_running_loop().time() < end, f"it did not become true within {seconds} s"
        await asyncio.sleep(0.02)


class BridgeProcess:
    """One `bridge serve` at a time, on one folder; it can be killed and started again.

    `name` tells several in one folder apart; `public_url`: where the provider reaches it, if not directly.
    """

    def __init__(
        self,
        folder: Path,
        provider_url: str,
        *,
        name: str = "bridge",
        role: str = "all",
        public_url: str = "",
        **parts: str,
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / f"{name}.log"
        self.settings = folder / f"{name}.toml"
        self._role = role
        self._process: asyncio.subprocess.Process | None = None
        names = ("database", "smartico", "revicom", "sms", "more")
        filled = {name: parts.get(name, "") for name in names}
        url = parts.get("url", DATABASE.get())
        filled |= {"provider": provider_url, "url": url, "public_url": public_url or self.url}
        self.settings.write_text(SETTINGS.format(port=self.port, **filled))

    async def start(
        self,
        max_file_bytes: int | None = None,
        *,
        environ: dict[str, str] | None = None,
        ready: bool = True,
        prepare: Callable[[], None] = lambda: None,
    ) -> None:
        """Starts the service and waits until it is ready. No file of it may grow beyond `max_file_bytes`, until
        `lift_limit`. `prepare` runs in the new process."""

        def limit() -> None:
            if max_file_bytes is not None:
                _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
                resource.setrlimit(resource.RLIMIT_FSIZE, (max_file_bytes, hard))
            prepare()

        command = [
            sys.executable,
            "-m",
            "bridge",
            "serve",
            "--config",
            str(self.settings),
            "--role",
            self._role,
        ]
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command, stdout=log, stderr=log, preexec_fn=limit, env={**os.environ, **(environ or {})}
            )
        if ready:
            await eventually(self._ready, 90)

    def lift_limit(self) -> None:
        """There is room again."""
        _, hard = resource.prlimit(self.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (hard, hard))

    async def ended(self) -> int:
        """Waits until it has ended by itself; gives the exit code."""
        assert self._process is not None
        return await asyncio.wait_for(self._process.wait(), 40)

    async def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.returncode is None, self.log.read_text()
        try:
            async with httpx.AsyncClient(verify=NO_TLS) as client:
                return (await client.get(f"{self.url}/readyz")).status_code == 200
        except httpx.HTTPError:
            return False

    def freeze(self) -> None:
        """It hangs: it does nothing any more, and keeps its connections."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on where it stood."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def kill(self) -> None:
        """kill -9: no word of warning."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def stop(self, number: int = signal.SIGTERM) -> int:
        """An orderly stop; gives the exit code."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(number)
        return await asyncio.wait_for(self._process.wait(), 20)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def command(self, *arguments: str, environ: dict[str, str] | None = None) -> tuple[int, str, str]:
        """Runs another `bridge` command on the same settings: exit code, output, errors."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "bridge",
            *arguments,
            "--config",
            str(self.settings),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **(environ or {})},
        )
        out, err = await asyncio.wait_for(process.communicate(), 60)
        return process.returncode or 0, out.decode(), err.decode()


class Stage:
    """A bridge and its peers."""

    def __init__(
        self, bridge: BridgeProcess, provider: RevicomSimulator, smartico: SmarticoSimulator
    ) -> None:
        self.bridge = bridge
        self.provider = provider
        self.smartico = smartico
        self.api = httpx.AsyncClient(
            base_url=bridge.url,
            headers={"Authorization": f"Bearer {OPERATOR_TOKEN}"},
            timeout=10,
            verify=NO_TLS,
        )

    async def load_contacts(self) -> None:
        rows = [{"ext_user_id": user, "phone": PHONES[user], "email": EMAILS[user]} for user in PHONES]
        answer = await self.api.post("/api/contacts", json=rows)
        assert answer.status_code == 200, answer.text

    async def send(self, user: str = "player1", gateway: Gateway = SMS, text: str = "Best offer ever") -> str:
        """Sends one message; gives its ext_message_id."""
        answer = await self.smartico.send(self.bridge.url, gateway, user, text=text)
        assert answer.error_code == 0, answer
        assert answer.ext_message_id is not None
        return answer.ext_message_id

    def statuses(self, ext_message_id: str) -> list[str]:
        """What Smartico learned of a message, in order."""
        known = self.smartico.ledger.messages.get(ext_message_id)
        return [arrival.status for arrival in known.arrivals] if known else []

    async def told(self, ext_message_id: str, kind: str, times: int) -> dict[str, Any] | None:
        """The message, once its timeline has so many steps of a kind."""
        shown = await self.message(ext_message_id)
        found = [step for step in shown["timeline"] if step["kind"] == kind]
        return shown if len(found) == times else None

    def has_learned(self, ext_message_id: str, history: list[str]) -> bool:
        """As `has_statuses`; "accepted" may be missing, where something later may be known first."""
        return self.statuses(ext_message_id) in (history, [each for each in history if each != "accepted"])

    def has_statuses(self, ext_message_id: str, expected: list[str]) -> bool:
        return self.statuses(ext_message_id) == expected

    def is_delivered(self, ext_message_id: str) -> bool:
        """Smartico was told so, and in order; `accepted` is superfluous where both callbacks came in one batch."""
        return self.statuses(ext_message_id) in (["accepted", "delivered"], ["delivered"])

    def provider_has(self, messages: int) -> bool:
        """Whether the provider has taken so many messages."""
        return len(self.provider.ledger.messages) == messages

    async def message(self, ext_message_id: str) -> dict[str, Any]:
        answer = await self.api.get(f"/api/messages/{ext_message_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


def smtp_settings(port: int, **parts: str) -> str:
    """The gateway `email` and its mail server; `parts` are further lines: `mail`, `email`."""
    return SMTP_SETTINGS.format(port=port, mail=parts.get("mail", ""), email=parts.get("email", ""))


def sendgrid_settings(sendgrid: SendgridSimulator, **parts: str) -> str:
    """The gateway `mailing`; `parts` are further lines: `events`."""
    key = sendgrid.public_key if sendgrid.config.signed else ""
    return SENDGRID_SETTINGS.format(url=sendgrid.url, key=key, sendgrid=parts.get("events", ""))


def platform_settings(url: str, **parts: str) -> str:
    """The gateway `cim`; `parts` are further lines: `inbox`, `cim`, and `contacts`, which asks it for contacts."""
    asked = CONTACTS_SETTINGS.format(url=url, contacts=parts["contacts"]) if "contacts" in parts else ""
    inbox = PLATFORM_SETTINGS.format(url=url, inbox=parts.get("inbox", ""), cim=parts.get("cim", ""))
    return asked + inbox


@asynccontextmanager
async def open_stage(
    folder: Path,
    *,
    provider: RevicomConfig | None = None,
    provider_faults: RevicomFaults | None = None,
    smartico_faults: SmarticoFaults | None = None,
    smtp: SmtpSimulator | None = None,
    sendgrid: SendgridSimulator | None = None,
    platform: PlatformSimulator | None = None,
    **parts: str,
) -> AsyncIterator[Stage]:
    """Peers and a started service with contacts; `parts` are further lines of its settings, by section.

    Unless a test says otherwise the provider posts one callback at a time, so that their order is certain: a `sent`
    that comes after its `delivered` is rightly not reported. Revicom is always there; a mail server, SendGrid and the
    operator's platform are where they are given, with their gateways. With `contacts` (lines, also none) the platform
    is asked for contacts, and nothing is loaded.
    """
    config = RevicomConfig(
        token="token-of-revicom", resend_seconds=0.3, delivered_share=1.0, callback_connections=1
    )
    revicom = RevicomSimulator(provider or config, provider_faults)
    crm = SmarticoSimulator(SmarticoConfig(api_key="key-of-smartico"), smartico_faults)
    async with AsyncExitStack() as peers:
        for each in (revicom, crm, smtp, sendgrid, platform):
            if each is not None:
                await peers.enter_async_context(each)
        more = [parts.pop("more", "")]
        if smtp is not None:
            more.append(smtp_settings(smtp.smtp_port, **parts))
        if sendgrid is not None:
            more.append(sendgrid_settings(sendgrid, **parts))
        if platform is not None:
            more.append(platform_settings(platform.url, **parts))
        bridge = BridgeProcess(folder, revicom.url, more="".join(more), **parts)
        if sendgrid is not None:
            sendgrid.webhook_url = f"{bridge.url}/callbacks/sendgrid"
        stage = Stage(bridge, revicom, crm)
        await bridge.start()
        try:
            if "contacts" not in parts:
                await stage.load_contacts()
            yield stage
        finally:
            await stage.api.aclose()
            if bridge.running:
                await bridge.kill()
