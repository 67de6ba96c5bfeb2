"""Exchanges with peers: a request goes out, and an answer comes back, or does not. Never raises for what a peer does.

The only package that knows HTTP and SMTP as a client. Calls to providers, look-ups and forwards go through httpx, mails
through aiosmtplib; status reports, of which there are thousands a second, through a client of our own
(docs/performance.md has the figures). No redirect is ever followed, no answer larger than `MAX_ANSWER` is read (to a
status report: `MAX_REPORT_ANSWER`), no URL is logged.
"""

from bridge.transport.mail import MailServer, MailTransport
from bridge.transport.protocol import MAX_ANSWER, MAX_REPORT_ANSWER, Transport
from bridge.transport.provider import ProviderTransport
from bridge.transport.reports import ReportTransport

__all__ = [
    "MAX_ANSWER",
    "MAX_REPORT_ANSWER",
    "MailServer",
    "MailTransport",
    "ProviderTransport",
    "ReportTransport",
    "Transport",
]
