"""Basic credentials (RFC 7617): checked on callbacks, and written into addresses that peers call back."""

from __future__ import annotations

import hmac
from base64 import b64decode
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from bridge.secret import Secret

__all__ = ["BasicCredentials"]


class BasicCredentials:
    """A user name and a password; without a password nothing ever matches."""

    def __init__(self, username: str, password: Secret) -> None:
        self._user = username.encode("utf-8", "surrogatepass")
        self._password = password.reveal().encode("utf-8", "surrogatepass")

    def match(self, headers: Mapping[str, str]) -> bool:
        """Whether the `authorization` header has them. Constant time in the secret."""
        scheme, _, encoded = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic" or not self._password:
            return False
        try:
            credentials = b64decode(encoded, validate=True)
        except ValueError:  # not base64, or not ASCII
            return False
        return hmac.compare_digest(credentials, self._user + b":" + self._password)

    def callback_url(self, public_url: str, provider: str) -> str:
        """The address of a provider's callbacks, with the credentials before its host, percent-encoded."""
        parts = urlsplit(public_url)
        netloc = f"{quote(self._user, safe='')}:{quote(self._password, safe='')}@{parts.netloc}"
        return f"{parts.scheme}://{netloc}{parts.path.rstrip('/')}/callbacks/{provider}"
