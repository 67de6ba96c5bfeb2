"""Smartico's side of the bridge: its send requests read, answers and status reports written, its replies read.

Pure: bytes in, values out; no clock, no client, no settings. Nothing here raises on what comes from outside, and no
message or reason repeats a value of a request, or a secret. Source: help.smartico.ai,
technical guide "Secured messaging gateways (Email/SMS/IM)" (2026-10).
"""

from bridge.smartico.answers import ErrorCode, Refusal, encode_accepted, encode_refusal
from bridge.smartico.reports import (
    Done,
    Hopeless,
    NotFound,
    RefusedReport,
    StatusAddress,
    StatusReply,
    TryLater,
    Unauthorized,
    read_failure,
    read_status_reply,
)
from bridge.smartico.requests import SendRequest, check_callback_url, decode_send

__all__ = [
    "Done",
    "ErrorCode",
    "Hopeless",
    "NotFound",
    "Refusal",
    "RefusedReport",
    "SendRequest",
    "StatusAddress",
    "StatusReply",
    "TryLater",
    "Unauthorized",
    "check_callback_url",
    "decode_send",
    "encode_accepted",
    "encode_refusal",
    "read_failure",
    "read_status_reply",
]
