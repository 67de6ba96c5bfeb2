"""What all processes of the benchmark agree on: names, secrets, settings, requests and callback elements. No I/O."""

from __future__ import annotations

from hashlib import blake2b

from bridge.bench.wire import request_bytes

__all__ = [
    "CALLBACK_AUTHORIZATION",
    "DATABASE_SETTINGS",
    "DATABASE_VARIABLE",
    "HOST",
    "OPERATOR_TOKEN",
    "PEOPLE",
    "api_request",
    "callback_request",
    "element",
    "person",
    "phone",
    "provider_uuid",
    "send_request",
    "settings_text",
]

HOST = "127.0.0.1"
PEOPLE = 1000  # contacts in the directory
OPERATOR_TOKEN = "operator-token-of-the-bench"
CALLBACK_AUTHORIZATION = "Authorization: Basic cmV2aWNvbTpjYWxsYmFja3Mtb2YtdGhlLWJlbmNo\r\n"

# Only what has to be said: who the peers are, and secrets. All the rest is what an operator gets by default.
_SETTINGS = """
[server]
port = {port}
public_url = "http://127.0.0.1:{public_port}"

[smartico]
api_key = "api-key-of-the-bench"
callback_hosts = ["127.0.0.1"]
allow_insecure_callbacks = true

[providers.revicom]
base_url = "{provider_url}"
token = "token-of-the-bench"
callback_password = "callbacks-of-the-bench"

[gateways.sms]
authorization = ["secret-of-the-bench"]

[[ops.operators]]
name = "bench"
token = "operator-token-of-the-bench"
"""

DATABASE_VARIABLE = (
    "BRIDGE_BENCH_DATABASE"  # in the environment of the service: the address, with its password
)
DATABASE_SETTINGS = f"""
[database]
url = "${{{DATABASE_VARIABLE}}}"
"""


def settings_text(port: int, public_port: int, provider_url: str) -> str:
    """`bridge.toml` of a service under test. `public_port`: where its peers are told to go."""
    return _SETTINGS.format(port=port, public_port=public_port, provider_url=provider_url)


def person(number: int) -> str:
    """The `ext_user_id` of a contact."""
    return f"player{number}"


def phone(number: int) -> str:
    """The phone number of a contact, in E.164."""
    return f"+4477{number:08}"


def send_request(port: int, uid: str, user: str, callback_url: str) -> bytes:
    """Smartico sends one message."""
    body = (
        f'{{"ext_user_id":"{user}","im_uid":"{uid}","from_number":"Amazing","body":"Your bonus of 50 spins waits '
        f'until midnight. Take it: https://casino.example/b/{uid}","callback_url":"{callback_url}"}}'
    )
    headers = "Authorization: secret-of-the-bench\r\nContent-Type: application/json\r\n"
    return request_bytes("POST", "/smartico/sms", f"{HOST}:{port}", body.encode(), headers)


def element(uuid: str, event: str) -> bytes:
    """One element of a callback, in Revicom's words: `sent/sent` or `delivered/delivered`."""
    return (
        f'{{"message_uuid":"{uuid}","callback_event":"{event}","channel_type":"SMS","status":"{event}",'
        '"status_time":"2026-10-01T12:00:00.000Z"}'
    ).encode()


def callback_request(path: str, host: str, authorization: str, elements: list[bytes]) -> bytes:
    """A batch of elements. `authorization`: a whole header line, or nothing."""
    headers = f"{authorization}Content-Type: application/json\r\n"
    return request_bytes("POST", path, host, b"[" + b",".join(elements) + b"]", headers)


def api_request(method: str, target: str, port: int, body: bytes = b"") -> bytes:
    """A request of an operator's script."""
    headers = f"Authorization: Bearer {OPERATOR_TOKEN}\r\nContent-Type: application/json\r\n"
    return request_bytes(method, target, f"{HOST}:{port}", body, headers)


def provider_uuid(number: int) -> bytes:
    """The provider's id (16 bytes, in the form of a UUIDv4) of a message that was there before: the same every time."""
    raw = bytearray(blake2b(number.to_bytes(8, "big"), digest_size=16, person=b"provider").digest())
    raw[6] = (raw[6] & 0x0F) | 0x40
    raw[8] = (raw[8] & 0x3F) | 0x80
    return bytes(raw)
