"""The statements of the store: each has its use, and those that run all the time go by an index."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import bridge
from bridge.pii import Vault
from bridge.store.postgres.statements import OWN
from bridge.store.queries import QUERIES, split_statements
from bridge.store.search import MessageFilter, find_messages
from bridge.store.sqlite import migrate
from bridge.store.sqlite.engine import SqliteTx, connect, run_job
from bridge.store.tx import Row

CODE = Path(bridge.__file__).parent

# Tables that grow with every message.
LARGE = (
    "messages",
    "texts",
    "sends",
    "provider_messages",
    "batches",
    "callbacks",
    "orphans",
    "reports",
    "inbound",
    "communications",
    "forwards",
)

# For every message, callback element, report or round of a pump.
HOT = (
    "message_by_uid", "load_messages", "save_message", "newest_message_to_address", "set_message_price",
    "due_sends", "get_send", "next_send_due", "hand_send", "requeue_send", "look_up_send", "delete_send",
    "sends_now", "handed_sends", "expired_sends", "sends_of_user", "texts_of_user", "forget_address",
    "messages_of_provider_ids", "price_of", "set_price", "prices_of_message",
    "waiting_sizes", "get_batches", "count_waiting", "finish_batch",
    "callback_outcomes", "awaited_roots", "take_orphans", "old_orphans", "mark_orphan",
    "pending_statuses", "due_reports", "next_report_due", "next_lane", "finish_report", "postpone_report",
    "release_reports", "revive_report", "aged_reports", "count_pending_reports", "count_dead_reports",
    "subjects_in_review", "reviews_of_subject", "delete_member", "has_members", "members_of", "count_reviews",
    "get_contact", "contacts_with_address", "reach", "get_opt_outs",
    "message_callbacks", "message_reports", "message_steps", "message_inbound", "message_communications",
    "known_communications", "messages_of_user", "untied_communications", "tie_communication", "forget_communications",
    "due_forwards", "next_forward_due", "forward_payloads", "pending_forwards", "finish_forward", "release_forward",
    "aged_forwards", "forwards_of_sources", "due_forward_of_key", "forget_forwards", "count_pending_forwards",
)  # fmt: skip

# What is due is found in the order of an index.
ORDERED = (
    "due_sends",
    "due_reports",
    "next_lane",
    "waiting_sizes",
    "newest_message_to_address",
    "due_forwards",
    "untied_communications",
)


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    """An empty database, which never grows: without statistics the plans are those of a large one."""
    connection = connect(tmp_path_factory.mktemp("plans") / "bridge.db", read_only=False)
    migrate(connection)
    yield connection
    connection.close()


def plan(connection: sqlite3.Connection, name: str) -> list[str]:
    values = dict.fromkeys(re.findall(r":(\w+)", QUERIES[name]), 1)
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {QUERIES[name]}", values)]


def test_every_statement_is_used() -> None:
    """A name in a queries.sql stands somewhere in the code: what nobody runs is not kept."""
    code = "\n".join(path.read_text(encoding="utf-8") for path in CODE.rglob("*.py"))
    assert [name for name in {**QUERIES, **OWN} if not re.search(rf"[\"']{name}[\"']", code)] == []


def value_names(text: str) -> set[str]:
    return set(re.findall(r"(?<!:):(\w+)", re.sub(r"--.*", "", text)))


@pytest.mark.parametrize("name", sorted(QUERIES.keys() & OWN.keys()))
def test_both_texts_take_the_same_values(name: str) -> None:
    """Callers give the same values, whichever engine runs the statement; what PostgreSQL adds it knows itself."""
    assert value_names(OWN[name]) - {"owner", "lease", "clock"} == value_names(QUERIES[name])


@pytest.mark.parametrize("name", sorted(QUERIES))
def test_every_statement_is_valid(connection: sqlite3.Connection, name: str) -> None:
    """SQLite understands every statement, with the tables and columns that there are."""
    assert plan(connection, name) is not None


@pytest.mark.parametrize("name", HOT)
def test_what_runs_all_the_time_goes_by_an_index(connection: sqlite3.Connection, name: str) -> None:
    """No statement of everyday work reads a whole table that grows with every message."""
    steps = plan(connection, name)
    scans = [step for step in steps if step.startswith("SCAN") and "USING" not in step]
    assert [step for step in scans if step.split()[1] in LARGE or len(step.split()[1]) == 1] == []


def test_a_search_for_the_next_goes_by_its_order(connection: sqlite3.Connection) -> None:
    """What is due is found in the order of an index: nothing is sorted, however much waits."""
    for name in ORDERED:
        assert not [step for step in plan(connection, name) if "TEMP B-TREE" in step], name


class Explaining(SqliteTx):
    """Instead of searching it tells how it would."""

    async def select(self, sql: str, values: Sequence[Any]) -> list[Row]:
        self.plan = [row[3] for row in await super().select(f"EXPLAIN QUERY PLAN {sql}", values)]
        return []


@pytest.mark.parametrize(
    "text", ["+447700900123", "jane@example.com", "0190a540-f662-745b-8311-eebe56024200", "x"]
)
def test_a_search_by_text_goes_by_indexes(connection: sqlite3.Connection, text: str) -> None:
    """However many messages there are, none is looked at that the text does not name."""
    tx = Explaining(connection, Vault(b"key"))
    run_job(lambda tx: find_messages(tx, MessageFilter(text, gateway="sms", state="sent")), tx)
    assert tx.plan
    assert not [step for step in tx.plan if step.startswith("SCAN")]


def test_names_are_told_apart() -> None:
    """Two statements with one name are refused: the first would be lost."""
    assert split_statements("-- name: a\nSELECT 1\n\n-- name: b\nSELECT 2\n") == {
        "a": "SELECT 1",
        "b": "SELECT 2",
    }
    with pytest.raises(ValueError, match="twice"):
        split_statements("-- name: a\nSELECT 1\n-- name: a\nSELECT 2\n")
