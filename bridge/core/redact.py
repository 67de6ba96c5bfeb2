"""Foreign text made fit for reasons, logs and answers: short, printable, without addresses and secrets.

What peers write into their errors may repeat what we sent them: phone numbers, e-mail addresses, callback
addresses with passwords, keys. `redact` takes them out. It errs on the side of silence: a date may go too.
"""

from __future__ import annotations

import re

from bridge.secret import Secret

__all__ = ["DOTS", "LONGEST", "redact"]

DOTS = "•••"
LONGEST = 200  # characters of a reason
_SHORTEST = 4  # a shorter secret hides nothing, and would tear every word apart
_READ = 2000  # characters of the foreign text that are looked at

# Each word is looked at from its beginning alone: then the time grows with the text, not with its square.
_ADDRESS = re.compile(
    r"(?<![\w+.-])[\w+.-]++://\S*"  # addresses: a query or the part before the @ may hold a secret
    r"|(?<![^\s<>()\"',;@])[^\s<>()\"',;@]++@[^\s<>()\"',;]+"  # e-mail addresses
)
_DIGITS = re.compile(r"\d(?:[\s()/-]{0,2}\d){5,}")  # six digits or more, also as people group them


def redact(text: str, *secrets: Secret) -> str:
    """At most 200 printable characters of `text`, in which "•••" stands for what must not be seen.

    That is: each of `secrets`, addresses (`scheme://…`), e-mail addresses, and runs of six digits or more.
    Control characters and other invisible ones become spaces.
    """
    for secret in secrets:
        if len(secret.reveal()) >= _SHORTEST:
            text = text.replace(secret.reveal(), DOTS)
    text = "".join(char if char.isprintable() else " " for char in _beginning(text))
    # Addresses first: a number may end within one, which then would no longer look like one.
    text = " ".join(_DIGITS.sub(DOTS, _ADDRESS.sub(DOTS, text)).split())
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _beginning(text: str) -> str:
    """What is looked at. A word split by the cut is dropped: half an address no longer looks like one."""
    return text if len(text) <= _READ else text[:_READ].rpartition(" ")[0]
