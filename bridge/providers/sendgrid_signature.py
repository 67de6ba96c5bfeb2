"""The signature of SendGrid's Event Webhook: ECDSA on P-256 with SHA-256 over a timestamp and the body as it came.

How old a timestamp is, is not looked at: a batch that somebody posts again changes nothing. Source:
twilio.com/docs/sendgrid, "Getting Started with the Event Webhook Security Features" (2026-11).
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from bridge.errors import BridgeError

__all__ = ["SIGNED_BY", "read_public_key", "signature_matches"]

_SIGNATURE = "x-twilio-email-event-webhook-signature"
_TIMESTAMP = "x-twilio-email-event-webhook-timestamp"
SIGNED_BY = (_SIGNATURE, _TIMESTAMP)


def read_public_key(text: str, provider: str) -> EllipticCurvePublicKey | None:
    """The key in base64 of its DER; None where there is none. Raises BridgeError for anything else."""
    if not text:
        return None
    try:
        key = load_der_public_key(b64decode(text, validate=True))
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return key
    raise BridgeError(
        f"providers.{provider}.webhook_public_key is no public key on the curve P-256: copy the verification key "
        "that SendGrid shows under Settings, Mail Settings, Event Webhooks, as it is."
    )


def signature_matches(key: EllipticCurvePublicKey, headers: Mapping[str, str], body: bytes) -> bool:
    """Whether the holder of the private key signed this timestamp and this body."""
    timestamp = headers.get(_TIMESTAMP, "").encode("utf-8", "surrogatepass")
    try:
        signature = b64decode(headers.get(_SIGNATURE, ""), validate=True)
        key.verify(signature, timestamp + body, ECDSA(SHA256()))
    except (ValueError, InvalidSignature):  # ValueError: not base64, or not ASCII
        return False
    return True
