"""The verdict on e-mails and Custom IM: SendGrid's events, SMTP, and the platform's own statuses."""

import pytest

from bridge.sim import Finding, Reported, Sent, judge
from bridge.sim.verdict import tag_of

ID = "0190a540-f662-745b-8311-eebe56024200"
TAG = ID.replace("-", "")
BOUNCED_LATE = ("processed", "delivered", "bounce")


def sent(
    *acknowledged: str, channel: str = "EMAIL", uuid: str = "one", tags: tuple[str, ...] = (TAG,)
) -> Sent:
    """The message at its provider, with what was acknowledged of it; without a uuid it was refused."""
    return Sent(
        uuid=uuid,
        tags=tags,
        destination="ann@example.com",
        channel_type=channel,
        refused=not uuid,
        planned=acknowledged,
        acknowledged=acknowledged,
    )


def reported(*statuses: str, kind: str = "email") -> Reported:
    """The message at Smartico."""
    return Reported(ext_message_id=ID, type=kind, statuses=statuses)


@pytest.mark.parametrize(
    ("acknowledged", "statuses"),
    [
        (("processed",), ("accepted",)),
        (("processed", "deferred"), ("accepted",)),
        (("processed", "delivered"), ("accepted", "delivered")),
        (("processed", "delivered"), ("delivered",)),
        (("processed", "bounce"), ("accepted", "failed")),
        (("processed", "bounce"), ("failed",)),
        (("dropped",), ("rejected",)),
        (BOUNCED_LATE, ("accepted", "delivered", "failed")),
        (BOUNCED_LATE, ("failed", "delivered")),
        (("processed", "delivered", "open"), ("accepted", "delivered", "opened")),
        (("open",), ("delivered", "opened")),
        (("processed", "click"), ("delivered", "clicked")),
        (("delivered", "open", "click", "spamreport"), ("delivered", "opened", "clicked", "complained")),
        (("delivered", "unsubscribe"), ("delivered", "unsubscribed")),
        (("delivered", "group_unsubscribe"), ("unsubscribed", "delivered")),
        (("processed", "spamreport"), ("complained",)),
        (("taken",), ("accepted",)),
        ((), ()),
    ],
)
def test_what_is_right_for_emails(acknowledged: tuple[str, ...], statuses: tuple[str, ...]) -> None:
    """Each event calls for its status; accepted may be missing when something later was known first."""
    verdict = judge([sent(*acknowledged)], [reported(*statuses)])
    assert verdict.ok, verdict


@pytest.mark.parametrize(
    ("acknowledged", "statuses"),
    [
        (("accepted",), ("accepted",)),
        (("accepted", "delivered"), ("delivered",)),
        (("accepted", "failed"), ("accepted", "failed")),
        (("rejected",), ("rejected",)),
        (("accepted", "opened"), ("accepted", "delivered", "opened")),
        (("clicked",), ("delivered", "clicked")),
        (("delivered", "complained", "unsubscribed"), ("delivered", "complained", "unsubscribed")),
        ((), ()),
    ],
)
def test_what_is_right_for_custom_im(acknowledged: tuple[str, ...], statuses: tuple[str, ...]) -> None:
    """The platform's statuses are Smartico's own; opened and clicked call for delivered as well."""
    verdict = judge([sent(*acknowledged, channel="CIM")], [reported(*statuses, kind="cim")])
    assert verdict.ok, verdict


@pytest.mark.parametrize(
    ("acknowledged", "statuses", "missing"),
    [
        (("processed",), (), "accepted"),
        (BOUNCED_LATE, ("accepted", "delivered"), "failed"),
        (BOUNCED_LATE, ("accepted", "failed"), "delivered"),
        (("dropped",), (), "rejected"),
        (("open",), ("delivered",), "opened"),
        (("delivered", "spamreport"), ("delivered",), "complained"),
        (("delivered", "unsubscribe"), ("delivered",), "unsubscribed"),
        (("bounce", "unsubscribe"), ("failed",), "unsubscribed"),
        (("taken",), (), "accepted"),
        (("rejected",), (), "rejected"),
    ],
)
def test_what_is_lost(acknowledged: tuple[str, ...], statuses: tuple[str, ...], missing: str) -> None:
    """A status that an acknowledged event calls for, and that never came, is lost."""
    verdict = judge([sent(*acknowledged)], [reported(*statuses)])
    assert verdict.lost == [Finding(ID, f"{missing} was never reported")]


@pytest.mark.parametrize(
    ("acknowledged", "statuses", "spare"),
    [
        (("processed", "delivered"), ("delivered", "failed"), "failed"),
        (("processed", "deferred"), ("accepted", "failed"), "failed"),
        (("delivered",), ("delivered", "complained"), "complained"),
        ((), ("accepted",), "accepted"),
    ],
)
def test_what_is_unexpected(acknowledged: tuple[str, ...], statuses: tuple[str, ...], spare: str) -> None:
    """A status that no event calls for is unexpected."""
    verdict = judge([sent(*acknowledged)], [reported(*statuses)])
    assert verdict.unexpected == [Finding(ID, f"{spare} was reported")]


@pytest.mark.parametrize(("kind", "ok"), [("email", True), ("sms", False), ("cim", False)])
def test_failed_after_delivered_is_in_order_for_emails_only(kind: str, *, ok: bool) -> None:
    """A bounce may come after the delivery; nothing else has such a thing."""
    verdict = judge([sent("delivered", "failed")], [reported("delivered", "failed", kind=kind)])
    assert (not verdict.out_of_order) is ok


def test_accepted_after_delivered_is_out_of_order() -> None:
    """The exception for bounces is one for bounces only."""
    verdict = judge([sent("processed", "delivered")], [reported("delivered", "accepted")])
    assert verdict.out_of_order == [Finding(ID, "accepted after delivered")]


def test_an_email_that_is_sent_twice_is_found() -> None:
    """Two mails with the tag of one, at one provider or at two."""
    verdict = judge([sent("delivered"), sent("taken", uuid="two")], [reported("delivered")])
    assert verdict.sent_twice == [ID]


def test_refusals_without_a_tag() -> None:
    """A refused recipient excuses one rejected e-mail that never arrived, and no other message."""
    refusal = sent(uuid="", tags=())
    lost = [Finding(ID, "never reached the provider")]
    assert judge([refusal], [reported("rejected")]).ok
    assert judge([], [reported("rejected")]).lost == lost
    assert judge([refusal], [reported()]).lost == lost
    assert judge([refusal], [reported("rejected", kind="sms")]).lost == lost
    second = Reported(ext_message_id=f"{ID[:-1]}1", type="email", statuses=("rejected",))
    assert len(judge([refusal], [reported("rejected"), second]).lost) == 1


def test_a_refusal_with_a_tag() -> None:
    """A mail whose content was refused is rejected."""
    assert judge([sent(uuid="")], [reported("rejected")]).ok
    assert judge([sent(uuid="")], [reported("accepted")]).unexpected


@pytest.mark.parametrize(
    ("text", "tag"),
    [(ID, TAG), (f"<{TAG.upper()}@bridge.example>", TAG), ("<1.2@bridge.example>", ""), ("", "")],
)
def test_tags_are_found_in_texts(text: str, tag: str) -> None:
    """The first UUID, with or without hyphens, in any case."""
    assert tag_of(text) == tag
