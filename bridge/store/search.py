"""Searches for people and scripts: messages by any id, reports by state, the timeline of one message.

SQL is put together here and in `stats.py` alone; every value is bound. Newest first, keyset paging (`before`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from bridge.core.cause import cause_of, pieces_of
from bridge.core.model import MessageId, Millis, State, Status, first_id, id_from_text
from bridge.pii import normalise_email, normalise_phone
from bridge.store.tx import Row, Tx

__all__ = [
    "CommunicationFilter",
    "CommunicationRow",
    "MessageFilter",
    "MessageRow",
    "ReportCause",
    "ReportFilter",
    "ReportRow",
    "addresses_in",
    "find_communications",
    "find_messages",
    "find_report_keys",
    "list_reports",
    "report_causes",
]


class MessageRow(Struct, frozen=True):
    """A message as people see it."""

    id: MessageId
    gateway: str
    type: str
    channel: str
    state: str
    marks: str
    smartico_uid: str
    ext_user_id: str
    provider: str
    provider_message_id: str | None
    sender: str
    parts: int | None
    price: str | None
    currency: str | None
    error_code: str | None
    error_text: str | None
    created_at: Millis
    updated_at: Millis
    submitted_at: Millis | None
    delivered_at: Millis | None
    address_masked: str | None


class MessageFilter(Struct, frozen=True):
    """What to look for. `text` is any id, a phone number or an e-mail address.

    `channel`, `provider` and `error_code` are for failed and rejected messages: among all others they are slow.
    """

    text: str = ""
    gateway: str = ""
    state: str = ""
    since: Millis | None = None
    until: Millis | None = None
    before: MessageId | None = None
    limit: int = 100
    default_region: str = ""
    ext_user_id: str = ""
    address_hashes: Sequence[bytes] = ()
    channel: str = ""
    provider: str = ""
    error_code: str = ""


class CommunicationRow(Struct, frozen=True):
    """An asset notification as people see it; `view_url` and `body` (a JSON object) are opened."""

    id: bytes
    login: str
    channel: str
    campaign_name: str
    sent_at: Millis | None
    received_at: Millis
    view_url: str
    body: bytes
    message_id: MessageId | None

    def __repr__(self) -> str:
        return f"<CommunicationRow {self.id.hex()}>"


class CommunicationFilter(Struct, frozen=True):
    """What to look for. `login` is exact; `text` is a login, an ext_message_id, or what a campaign's name begins with.

    `since` and `until` are about the arrival.
    """

    text: str = ""
    channel: str = ""
    since: Millis | None = None
    until: Millis | None = None
    before: bytes | None = None
    limit: int = 100
    login: str = ""


class ReportRow(Struct, frozen=True):
    """A status report as people see it."""

    message_id: MessageId
    status: Status
    seq: int
    state: str
    gateway: str
    attempts: int
    due_at: Millis | None
    owed_at: Millis
    finished_at: Millis | None
    last_error: str | None


class ReportFilter(Struct, frozen=True):
    """What to look for; `error` is part of the last error, `cause` what `report_causes` made of it (`lane` is exact).

    `keys` names single reports instead.
    """

    state: str = ""
    since: Millis | None = None
    gateway: str = ""
    error: str = ""
    before: tuple[MessageId, int] | None = None
    limit: int | None = 100
    keys: Sequence[tuple[MessageId, Status]] | None = None
    cause: str = ""
    lane: str = ""


class ReportCause(Struct, frozen=True):
    """The reports of one lane (gateway@host) that failed for one cause. `sample` is the last error of one of them."""

    cause: str
    lane: str
    count: int
    first_owed_at: Millis
    last_owed_at: Millis
    sample: str


_MESSAGE_COLUMNS = ", ".join(f"m.{name}" for name in MessageRow.__struct_fields__)
_REPORT_COLUMNS = ", ".join(
    f"{'m' if name == 'gateway' else 'r'}.{name}" for name in ReportRow.__struct_fields__
)


_LAST_SIGN = "\U0010ffff"  # sorts behind every other
_PAGE = 1000  # reports that are looked at together for those of one cause


class _Where:
    """Conditions, and the values they bind."""

    def __init__(self) -> None:
        self._conditions: list[str] = []
        self.values: list[Any] = []

    def add(self, condition: str, *values: Any) -> None:
        self._conditions.append(condition)
        self.values += values

    def add_if(self, condition: str, value: Any) -> None:
        if value not in (None, ""):
            self.add(condition, value)

    def __str__(self) -> str:
        return f"WHERE {' AND '.join(self._conditions)}" if self._conditions else ""


async def find_messages(tx: Tx, chosen: MessageFilter) -> list[MessageRow]:
    """The messages that fit, newest first."""
    where = _Where()
    if chosen.text:
        await _add_text(tx, where, chosen.text.strip(), chosen.default_region)
    where.add_if("m.ext_user_id = ?", chosen.ext_user_id)
    if chosen.address_hashes:
        places = ", ".join("?" * len(chosen.address_hashes))
        where.add(f"m.address_hash IN ({places})", *chosen.address_hashes)
    source, key, gateway = _source(chosen, where)
    where.add_if(f"{gateway} = ?", chosen.gateway)
    where.add_if("m.state = ?", chosen.state)
    where.add_if("m.channel = ?", chosen.channel)
    where.add_if("m.provider = ?", chosen.provider)
    where.add_if("m.error_code = ?", chosen.error_code)
    # An id begins with its time, so that times are bounds of the same index that orders the list.
    where.add_if(f"{key} >= ?", None if chosen.since is None else first_id(chosen.since))
    where.add_if(f"{key} < ?", None if chosen.until is None else first_id(chosen.until))
    where.add_if(f"{key} < ?", chosen.before)
    rows = await tx.select(
        f"SELECT {_MESSAGE_COLUMNS} FROM {source} {where} ORDER BY {key} DESC LIMIT ?",
        [*where.values, chosen.limit],
    )
    return [MessageRow(*row) for row in rows]


def _source(chosen: MessageFilter, where: _Where) -> tuple[str, str, str]:
    """Where a list walks, newest first: the tables, and the columns in them of the id and the gateway.

    Few messages among very many are walked through where nothing else is: those in the outbox, and those that ended
    negatively. (CROSS JOIN: SQLite begins with the first table.)
    """
    if not (chosen.text or chosen.ext_user_id or chosen.address_hashes):
        match chosen.state:
            case State.QUEUED | State.UNKNOWN:
                where.add("m.id = s.message_id")
                if chosen.state == State.UNKNOWN:
                    where.add("s.phase <> 'queued'")  # it was handed over, or is being asked for
                return "sends AS s CROSS JOIN messages AS m", "s.message_id", "s.gateway"
            case State.FAILED | State.REJECTED:
                where.add("m.id = n.message_id")
                where.add("n.state = ?", chosen.state)
                return "negative_ends AS n CROSS JOIN messages AS m", "n.message_id", "n.gateway"
            case _:
                pass
    return "messages AS m", "m.id", "m.gateway"


async def get_message(tx: Tx, message_id: MessageId) -> MessageRow | None:
    rows = await tx.select(f"SELECT {_MESSAGE_COLUMNS} FROM messages AS m WHERE m.id = ?", [message_id])
    return MessageRow(*rows[0]) if rows else None


async def _add_text(tx: Tx, where: _Where, text: str, default_region: str) -> None:
    """Every way in which a text can name messages, each answered by an index."""
    ids = [
        "SELECT id FROM messages WHERE ext_user_id = ?",
        "SELECT message_id FROM provider_messages WHERE provider_message_id = ?",
        "SELECT id FROM messages WHERE smartico_uid = ?",
    ]
    values: list[Any] = [text, text.lower(), text]
    message_id = id_from_text(text)
    if message_id is not None:
        ids.append("SELECT id FROM messages WHERE id = ?")
        values.append(message_id)
    for address in addresses_in(text, default_region):
        ids.append("SELECT id FROM messages WHERE address_hash = ?")
        values.append(tx.vault.hash(address))
    where.add(f"m.id IN ({' UNION ALL '.join(ids)})", *values)


def addresses_in(text: str, default_region: str) -> list[str]:
    """What a text may be as an address. Digits without plus are tried as an international number, too."""
    found = {normalise_email(text) if "@" in text else None, normalise_phone(text, default_region)}
    if text.isdigit():
        found.add(normalise_phone(f"+{text}"))
    return sorted(address for address in found if address)


async def find_communications(tx: Tx, chosen: CommunicationFilter) -> list[CommunicationRow]:
    """The asset notifications that fit, newest first."""
    where = _Where()
    text = chosen.text.strip()
    if text:
        ids = [
            "SELECT id FROM communications WHERE login = ?",
            "SELECT id FROM communications WHERE campaign_name >= ? AND campaign_name < ?",
        ]
        values: list[Any] = [text, text, text + _LAST_SIGN]
        message_id = id_from_text(text)
        if message_id is not None:
            ids.append("SELECT id FROM communications WHERE message_id = ?")
            values.append(message_id)
        where.add(f"id IN ({' UNION ALL '.join(ids)})", *values)
    where.add_if("login = ?", chosen.login)
    where.add_if("lower(channel) = lower(?)", chosen.channel)
    where.add_if("id >= ?", None if chosen.since is None else first_id(chosen.since))
    where.add_if("id < ?", None if chosen.until is None else first_id(chosen.until))
    where.add_if("id < ?", chosen.before)
    columns = ", ".join(CommunicationRow.__struct_fields__)
    rows = await tx.select(
        f"SELECT {columns} FROM communications {where} ORDER BY id DESC LIMIT ?",
        [*where.values, chosen.limit],
    )
    return [_communication(tx, row) for row in rows]


def _communication(tx: Tx, row: Row) -> CommunicationRow:
    values = dict(zip(CommunicationRow.__struct_fields__, row, strict=True))
    opened = {"view_url": tx.vault.open_text(values["view_url"]), "body": tx.vault.open(values["body"])}
    return CommunicationRow(**values | opened)


async def list_reports(tx: Tx, chosen: ReportFilter) -> list[ReportRow]:
    """The reports that fit, those of the newest messages first."""
    if chosen.keys is not None:
        found: list[Row] = []
        for message_id, status in chosen.keys:
            found += await tx.select(
                f"SELECT {_REPORT_COLUMNS} FROM reports AS r JOIN messages AS m ON m.id = r.message_id "
                "WHERE r.message_id = ? AND r.status = ? AND (? = '' OR r.state = ?)",
                [message_id, status, chosen.state, chosen.state],
            )
        return [_report(row) for row in found]
    if not chosen.cause:
        return await _page_of_reports(tx, chosen)
    kept: list[ReportRow] = []
    page = chosen if chosen.limit is None else replace(chosen, limit=max(chosen.limit, _PAGE))
    while True:
        rows = await _page_of_reports(tx, page)
        # The pattern lets some more through than those whose cause it is.
        kept += [row for row in rows if cause_of(row.last_error or "") == chosen.cause]
        if page.limit is None or len(rows) < page.limit or len(kept) >= (chosen.limit or 0):
            return kept[: chosen.limit]
        page = replace(page, before=(rows[-1].message_id, rows[-1].seq))


async def _page_of_reports(tx: Tx, chosen: ReportFilter) -> list[ReportRow]:
    where = _Where()
    where.add_if("r.state = ?", chosen.state)
    where.add_if("m.gateway = ?", chosen.gateway)
    where.add_if("r.lane = ?", chosen.lane)
    where.add_if("r.owed_at >= ?", chosen.since)
    where.add_if("lower(r.last_error) LIKE lower(?) ESCAPE '!'", _containing(chosen.error))
    where.add_if("r.last_error LIKE ? ESCAPE '!'", _like(pieces_of(chosen.cause)))
    if chosen.before:
        where.add("(r.message_id, r.seq) < (?, ?)", *chosen.before)
    rows = await tx.select(
        f"SELECT {_REPORT_COLUMNS} FROM reports AS r JOIN messages AS m ON m.id = r.message_id {where} "
        f"ORDER BY r.message_id DESC, r.seq DESC {'' if chosen.limit is None else 'LIMIT ?'}",
        [*where.values, *([] if chosen.limit is None else [chosen.limit])],
    )
    return [_report(row) for row in rows]


async def report_causes(
    tx: Tx, state: str, since: Millis | None = None, gateway: str = "", error: str = ""
) -> list[ReportCause]:
    """Why reports are dead, or pending again after a failure: by lane and cause, what happened last first.

    `since`, `gateway` and `error` are those of `ReportFilter`.
    """
    where = _Where()
    where.add("r.state = ? AND r.last_error IS NOT NULL", state)
    if state == "pending":
        where.add("r.due_at IS NOT NULL")  # what waits for another report of its message was not tried
    where.add_if("r.owed_at >= ?", since)
    if gateway:
        where.add("r.lane >= ? AND r.lane < ?", f"{gateway}@", f"{gateway}A")  # "A" comes behind "@"
    where.add_if("lower(r.last_error) LIKE lower(?) ESCAPE '!'", _containing(error))
    rows = await tx.select(
        "SELECT r.lane, r.last_error, count(*), min(r.owed_at), max(r.owed_at) "
        f"FROM reports AS r {where} GROUP BY r.lane, r.last_error ORDER BY r.lane, r.last_error",
        where.values,
    )
    causes: dict[tuple[str, str], ReportCause] = {}
    for lane, sample, count, first, last in rows:
        key = lane, cause_of(sample)
        new = ReportCause(key[1], lane, count, first, last, sample)
        causes[key] = _together(causes[key], new) if key in causes else new
    return sorted(causes.values(), key=lambda each: (-each.last_owed_at, each.lane, each.cause))


def _together(one: ReportCause, other: ReportCause) -> ReportCause:
    return replace(
        one,
        count=one.count + other.count,
        first_owed_at=min(one.first_owed_at, other.first_owed_at),
        last_owed_at=max(one.last_owed_at, other.last_owed_at),
    )


def _containing(text: str) -> str:
    """A pattern for LIKE: the text somewhere. Empty for an empty text."""
    return _like(["", text, ""]) if text else ""


def _like(pieces: Sequence[str]) -> str:
    """A pattern for LIKE: the pieces with anything between them, their own signs taken for nothing else."""
    return "%".join(re.sub("([!%_])", r"!\1", piece) for piece in pieces)


def _report(row: Row) -> ReportRow:
    message_id, status, *rest = row
    return ReportRow(message_id, Status(status), *rest)


async def find_report_keys(tx: Tx, chosen: ReportFilter) -> list[tuple[MessageId, Status]]:
    """The dead reports that fit, whatever `limit` says, oldest first."""
    dead = replace(chosen, state="dead", before=None, limit=None)
    return [(row.message_id, row.status) for row in reversed(await list_reports(tx, dead))]
