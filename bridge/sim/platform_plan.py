"""Pure: the users of the simulated platform, the life of a notification there, and the reports on it.

The form of reports is the contract's: {"ext_message_id", "status", "time"}, statuses being Smartico's eight.
"""

import random
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from bridge.sim.platform_config import PlatformConfig

OUTCOMES: dict[str, tuple[str, ...]] = {  # what may be forced by the config, as the statuses passed through
    "silent": (),
    "accepted": ("accepted",),
    "delivered": ("accepted", "delivered"),
    "failed": ("accepted", "failed"),
    "rejected": ("rejected",),
    "opened": ("accepted", "delivered", "opened"),
    "clicked": ("accepted", "delivered", "opened", "clicked"),
    "unsubscribed": ("accepted", "delivered", "unsubscribed"),
    "complained": ("accepted", "delivered", "complained"),
}
EARLY = frozenset({"accepted", "delivered", "failed", "rejected"})
MALFORMED: tuple[Any, ...] = (
    "not an object",
    None,
    17,
    [],
    {},
    {"status": "delivered"},
    {"ext_message_id": 5, "status": "delivered", "time": "2024-01-31T12:00:00Z"},
    {"ext_message_id": "0190a540-f662-745b-8311-eebe56024200", "status": None},
)
_AREAS = (201, 202, 203, 205, 206, 207, 208, 209, 210, 212, 213, 214, 215, 216, 217, 218, 219, 224, 225, 228)
_NUMBERS = 10_000 * len(_AREAS)


def choose_plan(ext_user_id: str, config: PlatformConfig, draw: random.Random) -> tuple[str, ...]:
    """The statuses of a notification: forced by the end of the ext_user_id, else drawn."""
    for suffix, outcome in config.outcome_by_suffix.items():
        if ext_user_id.endswith(suffix):
            return OUTCOMES[outcome]
    final = draw.random()
    if final >= config.delivered_share:
        return OUTCOMES["failed" if final < config.delivered_share + config.failed_share else "rejected"]
    steps = ["accepted", "delivered"]
    if draw.random() < config.open_share:
        steps.append("opened")
        if draw.random() < config.click_share:
            steps.append("clicked")
    for step, share in (("unsubscribed", config.unsubscribe_share), ("complained", config.complain_share)):
        if draw.random() < share:
            steps.append(step)
    return tuple(steps)


def build_report(ext_message_id: str, status: str) -> dict[str, str]:
    """The report of a status that happens now."""
    return {"ext_message_id": ext_message_id, "status": status, "time": now()}


def now() -> str:
    """The time by RFC 3339: 2024-01-31T12:00:00.123Z."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def with_credentials(url: str, username: str, password: str) -> str:
    """The URL with username:password@, percent-encoded, unless it has its own or there is no password."""
    parts = urlsplit(url)
    if "@" in parts.netloc or not password:
        return url
    userinfo = f"{quote(username, safe='')}:{quote(password, safe='')}"
    return urlunsplit(parts._replace(netloc=f"{userinfo}@{parts.netloc}"))


def make_user(number: int, seed: int) -> dict[str, str]:
    """A made up user: a number of the 555 exchange, different for each of 200000 users."""
    area, line = divmod((number + seed * 7919) % _NUMBERS, 10_000)
    return {"phone": f"+1{_AREAS[area]}555{line:04d}", "email": f"user{number}@example.com"}
