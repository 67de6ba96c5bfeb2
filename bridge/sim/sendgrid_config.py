"""Settings and faults of the simulated SendGrid."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bridge.sim.callbacks_config import CallbackConfig, CallbackFaults
from bridge.sim.faults import Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class SendgridConfig(CallbackConfig):
    """How the simulated SendGrid behaves when nothing goes wrong; how it posts is in CallbackConfig."""

    host: str = "127.0.0.1"
    port: int = 0
    seed: int = 1
    token: str = "sim-token"  # what has to follow "Bearer " in the Authorization header
    webhook_url: str = ""  # where events are posted; the simulator's attribute may be set later
    signed: bool = True  # sign what is posted
    tag_arg: str = "ext_message_id"  # the custom argument that tells the verdict whose mail it is

    # what becomes of a mail; shares are of all mails, or of those that are noted
    delivered_share: float = 0.9
    bounce_share: float = 0.04
    blocked_share: float = 0.02  # a bounce of type blocked; what is left of the three is dropped
    deferred_share: float = 0.05  # of those that are not dropped: deferred once at first
    bounce_after_delivered_share: float = 0.01  # of the delivered ones; nothing else happens to these
    open_share: float = 0.5  # of the delivered ones
    click_share: float = 0.3  # of the opened ones
    spam_report_share: float = 0.01  # of the delivered ones
    unsubscribe_share: float = 0.02  # of the delivered ones
    group_unsubscribe_share: float = 0.01  # of the delivered ones
    outcome_by_suffix: Mapping[str, str] = field(default_factory=dict)  # end of the address -> outcome
    step_seconds: float = 0.02  # between two steps of a mail's life, give or take a half


class SendgridFaults(CallbackFaults):
    """What goes wrong. Rates are per POST /v3/mail/send, per event batch or per event, as noted; those of
    CallbackFaults beside them."""

    # per POST /v3/mail/send, before the mail is taken
    slow: Rate = 0.0
    slow_seconds: float = 1.0
    unauthorized: Rate = 0.0  # 401
    forbidden: Rate = 0.0  # 403
    too_many_requests: Rate = 0.0  # 429 with X-RateLimit-Reset
    rate_limit_reset_seconds: float = 1.0  # how far X-RateLimit-Reset lies ahead, rounded up to a second
    retry_after_seconds: float | None = None  # Retry-After of the 429 and of error_before
    bad_request: Rate = 0.0  # the mail is refused
    bad_request_status: int = 400
    too_large: Rate = 0.0  # 413
    error_before: Rate = 0.0
    error_before_status: int = 503
    reset_before: Rate = 0.0

    # per POST /v3/mail/send, after the mail is taken
    early: Rate = 0.0  # its delivery events are posted before the answer is written
    error_after: Rate = 0.0
    error_after_status: int = 500
    reset_after: Rate = 0.0
    timeout_after: Rate = 0.0
    timeout_seconds: float = 5.0  # how long timeout_after holds the connection
    no_message_id: Rate = 0.0  # 202 without X-Message-Id

    # per event batch and attempt
    bad_signature: Rate = 0.0  # signed with another key

    # per event
    unknown_event: Rate = 0.0  # beside it, one of the same mail with "event": "teleported"
