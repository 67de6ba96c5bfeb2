"""Signs event batches as SendGrid's "Signed Event Webhook" does.

ECDSA on P-256 with SHA-256 over the bytes of the timestamp and then those of the body; the signature is DER
in base64, the public key a SubjectPublicKeyInfo, DER in base64, as SendGrid's settings show it.
"""

import base64
import time

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SIGNATURE_HEADER = "X-Twilio-Email-Event-Webhook-Signature"
TIMESTAMP_HEADER = "X-Twilio-Email-Event-Webhook-Timestamp"


class Signer:
    """A key pair of its own, made at random."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())

    @property
    def public_key(self) -> str:
        """The key that verifies: base64 of a DER SubjectPublicKeyInfo."""
        public = self._key.public_key()
        der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return base64.b64encode(der).decode()

    def headers(self, body: bytes) -> dict[str, str]:
        """The two headers of a body that is posted now."""
        timestamp = str(int(time.time()))
        signature = self._key.sign(timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))
        return {SIGNATURE_HEADER: base64.b64encode(signature).decode(), TIMESTAMP_HEADER: timestamp}
