"""docs/mapping.md: its examples are tables that the bridge reads, and its words are those of the code."""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from pathlib import Path

import httpx

from bridge.core.mapping import read_vocabulary
from bridge.core.model import Mark, State
from bridge.tables import load_mapping, load_vocabulary
from tests.docs.pages import ROOT, arguments, blocks, first_cells, fits, page, section, spans
from tests.docs.served import serving

PAGE = page("mapping.md")
TOML = blocks(PAGE, "toml")
BASIC = f"Basic {b64encode(b'revicom:password-of-callbacks').decode()}"


def write_example(folder: Path) -> None:
    """The copy of the page: the shipped table, and the row of the example."""
    row, _, _ = TOML
    rows, codes = (ROOT / "mappings" / "revicom.toml").read_text(encoding="utf-8").split("[error_codes]")
    (folder / "revicom.toml").write_text(f"{rows}{row}\n[error_codes]{codes}", encoding="utf-8")


def test_the_example_is_a_row_that_counts(tmp_path: Path) -> None:
    """The steps of the page, done: the copy has the new pair and all of the shipped ones, and others stay shipped."""
    write_example(tmp_path)
    before, after = load_mapping("revicom", None), load_mapping("revicom", tmp_path)
    assert not before.knows("delivered", "expired")
    assert after.meaning("delivered", "expired") is State.FAILED
    assert {pair: after.rows[pair] for pair in before.rows} == before.rows
    assert load_mapping("sendgrid", tmp_path) == load_mapping("sendgrid", None)


async def review(client: httpx.AsyncClient) -> list[tuple[int, str, str]]:
    items = (await client.get("/api/review")).json()["items"]
    return [(item["id"], item["kind"], item["cause"]) for item in items]


async def test_the_way_of_a_new_word(tmp_path: Path) -> None:
    """A callback with the word of the example is under review; with the table, after a restart, a replay settles it."""
    element = {"message_uuid": "0199c0de-1", "callback_event": "delivered", "status": "expired"}
    near = {"X-Forwarded-For": "185.203.96.7", "Authorization": BASIC}
    async with serving(tmp_path) as client:
        assert (await client.post("/callbacks/revicom", json=[element], headers=near)).status_code == 200
        async with asyncio.timeout(20):
            while not await review(client):
                await asyncio.sleep(0.05)
        ((number, *what),) = await review(client)
        assert what == ["unmapped", "delivered/expired"]
        again = (await client.post(f"/api/review/{number}/replay")).json()
        assert again == {"matched": 1, "replayed": 0}
    (tmp_path / "tables").mkdir()
    write_example(tmp_path / "tables")
    async with serving(tmp_path, 'mappings_dir = "tables"') as client:
        assert (await client.post(f"/api/review/{number}/replay")).json() == {"matched": 1, "replayed": 1}
        assert await review(client) == []


def test_the_codes_of_the_example(tmp_path: Path) -> None:
    """Codes with dots are read with their quotes."""
    row, codes, _ = TOML
    (tmp_path / "revicom.toml").write_text(f"{row}\n{codes}", encoding="utf-8")
    assert set(load_mapping("revicom", tmp_path).error_codes) == {"453", "5.1.1"}


def test_the_words_of_smartico(tmp_path: Path) -> None:
    """The example replaces the shipped words, and differs from them in what the page says."""
    (tmp_path / "smartico.toml").write_text(TOML[2], encoding="utf-8")
    shipped, own = load_vocabulary(None), load_vocabulary(tmp_path)
    assert own.implies == shipped.implies
    changed = {each for each in own.words if own.words[each] != shipped.words[each]}
    assert changed == {State.SUBMITTED, Mark.CLICKED}
    assert read_vocabulary(TOML[2], file="")[1] == []


def test_every_state_has_its_row() -> None:
    """The table has what a row may say, and beside it what Smartico gets by the shipped words."""
    text = section(PAGE, "## What a row says")
    words = load_vocabulary(None).words
    states = {str(each) for each in (*State, *Mark)} - {"queued", "unknown"}
    assert set(first_cells(text)) - {"state"} == states | {"none"}
    for happening, status in words.items():
        (line,) = [line for line in text.splitlines() if line.startswith(f"| `{happening}` ")]
        assert line.rstrip(" |").endswith("nothing" if status is None else f"`{status}`")


def test_every_sentence() -> None:
    """What the bridge says of a table is on the page."""
    said = {re.sub("…+", "…", each) for each in arguments("bridge/core/mapping.py", "complain", 1)}
    said |= set(arguments("bridge/tables.py", "Problem", 2))
    assert len(said) > 8
    assert sorted(form for form in said if not any(fits(form, each) for each in spans(PAGE))) == []
