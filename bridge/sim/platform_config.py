"""Settings and faults of the simulated operator platform."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bridge.sim.callbacks_config import CallbackConfig, CallbackFaults
from bridge.sim.faults import Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformConfig(CallbackConfig):
    """Who the users are, those given, else `user_count` made up ones, `user0`, `user1` …; and what becomes of
    a notification. How statuses are posted is in CallbackConfig."""

    host: str = "127.0.0.1"
    port: int = 0
    seed: int = 1
    users: Mapping[str, Mapping[str, str]] | None = None  # ext_user_id -> {"phone", "email"}
    user_count: int = 10_000
    authorization: str = ""  # what the Authorization header has to be; empty: not looked at

    # reports on notifications, posted to their callback_url when they have one
    reports: bool = True
    callback_username: str = "inbox"  # Basic credentials, unless the callback_url has its own
    callback_password: str = ""
    delivered_share: float = 0.9
    failed_share: float = 0.05  # what is left of the two is rejected
    open_share: float = 0.5  # of the delivered ones
    click_share: float = 0.3  # of the opened ones
    unsubscribe_share: float = 0.02  # of the delivered ones
    complain_share: float = 0.01  # of the delivered ones
    outcome_by_suffix: Mapping[str, str] = field(default_factory=dict)  # end of the ext_user_id -> outcome
    step_seconds: float = 0.02  # between two steps of a notification's life, give or take a half


class PlatformFaults(CallbackFaults):
    """What goes wrong, per request of any kind; those of CallbackFaults are about reports."""

    only: tuple[str, ...] = ()  # kinds of request with faults: users, notifications, communications, inbound
    slow: Rate = 0.0
    slow_seconds: float = 1.0
    error: Rate = 0.0
    error_status: int = 500
    reset: Rate = 0.0

    # not for users
    refused: Rate = 0.0
    refused_status: int = 422
    reset_after: Rate = 0.0  # stored, and not answered
    timeout_after: Rate = 0.0
    timeout_seconds: float = 5.0  # how long timeout_after holds the connection

    # per notification or status
    early: Rate = 0.0  # statuses up to the delivery are posted before the notification is answered
    unknown_status: Rate = 0.0  # beside it, one of the same notification with the status "teleported"
