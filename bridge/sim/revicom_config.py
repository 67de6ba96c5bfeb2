"""Settings and faults of the simulated Revicom Direct."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bridge.sim.faults import Faults, Rate

CHANNELS = frozenset({"SMS", "FLASHCALL", "VIBER", "WHATSAPP", "VK", "VOICECODE"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RevicomConfig:
    """How the simulated provider behaves when nothing goes wrong."""

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

    batch_size: int = 100  # elements in one callback
    flush_seconds: float = 0.02  # how long an incomplete batch waits for more
    callback_connections: int = 8  # callbacks in flight at a time, per URL
    callback_timeout_seconds: float = 10.0
    resend_seconds: float = 300.0
    resend_for_seconds: float = 86400.0
    inbound_url: str = ""  # where inbound messages are posted; empty: the last callbackUrl seen


class RevicomFaults(Faults):
    """What goes wrong. Rates are per POST /message, per callback batch or per callback element, as noted."""

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

    # per callback batch
    shuffle: Rate = 0.0
    repeat_batch: Rate = 0.0  # once acknowledged, the same bytes are posted again

    # per callback element
    late: Rate = 0.0
    late_seconds: float = 0.5
    repeat_element: Rate = 0.0  # once acknowledged, it comes again in a later batch
    unknown_status: Rate = 0.0  # beside it, one of the same message with "status": "teleported"
    malformed: Rate = 0.0  # beside it, something that is no element
    foreign: Rate = 0.0  # beside it, one of a message that nobody sent
