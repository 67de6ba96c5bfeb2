"""The verdict: which statuses are expected, and what counts as lost, doubled, unexpected or out of order."""

import msgspec
import pytest

from bridge.sim import Finding, Reported, Sent, judge

ID = "0190a540-f662-745b-8311-eebe56024200"
TAG = ID.replace("-", "")


def sent(*acknowledged: str, step: int | None = None, refused: bool = False) -> Sent:
    """The message at the provider, with what was acknowledged of it."""
    later = step is not None and step > 1
    return Sent(
        uuid="" if refused else f"uuid{step or 1}",
        tags=() if later else (TAG,),
        destination="14085553911",
        channel_type="SMS",
        refused=refused,
        cascade_uuid="uuid1" if step else None,
        cascade_step=step,
        planned=acknowledged,
        acknowledged=acknowledged,
    )


def reported(*statuses: str, repeated: int = 0) -> Reported:
    """The message at Smartico."""
    return Reported(ext_message_id=ID, type="sms", statuses=statuses, repeated=repeated)


@pytest.mark.parametrize(
    ("acknowledged", "statuses"),
    [
        ((), ()),
        (("sent",), ("accepted",)),
        (("sent", "price"), ("accepted",)),
        (("sent", "delivered"), ("accepted", "delivered")),
        (("sent", "delivered"), ("delivered",)),
        (("sent", "undelivered"), ("accepted", "failed")),
        (("unsent",), ("rejected",)),
        (("sent", "delivered", "read"), ("accepted", "delivered", "opened")),
        (("sent", "delivered", "unread"), ("accepted", "delivered")),
        (("read",), ("delivered", "opened")),
        (("click", "sent"), ("delivered", "clicked")),
        (("delivered", "read", "click"), ("delivered", "clicked", "opened")),
        (("undelivered", "delivered"), ("failed", "delivered")),
    ],
)
def test_what_is_right(acknowledged: tuple[str, ...], statuses: tuple[str, ...]) -> None:
    """Each row of the table of provider words and Smartico's is accepted as it should be."""
    verdict = judge([sent(*acknowledged)], [reported(*statuses)])
    assert verdict.ok, verdict
    assert (verdict.messages, verdict.repeated) == (1, 0)


@pytest.mark.parametrize(
    ("acknowledged", "statuses", "missing"),
    [
        (("sent",), (), "accepted"),
        (("sent", "delivered"), ("accepted",), "delivered"),
        (("undelivered",), (), "failed"),
        (("unsent",), (), "rejected"),
        (("read",), ("delivered",), "opened"),
        (("read",), ("opened",), "delivered"),
        (("click",), ("delivered",), "clicked"),
    ],
)
def test_what_is_lost(acknowledged: tuple[str, ...], statuses: tuple[str, ...], missing: str) -> None:
    """A status that an acknowledged callback calls for, and that never came, is lost."""
    verdict = judge([sent(*acknowledged)], [reported(*statuses)])
    assert verdict.lost == [Finding(ID, f"{missing} was never reported")]
    assert not verdict.ok


@pytest.mark.parametrize(
    ("acknowledged", "statuses", "spare"),
    [
        ((), ("accepted",), "accepted"),
        (("sent",), ("accepted", "delivered"), "delivered"),
        (("delivered",), ("delivered", "opened"), "opened"),
        (("delivered",), ("delivered", "unsubscribed"), "unsubscribed"),
        (("undelivered",), ("failed", "delivered"), "delivered"),
    ],
)
def test_what_is_unexpected(acknowledged: tuple[str, ...], statuses: tuple[str, ...], spare: str) -> None:
    """A status that no callback calls for is unexpected."""
    verdict = judge([sent(*acknowledged)], [reported(*statuses)])
    assert verdict.unexpected == [Finding(ID, f"{spare} was reported")]
    assert not verdict.ok


def test_opt_outs_can_be_allowed() -> None:
    """Statuses that come from inbound messages are allowed by the caller."""
    history = [reported("delivered", "unsubscribed")]
    assert judge([sent("delivered")], history, allowed=frozenset({"unsubscribed"})).ok


@pytest.mark.parametrize(
    "statuses",
    [("delivered", "accepted"), ("opened", "delivered"), ("delivered", "failed"), ("clicked", "accepted")],
)
def test_what_is_out_of_order(statuses: tuple[str, ...]) -> None:
    """A status after one that it should have preceded, or that excludes it."""
    verdict = judge([sent("sent", "undelivered", "delivered", "read", "click")], [reported(*statuses)])
    assert verdict.out_of_order == [Finding(ID, f"{statuses[1]} after {statuses[0]}")]


def test_a_message_that_never_left_is_lost() -> None:
    """Smartico has an id for it, the provider nothing."""
    verdict = judge([], [reported()])
    assert verdict.lost == [Finding(ID, "never reached the provider")]


def test_a_refused_message_is_rejected() -> None:
    """A refusal calls for rejected; when the message was taken later, the refusal no longer counts."""
    assert judge([sent(refused=True)], [reported("rejected")]).ok
    assert judge([sent(refused=True)], [reported()]).lost
    assert judge([sent(refused=True), sent("delivered")], [reported("delivered")]).ok


def test_a_message_sent_twice_is_found() -> None:
    """Two messages with the tag of one."""
    verdict = judge([sent("delivered"), sent()], [reported("delivered")])
    assert (verdict.sent_twice, verdict.ok) == ([ID], False)


def test_repeats_are_counted() -> None:
    """A repeated status is counted, but no failure by itself."""
    verdict = judge([sent("delivered")], [reported("delivered", "delivered", repeated=1)])
    assert (verdict.repeated, verdict.ok) == (1, True)


@pytest.mark.parametrize(
    ("steps", "statuses", "right"),
    [
        ((("sent", "undelivered"), ("sent", "delivered")), ("accepted", "delivered"), True),
        ((("sent", "undelivered"), ("sent", "delivered")), ("accepted", "failed", "delivered"), False),
        ((("sent", "undelivered"), ("sent", "undelivered")), ("accepted", "failed"), True),
        ((("sent", "undelivered"), ("sent", "undelivered")), ("accepted",), False),
        ((("sent", "undelivered"), ("unsent",)), ("accepted", "rejected"), True),
        ((("sent", "undelivered"), ()), ("accepted",), True),
    ],
)
def test_cascades(steps: tuple[tuple[str, ...], ...], statuses: tuple[str, ...], *, right: bool) -> None:
    """Of a cascade of two steps, a negative status counts only when no step succeeded."""
    family = [sent(*acknowledged, step=step) for step, acknowledged in enumerate(steps, 1)]
    assert judge(family, [reported(*statuses)], cascade_steps=2).ok is right


def test_a_cascade_the_gateway_knows_nothing_of() -> None:
    """With one configured step, failed may be reported before a later step delivers."""
    family = [sent("undelivered", step=1), sent("delivered", step=2)]
    assert judge(family, [reported("failed", "delivered")]).ok
    assert judge(family, [reported("delivered")]).ok


def test_what_is_not_drained_shows() -> None:
    """Callbacks still owed, and messages that Smartico gave up asking for, are counted apart."""
    waiting = msgspec.structs.replace(sent("sent"), planned=("sent", "delivered"))
    verdict = judge([waiting], [])
    assert (verdict.unacknowledged, verdict.strangers, verdict.messages) == (1, 1, 0)


def test_the_ledgers_travel_as_json() -> None:
    """Rows of `/_sim/messages` read in another process are the same values."""
    rows = [sent("delivered", step=1)]
    assert msgspec.json.decode(msgspec.json.encode(rows), type=list[Sent]) == rows
    assert b'"channelType":"SMS"' in msgspec.json.encode(rows)
