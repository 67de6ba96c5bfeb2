"""Whom we trust, the same for every HTTP peer: the certificates of this system, or those in `SSL_CERT_FILE`."""

from __future__ import annotations

import os
import ssl
from functools import lru_cache

__all__ = ["certificate_trouble", "trusting_context"]

_MOST_CAUSES = 10


def trusting_context() -> ssl.SSLContext:
    """What a client needs to speak TLS, and to insist on a certificate that is valid for the name. All clients share
    one, since reading the certificates takes longer than anything else in making a client."""
    return _read_trusted(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@lru_cache(maxsize=1)
def _read_trusted(_file: str | None, _folder: str | None) -> ssl.SSLContext:
    """`ssl` looks into the same two variables itself."""
    return ssl.create_default_context()


def certificate_trouble(error: BaseException) -> str | None:
    """What is wrong where TLS is the reason, or the reason of the reason; None: something else is."""
    cause: BaseException | None = error
    for _ in range(_MOST_CAUSES):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return "the certificate of the peer is not valid"
        if isinstance(cause, ssl.SSLError):
            return "no encrypted connection could be made"
        if cause is None:
            break
        cause = cause.__cause__ or cause.__context__
    return None
