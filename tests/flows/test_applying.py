"""Callbacks become transitions: whatever the order, the repetition and the moment of their arrival."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bridge.flows import callbacks, review
from bridge.flows.review import Actor
from bridge.flows.showing import review_json
from bridge.store.review import ReviewItem, list_reviews
from tests.flows.desk import PHONE, Desk, open_desk

UUID = "063464ec-a34f-4558-90c5-984395000003"
STEP2 = "063464ec-a34f-4558-90c5-984395000004"
TIME = "2026-11-21T18:51:13Z"


def status(event: str, word: str, uuid: str = UUID, **more: Any) -> dict[str, Any]:
    return {
        "message_uuid": uuid,
        "channel_type": "SMS",
        "callback_event": event,
        "status": word,
        "status_time": TIME,
    } | more


def click(uuid: str = UUID) -> dict[str, Any]:
    return {
        "message_uuid": uuid,
        "callback_event": "click",
        "channel_type": "SMS",
        "url": "https://revicom.ltd",
        "short_url": "a.bc/61EwQ",
        "click_time": TIME,
    }


def price(amount: float | str, time: str = TIME, uuid: str = UUID, parts: int = 1) -> dict[str, Any]:
    return {
        "message_uuid": uuid,
        "callback_event": "price",
        "channel_type": "SMS",
        "parts": parts,
        "price": amount,
        "currency": "EUR",
        "price_time": time,
    }


SENT, DELIVERED = status("sent", "sent"), status("delivered", "delivered")
READ, FAILED = status("read", "read"), status("delivered", "undelivered", error_code=508)


@pytest.fixture
async def desks(tmp_path: Path) -> AsyncIterator[Any]:
    """As many fresh desks as a test wants."""
    opened: list[Desk] = []

    async def make(steps: int = 1) -> Desk:
        folder = tmp_path / str(len(opened))
        folder.mkdir()
        opened.append(await open_desk(folder, steps))
        await opened[-1].add_contact()
        return opened[-1]

    yield make
    for each in opened:
        await each.store.close()


async def open_items(desk: Desk) -> list[ReviewItem]:
    return await desk.store.read(lambda tx: list_reviews(tx, 2**62, 100))


async def test_no_order_and_no_moment_of_arrival_changes_the_statuses(desks: Any) -> None:
    """Every order of four elements, with the send answer at every place among them, ends in the same statuses."""
    history = [SENT, DELIVERED, READ, click()]
    desk = await desks()
    for number, order in enumerate(itertools.permutations([*history, None])):
        uuid = f"063464ec-a34f-4558-90c5-{number:012}"
        message_id = await desk.accept()
        for element in order:
            if element is None:
                await desk.submit(uuid)
            else:
                await desk.receive({**element, "message_uuid": uuid})
        owed = await desk.owed(message_id)
        assert set(owed) - {"accepted"} == {"delivered", "opened", "clicked"}, order
        assert owed.index("delivered") < min(owed.index("opened"), owed.index("clicked"))
        assert (await desk.show(message_id)).state == "read"


async def test_repeats_change_nothing(desk: Desk) -> None:
    """The same element in other batches, or the same batch again, reports nothing and adds no step."""
    message_id = await desk.accept()
    await desk.submit(UUID)
    await desk.receive(SENT, DELIVERED)
    first = await desk.show(message_id)
    await desk.receive(SENT, DELIVERED)
    await desk.receive(DELIVERED, SENT, DELIVERED)
    again = await desk.show(message_id)
    assert again.timeline == first.timeline
    assert await desk.owed(message_id) == ["accepted", "delivered"]


async def test_the_error_code_is_kept_with_its_text(desk: Desk) -> None:
    """undelivered ends as failed, and the timeline says why in words."""
    message_id = await desk.accept()
    await desk.submit(UUID)
    await desk.receive(FAILED)
    shown = await desk.show(message_id)
    assert (shown.state, shown.error_code) == ("failed", "508")
    assert shown.error_text is not None
    assert "absent subscriber" in shown.error_text
    assert await desk.owed(message_id) == ["failed"]


async def test_positive_evidence_wins(desk: Desk) -> None:
    """delivered after failed is reported; a negative after delivered is kept and not reported."""
    message_id = await desk.accept()
    await desk.submit(UUID)
    await desk.receive(FAILED)
    await desk.receive(DELIVERED)
    await desk.receive(status("delivered", "unsent"))
    assert await desk.owed(message_id) == ["failed", "delivered"]
    assert (await desk.show(message_id)).state == "delivered"


async def test_prices_are_exact_and_the_newest_counts(desk: Desk) -> None:
    """No floating point, no order: the price with the newest price_time is the price, and Smartico hears nothing."""
    message_id = await desk.accept()
    await desk.submit(UUID)
    await desk.receive(price(0.30000000000000004, "2026-11-21T10:00:02Z", parts=2))
    await desk.receive(price(0.1, "2026-11-21T10:00:01Z"))
    shown = await desk.show(message_id)
    assert (shown.price, shown.parts, shown.currency) == ("0.30000000000000004", 2, "EUR")
    assert await desk.owed(message_id) == []


async def test_a_price_that_is_no_number_goes_to_review_alone(desk: Desk) -> None:
    """It harms neither the message nor the other elements of its batch."""
    message_id = await desk.accept()
    await desk.submit(UUID)
    await desk.receive(price("much"), DELIVERED)
    assert await desk.owed(message_id) == ["delivered"]
    (item,) = await open_items(desk)
    assert (item.kind, item.count) == ("malformed", 1)


@pytest.mark.parametrize("extra", [{}, {"special": [{"specialContent": {"text": "Jane Roe"}}]}])
async def test_a_long_sample_shows_nothing_that_a_person_wrote(desk: Desk, extra: dict[str, Any]) -> None:
    """An element that is longer than a sample, and so cannot be read as JSON any more, is without its texts, too."""
    text = "My name is Jane Roe, of 5 Elm Street. " + "x" * 3000
    item = {"destination": PHONE, "content": text}
    await desk.receive(
        {"message_uuid": 7, "callback_event": "inbound_sent", "item": item, **extra, "more": "y" * 3000}
    )
    (found,) = await open_items(desk)
    shown = review_json(found).sample
    assert "Jane Roe" not in shown
    assert "Elm Street" not in shown
    assert "inbound_sent" in shown
    assert "Jane Roe" not in found.sample


async def test_the_steps_of_a_cascade_belong_to_one_message(desks: Any) -> None:
    """A failed first step is held back until the second one ends; the cost is the sum over the steps."""
    first = {"cascade_message_uuid": UUID, "cascade_step": 1}
    second = {"cascade_message_uuid": UUID, "cascade_step": 2}
    failed1, failed2 = FAILED | first, status("delivered", "undelivered", STEP2) | second
    delivered2 = status("delivered", "delivered", STEP2) | second
    for ending, expected in ((delivered2, {"delivered"}), (failed2, {"failed"})):
        for order in itertools.permutations(
            [failed1, ending, price(0.1) | first, price(0.2, uuid=STEP2) | second]
        ):
            desk = await desks(steps=2)
            message_id = await desk.accept()
            await desk.submit(UUID)
            for element in order:
                await desk.receive(element)
            assert set(await desk.owed(message_id)) == expected, order
            assert (await desk.show(message_id)).price == "0.3"


async def test_a_held_negative_is_not_reported(desks: Any) -> None:
    """While a later step may still succeed, nothing is said."""
    desk = await desks(steps=2)
    message_id = await desk.accept()
    await desk.submit(UUID)
    await desk.receive(FAILED | {"cascade_message_uuid": UUID, "cascade_step": 1})
    assert await desk.owed(message_id) == []
    assert (await desk.show(message_id)).state == "submitted"


async def test_orphans_show_after_a_quarter_of_an_hour_and_can_still_be_adopted(desk: Desk) -> None:
    """Not before 15 minutes; and when the message becomes known, the review item is resolved by itself."""
    message_id = await desk.accept()
    await desk.receive(DELIVERED)
    desk.now += callbacks.ORPHAN_AFTER_MS - 1
    await callbacks.review_old_orphans(desk.store, desk.now)
    assert await open_items(desk) == []
    desk.now += 1
    await callbacks.review_old_orphans(desk.store, desk.now)
    assert [item.kind for item in await open_items(desk)] == ["orphan"]
    await desk.submit(UUID)
    assert await desk.owed(message_id) == ["delivered"]
    assert await open_items(desk) == []


async def test_one_review_item_a_code_however_many_elements(desk: Desk) -> None:
    """A hundred elements with a new code are one line with a count; a replay leaves them while they are unmapped."""
    await desk.accept()
    await desk.submit(UUID)
    for second in range(0, 100, 10):
        times = [f"2026-11-21T10:00:{each:02}.{second:03}Z" for each in range(10)]
        await desk.receive(*(status("delivered", "teleported") | {"status_time": time} for time in times))
    (item,) = await open_items(desk)
    assert (item.kind, item.cause, item.count) == ("unmapped", "delivered/teleported", 100)
    replayed = await review.replay(
        desk.store, desk.rules, item, Actor("alice", "try"), desk.now, resend=False
    )
    assert (replayed.matched, replayed.replayed) == (100, 0)
    assert sum(each.count for each in await open_items(desk)) == 100


async def test_a_replay_after_a_mended_table_applies_what_was_kept(desk: Desk) -> None:
    """The same flow runs again: with a row for the code, the element counts and the item is resolved."""
    message_id = await desk.accept()
    await desk.submit(UUID)
    await desk.receive(status("delivered", "teleported"))
    (item,) = await open_items(desk)
    table = desk.rules.mappings["revicom"]
    rows = {**table.rows, ("delivered", "teleported"): table.rows["delivered", "delivered"]}
    mended = type(table)(rows, table.error_codes)
    rules = type(desk.rules)(
        **{name: getattr(desk.rules, name) for name in desk.rules.__struct_fields__}
        | {"mappings": {"revicom": mended}}
    )
    replayed = await review.replay(desk.store, rules, item, Actor("alice", "new row"), desk.now, resend=False)
    assert replayed.replayed == 1
    assert await desk.owed(message_id) == ["delivered"]
    assert await open_items(desk) == []


async def test_a_dismissed_element_does_not_come_back(desk: Desk) -> None:
    """The provider repeats for a day; what a person has dismissed stays dismissed."""
    await desk.accept()
    await desk.submit(UUID)
    await desk.receive(status("delivered", "teleported"))
    (item,) = await open_items(desk)
    assert await review.dismiss(desk.store, item, Actor("alice", "known nonsense"), desk.now)
    await desk.receive(status("delivered", "teleported"), SENT)
    assert await open_items(desk) == []


async def test_a_stop_in_the_name_of_several_contacts(desk: Desk) -> None:
    """An opt-out closes the channel for every contact with that number, and only that channel."""
    await desk.add_contact("twin")
    message_id = await desk.accept()
    await desk.submit(UUID)
    item = {"destination": PHONE.removeprefix("+"), "content": "Stop, please", "channelType": "SMS"}
    await desk.receive(
        {
            "message_uuid": STEP2,
            "callback_event": "inbound_sent",
            "channel_type": "SMS",
            "status": "inbound_sent",
            "status_time": TIME,
            "item": item,
        }
    )
    assert await desk.owed(message_id) == ["unsubscribed"]
    for user in ("player", "twin"):
        known = await desk.contact(user)
        assert [each.channel for each in known.opt_outs] == ["SMS"]
        assert known.opt_outs[0].reason == "the person wrote STOP"
