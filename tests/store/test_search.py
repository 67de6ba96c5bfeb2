"""Searches: a message is found by everything that names it, a report by what is known of it, page by page."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from bridge.core.model import Mark, MessageId, State, Status, id_tag, id_text, new_id
from bridge.store import messages, reports
from bridge.store.reports import Settlement
from bridge.store.search import (
    MessageFilter,
    ReportFilter,
    find_messages,
    find_report_keys,
    get_message,
    list_reports,
)
from bridge.store.tx import Store, Tx

if TYPE_CHECKING:
    from tests.store.conftest import AddMessage, Happen

NOW = 1_795_234_921_250
PHONE = "+447700900123"


async def find(store: Store, text: str = "", **values: Any) -> list[MessageId]:
    chosen = MessageFilter(text, **values)
    return [row.id for row in await store.read(lambda tx: find_messages(tx, chosen))]


async def listed(store: Store, **values: Any) -> list[tuple[MessageId, str]]:
    chosen = ReportFilter(**values)
    return [(row.message_id, row.status) for row in await store.read(lambda tx: list_reports(tx, chosen))]


# --- messages ---


async def test_by_every_id(store: Store, add_message: AddMessage) -> None:
    """A message is found by its own id in either form, Smartico's, the user's and each of the provider's."""
    wanted = await add_message(uid="im-77", user="jane")
    await add_message(uid="im-78", user="john", phone="+447700900124")

    async def job(tx: Tx) -> None:
        (message,) = (await messages.load_messages(tx, [wanted])).values()
        for provider_id in ("0a1b-first", "0a1b-second"):
            await messages.add_provider_id(tx, message, provider_id)

    await store.write(job)
    texts = [
        id_text(wanted),
        id_text(wanted).upper(),
        id_tag(wanted),
        "im-77",
        "jane",
        "0A1B-First",
        "0a1b-second",
    ]
    for text in texts:
        assert await find(store, text) == [wanted], text
        assert await find(store, f"  {text} ") == [wanted], text
    for text in ("im-7", "Jane", "0a1b", "nobody", id_text(new_id(NOW, 2**70)), "%", "_", "'", "\x00"):
        assert await find(store, text) == [], text


async def test_by_phone_and_email(store: Store, add_message: AddMessage) -> None:
    """A number is found however it is written, an address too; a part of one is not found."""
    by_phone = await add_message(user="a")
    by_email = await add_message(user="b", phone="jane@example.com")
    for text in (PHONE, "+44 7700 900123", "447700900123", "+44 (0)7700-900123"):
        assert await find(store, text) == [by_phone], text
    assert await find(store, "07700 900123", default_region="GB") == [by_phone]
    assert await find(store, "jane@EXAMPLE.com") == [by_email]
    for text in ("07700 900123", "900123", "0123", "jane", "example.com"):
        assert await find(store, text) == [], text


async def test_a_message_that_is_found_twice(store: Store, add_message: AddMessage) -> None:
    """A text that names one message in two ways gives it once."""
    message_id = await add_message(uid="77", user="77")
    assert await find(store, "77") == [message_id]


async def test_filters(store: Store, add_message: AddMessage, happen: Happen) -> None:
    """Gateway, state and time narrow a search down, each by itself and together; `until` is not included."""
    first = await add_message(at=NOW, gateway="sms", user="u")
    second = await add_message(at=NOW + 10, gateway="whatsapp", user="u")
    third = await add_message(at=NOW + 20, gateway="sms", user="v")
    await happen(third, State.DELIVERED)
    assert await find(store) == [third, second, first]
    assert await find(store, gateway="sms") == [third, first]
    assert await find(store, state="queued") == [second, first]
    assert await find(store, since=NOW + 10) == [third, second]
    assert await find(store, until=NOW + 10) == [first]
    assert await find(store, since=NOW + 10, until=NOW + 11) == [second]
    assert await find(store, "u", gateway="sms", state="queued") == [first]
    assert await find(store, "u", state="delivered") == []


async def test_why_messages_failed(store: Store, add_message: AddMessage, happen: Happen) -> None:
    """Failed messages of one reason, channel and provider; others of the same reason are left out."""

    async def note(tx: Tx, message_id: MessageId, code: str) -> None:
        await tx.select("UPDATE messages SET error_code = ? WHERE id = ? RETURNING 1", [code, message_id])

    ids = [
        await add_message(channel=channel, provider=provider)
        for channel, provider in (("SMS", "revicom"), ("WHATSAPP", "revicom"), ("SMS", "other"))
    ]
    for message_id in ids:
        await happen(message_id, State.FAILED)
        await store.write(partial(note, message_id=message_id, code="508"))
    assert await find(store, state="failed", error_code="508") == ids[::-1]
    assert await find(store, state="failed", error_code="508", channel="SMS") == [ids[2], ids[0]]
    assert await find(store, state="failed", channel="SMS", provider="revicom") == [ids[0]]
    assert await find(store, state="failed", error_code="509") == []


async def test_pages_of_messages(store: Store, add_message: AddMessage) -> None:
    """Going on before the last of a page visits every message once, also those of one millisecond."""
    ids = [await add_message(at=NOW + number // 4) for number in range(10)]
    found: list[MessageId] = []
    while page := await find(store, before=found[-1] if found else None, limit=3):
        found += page
    assert found == sorted(ids, reverse=True)


async def test_a_row_shows_the_mask(store: Store, add_message: AddMessage) -> None:
    """What is found holds a masked address and no clear one."""
    message_id = await add_message()
    row = await store.read(lambda tx: get_message(tx, message_id))
    assert row is not None
    assert row.address_masked == "+44•••••0123"
    assert PHONE[3:] not in repr(row)
    assert await store.read(lambda tx: get_message(tx, new_id(NOW, 2**70))) is None


# --- reports ---


async def settle(store: Store, message_id: MessageId, status: Status, state: str, error: str | None) -> None:
    what = Settlement(message_id, status, state, None, 1, 0, 0, 0, None, error)
    await store.write(partial(reports.settle, settlements=[what], now=NOW))


async def test_reports_by_what_is_known(store: Store, add_message: AddMessage, happen: Happen) -> None:
    """State, gateway, time and part of the last error narrow the list down; the newest messages come first."""
    first = await add_message(gateway="sms")
    second = await add_message(gateway="whatsapp")
    await happen(first, State.SENT, State.DELIVERED, at=NOW)
    await happen(second, State.REJECTED, at=NOW + 50)
    await settle(store, first, Status.ACCEPTED, "dead", "HTTP 404: Not found")
    everything = [(second, "rejected"), (first, "delivered"), (first, "accepted")]
    assert await listed(store) == everything
    assert await listed(store, state="dead") == [(first, "accepted")]
    assert await listed(store, state="pending") == everything[:2]
    assert await listed(store, gateway="sms") == everything[1:]
    assert await listed(store, since=NOW + 50) == everything[:1]
    assert await listed(store, error="not FOUND") == [(first, "accepted")]
    assert await listed(store, error="%") == []
    assert await listed(store, error="404", gateway="whatsapp") == []


async def test_pages_of_reports(store: Store, add_message: AddMessage, happen: Happen) -> None:
    """Going on before the last of a page visits every report once, also in the middle of a message."""
    for _ in range(3):
        await happen(await add_message(), State.SENT, State.READ, Mark.CLICKED)
    pages: list[tuple[MessageId, int]] = []
    before = None
    while rows := await store.read(partial(list_reports, chosen=ReportFilter(before=before, limit=5))):
        pages += [(row.message_id, row.seq) for row in rows]
        before = pages[-1]
    assert len(pages) == len(set(pages)) == 12
    assert pages == sorted(pages, reverse=True)


async def test_what_a_replay_finds(store: Store, add_message: AddMessage, happen: Happen) -> None:
    """Only dead reports are replayed, the oldest first, however many there are and whatever the limit is."""
    ids = [await add_message() for _ in range(3)]
    for message_id in ids:
        await happen(message_id, State.SENT, State.DELIVERED, State.READ)
        await settle(store, message_id, Status.ACCEPTED, "dead", "503")
        await settle(store, message_id, Status.DELIVERED, "dead", "404")

    async def keys(**values: Any) -> list[tuple[MessageId, Status]]:
        chosen = ReportFilter(**values)
        return await store.read(lambda tx: find_report_keys(tx, chosen))

    dead = [(message_id, status) for message_id in ids for status in (Status.ACCEPTED, Status.DELIVERED)]
    assert await keys(limit=1) == dead
    assert await keys(error="404") == dead[1::2]
    asked = [(ids[2], Status.OPENED), (ids[1], Status.DELIVERED), (ids[0], Status.FAILED)]
    assert await keys(keys=asked) == [(ids[1], Status.DELIVERED)]
    assert await keys(keys=[]) == []
