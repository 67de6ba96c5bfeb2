"""Personal data: keyed hashes to search by, encryption of what must be kept, masks for people.

A `Vault` is made once from `database.pii_key`. Without a key nothing is encrypted, and the hash key is one that the
database keeps. Sealed bytes begin with a version byte, so that plain and encrypted rows can stand side by side.
No I/O here; the caller never logs what `open` returns.
"""

from __future__ import annotations

import hmac
import os
from base64 import b64decode
from hashlib import sha256

import phonenumbers
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bridge.core.mailbox import is_address
from bridge.errors import BridgeError

__all__ = ["Vault", "mask_email", "mask_phone", "normalise_email", "normalise_phone"]

_PLAIN = b"\x00"
_AES_GCM = b"\x01"
_NONCE_BYTES = 12
_HASH_BYTES = 16


class Vault:
    """Seals, opens and hashes. `hash_key` is any secret bytes; `cipher_key` 32 bytes, or None: no encryption."""

    def __init__(self, hash_key: bytes, cipher_key: bytes | None = None) -> None:
        self._hash_key = hash_key
        self._cipher = AESGCM(cipher_key) if cipher_key else None

    @classmethod
    def from_pii_key(cls, pii_key: str) -> Vault:
        """From the setting: base64 of 32 bytes. Hash and cipher get keys of their own, derived from it."""
        master = b64decode(pii_key)
        return cls(_derive(master, b"bridge hash 1"), _derive(master, b"bridge cipher 1"))

    @property
    def encrypts(self) -> bool:
        return self._cipher is not None

    @property
    def check_value(self) -> bytes:
        """Tells whether two vaults hash alike, without telling the key."""
        return hmac.digest(self._hash_key, b"bridge check", sha256)

    def hash(self, address: str) -> bytes:
        """The keyed hash (16 bytes) of a normalised phone number or e-mail address."""
        return hmac.digest(self._hash_key, address.encode(), sha256)[:_HASH_BYTES]

    def seal(self, clear: bytes) -> bytes:
        if self._cipher is None:
            return _PLAIN + clear
        nonce = os.urandom(_NONCE_BYTES)
        return _AES_GCM + nonce + self._cipher.encrypt(nonce, clear, None)

    def open(self, sealed: bytes) -> bytes:
        """What was sealed. Raises BridgeError where the key is missing or is another one."""
        version, rest = sealed[:1], sealed[1:]
        if version == _PLAIN:
            return rest
        if version != _AES_GCM or self._cipher is None:
            raise BridgeError(
                "The database holds encrypted rows: set database.pii_key to the key they were made with."
            )
        try:
            return self._cipher.decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], None)
        except (InvalidTag, ValueError):  # ValueError: cut short
            raise BridgeError(
                "database.pii_key is not the key that this database was encrypted with."
            ) from None

    def seal_text(self, clear: str) -> bytes:
        return self.seal(clear.encode())

    def open_text(self, sealed: bytes) -> str:
        return self.open(sealed).decode()


def _derive(master: bytes, purpose: bytes) -> bytes:
    # One block of HKDF-Expand (RFC 5869): the master key is uniform already, so no extraction is needed.
    return hmac.digest(master, purpose + b"\x01", sha256)


def normalise_phone(number: str, default_region: str = "") -> str | None:
    """The number in E.164 ("+447700900123"); None where it is none, or has no country code and no region helps."""
    try:
        parsed = phonenumbers.parse(number, default_region or None)
    except phonenumbers.NumberParseException:
        return None
    # Not `is_possible_number`: that takes local numbers, too, which nobody can dial from elsewhere.
    if phonenumbers.is_possible_number_with_reason(parsed) != phonenumbers.ValidationResult.IS_POSSIBLE:
        return None
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


def normalise_email(address: str) -> str | None:
    """The address, trimmed, its domain in lower case; None where it cannot be one."""
    local, at, domain = address.strip().rpartition("@")
    labels = domain.split(".")
    if not at or not local or "@" in local or len(labels) < 2 or not all(labels):
        return None
    found = f"{local}@{domain.lower()}"
    return found if is_address(found) else None


def mask_phone(e164: str) -> str:
    """ "+44•••••0123": the country code and the last four digits."""
    try:
        code = str(phonenumbers.parse(e164).country_code)
    except phonenumbers.NumberParseException:
        code = ""
    digits = e164.removeprefix("+").removeprefix(code)
    return f"+{code}•••••{digits[-4:] if len(digits) > 6 else ''}"


def mask_email(address: str) -> str:
    """ "j•••••@example.com"; of what is no address nothing is shown."""
    local, at, domain = address.rpartition("@")
    return f"{local[:1]}•••••@{domain}" if at else "•••••"
