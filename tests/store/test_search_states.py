"""Lists of one state, which walk along other tables than the messages: they give what a walk through all gives."""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

from bridge.core.model import MessageId, State
from bridge.store.search import MessageFilter, MessageRow, find_messages
from bridge.store.tx import Store, Tx

if TYPE_CHECKING:
    from tests.store.conftest import AddMessage, Happen, Select

NOW = 1_795_234_921_250
NOTED = "SELECT state, message_id, gateway FROM negative_ends ORDER BY message_id, state"


async def find(store: Store, **values: Any) -> list[MessageRow]:
    return await store.search(lambda tx: find_messages(tx, MessageFilter(**values)))


@pytest.fixture
async def crowd(store: Store, add_message: AddMessage, happen: Happen) -> list[MessageRow]:
    """Messages of every state in two gateways, three times, and some that came out of a state again."""
    ways = [(state,) for state in State] + [
        (State.FAILED, State.DELIVERED),
        (State.REJECTED, State.FAILED),
        (State.FAILED, State.REJECTED),
        (State.UNKNOWN, State.QUEUED),
    ]
    for number, (_, gateway, way) in enumerate(product(range(3), ("sms", "wa"), ways)):
        message_id = await add_message(at=NOW + number, gateway=gateway, user=f"user-{number % 5}")
        await happen(message_id, *(each for each in way if each is not State.QUEUED or len(way) > 1))
        if State.UNKNOWN in way:
            phase = "look_up_send" if way[-1] is State.UNKNOWN else "requeue_send"
            await store.write(partial(_move_send, phase=phase, message_id=message_id))
        elif way[-1] is not State.QUEUED:
            await store.write(partial(_leave, message_id=message_id))
    return await find(store)


async def _move_send(tx: Tx, phase: str, message_id: MessageId) -> None:
    await tx.run(phase, message_id=message_id, due_at=NOW, lookups=0, tries=0)


async def _leave(tx: Tx, message_id: MessageId) -> None:
    await tx.run("delete_send", message_id=message_id)


async def test_every_state_with_every_other_filter(store: Store, crowd: list[MessageRow]) -> None:
    """State, gateway, times, the place in the list and the user give, together, what the whole list has of them."""
    assert {row.state for row in crowd} == set(State)
    middle = crowd[len(crowd) // 2]
    filters: list[dict[str, Any]] = [
        {},
        {"gateway": "wa"},
        {"gateway": "none"},
        {"since": middle.created_at},
        {"until": middle.created_at},
        {"before": middle.id, "gateway": "sms"},
        {"ext_user_id": "user-1"},
        {"limit": 2},
    ]
    for state, chosen in product(State, filters):
        expected = [row for row in crowd if row.state == state and _fits(row, chosen)]
        assert await find(store, state=state, **chosen) == expected[: chosen.get("limit", 100)], (
            state,
            chosen,
        )


def _fits(row: MessageRow, chosen: dict[str, Any]) -> bool:
    return bool(
        row.gateway == chosen.get("gateway", row.gateway)
        and row.ext_user_id == chosen.get("ext_user_id", row.ext_user_id)
        and row.created_at >= chosen.get("since", 0)
        and row.created_at < chosen.get("until", NOW * 2)
        and row.id < chosen.get("before", b"\xff")
    )


async def test_an_unknown_state_is_an_empty_list(store: Store, crowd: list[MessageRow]) -> None:
    """A word that is no state finds nothing, and is no error."""
    assert crowd
    assert await find(store, state="gone") == []


async def test_negative_ends_are_noted(
    store: Store, add_message: AddMessage, happen: Happen, select: Select
) -> None:
    """Whatever fails or is rejected is noted once, stays so when it is delivered later, and goes with its message."""
    failed, rejected, fine = [await add_message(at=NOW) for _ in range(3)]
    await happen(failed, State.FAILED, State.FAILED, State.DELIVERED)
    await happen(rejected, State.REJECTED)
    await happen(fine, State.SENT, State.DELIVERED)
    assert await select(NOTED) == [("failed", failed, "sms"), ("rejected", rejected, "sms")]

    async def prune(tx: Tx) -> None:
        await tx.any_of("prune_messages", [failed])

    await store.write(prune)
    assert await select(NOTED) == [("rejected", rejected, "sms")]
