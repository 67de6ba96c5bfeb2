"""`bridge export`: complete files or none, header or not, safe for spreadsheets, quiet when nobody reads."""

from __future__ import annotations

import csv
import io
import json
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bridge.core.model import new_id
from bridge.flows.exporting import COLUMNS, What
from tests.cli.conftest import Run

NOW = 1_795_234_921_250
NASTY = '=cmd|" /C calc"!A0, line\r\nbreak 👋🏽'
MANY = """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count)
INSERT INTO messages (id, gateway, type, channel, provider, smartico_uid, ext_user_id, sender, address_masked,
    callback_url, lane, state, created_at, updated_at)
SELECT id_at(:at + i), 'sms', 'sms', 'SMS', 'revicom', 'uid-' || (:at + i), 'player-' || i, :sender, '+44•••••0123',
    x'00', 'sms@x', 'delivered', :at + i, :at + i FROM n
"""


def add_messages(folder: Path, count: int, *, at: int = NOW + 1_000, sender: str = "Amazing") -> None:
    """Messages accepted a millisecond after each other, the first one at `at` + 1."""
    with closing(sqlite3.connect(folder / "bridge.db")) as file:
        file.create_function("id_at", 1, lambda moment: new_id(moment, 7))
        file.execute(MANY, {"count": count, "at": at, "sender": sender})
        file.commit()


@pytest.fixture
def filled(bridge: Run, folder: Path) -> Path:
    """A folder with a database of three messages."""
    assert bridge("db", "migrate").code == 0
    add_messages(folder, 3, at=NOW, sender=NASTY)
    return folder


def read_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


@pytest.mark.parametrize("what", What)
def test_nothing_is_a_header_and_no_more(bridge: Run, what: What) -> None:
    """CSV always has its header; JSON lines of nothing are nothing."""
    result = bridge("export", what.value)
    assert (result.code, result.out, result.err) == (0, ",".join(COLUMNS[what]) + "\r\n", "")
    result = bridge("export", what.value, "--format", "jsonl")
    assert (result.code, result.out, result.err) == (0, "", "")


def test_csv_and_json_lines_on_standard_output(bridge: Run, filled: Path) -> None:
    """The same rows in both, oldest first; only CSV defuses what a spreadsheet would work out."""
    rows = read_csv(bridge("export", "messages").out)
    lines: list[dict[str, Any]] = [
        json.loads(line) for line in bridge("export", "messages", "--format", "jsonl").out.splitlines()
    ]
    assert [row["ext_user_id"] for row in rows] == ["player-1", "player-2", "player-3"]
    assert {row["sender"] for row in rows} == {f"'{NASTY}"}
    assert {line["sender"] for line in lines} == {NASTY}
    assert {line["address_masked"] for line in lines} == {"+44•••••0123"}
    assert [line["created_at"] for line in lines] == [f"2026-11-21T04:22:01.25{n}Z" for n in (1, 2, 3)]
    assert [row["ext_message_id"] for row in rows] == [line["ext_message_id"] for line in lines]
    assert list(lines[0]) == list(COLUMNS[What.MESSAGES])
    assert lines[0]["price"] is None


def test_since_and_until(bridge: Run, filled: Path) -> None:
    """--since is within, --until is not, to the millisecond."""
    arguments = ("--since", "2026-11-21T04:22:01.252Z", "--until", "2026-11-21T04:22:01.253Z")
    (row,) = read_csv(bridge("export", "messages", *arguments).out)
    assert row["ext_user_id"] == "player-2"
    assert read_csv(bridge("export", "messages", "--until", "2026-11-21").out) == []
    assert len(read_csv(bridge("export", "messages", "--since", "2026-11-21").out)) == 3


def test_a_file_is_complete_and_for_its_owner(bridge: Run, filled: Path) -> None:
    """--output has what standard output would have; nothing else is left, and only its owner may read it."""
    expected = bridge("export", "messages").out
    result = bridge("export", "messages", "--output", "out.csv")
    assert (result.code, result.out, result.err) == (0, "", "3 rows written to out.csv.\n")
    assert (filled / "out.csv").read_bytes().decode() == expected
    assert (filled / "out.csv").stat().st_mode & 0o777 == 0o600
    assert not (filled / "out.csv.part").exists()


def test_a_file_is_replaced_only_by_force(bridge: Run, filled: Path) -> None:
    """What is there stays as it is, unless --force says otherwise."""
    (filled / "out.csv").write_text("mine")
    (filled / "out.csv.part").write_text("of one that was killed")
    refused = bridge("export", "messages", "--output", "out.csv")
    assert refused.code == 1
    assert "out.csv exists already" in refused.err
    assert (filled / "out.csv").read_text() == "mine"
    assert bridge("export", "messages", "--output", "out.csv", "--force").code == 0
    assert (filled / "out.csv").read_text().startswith("ext_message_id,")
    assert not (filled / "out.csv.part").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("people",),
        (),
        ("messages", "--format", "xlsx"),
        ("messages", "--format", "parquet"),
        ("messages", "--since", "yesterday"),
        ("messages", "--until", "soon"),
        ("messages", "--since", "2h", "--until", "3h"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2(bridge: Run, arguments: tuple[str, ...]) -> None:
    """What cannot be meant says how it is meant."""
    result = bridge("export", *arguments)
    assert (result.code, result.out) == (2, "")
    assert "Usage: bridge export" in result.err


@pytest.mark.parametrize(
    ("output", "sentence"),
    [("nowhere/out.csv", "No such file or directory"), (".", "is no file"), ("/dev/null", "is no file")],
)
def test_a_file_that_cannot_be_made_is_a_sentence(
    bridge: Run, filled: Path, output: str, sentence: str
) -> None:
    """Exit code 1, one sentence, no traceback."""
    result = bridge("export", "messages", "--output", output, "--force")
    assert (result.code, result.out) == (1, "")
    assert sentence in result.err
    assert result.err.count("\n") == 1


def test_a_database_that_fails_leaves_no_file(bridge: Run, filled: Path) -> None:
    """An error half way is a sentence, and neither FILE nor FILE.part."""
    with closing(sqlite3.connect(filled / "bridge.db")) as file:
        file.execute("ALTER TABLE messages RENAME TO gone")
    result = bridge("export", "messages", "--output", "out.csv")
    assert result.code == 1
    assert "Traceback" not in result.err
    assert not list(filled.glob("out.csv*"))


def test_a_full_disk_is_a_sentence(filled: Path) -> None:
    """What cannot be written is not left out in silence."""
    command = [sys.executable, "-m", "bridge", "export", "messages"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "standard output cannot be written: No space left on device.\n"


def test_a_reader_that_leaves_ends_it_quietly(bridge: Run, filled: Path) -> None:
    """`bridge export … | head` says nothing."""
    add_messages(filled, 20_000)
    process = start("messages", stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("ext_message_id")
    process.stdout.close()
    _, error = process.communicate(timeout=30)
    assert (process.returncode, error) == (1, "")


def test_lines_tell_how_far_it_is(bridge: Run, filled: Path) -> None:
    """In a pipe a line now and then goes to standard error, and none of it to the data."""
    add_messages(filled, 50_000)
    result = bridge("export", "messages", "--format", "jsonl")
    assert result.code == 0
    assert result.err == "50,000 rows\n"
    ids = [json.loads(line)["ext_message_id"] for line in result.out.splitlines()]
    assert len(set(ids)) == 50_003
    assert ids == sorted(ids)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_whoever_is_stopped_half_way_leaves_no_file(bridge: Run, filled: Path, how: signal.Signals) -> None:
    """FILE is there only once it is complete; the next try begins anew."""
    add_messages(filled, 100_000)
    process = start("messages", "--output", "out.csv", stdout=subprocess.DEVNULL)
    part = filled / "out.csv.part"
    end = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size) and time.monotonic() < end:
        time.sleep(0.002)
    process.send_signal(how)
    _, error = process.communicate(timeout=30)
    assert not (filled / "out.csv").exists()
    if how is signal.SIGINT:
        assert (process.returncode, error.strip()) == (1, "Stopped.")
        assert not part.exists()
    assert bridge("export", "messages", "--output", "out.csv", "--until", "2026-11-21").code == 0
    assert [path.name for path in filled.glob("out.csv*")] == ["out.csv"]


def start(*arguments: str, stdout: int) -> subprocess.Popen[str]:
    """The command as a process of its own."""
    command = [sys.executable, "-m", "bridge", "export", *arguments]
    return subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, text=True)


def test_parquet_without_pyarrow_says_what_to_install(
    bridge: Run, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extra is named, and nothing is made."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    result = bridge("export", "messages", "--format", "parquet", "--output", "out.parquet")
    assert result.code == 1
    assert "bridge[parquet]" in result.err
    assert result.err.count("\n") == 1
    assert not list(filled.glob("out.parquet*"))


@pytest.mark.parametrize("what", What)
def test_parquet_has_the_same_rows(bridge: Run, filled: Path, what: What) -> None:
    """Numbers are numbers, times and money are text, as in JSON; nothing is a file with its columns."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is missing: pip install bridge[parquet]")
    lines = bridge("export", what.value, "--format", "jsonl").out.splitlines()
    result = bridge("export", what.value, "--format", "parquet", "--output", "out.parquet")
    assert (result.code, result.out) == (0, "")
    found = parquet.read_table(filled / "out.parquet")
    assert tuple(found.schema.names) == COLUMNS[what]
    assert found.to_pylist() == [json.loads(line) for line in lines]
    kinds = {str(field.type) for field in found.schema}
    assert kinds == {"int64", "string"}
