"""Settings and faults of the simulated Revicom Direct."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bridge.sim.callbacks_config import CallbackConfig, CallbackFaults
from bridge.sim.faults import Rate

CHANNELS = frozenset({"SMS", "FLASHCALL", "VIBER", "WHATSAPP", "VK", "VOICECODE"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RevicomConfig(CallbackConfig):
    """How the simulated provider behaves when nothing goes wrong; how it posts is in CallbackConfig."""

    host: str = "127.0.0.1"
    port: int = 0
    seed: int = 1
    token: str = "sim-token"  # what has to follow "Basic " in the Authorization header

    channels: frozenset[str] = CHANNELS
    senders: frozenset[str] | None = None  # approved names; None: any. Others are refused, item by item
    refused_destinations: frozenset[str] = frozenset()  # refused item by item with refusal_code
    invalid_destinations: frozenset[str] = frozenset()  # one of them makes the whole request a 400
    refusal_code: int = 403

    findable_after_seconds: float = 0.0  # how long a taken message stays invisible to GET /message
    bare_list: bool = False  # GET /message answers an array instead of {"items": […]}

    delivered_share: float = 0.9
    undelivered_share: float = 0.07  # what is left of the two is unsent
    read_share: float = 0.5  # of the delivered ones, where the channel reports reading; the others are unread
    click_share: float = 0.2  # of the delivered ones with shortUrl
    outcome_by_suffix: Mapping[str, str] = field(default_factory=dict)  # end of the destination -> outcome
    outcome: Callable[[Mapping[str, Any]], str | None] | None = None  # request item -> outcome, or None
    step_seconds: float = 0.02  # between two steps of a message's life, give or take a half
    cascade_steps: int = 1  # above 1: every message is a cascade whose last step plays the outcome
    price_per_part: float = 0.1
    currency: str = "EUR"

    inbound_url: str = ""  # where inbound messages are posted; empty: the last callbackUrl seen


class RevicomFaults(CallbackFaults):
    """What goes wrong. Rates are per POST /message, GET /message or callback element, as noted; those of
    CallbackFaults beside them."""

    # per POST /message, before anything is taken
    slow: Rate = 0.0
    slow_seconds: float = 1.0
    unauthorized: Rate = 0.0  # 401
    payment_required: Rate = 0.0  # 402
    forbidden: Rate = 0.0  # 403
    too_many_requests: Rate = 0.0  # 429
    retry_after_seconds: float | None = None  # Retry-After of the 429 and of error_before
    bad_request: Rate = 0.0  # the whole request is refused
    bad_request_status: int = 400
    error_before: Rate = 0.0
    error_before_status: int = 503
    reset_before: Rate = 0.0
    too_large_above: int | None = None  # 413 for more messages than this

    # per POST /message, after the messages are taken
    early: Rate = 0.0  # their sent and final callbacks are posted before the answer is written
    error_after: Rate = 0.0
    error_after_status: int = 500
    reset_after: Rate = 0.0
    timeout_after: Rate = 0.0
    timeout_seconds: float = 5.0  # how long timeout_after holds the connection
    broken_json: Rate = 0.0
    short_items: Rate = 0.0  # the last item is missing from the answer

    # per GET /message
    lookup_error: Rate = 0.0  # 503
    lookup_reset: Rate = 0.0

    # per callback element
    lost: Rate = 0.0  # it is never posted
    unknown_status: Rate = 0.0  # beside it, one of the same message with "status": "teleported"
