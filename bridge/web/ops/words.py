"""What the pages say in words. Pure."""

from __future__ import annotations

from bridge.core.model import Millis

__all__ = ["REVIEW", "ago", "duration", "kind_word", "state_word"]

_UNITS = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"))


def duration(millis: float | None) -> str:
    """ "850 ms", "12 s", "3 min 20 s", "26 h", "3 d 4 h": two units at most."""
    if millis is None:
        return "–"
    left = round(millis)
    if left < 1_000:
        return f"{left} ms"
    if left < 10_000:
        return f"{left / 1000:.1f} s"
    parts: list[str] = []
    for size, unit in _UNITS:
        if left >= size and len(parts) < 2:
            parts.append(f"{left // size} {unit}")
            left %= size
        elif parts:
            break
    return " ".join(parts)


def ago(at: Millis | None, now: Millis) -> str:
    """ "3 min ago"; "in 20 s" for what is to come."""
    if at is None:
        return "–"
    if at > now + 1_000:
        return f"in {duration(at - now)}"
    return "just now" if now - at < 1_000 else f"{duration(now - at)} ago"


_STATES = {
    "queued": ("waiting", "It waits for the provider."),
    "unknown": ("doubt", "Perhaps sent: the provider's answer was lost."),
    "submitted": ("going", "The provider has it."),
    "sent": ("going", "The provider sent it on."),
    "delivered": ("good", "It reached the handset or mailbox."),
    "read": ("good", "It was opened."),
    "failed": ("bad", "It could not be delivered."),
    "rejected": ("bad", "The provider refused it."),
}


def state_word(state: str) -> tuple[str, str]:
    """A class for the colour, and the meaning of a message's state in a sentence."""
    return _STATES.get(state, ("going", ""))


_KINDS = {
    "accepted": "Smartico asked for it, and it was stored",
    "submitted": "The provider took it",
    "callback": "The provider reported",
    "inbound": "The person answered",
    "notification": "Smartico told that it was sent",
    "report_owed": "A status became due for Smartico",
    "report_done": "Smartico took the status",
    "report_failed": "Smartico did not take the status",
    "report_dead": "The status was given up",
    "report_replayed": "The status was put back into the outbox",
    "perhaps_sent": "The provider's answer was lost",
    "not_taken": "The provider did not take it; it went back to the queue",
    "deferred": "The provider asked to come again later",
    "lookup_found": "The provider has it after all",
    "lookup_again": "The provider is to be asked again",
    "sent_again": "It is sent again",
    "review": "A person has to decide",
    "dismissed": "The review was closed",
    "message": "Message",
    "opt_out": "Channel",
    "test": "It is a test: Smartico is told nothing",
    "revealed": "Somebody looked at the address",
}


def kind_word(kind: str) -> str:
    return _KINDS.get(kind, kind.replace("_", " "))


REVIEW = {
    "unmapped": (
        "A word of the provider that the mapping table does not know",
        "Add the word to the provider's table in mappings/, restart the bridge, then replay: each is read again.",
    ),
    "malformed": (
        "An element that cannot be read",
        "Look at the sample. If the provider changed its form, a newer bridge may read it: replay then, else dismiss.",
    ),
    "unreadable": (
        "A whole callback that cannot be read",
        "Ask the provider what it posted. Replay after an update of the bridge, else dismiss.",
    ),
    "orphan": (
        "A callback about a message that the bridge does not know",
        "It may belong to another system that uses the same account, or to messages that were pruned: dismiss it then.",
    ),
    "unknown_send": (
        "Perhaps sent: the provider's answer was lost, and it has no trace of the message",
        "Replay asks the provider once more. “Send again” hands the message over anew: the person may get it twice.",
    ),
    "dead_report": (
        "Smartico did not take a status for as long as the schedule says",
        "Mend the cause (the sample names it), then replay: the statuses go out again, in their order.",
    ),
    "dead_forward": (
        "The operator's own API did not take something for as long as the schedule says",
        "Mend the cause, then replay: it goes out again.",
    ),
}
