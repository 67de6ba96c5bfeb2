"""Pure: did every message reach the provider once, and did Smartico learn every status, in order?

Compares what the simulated providers saw and had acknowledged with what the simulated Smartico received. The
tag of a message is its ext_message_id without hyphens. The expected statuses follow from the acknowledged
callbacks:

* Revicom: sent gives accepted, delivered gives delivered, undelivered failed, unsent rejected, read delivered
  and opened, click delivered and clicked; unread and price nothing.
* SendGrid: processed gives accepted, delivered gives delivered, bounce failed (also beside delivered, and
  after it), dropped rejected, open delivered and opened, click delivered and clicked, spamreport complained,
  unsubscribe and group_unsubscribe unsubscribed; deferred nothing.
* SMTP: taken (and answered so) gives accepted.
* Custom IM: the platform's own words are Smartico's; opened and clicked give delivered as well.

accepted may be missing when something later was known first. A refused message gives rejected. An SMTP server
that refuses a recipient has not seen the content, and so no tag: as many e-mails as were refused like that
may be rejected without ever having reached the provider.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import msgspec

_ACCEPTED = frozenset({"sent", "processed", "taken", "accepted"})
_NEGATIVE = {
    "undelivered": "failed",
    "bounce": "failed",
    "failed": "failed",
    "unsent": "rejected",
    "dropped": "rejected",
    "rejected": "rejected",
}
_OPENED, _CLICKED = ("delivered", "opened"), ("delivered", "clicked")
_POSITIVE = {
    "delivered": ("delivered",),
    "read": _OPENED,
    "open": _OPENED,
    "opened": _OPENED,
    "click": _CLICKED,
    "clicked": _CLICKED,
}
_MARKS = {
    "spamreport": "complained",
    "complained": "complained",
    "unsubscribe": "unsubscribed",
    "group_unsubscribe": "unsubscribed",
    "unsubscribed": "unsubscribed",
}
_BEFORE = {  # status -> what may not come after it
    "delivered": frozenset({"accepted", "failed", "rejected"}),
    "failed": frozenset({"accepted", "rejected"}),
    "rejected": frozenset({"accepted", "failed"}),
    "opened": frozenset({"accepted", "failed", "rejected", "delivered"}),
    "clicked": frozenset({"accepted", "failed", "rejected", "delivered"}),
}
_DELIVERED = frozenset({"delivered", "opened", "clicked"})
_UUID = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}", re.IGNORECASE)


class Sent(msgspec.Struct, kw_only=True):
    """One message (or one refused message) as a provider saw it: a row of its `/_sim/messages`."""

    uuid: str  # empty: refused
    tags: tuple[str, ...]
    destination: str
    channel_type: str = msgspec.field(name="channelType")  # as in requests; else EMAIL or CIM
    refused: bool = False
    cascade_uuid: str | None = None  # the first message of its cascade
    cascade_step: int | None = None
    planned: tuple[str, ...] = ()  # callbacks that are owed, in the provider's words: "sent", "bounce" …
    acknowledged: tuple[str, ...] = ()  # those of them that were answered with 2xx


class Reported(msgspec.Struct, kw_only=True):
    """One message as Smartico knows it: a row of its `/_sim/messages`."""

    ext_message_id: str
    type: str
    im_uid: str = ""
    ext_user_id: str = ""
    statuses: tuple[str, ...] = ()  # as received, repeats included
    repeated: int = 0  # how many of them had been answered before; after a lost answer it is no repeat


class Finding(msgspec.Struct, frozen=True):
    """Something wrong with one message."""

    ext_message_id: str
    what: str


@dataclass(slots=True)
class Verdict:
    """The outcome. `repeated` and `unacknowledged` are no failures by themselves: see their notes."""

    messages: int = 0
    sent_twice: list[str] = field(default_factory=list)
    lost: list[Finding] = field(default_factory=list)
    unexpected: list[Finding] = field(default_factory=list)
    repeated: int = 0  # statuses that came again although answered: allowed after a crash only
    out_of_order: list[Finding] = field(default_factory=list)
    unacknowledged: int = 0  # callbacks the provider still owes: not drained yet
    strangers: int = 0  # messages at the provider that Smartico got no id for: it gave up asking

    @property
    def ok(self) -> bool:
        """Nothing lost, doubled, invented or out of order."""
        return not (self.sent_twice or self.lost or self.unexpected or self.out_of_order)


@dataclass(frozen=True, slots=True)
class Expected:
    """The statuses that must come, those of which at least one must, and those that may."""

    all_of: frozenset[str] = frozenset()
    one_of: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()


def judge(
    sent: Iterable[Sent],
    reported: Iterable[Reported],
    cascade_steps: int = 1,
    allowed: frozenset[str] = frozenset(),
) -> Verdict:
    """Compare both ledgers. `cascade_steps` is the gateway's; `allowed` statuses are never unexpected."""
    rows = list(sent)
    by_tag = _by_tag(rows)
    unnamed = sum(1 for one in rows if one.refused and not one.tags and one.channel_type == "EMAIL")
    verdict = Verdict(unacknowledged=sum(_owed(one) for family in by_tag.values() for one in family))
    known: set[str] = set()
    for one in reported:
        tag = one.ext_message_id.replace("-", "")
        known.add(tag)
        if unnamed and tag not in by_tag and one.type == "email" and set(one.statuses) == {"rejected"}:
            unnamed -= 1
            by_tag[tag] = [_refusal_of(tag)]
        _judge_one(verdict, one, by_tag.get(tag, []), cascade_steps, allowed)
    verdict.strangers = sum(1 for tag in by_tag if tag not in known)
    return verdict


def expected_statuses(family: list[Sent], cascade_steps: int = 1) -> Expected:
    """What Smartico must learn, given one message and the later steps of its cascade."""
    if all(one.refused for one in family):
        return Expected(all_of=frozenset({"rejected"}))
    events = {event for one in family for event in one.acknowledged}
    positive = frozenset(status for event in events for status in _POSITIVE.get(event, ()))
    negative = frozenset(_NEGATIVE[event] for event in events if event in _NEGATIVE)
    marks = frozenset(_MARKS[event] for event in events if event in _MARKS)
    accepted = frozenset({"accepted"}) if events & _ACCEPTED else frozenset()
    if positive:
        firm = frozenset({"failed"}) if "bounce" in events else frozenset()
        late = negative if cascade_steps == 1 else frozenset()
        return Expected(all_of=positive | marks | firm, optional=accepted | late)
    if _ended(family, cascade_steps):
        return Expected(all_of=marks, one_of=negative, optional=accepted)
    return Expected(all_of=marks, optional=accepted) if marks else Expected(all_of=accepted)


def _ended(family: list[Sent], cascade_steps: int) -> bool:
    """Whether the last step (or the only one) had a negative end."""
    return any(
        event in _NEGATIVE and (one.cascade_step is None or one.cascade_step >= cascade_steps)
        for one in family
        for event in one.acknowledged
    )


def _judge_one(
    verdict: Verdict, one: Reported, family: list[Sent], cascade_steps: int, allowed: frozenset[str]
) -> None:
    verdict.messages += 1
    verdict.repeated += one.repeated
    taken = [message for message in family if not message.refused and message.cascade_step in (None, 1)]
    if len(taken) > 1:
        verdict.sent_twice.append(one.ext_message_id)
    if family:
        expected = expected_statuses(family, cascade_steps)
        verdict.lost.extend(Finding(one.ext_message_id, what) for what in _missing(one, expected))
        spare = set(one.statuses) - expected.all_of - expected.one_of - expected.optional - allowed
        for status in sorted(spare):
            verdict.unexpected.append(Finding(one.ext_message_id, f"{status} was reported"))
    else:
        verdict.lost.append(Finding(one.ext_message_id, "never reached the provider"))
    verdict.out_of_order.extend(Finding(one.ext_message_id, what) for what in _disorder(one))


def _missing(one: Reported, expected: Expected) -> Iterator[str]:
    for status in sorted(expected.all_of - set(one.statuses)):
        yield f"{status} was never reported"
    if expected.one_of and not expected.one_of & set(one.statuses):
        yield f"{' or '.join(sorted(expected.one_of))} was never reported"


def _disorder(one: Reported) -> Iterator[str]:
    first_times = list(dict.fromkeys(one.statuses))
    late = frozenset({"failed"}) if one.type == "email" else frozenset()  # a bounce after a delivery
    for index, status in enumerate(first_times):
        for earlier in first_times[:index]:
            if status in _BEFORE.get(earlier, frozenset()) - (late if earlier in _DELIVERED else frozenset()):
                yield f"{status} after {earlier}"


def tag_of(text: str) -> str:
    """The first UUID in a text, as a tag: 32 small hexadecimal digits; empty: there is none."""
    found = _UUID.search(text)
    return found.group().replace("-", "").lower() if found else ""


def _refusal_of(tag: str) -> Sent:
    return Sent(uuid="", tags=(tag,), destination="", channel_type="EMAIL", refused=True)


def _owed(one: Sent) -> int:
    return len(one.planned) - len(one.acknowledged)


def _by_tag(sent: Iterable[Sent]) -> dict[str, list[Sent]]:
    """The messages of each tag, and with them the later steps of their cascades, which carry no tags."""
    by_tag: dict[str, list[Sent]] = defaultdict(list)
    tags_of: dict[str, tuple[str, ...]] = {}
    later: list[Sent] = []
    for one in sent:
        if one.cascade_step is not None and one.cascade_step > 1:
            later.append(one)
            continue
        tags_of[one.uuid] = one.tags
        for tag in one.tags:
            by_tag[tag].append(one)
    for one in later:
        for tag in tags_of.get(one.cascade_uuid or "", ()):
            by_tag[tag].append(one)
    return by_tag
