"""The rows of messages whose end is overdue: found in the order of time, taken on, dropped."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from bridge.core.lifecycle import Happening
from bridge.core.model import MessageId, State, first_id
from bridge.store import messages, silence
from bridge.store.silence import Looked, Silent
from bridge.store.tx import Store, Tx
from tests.store.conftest import NOW, AddMessage, Happen, OpenShared

HOUR = 3_600_000
AFTER = {"revicom": 30 * HOUR}


async def look(store: Store, after: MessageId = b"", before: int = NOW + HOUR, limit: int = 100) -> Looked:
    return await store.search(lambda tx: silence.look(tx, after, first_id(before), limit))


async def watch(store: Store, *ids: MessageId, news_at: int = NOW) -> None:
    found = [(each, "revicom", news_at) for each in ids]
    await store.write(lambda tx: silence.watch(tx, found, AFTER))


async def claim(store: Store, now: int, limit: int = 100) -> tuple[list[Silent], int]:
    return await store.write(lambda tx: silence.claim(tx, "revicom", AFTER["revicom"], now, limit))


async def make(add_message: AddMessage, happen: Happen, *states: Happening) -> list[MessageId]:
    """Messages, a second after each other, that came to these states."""
    made = []
    for number, state in enumerate(states):
        made.append(await add_message(at=NOW + 1000 * number))
        await happen(made[-1], state, at=NOW + 1000 * number)
    return made


async def test_only_what_the_provider_took_and_did_not_end_is_found(
    store: Store, add_message: AddMessage, happen: Happen
) -> None:
    """Submitted and sent ones, with their provider and last news, and the place behind the last one."""
    ids = await make(
        add_message,
        happen,
        State.SUBMITTED,
        State.DELIVERED,
        State.SENT,
        State.FAILED,
        State.REJECTED,
        State.UNKNOWN,
    )
    looked = await look(store)
    assert looked == Looked([(ids[0], "revicom", NOW), (ids[2], "revicom", NOW + 2000)], ids[-1], 6)
    assert (await look(store, after=ids[0], limit=2)).place == ids[2]
    assert await look(store, after=ids[-1]) == Looked([], ids[-1], 0)
    assert (await look(store, before=NOW + 2000)).count == 2


async def test_a_message_is_due_when_its_news_is_old(
    store: Store, add_message: AddMessage, happen: Happen
) -> None:
    """Not before; once taken on it is not due again for a while, and comes again should nothing be stored."""
    (one,) = await make(add_message, happen, State.SUBMITTED)
    await watch(store, one)
    await watch(store, one, news_at=NOW + 5)
    due_at = NOW + 30 * HOUR
    assert await store.read(lambda tx: silence.next_due(tx, "revicom")) == due_at
    assert await claim(store, due_at - 1) == ([], 0)
    assert await claim(store, due_at) == ([Silent(one, NOW, 0)], 1)
    assert await claim(store, due_at + 1000) == ([], 0)
    assert await claim(store, due_at + HOUR) == ([Silent(one, NOW, 0)], 1)


async def test_news_and_ends_meanwhile(store: Store, add_message: AddMessage, happen: Happen) -> None:
    """What ended is forgotten, and what was heard of waits as long again."""
    ended, heard, gone = await make(add_message, happen, State.SENT, State.SUBMITTED, State.SENT)
    await watch(store, ended, heard, gone)
    await happen(ended, State.DELIVERED, at=NOW + HOUR)
    await happen(heard, State.SENT, at=NOW + 20 * HOUR)
    await store.write(lambda tx: tx.any_of("prune_messages", [gone]))
    assert await claim(store, NOW + 30 * HOUR) == ([], 3)
    assert await claim(store, NOW + 49 * HOUR) == ([], 0)
    assert await claim(store, NOW + 50 * HOUR) == ([Silent(heard, NOW + 20 * HOUR, 0)], 1)


async def test_a_question_without_an_answer_counts(
    store: Store, add_message: AddMessage, happen: Happen
) -> None:
    """It is due at the time that was said, and remembers how often it was asked; a dropped one is gone."""
    (one,) = await make(add_message, happen, State.SUBMITTED)
    await watch(store, one)
    ((silent,), _) = await claim(store, NOW + 30 * HOUR)
    await store.write(lambda tx: silence.postpone(tx, silent, NOW + 31 * HOUR))
    assert await claim(store, NOW + 31 * HOUR) == ([Silent(one, NOW, 1)], 1)
    assert await store.write(lambda tx: silence.known(tx, [one, b"x"])) == {one}
    await store.write(lambda tx: silence.drop(tx, [one]))
    assert await store.write(lambda tx: silence.known(tx, [one])) == set()


async def test_what_was_under_review_is_not_watched_again(
    store: Store, add_message: AddMessage, happen: Happen
) -> None:
    """A message whose silence a person has seen is left alone, dismissed or not."""
    (one,) = await make(add_message, happen, State.SUBMITTED)
    await store.write(lambda tx: messages.add_step(tx, one, NOW, "silent", "no final callback"))
    await watch(store, one)
    assert await store.read(lambda tx: silence.next_due(tx, "revicom")) is None


async def test_the_place_is_kept(store: Store) -> None:
    """None at first, then what was said last."""
    assert await store.read(silence.place) is None
    for each in (b"a" * 16, b"b" * 16):
        await store.write(partial(silence.keep_place, at=each))
        assert await store.read(silence.place) == each


async def test_ids_of_cascades(store: Store, add_message: AddMessage, happen: Happen) -> None:
    """Every id under which this provider knows a message, with its step."""
    (one,) = await make(add_message, happen, State.SUBMITTED)
    message = await happen(one)

    async def job(tx: Tx) -> None:
        await messages.add_provider_ids(tx, "revicom", [(one, "root")])
        await messages.add_provider_id(tx, message, "second", 2)
        await messages.add_provider_ids(tx, "another", [(one, "other")])

    await store.write(job)
    found = await store.read(lambda tx: silence.ids_at_provider(tx, "revicom", [one]))
    assert found == {"root": (one, None), "second": (one, 2)}


async def test_what_another_instance_takes_on_is_left_to_it(open_shared: OpenShared) -> None:
    """While one is about to take a message on, another one neither waits for it nor gets it."""
    first, second = await open_shared(), await open_shared()
    ids: Sequence[MessageId] = [bytes([number]) * 16 for number in (1, 2)]

    async def fill(tx: Tx) -> None:
        await tx.select(
            "INSERT INTO messages (id, gateway, type, channel, provider, smartico_uid, ext_user_id, sender,"
            " callback_url, lane, state, created_at, updated_at)"
            " SELECT k, '', '', '', 'revicom', encode(k, 'hex'), '', '', '', '', 'sent', 0, 0"
            " FROM (VALUES (?::bytea), (?::bytea)) AS keys (k)",
            ids,
        )
        await tx.run_many(
            "add_silent",
            [{"message_id": each, "provider": "revicom", "due_at": 1, "news_at": 0} for each in ids],
        )

    await first.write(fill)

    async def both(tx: Tx) -> tuple[list[Silent], list[Silent]]:
        mine, _ = await silence.claim(tx, "revicom", 1, NOW, 1)
        others, _ = await claim(second, NOW)
        return mine, others

    mine, others = await first.write(both)
    assert [each.message_id for each in (*mine, *others)] == ids
    assert await claim(second, NOW) == ([], 0)
