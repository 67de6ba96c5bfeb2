"""Settings and faults of the simulated Smartico."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from bridge.sim.faults import Faults, Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class SmarticoConfig:
    """How the simulated Smartico behaves when nothing goes wrong."""

    host: str = "127.0.0.1"
    port: int = 0
    seed: int = 1

    # status endpoint
    api_key: str = "sim-api-key"
    bad_key_status: int = 401  # 200: answered with error_code 3 instead
    accept_unknown: bool = False  # believe every ext_message_id, also those of sends it did not make
    valid_json: bool = False  # leave out the trailing comma of the documented success body
    callback_query: str = ""  # put behind the callback_url of every send, as "brand=7&x=1"

    # traffic
    im_uid_prefix: str = ""  # empty: a random one, so that two runs never share an id
    send_timeout_seconds: float = 10.0
    send_retry_seconds: float = 0.1  # before the second attempt; doubles, to at most 2 s
    send_retry_for_seconds: float = 60.0
    send_concurrency: int = 64
    preview_share: float = 0.0  # of e-mails: with activity_type "preview" and a to_email_address
    preview_address: str = "test@amazing.co"

    # "an asset was sent" notifications: one attempt after each accepted send
    communications_authorization: str = ""  # the Authorization header of them; empty: none are posted
    communications_form: str = "json"  # json | form (both POST) | query (GET)
    campaign_name: str = "RND Flow"


class Gateway(msgspec.Struct, frozen=True, kw_only=True):
    """One gateway as it is set up in Smartico's back office."""

    name: str  # its address at the bridge is /smartico/{name}
    authorization: str
    type: str = "sms"  # sms | email | cim
    from_number: str | None = "Amazing"
    extension: Mapping[str, Any] = {}  # cim only
    from_email_address: str = "Amazing <noreply@amazing.co>"  # email only, as the next two
    reply_to_email_address: str = "Amazing <noreply@amazing.co>"
    subject: str = "The best offer your can find on the market"


class SmarticoFaults(Faults):
    """What goes wrong. Rates are per status request, but for the last two."""

    # the status is not taken
    slow: Rate = 0.0
    slow_seconds: float = 1.0
    error: Rate = 0.0
    error_status: int = 503
    too_many_requests: Rate = 0.0  # 429
    retry_after_seconds: float | None = None  # Retry-After of the 429
    reset: Rate = 0.0
    timeout: Rate = 0.0
    timeout_seconds: float = 5.0  # how long timeout and timeout_after hold the connection
    html: Rate = 0.0  # 200 with a page instead of JSON
    unauthorized: Rate = 0.0  # 401
    redirect: Rate = 0.0  # 302 to /elsewhere
    other_error: Rate = 0.0  # error_code 7
    not_found_attempts: int = 0  # the first so many statuses of each message are "not found"
    not_found_seconds: float = 0.0  # so are those in the first seconds after the message was accepted

    # the status is taken, and the answer lost
    reset_after: Rate = 0.0
    timeout_after: Rate = 0.0
    giant_body: Rate = 0.0
    giant_bytes: int = 32 * 1024 * 1024

    # per message sent
    twin_send: Rate = 0.0  # the same request twice at the same time
    repeat_send: Rate = 0.0  # the same request once more after its answer
