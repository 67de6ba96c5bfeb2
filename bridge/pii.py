"""Personal data: keyed hashes to search by, encryption of what must be kept, masks for people.

A `Vault` is made once for a database: its hash key is one that the database keeps (`bridge.store.keys`), its cipher
key comes from `database.pii_key`. Without a key nothing is encrypted. While the key is being changed, the vault has the
former one as well: it opens with either, and seals with the present one. Sealed bytes begin with a version byte, so
that plain and encrypted rows can stand side by side. No I/O here; the caller never logs what `open` returns.
"""

from __future__ import annotations

import hmac
import os
import re
from base64 import b64decode
from enum import Enum
from hashlib import sha256

import phonenumbers
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bridge.core.mailbox import is_address
from bridge.errors import BridgeError

__all__ = [
    "SealedWith",
    "Vault",
    "cipher_key_of",
    "hash_key_of",
    "key_name",
    "mask_email",
    "mask_phone",
    "normalise_email",
    "normalise_phone",
]

_PLAIN = b"\x00"
_AES_GCM = b"\x01"
_NONCE_BYTES = 12
_HASH_BYTES = 16
_FRACTION = re.compile(r"\s*\+?\d+[.,]0{1,2}\s*")


class SealedWith(Enum):
    """What opens a sealed value: the present key, the former one, none (it is plain), or no key that is known here."""

    PRESENT = "present"
    FORMER = "former"
    PLAIN = "plain"
    UNKNOWN = "unknown"


class Vault:
    """Seals, opens and hashes. `hash_key` is any secret bytes; `cipher_key` 32 bytes, or None: no encryption.

    `former_key`: 32 bytes with which values may be sealed still; nothing new is.
    """

    def __init__(
        self, hash_key: bytes, cipher_key: bytes | None = None, former_key: bytes | None = None
    ) -> None:
        self._hash_key = hash_key
        self._cipher = AESGCM(cipher_key) if cipher_key else None
        self._former = AESGCM(former_key) if former_key else None
        self.key_name = key_name(cipher_key)

    @classmethod
    def from_pii_key(cls, pii_key: str) -> Vault:
        """From the setting alone, as databases were made at first: their hash key is derived from it, too."""
        return cls(hash_key_of(pii_key), cipher_key_of(pii_key))

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
        clear, _ = self._try(sealed)
        if clear is not None:
            return clear
        if sealed[:1] != _AES_GCM or self._cipher is None:
            raise BridgeError(
                "The database holds encrypted rows: set database.pii_key to the key they were made with."
            )
        raise BridgeError("database.pii_key is not the key that this database was encrypted with.")

    def sealed_with(self, sealed: bytes) -> SealedWith:
        """What opens the value."""
        return self._try(sealed)[1]

    def seal_hash_key(self) -> bytes:
        """The hash key, as the database keeps it."""
        return self.seal(self._hash_key)

    def _try(self, sealed: bytes) -> tuple[bytes | None, SealedWith]:
        """The present key comes first: what was sealed anew is recognised by it."""
        version, rest = sealed[:1], sealed[1:]
        if version == _PLAIN:
            return rest, SealedWith.PLAIN
        if version == _AES_GCM:
            for cipher, name in ((self._cipher, SealedWith.PRESENT), (self._former, SealedWith.FORMER)):
                if cipher is not None and (clear := _decrypt(cipher, rest)) is not None:
                    return clear, name
        return None, SealedWith.UNKNOWN

    def seal_text(self, clear: str) -> bytes:
        return self.seal(clear.encode())

    def open_text(self, sealed: bytes) -> str:
        return self.open(sealed).decode()


def hash_key_of(pii_key: str) -> bytes:
    """The hash key that was derived from the setting (base64 of 32 bytes) before databases had one of their own."""
    return _derive(b64decode(pii_key), b"bridge hash 1")


def cipher_key_of(pii_key: str) -> bytes:
    """The key of the cipher: derived from the setting, so that one tells nothing of the other."""
    return _derive(b64decode(pii_key), b"bridge cipher 1")


def key_name(cipher_key: bytes | None) -> str:
    """Tells keys apart without telling them; empty for none."""
    return hmac.digest(cipher_key, b"bridge key name", sha256)[:8].hex() if cipher_key else ""


def _decrypt(cipher: AESGCM, rest: bytes) -> bytes | None:
    try:
        return cipher.decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], None)
    except (InvalidTag, ValueError):  # ValueError: cut short
        return None


def _derive(master: bytes, purpose: bytes) -> bytes:
    # One block of HKDF-Expand (RFC 5869): the master key is uniform already, so no extraction is needed.
    return hmac.digest(master, purpose + b"\x01", sha256)


def normalise_phone(number: str, default_region: str = "") -> str | None:
    """The number in E.164 ("+447700900123"); None where it is none, or has no country code and no region helps.

    A decimal fraction is none: a spreadsheet that took the column for numbers writes 447700900123.0, and with one more
    digit that would be somebody else.
    """
    if _FRACTION.fullmatch(number):
        return None
    try:
        parsed = phonenumbers.parse(number, default_region or None)
    except phonenumbers.NumberParseException:
        return None
    # Not `is_possible_number`: that takes local numbers, too, which nobody can dial from elsewhere.
    if phonenumbers.is_possible_number_with_reason(parsed) != phonenumbers.ValidationResult.IS_POSSIBLE:
        return None
    found = _e164(parsed)
    # Behind some country codes a zero goes when a number is read: one with two of them would be another one each time.
    if parsed.italian_leading_zero and _e164(phonenumbers.parse(found)) != found:
        return None
    return found


def _e164(parsed: phonenumbers.PhoneNumber) -> str:
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
