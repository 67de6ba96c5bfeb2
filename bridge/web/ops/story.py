"""The timeline of a message as a story: a sentence for each step, the time between two, and the gaps in words. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from bridge.core.model import Millis
from bridge.core.moments import read_when
from bridge.web.ops.words import duration, kind_word

__all__ = ["Step", "last_gap", "story_of", "summary"]

_GAP_MS = 3_600_000
_SOON_MS = 60_000
_OPEN = {"queued", "unknown", "submitted", "sent"}
_GOOD = {"delivered", "read", "opened", "clicked", "open", "click"}
_BAD = {"failed", "rejected", "undelivered", "unsent", "bounce", "dropped", "complained", "spamreport"}
_BAD_KINDS = {"report_dead", "review"}
_DOUBT_KINDS = {"report_failed", "perhaps_sent", "not_taken", "deferred", "lookup_again"}


class Step(Struct, frozen=True):
    """One entry of the timeline, told. `after`: time since the step before; `gap`: what did not happen meanwhile;
    `day`: where another one begins."""

    entry: dict[str, Any]
    title: str
    text: str
    tone: str
    after: str
    gap: str
    day: str


def story_of(timeline: Sequence[dict[str, Any]]) -> list[Step]:
    """The steps in their order."""
    trial = any(entry["kind"] == "test" for entry in timeline)
    steps: list[Step] = []
    before: Millis | None = None
    day = ""
    for entry in timeline:
        at = _at(entry)
        passed = 0 if before is None else at - before
        gap = f"Nothing for {duration(passed)}." if passed >= _GAP_MS else ""
        if gap and entry["kind"] == "callback":
            gap = f"No callback for {duration(passed)}."
        another = str(entry["at"])[:10]
        day, another = another, "" if another == day else another
        after = duration(passed) if before is not None and passed else ""
        steps.append(Step(entry, _title(entry, trial=trial), _text(entry), _tone(entry), after, gap, another))
        before = at
    return steps


def last_gap(state: str, timeline: Sequence[dict[str, Any]], now: Millis) -> str:
    """What is still awaited, and since when; empty where nothing is."""
    if state not in _OPEN or not timeline:
        return ""
    passed = now - max(_at(entry) for entry in timeline)
    if passed < _SOON_MS:
        return ""
    if state in ("submitted", "sent"):
        return f"No callback for {duration(passed)}: the provider has not said how it ended."
    if state == "queued":
        return f"It has been waiting for the provider for {duration(passed)}."
    return f"Nobody has decided for {duration(passed)} whether it was sent."


def summary(message: dict[str, Any]) -> str:
    """The answer to "did they get it?" in one sentence."""
    state, created = message["state"], _millis(message["created_at"])
    delivered = message["delivered_at"]
    if delivered:
        opened = " and opened" if state == "read" else ""
        return (
            f"It was delivered{opened}, {duration(_millis(delivered) - created)} after Smartico asked for it."
        )
    if state in ("failed", "rejected"):
        why = message["error_text"] or message["error_code"] or "no reason was given"
        who = "The provider refused it" if state == "rejected" else "It was not delivered"
        return f"{who}: {why}."
    return {
        "queued": "It waits to be handed to the provider.",
        "unknown": "Perhaps it was sent: the provider's answer was lost.",
        "submitted": "The provider has it; nothing else is known yet.",
        "sent": "The provider sent it on; whether it arrived is not known yet.",
    }.get(state, "")


def _title(entry: dict[str, Any], *, trial: bool) -> str:
    if trial and entry["kind"] == "accepted":
        return "An operator asked for it, and it was stored"
    return kind_word(str(entry["kind"]))


def _at(entry: dict[str, Any]) -> Millis:
    return _millis(entry["at"])


def _millis(text: str) -> Millis:
    return read_when(text, 0) or 0


def _text(entry: dict[str, Any]) -> str:
    match entry["kind"]:
        case "callback":
            return _callback(entry)
        case "report_owed":
            later = f", next attempt {entry['next_attempt_at']}" if entry.get("next_attempt_at") else ""
            tried = f" ({entry['attempts']} attempts so far{later})" if entry.get("attempts") else ""
            return f"“{entry['status']}”{tried}"
        case "report_done":
            latency = f" in {duration(entry['latency_ms'])}" if entry.get("latency_ms") is not None else ""
            times = "" if entry["attempts"] == 1 else f", at attempt {entry['attempts']}"
            return f"“{entry['status']}”{latency}{times}"
        case "inbound":
            return f"“{entry['text']}”" + (
                f" ({entry['opt_out_keyword']})" if entry["opt_out_keyword"] else ""
            )
        case "notification":
            return f"in the campaign “{entry['campaign_name']}”" if entry["campaign_name"] else ""
        case "submitted":
            return f"as {entry['provider_message_id']}" if entry["provider_message_id"] else ""
        case "accepted":
            return f"through {entry['gateway']}"
        case "report_failed" | "report_dead" | "report_replayed":
            status, _, why = str(entry.get("detail") or "").partition(": ")
            return f"“{status}”{_by(entry)}" + (f": {why}" if why else "")
        case _:
            return f"{entry.get('detail') or ''}{_by(entry)}".strip()


def _by(entry: dict[str, Any]) -> str:
    return f" by {entry['actor']}" if entry.get("actor") else ""


def _callback(entry: dict[str, Any]) -> str:
    words = " ".join(dict.fromkeys(each for each in (entry["event"], entry["status"]) if each))
    parts = [f"“{words}”"]
    if entry.get("error_code"):
        parts.append(
            f"error {entry['error_code']}" + (f" ({entry['error_text']})" if entry.get("error_text") else "")
        )
    if entry.get("price"):
        parts.append(f"{entry['price']} {entry.get('currency', '')}".strip())
    if entry.get("step"):
        parts.append(f"step {entry['step']}")
    outcome = {
        "superseded": "came too late to change anything",
        "unmapped": "is not in the mapping table",
        "held": "waits for the other steps",
        "noted": "changes nothing",
    }.get(entry["outcome"])
    return ", ".join(parts) + (f"; it {outcome}" if outcome else "")


def _tone(entry: dict[str, Any]) -> str:
    kind = entry["kind"]
    if kind == "callback":
        words = {str(entry["event"]).lower(), str(entry["status"]).lower()}
        return "bad" if words & _BAD else "good" if words & _GOOD else "going"
    if kind in _BAD_KINDS:
        return "bad"
    if kind == "report_done":
        return "good"
    return "doubt" if kind in _DOUBT_KINDS else "going"
