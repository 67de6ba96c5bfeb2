"""Asset notifications: kept once, tied to the message that they tell of, passed on, shown and forgotten."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from bridge.app import make_id
from bridge.core.model import MessageId, new_id
from bridge.flows import directory, forwarding, review
from bridge.flows.communications import Noting, nearest, tie_waiting
from bridge.flows.forwarding import bridge_id
from bridge.flows.pruning import Pruning, Retention
from bridge.flows.review import Actor
from bridge.notifications import Notification, read_notification
from bridge.store import forwards
from bridge.store.communications import Candidate
from bridge.store.forwards import COMMUNICATION, DueForward, Settlement
from bridge.store.review import ReviewItem, list_reviews
from bridge.store.search import CommunicationFilter, CommunicationRow, find_communications
from bridge.store.tx import Row
from tests.flows.desk import NOW, PHONE, Desk

SECOND = 1000
MINUTE = 60 * SECOND
DAY = 1440 * MINUTE
ALICE = Actor("alice", "test")


def notification(**fields: Any) -> Notification:
    """One of "player" about an SMS of now; a field that is `...` is left out."""
    usual = {
        "login": "player",
        "time": NOW,
        "channel": "SMS",
        "campaign_name": "Flow",
        "view_url": "https://v/1",
    }
    all_fields = {name: value for name, value in {**usual, **fields}.items() if value is not ...}
    found = read_notification("application/json", b"", json.dumps(all_fields).encode())
    assert isinstance(found, Notification)
    return found


def noting(desk: Desk, *, passed_on: bool = True) -> Noting:
    return Noting(desk.store, lambda: desk.now, make_id, channels=["SMS", "sms"], passed_on=passed_on)


async def listed(desk: Desk, **chosen: Any) -> list[CommunicationRow]:
    return await desk.store.search(lambda tx: find_communications(tx, CommunicationFilter(**chosen)))


async def tied(desk: Desk) -> list[MessageId | None]:
    """The messages of all notifications, the oldest first."""
    return [row.message_id for row in reversed(await listed(desk))]


async def select(desk: Desk, sql: str) -> list[Row]:
    return await desk.store.read(lambda tx: tx.select(sql, ()))


async def due(desk: Desk) -> list[DueForward]:
    return await desk.store.claim(lambda tx: forwards.due(tx, COMMUNICATION, desk.now, 100))


async def give_up(desk: Desk, *, done: bool = False) -> None:
    """The one that is due comes to an end."""
    (forward,) = await due(desk)
    end = Settlement(
        id=forward.id,
        kind=forward.kind,
        source=forward.source,
        key=forward.key,
        state="done" if done else "dead",
        due_at=None,
        attempts=1,
        retries=0,
        latency_ms=5,
        last_error=None if done else "HTTP 400",
    )
    await desk.store.write(lambda tx: forwarding.settle(tx, [end], desk.now))


async def reviews(desk: Desk) -> list[ReviewItem]:
    return await desk.store.read(lambda tx: list_reviews(tx, 2**62, 100))


# --- kept ---


async def test_a_repeat_is_kept_and_passed_on_once(desk: Desk) -> None:
    """Also where both come at the same moment; anything different is another one, and so is one without a time."""
    keep = noting(desk)
    assert sorted(await asyncio.gather(*(keep.note(notification()) for _ in range(5)))) == [False] * 4 + [
        True
    ]
    assert await keep.note(notification(campaign_name="Other"))
    assert await keep.note(notification(time=...))
    assert await keep.note(notification(time=...))
    assert len(await listed(desk)) == 4
    assert await select(desk, "SELECT count(*) FROM forwards") == [(4,)]


async def test_nothing_is_passed_on_without_a_receiver(desk: Desk) -> None:
    """Where no forward_url is configured nothing is owed."""
    assert await noting(desk, passed_on=False).note(notification())
    assert await select(desk, "SELECT count(*) FROM forwards") == [(0,)]


async def test_what_is_passed_on_is_what_came(desk: Desk) -> None:
    """The payload is the JSON that came; its id stays the same for ever; those without a user wait for nobody."""
    keep = noting(desk)
    for login in ("a", "a", "b"):
        await keep.note(notification(login=login, time=...))
    for _ in range(2):
        await keep.note(notification(login=..., time=...))
    found = await due(desk)
    assert sorted(each.key[:1] for each in found) == ["?", "?", "a", "b"]
    assert json.loads(next(each.payload for each in found if each.key == "b"))["login"] == "b"
    rows = await listed(desk)
    assert {bridge_id(COMMUNICATION, each.source) for each in found} <= {str(_uuid(row.id)) for row in rows}


def _uuid(id_: bytes) -> str:
    text = id_.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def test_the_id_of_what_is_passed_on_is_a_uuid() -> None:
    """Whatever the source is called: of one kind and source always the same, of others another one."""
    one = bridge_id("inbound", "revicom:ü")
    assert one == bridge_id("inbound", "revicom:ü")
    assert len({one, bridge_id("inbound", "revicom:x"), bridge_id("other", "revicom:ü")}) == 3
    assert one.isascii()


async def test_search(desk: Desk) -> None:
    """By login, by the beginning of a campaign's name, by message, by channel and by time of arrival; newest first."""
    keep = noting(desk)
    message_id = await desk.accept()
    await keep.note(notification())
    desk.now += MINUTE
    await keep.note(notification(login="other", campaign_name="Welcome 1", channel="Push"))
    desk.now += MINUTE
    await keep.note(notification(login="third", campaign_name="Welcome 2", more={"a": 1}))

    async def logins(**chosen: Any) -> list[str]:
        return [row.login for row in await listed(desk, **chosen)]

    assert await logins() == ["third", "other", "player"]
    assert await logins(text="player") == await logins(text=message_id.hex()) == ["player"]
    assert await logins(text="Welcome") == ["third", "other"]
    assert await logins(text="welcome") == await logins(text="elcome") == []
    assert await logins(channel="push") == ["other"]
    assert await logins(since=NOW + MINUTE, until=NOW + 2 * MINUTE) == ["other"]
    assert await logins(limit=1) == ["third"]
    newest = (await listed(desk))[0]
    assert await logins(before=newest.id) == ["other", "player"]
    assert json.loads(newest.body) == {"more": {"a": 1}}


# --- tied ---


@pytest.mark.parametrize(
    ("channel", "seconds", "fits"),
    [("sms", 0, True), ("SMS", 299, True), ("SMS", -300, True), ("SMS", 301, False), ("Email", 0, False)],
)
async def test_a_message_is_found(desk: Desk, channel: str, seconds: int, fits: bool) -> None:
    """User, channel and time have to agree."""
    message_id = await desk.accept()
    await noting(desk).note(notification(channel=channel, time=NOW + seconds * SECOND))
    desk.now += 1
    await noting(desk).note(notification(login="other", channel=channel))
    assert await tied(desk) == [message_id if fits else None, None]


async def test_two_messages_and_three_notifications(desk: Desk) -> None:
    """The nearest in time is taken; one that another notification tells of only where none is left."""
    first = await desk.accept()
    desk.now += MINUTE
    second = await desk.accept()
    keep = noting(desk)
    for campaign in ("a", "b", "c"):
        desk.now += 1
        await keep.note(notification(campaign_name=campaign, time=NOW + MINUTE))
    assert await tied(desk) == [second, first, second]


async def test_two_in_one_transaction_take_different_messages(desk: Desk) -> None:
    """What the first of them takes the second does not, though nothing is stored yet."""
    ids = {await desk.accept(), await desk.accept()}
    keep = noting(desk)
    await asyncio.gather(*(keep.note(notification(campaign_name=name)) for name in "ab"))
    assert set(await tied(desk)) == ids


async def test_a_notification_that_comes_before_its_message(desk: Desk) -> None:
    """It is looked for again after ten seconds, and after a minute; then no more."""
    keep = noting(desk)
    await keep.note(notification())
    await keep.note(notification(login="nobody"))
    await keep.note(notification(channel="Push"))  # no gateway of ours: it is not looked for
    desk.now += 5 * SECOND
    message_id = await desk.accept()
    assert await tie_waiting(desk.store, desk.now) == 0
    desk.now += 5 * SECOND
    assert await tie_waiting(desk.store, desk.now) == 2
    assert {row.login: row.message_id for row in await listed(desk, text="player", channel="sms")} == {
        "player": message_id
    }
    assert await tie_waiting(desk.store, desk.now) == 0
    desk.now += 50 * SECOND
    assert await tie_waiting(desk.store, desk.now) == 1
    desk.now += DAY
    assert await tie_waiting(desk.store, desk.now) == 0


def test_type_and_channel_both_count() -> None:
    """A WhatsApp message of an sms gateway fits "SMS" and "WhatsApp"; Custom IM is CIM."""
    whatsapp = Candidate(new_id(NOW, 1), "WHATSAPP", "sms", NOW, False)
    cim = Candidate(new_id(NOW, 2), "CIM", "cim", NOW, False)
    assert nearest([whatsapp, cim], "sms", NOW) == nearest([whatsapp, cim], "whatsapp", NOW) == whatsapp.id
    assert nearest([whatsapp, cim], "cim", NOW) == cim.id
    assert nearest([whatsapp, cim], "email", NOW) is None


async def test_the_timeline_shows_it(desk: Desk) -> None:
    """A step of its message, with the campaign and where its content can be seen."""
    message_id = await desk.accept()
    await noting(desk).note(notification())
    (step,) = [each for each in (await desk.show(message_id)).timeline if each["kind"] == "notification"]
    assert (step["campaign_name"], step["view_url"], step["channel"]) == ("Flow", "https://v/1", "SMS")


# --- dead ones, and forgetting ---


async def test_a_dead_one_is_under_review_and_can_be_replayed(desk: Desk) -> None:
    """It goes again, and when it arrived nobody has to look any more."""
    await noting(desk).note(notification())
    await give_up(desk)
    (item,) = await reviews(desk)
    assert (item.kind, item.cause, item.count) == ("dead_forward", "communication: HTTP 400", 1)
    assert await due(desk) == []
    replayed = await review.replay(desk.store, desk.rules, item, ALICE, desk.now, resend=False)
    assert (replayed.matched, replayed.replayed) == (1, 1)
    assert await reviews(desk) == []
    await give_up(desk, done=True)
    assert await select(desk, "SELECT state, attempts FROM forwards") == [("done", 2)]


async def test_several_dead_ones_of_a_user_are_replayed_in_their_order(desk: Desk) -> None:
    """The oldest goes first, and the others wait for it again."""
    for campaign in "abc":
        await noting(desk).note(notification(campaign_name=campaign))
        await give_up(desk)
    (item,) = await reviews(desk)
    await review.replay(desk.store, desk.rules, item, ALICE, desk.now, resend=False)
    went = []
    for _ in "abc":
        (first,) = await desk.store.read(lambda tx: forwards.due(tx, COMMUNICATION, desk.now, 100))
        went.append(json.loads(first.payload)["campaign_name"])
        await give_up(desk, done=True)
    assert went == ["a", "b", "c"]


async def test_what_waited_too_long_is_given_up(desk: Desk) -> None:
    """report_max_age_hours after it was kept it is dead, and what waited behind it was too old as well."""
    for campaign in "ab":
        await noting(desk).note(notification(campaign_name=campaign))
    desk.now += desk.rules.reports.max_age_ms - 1
    assert await forwarding.bury_aged(desk.store, desk.rules.reports, desk.now, 100) == 0
    desk.now += 1
    assert await forwarding.bury_aged(desk.store, desk.rules.reports, desk.now, 100) == 1
    assert await forwarding.bury_aged(desk.store, desk.rules.reports, desk.now, 100) == 1
    (item,) = await reviews(desk)
    assert (item.cause, item.count) == ("communication: too old", 2)


async def test_a_person_is_erased(desk: Desk) -> None:
    """Notifications and what was to be passed on of them are gone, under review or not; those of others stay. It is
    said how many they were."""
    keep = noting(desk)
    await keep.note(notification())
    await give_up(desk)
    for login in ("player", "player", "other"):
        await keep.note(notification(login=login, time=...))
    await desk.store.write(
        lambda tx: forwards.add_forward(tx, "inbound", "x", _handset(desk), b"{}", desk.now)
    )
    result = await desk.store.write(lambda tx: directory.erase(tx, desk.rules, "player", "alice", desk.now))
    assert result is not None
    assert result[0] == directory.Erased(0, 0, contact=True, notifications=3, forwards=4)
    assert [row.login for row in await listed(desk)] == ["other"]
    assert await select(desk, "SELECT key FROM forwards") == [("other",)]
    assert await reviews(desk) == []


def _handset(desk: Desk) -> str:
    return desk.store.vault.hash(PHONE).hex()


async def test_who_is_known_by_notifications_alone_can_be_erased(desk: Desk) -> None:
    """No contact and no message is needed for it."""
    await noting(desk).note(notification(login="stranger"))
    assert await desk.store.write(lambda tx: directory.erase(tx, desk.rules, "stranger", "alice", desk.now))
    assert await listed(desk) == []


async def test_retention(desk: Desk) -> None:
    """Old notifications go, and old forwards once they are done or dismissed; what is pending or under review stays."""
    keep = noting(desk)
    for login, ended in (("done", True), ("dead", False), ("open", False)):
        await keep.note(notification(login=login))
        await give_up(desk, done=ended)
        if login == "dead":
            (item,) = await reviews(desk)
            await review.dismiss(desk.store, item, ALICE, desk.now)
    await keep.note(notification(login="pending"))
    desk.now += 29 * DAY
    await keep.note(notification(login="young"))
    desk.now += 2 * DAY
    pruning = Pruning(desk.store, Retention(30, 7))
    while await pruning.step(desk.now) is not None:
        pass
    assert [row.login for row in await listed(desk)] == ["young"]
    assert sorted(await select(desk, "SELECT key FROM forwards")) == [("open",), ("pending",), ("young",)]
