"""Whom we trust, the same for every HTTP peer: the certificates of this system, or those in `SSL_CERT_FILE`."""

from __future__ import annotations

import ssl

__all__ = ["certificate_trouble", "trusting_context"]

_MOST_CAUSES = 10


def trusting_context() -> ssl.SSLContext:
    """What a client needs to speak TLS, and to insist on a certificate that is valid for the name."""
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
