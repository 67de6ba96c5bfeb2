"""The first `bridge.toml`: every key with a line that explains it, as `bridge init` writes it.

Lines that begin with `# key =` or `# [table]` are keys at their defaults: without the `# ` they say the same. What an
operator has to give is written out, for the usual case: one SMS gateway, one Revicom account, one operator. Secrets
are made by the caller.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

__all__ = ["SECRETS", "render_template"]

SECRETS = ("pii_key", "authorization", "callback_password", "operator_token")
"""What `render_template` has to be given."""


def render_template(secrets: Mapping[str, str]) -> str:
    """The text of a new settings file.

    `secrets` holds, for each of `SECRETS`: 32 bytes in base64, the header value that Smartico sends, the password that
    the provider sends, and a token of at least 16 characters. KeyError where one is missing.
    """
    text = _TEMPLATE
    for name in SECRETS:
        text = text.replace(f"@{name}@", _toml_string(secrets[name]))
    return text


def _toml_string(value: str) -> str:
    """A TOML string that is read back as this value, also where it looks like a reference."""
    return json.dumps(value.replace("${", "$${"))


_TEMPLATE = """\
# The settings of the bridge. `bridge check` says whether they are right; a running service reads them at its start.
#
# A line that begins with `# key =` shows a default: take the `# ` away to change it.
# ${NAME} inside a string is taken from the environment, ${file:/run/secrets/x} from a file; $${ is a plain ${.
# This file holds secrets: keep it from others.

# mappings_dir = ""                     # a folder whose TOML files replace the shipped mapping tables of the same name

[server]
# host = "127.0.0.1"                    # the address to listen on; 0.0.0.0: on all
# port = 8080                           # 0: any free port
# public_url = "http://127.0.0.1:8080"  # what the provider can reach: callback addresses are built from it
# trusted_proxies = []                  # addresses and networks whose X-Forwarded-For is believed
# max_body_bytes = 4194304              # a larger request is refused
# metrics_public = true                 # false: /metrics wants an operator token

[database]
# url = "sqlite:///bridge.db"           # beside this file; four slashes: absolute; or postgresql://user:password@host/name
pii_key = @pii_key@  # encrypts what must be kept of people; do not lose it
# pii_key_old = ""                      # the former key while pii_key is changed, until bridge keys rotate is done
# retention_days = 90                   # how long finished messages are kept
# raw_retention_days = 7                # how long callbacks as they came, and texts that are no longer needed, are kept
# lease_seconds = 15                    # PostgreSQL: how long an instance may be silent before others take its work
# max_inbox = 1000000                   # callback elements that may wait; above this the provider has to come again

[smartico]
api_key = "${SMARTICO_API_KEY}"         # from Smartico: it goes with every status report
# callback_hosts = ["*.smartico.ai"]    # hosts that callback_url may name; "*." is any subdomain, not the bare domain
# fallback_callback_url = ""            # used when a request has none; neither: the request is refused
# allow_insecure_callbacks = false      # http and loopback: for tests and the demo only
# allowed_ips = []                      # addresses and networks that may send messages; empty: any
# timeout_seconds = 10                  # how long one status report may take
# max_in_flight = 64                    # status reports at a time, for each callback host
# max_per_second = 0                    # status reports a second; 0: no limit
# settle_seconds = 1.0                  # a report waits at least this long after the send was answered
# The delays before each further try of a report, in seconds; after the last one it is dead.
# retry_schedule = [5, 15, 60, 300, 900, 3600, 7200, 14400, 28800, 43200]
# not_found_schedule = [1, 2, 5, 15, 60, 300, 1800]   # the same, where Smartico does not know the id (yet)
# report_max_age_hours = 72             # then a report is dead, however few the tries

[contacts]
# source = "table"                      # table: the directory in the database; http: ask your platform
# default_region = ""                   # country of numbers without a country code, such as "GB"; empty: refuse them

[contacts.http]
# url = ""                              # such as "https://platform.example/users/{ext_user_id}"
# headers = {}                          # such as { Authorization = "${PLATFORM_SECRET}" }
# phone = "phone"                       # path into the JSON reply, dots for nesting
# email = "email"                       # path into the JSON reply, dots for nesting
# timeout_seconds = 3                   # how long one question may take
# cache_seconds = 300                   # how long an answer is believed
# not_found_cache_seconds = 30          # how long it is believed that a user is not known

[opt_out]
# The first words of a message from a handset that close the channel; any case, punctuation ignored.
# keywords = ["STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "OPTOUT", "REVOKE"]

[providers.revicom]
adapter = "revicom"                     # Revicom Direct, and i-Digital Direct by base_url
# base_url = "https://direct.revicom.ltd/api/v1"   # where its API is
token = "${REVICOM_TOKEN}"              # from the provider: goes into "Authorization: Basic …" unchanged
# callback_username = "revicom"         # with the password: how the provider signs in for its callbacks
callback_password = @callback_password@  # the password for that; bridge init makes one
# callback_events = ["delivered", "sent", "read", "click", "price"]   # what the provider is asked to report
# allowed_ips = []                      # addresses and networks that callbacks may come from; empty: any
# max_batch = 100                       # messages in one request, 1 to 1000
# max_in_flight = 8                     # requests at a time
# timeout_seconds = 70                  # how long one request may take
# unknown_send = "review"               # a perhaps-sent message without trace at the provider: review, resend or fail
# unknown_after_seconds = 120           # how long the provider is asked for it before that is decided
# silent_after_hours = 30               # without a final status for so long, it is asked, then you are; 0: never
# external_id = false                   # true: also send externalMessageId (some channels only)

[gateways.sms]                          # one gateway of Smartico; its address is /smartico/sms
# type = "sms"                          # sms, email or cim
# provider = "revicom"                  # the name of a [providers.…] table
# channel = "SMS"                       # the provider's name for the channel; type email: "EMAIL", type cim: "CIM"
authorization = [@authorization@]  # what to enter in Smartico as the Authorization header; several while changing it
# senders = ["Amazing"]                 # CHANGE THIS: names that the provider has approved; the first is the default
# api_key = ""                          # instead of smartico.api_key, for this gateway
# ttl_seconds = 0                       # how long the provider tries, 60 to 86400; 0: as long as it does by itself
# short_links = false                   # true: the provider shortens links and reports clicks
# max_age_hours = 24                    # a message that could not be sent by then fails
# cascade_steps = 1                     # how many steps a cascade of this gateway has at the provider
# max_pending = 100000                  # waiting messages, above which the gateway refuses more for a while
# pass_headers = []                     # type cim: extra request headers of Smartico that are handed on

# E-mail through any SMTP server, with its gateway.
# [providers.mail]
# adapter = "smtp"                      # any SMTP server
# host = "localhost"                    # where it listens
# port = 587                            # 587 for starttls, 465 for tls
# username = ""                         # empty: no sign-in
# password = ""                         # better "${SMTP_PASSWORD}" than the word itself
# tls = "starttls"                      # starttls, tls or none

# [gateways.email]                      # its address is /smartico/email
# type = "email"                        # the type of its status reports
# provider = "mail"                     # or "sendgrid"
# authorization = ["${SMARTICO_EMAIL_SECRET}"]   # the whole Authorization header

# E-mail with delivery, open, click, complaint and unsubscribe events.
# [providers.sendgrid]
# adapter = "sendgrid"                  # SendGrid's API, version 3
# base_url = "https://api.sendgrid.com/v3"   # where its API is
# token = "${SENDGRID_TOKEN}"           # an API key with the right to send
# webhook_public_key = ""               # verifies the signature of its event batches
# silent_after_hours = 78               # a message without a final status for so long is put under review; 0: never

# Custom IM: your own notification centre, with its gateway.
# [providers.inbox]
# adapter = "webhook"                   # messages are posted to your address
# url = "https://platform.example/notifications"   # your address; it must ignore a repeated ext_message_id
# headers = { Authorization = "${INBOX_SECRET}" }   # sent with each message
# callback_username = "inbox"           # with the password: how your platform signs in to report back
# callback_password = "${INBOX_CALLBACK_PASSWORD}"   # the password for that
# unknown_send = "resend"               # a message that was perhaps taken is posted again
# silent_after_hours = 0                # if it always reports how a message ended: when that is overdue; 0: never

# [gateways.cim]                        # its address is /smartico/cim
# type = "cim"                          # the type of its status reports
# provider = "inbox"                    # the name of a [providers.…] table
# authorization = ["${SMARTICO_CIM_SECRET}"]   # the whole Authorization header

# "An asset was sent" notifications; without this table the address is off.
# [communications]
# authorization = ["${SMARTICO_COMMUNICATIONS_SECRET}"]   # the whole Authorization header
# forward_url = ""                      # pass them on to your own API, with retries
# forward_headers = {}                  # sent along

[inbound]                               # messages from handsets: kept, and passed on when a forward_url is set
# forward_url = ""                      # your own API
# forward_headers = {}                  # sent along

[ops]                                   # the pages and the API for people and scripts
# secure_cookies = true                 # false: sign-in also over http://, for tests

[[ops.operators]]                       # one table for each person or script
name = "admin"                          # shown beside what this operator did
token = @operator_token@  # the sign-in of the pages, and the Bearer token of the API
# role = "operator"                     # viewer: may look; operator: may also replay, dismiss and reveal
"""
