"""What Smartico is told about a request: the codes of a refusal, and the two answers. Pure."""

from __future__ import annotations

from enum import IntEnum

import msgspec
from msgspec import Struct

__all__ = ["ErrorCode", "Refusal", "encode_accepted", "encode_refusal"]


class ErrorCode(IntEnum):
    """The `error_code` of a refused request."""

    UNKNOWN_USER = 1
    INVALID = 2
    NO_ADDRESS = 3
    OPTED_OUT = 4
    CALLBACK_URL = 5
    DIRECTORY_DOWN = 6
    OVERLOADED = 8
    INTERNAL = 9


class Refusal(Struct, frozen=True):
    """Why a message is not taken. `message` names the field, and repeats no value."""

    code: int
    message: str


def encode_accepted(ext_message_id: str) -> bytes:
    """The answer to a request that was taken."""
    return msgspec.json.encode({"error_code": 0, "ext_message_id": ext_message_id})


def encode_refusal(refusal: Refusal) -> bytes:
    """The answer to a request that was not."""
    return msgspec.json.encode({"error_code": refusal.code, "error_message": refusal.message})
