"""What the simulators that post callbacks have in common: how they batch and repeat, and what goes wrong."""

from dataclasses import dataclass

from bridge.sim.faults import Faults, Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackConfig:
    """How elements are gathered into requests, and how long one that was not answered with 2xx is repeated."""

    batch_size: int = 100  # elements in one callback
    flush_seconds: float = 0.02  # how long an incomplete batch waits for more
    callback_connections: int = 8  # callbacks in flight at a time, per URL
    callback_timeout_seconds: float = 10.0
    resend_seconds: float = 300.0
    resend_for_seconds: float = 86400.0


class CallbackFaults(Faults):
    """What goes wrong with callbacks. Rates are per batch or per element, as noted."""

    # per callback batch
    shuffle: Rate = 0.0
    repeat_batch: Rate = 0.0  # once acknowledged, the same bytes are posted again

    # per callback element
    late: Rate = 0.0
    late_seconds: float = 0.5
    repeat_element: Rate = 0.0  # once acknowledged, it comes again in a later batch
    malformed: Rate = 0.0  # beside it, something that is no element
    foreign: Rate = 0.0  # beside it, one of a message that nobody sent
