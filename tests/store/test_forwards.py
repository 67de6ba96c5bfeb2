"""The outbox of what is passed on: of one key one after the other, whatever dies, returns or comes at the same time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.store import forwards
from bridge.store.forwards import DueForward, Settlement
from bridge.store.tx import Store

if TYPE_CHECKING:
    from tests.store.conftest import OpenShared, Select

NOW = 1_795_234_921_250
KIND = forwards.COMMUNICATION


async def add(store: Store, source: str, key: str = "u1", kind: str = KIND, now: int = NOW) -> None:
    payload = f'{{"of": "{source}"}}'.encode()
    await store.write(lambda tx: forwards.add_forward(tx, kind, source, key, payload, now))


async def due(store: Store, now: int = 10**15, limit: int = 100, **how: Any) -> list[DueForward]:
    """What is due, whoever has it."""
    return await store.read(lambda tx: forwards.due(tx, KIND, now, limit, **how))


async def sources(store: Store, **how: Any) -> list[str]:
    return sorted(each.source for each in await due(store, **how))


def settlement(of: DueForward, state: str, **values: Any) -> Settlement:
    usual: dict[str, Any] = {
        "id": of.id,
        "kind": of.kind,
        "source": of.source,
        "key": of.key,
        "state": state,
        "due_at": NOW + 5000 if state == "pending" else None,
        "attempts": 1,
        "retries": 0 if state == "done" else 1,
        "latency_ms": 12 if state == "done" else None,
        "last_error": None if state == "done" else "HTTP 503",
    }
    return Settlement(**{**usual, **values})


async def settle(store: Store, *settlements: Settlement, now: int = NOW) -> None:
    await store.write(lambda tx: forwards.settle(tx, settlements, now))


async def take(store: Store) -> DueForward:
    """The one that is due, claimed."""
    (found,) = await store.claim(lambda tx: forwards.due(tx, KIND, 10**15, 100))
    return found


async def test_what_is_due_carries_its_payload(store: Store) -> None:
    """The bytes come back as they went in, and stand in no repr."""
    await add(store, "s1")
    (found,) = await due(store)
    assert (found.payload, found.key, found.due_at, found.retries) == (b'{"of": "s1"}', "u1", NOW, 0)
    assert "s1" not in repr(found)


async def test_of_one_key_only_the_oldest_is_due(store: Store) -> None:
    """The others wait for it, one after the other; another key and another kind wait for nobody."""
    for source in ("s1", "s2", "s3"):
        await add(store, source)
    await add(store, "other", key="u2")
    await add(store, "in", kind=forwards.INBOUND)
    for expected in ("s1", "s2", "s3"):
        assert await sources(store) == sorted([expected, "other"])
        (first,) = [each for each in await due(store) if each.key == "u1"]
        await settle(store, settlement(first, "done"))
    assert await sources(store) == ["other"]


async def test_one_that_is_tried_again_is_waited_for(store: Store) -> None:
    """Until then nothing of its key is due, and what comes meanwhile waits behind it."""
    await add(store, "s1")
    await settle(store, settlement(await take(store), "pending"))
    await add(store, "s2")
    assert await sources(store, now=NOW + 4999) == []
    assert await store.read(lambda tx: forwards.next_due(tx, KIND, NOW)) == NOW + 5000
    (again,) = await due(store, now=NOW + 5000)
    assert (again.source, again.attempts, again.retries) == ("s1", 1, 1)


async def test_a_dead_one_blocks_nothing(store: Store) -> None:
    """The next one of its key goes; replayed, the dead one goes before what still waits, but not beside what goes."""
    for source in ("s1", "s2", "s3"):
        await add(store, source)
    first = await take(store)
    await settle(store, settlement(first, "dead"))
    assert await sources(store) == ["s2"]
    assert await store.write(lambda tx: forwards.revive(tx, first.id, NOW))
    assert await sources(store) == ["s2"]
    await settle(store, settlement(await take(store), "done"))
    assert await sources(store) == ["s1"]
    assert not await store.write(lambda tx: forwards.revive(tx, first.id, NOW))


async def test_of_one_that_is_done_nothing_personal_is_kept(store: Store, select: Select) -> None:
    """Its payload is emptied; a dead one keeps it, for a replay."""
    await add(store, "s1", key="u1")
    await settle(store, settlement(await take(store), "done"))
    await add(store, "s2", key="u2")
    await settle(store, settlement(await take(store), "dead"))
    kept = await select("SELECT source FROM forwards WHERE length(payload) > 0")
    assert kept == [("s2",)]


async def test_what_arrived_counts_though_it_was_given_up(store: Store) -> None:
    """One that was buried for its age while it was on its way is done once the receiver took it; no other way round."""
    await add(store, "s1")
    first = await take(store)
    await settle(store, settlement(first, "dead"))
    await settle(store, settlement(first, "done"))
    await settle(store, settlement(first, "dead"))
    await settle(store, settlement(first, "pending"))
    shown = await store.read(lambda tx: forwards.of_sources(tx, KIND, ["s1", "s2"]))
    assert {source: each.state for source, each in shown.items()} == {"s1": "done"}


async def test_what_is_under_way_is_not_due(store: Store) -> None:
    """The pump names it, and gets as many others as it asked for."""
    for number in range(4):
        await add(store, f"s{number}", key=f"u{number}")
    ids = [each.id for each in await due(store)]
    assert [each.id for each in await due(store, limit=2, under_way=frozenset(ids[:2]))] == ids[2:]


async def test_forgetting_a_key(store: Store) -> None:
    """Everything of it goes, whatever its state; others stay, and a late outcome touches nobody else's row."""
    await add(store, "s1")
    first = await take(store)
    await add(store, "s2")
    subjects = await store.write(lambda tx: forwards.forget(tx, KIND, "u1"))
    assert (len(subjects), forwards.read_subject(min(subjects))) == (2, first.id)
    await add(store, "s3", key="u3")
    await settle(store, settlement(first, "done"), settlement(first, "dead"))
    assert await sources(store) == ["s3"]


Step = tuple[str, str]  # what happens, and to which key


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["add", "add", "done", "dead", "pending", "revive", "forget"]),
            st.sampled_from("ab"),
        ),
        max_size=25,
    )
)
async def test_whatever_happens_one_of_each_key_is_due(store: Store, steps: list[Step]) -> None:
    """While something of a key is pending, exactly one of it is due, whatever was added, ended or revived before."""
    for number, (what, key) in enumerate(steps):
        await happens(store, number, what, key)
        rows = await store.read(
            lambda tx: tx.select("SELECT key, id, due_at FROM forwards WHERE state = 'pending'", ())
        )
        for each in {row[0] for row in rows}:
            assert len([row for row in rows if row[0] == each and row[2] is not None]) == 1
    for key in "ab":
        await store.write(lambda tx, key=key: forwards.forget(tx, KIND, key))  # type: ignore[misc]


async def happens(store: Store, number: int, what: str, key: str) -> None:
    if what == "add":
        await add(store, f"s{number}", key=key)
    elif what == "forget":
        await store.write(lambda tx: forwards.forget(tx, KIND, key))
    elif what == "revive":
        dead = await store.read(
            lambda tx: tx.select("SELECT id FROM forwards WHERE state = 'dead' AND key = ?", [key])
        )
        for (id_,) in dead:
            await store.write(lambda tx, id_=id_: forwards.revive(tx, id_, NOW))  # type: ignore[misc]
    else:
        found = await store.claim(lambda tx: forwards.due(tx, KIND, 10**15, 100))
        await settle(store, *(settlement(each, what) for each in found if each.key == key))
        await store.write(lambda tx: tx.run("give_back_forwards")) if store.lease_seconds else None


@pytest.mark.parametrize("engine", ["postgres"], indirect=True)
async def test_many_at_once_for_one_key(store: Store) -> None:
    """Twenty transactions beside each other, half of which settle: each goes, one at a time, and none is left over."""

    async def pass_on() -> int:
        done = 0
        while done < 20:
            found = await store.claim(lambda tx: forwards.due(tx, KIND, 10**15, 100))
            assert len(found) <= 1
            await settle(store, *(settlement(each, "done") for each in found))
            done += len(found)
        return done

    passing = asyncio.create_task(pass_on())
    await asyncio.gather(*(add(store, f"s{number}") for number in range(20)))
    async with asyncio.timeout(20):
        assert await passing == 20


async def test_a_claim_is_a_lease(open_shared: OpenShared) -> None:
    """What one instance has another one does not get, until the lease and the time for the request are over."""
    one, two = await open_shared(lease_seconds=0.2), await open_shared(lease_seconds=0.2)
    await add(one, "s1")

    async def claim(store: Store, longer: int = 0) -> list[str]:
        found = await store.claim(lambda tx: forwards.due(tx, KIND, 10**15, 100, longer=longer))
        return [each.source for each in found]

    assert await claim(one) == ["s1"]
    assert await claim(two) == []
    async with asyncio.timeout(5):
        while not (found := await claim(two, longer=60_000)):
            await asyncio.sleep(0.02)
    assert found == ["s1"]
    assert await claim(one) == []


async def test_a_late_outcome_does_not_postpone_what_another_instance_has(open_shared: OpenShared) -> None:
    """Only the owner of the lease says when it is tried again; a stop gives it back at once."""
    one, two = await open_shared(lease_seconds=60), await open_shared(lease_seconds=60)
    await add(one, "s1")
    late = await take(one)
    await one.write(lambda tx: tx.select("UPDATE forwards SET leased_until = 0", ()))
    await take(two)
    await settle(one, settlement(late, "pending"))
    assert [each.due_at for each in await due(two)] == []  # leased, still
    rows = await one.read(lambda tx: tx.select("SELECT due_at, attempts FROM forwards", ()))
    assert rows == [(NOW, 0)]
    await two.write(lambda tx: tx.run("give_back_forwards"))
    assert (await take(one)).source == "s1"
