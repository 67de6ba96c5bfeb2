"""docs/mapping.md: its examples are tables that the bridge reads, and its words are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

from bridge.core.mapping import read_vocabulary
from bridge.core.model import Mark, State
from bridge.tables import load_mapping, load_vocabulary
from tests.docs.pages import ROOT, arguments, blocks, first_cells, fits, page, section, spans

PAGE = page("mapping.md")
TOML = blocks(PAGE, "toml")


def test_the_example_is_a_row_that_counts(tmp_path: Path) -> None:
    """The steps of the page, done: the copy has the new pair and all of the shipped ones, and others stay shipped."""
    row, _, _ = TOML
    shipped = (ROOT / "mappings" / "revicom.toml").read_text(encoding="utf-8")
    rows, codes = shipped.split("[error_codes]")
    (tmp_path / "revicom.toml").write_text(f"{rows}{row}\n[error_codes]{codes}", encoding="utf-8")
    before, after = load_mapping("revicom", None), load_mapping("revicom", tmp_path)
    assert not before.knows("delivered", "expired")
    assert after.meaning("delivered", "expired") is State.FAILED
    assert {pair: after.rows[pair] for pair in before.rows} == before.rows
    assert load_mapping("sendgrid", tmp_path) == load_mapping("sendgrid", None)


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
