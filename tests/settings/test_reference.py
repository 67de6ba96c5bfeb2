"""docs/settings.md is what the program says of its settings: every key, with its rules, default and meaning."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_type_hints

import pytest

from bridge.settings import reference
from bridge.settings.model import ADAPTERS, Settings
from bridge.settings.reference import render_reference

PAGE = Path(__file__).parent.parent.parent / "docs" / "settings.md"
ROW = re.compile(r"\| `(\w+)` \| (.*) \| (.*) \| (.*) \|")


def sections() -> dict[str, dict[str, tuple[str, str, str]]]:
    """The rows of each section: what the key must be, its default, its meaning."""
    found: dict[str, dict[str, tuple[str, str, str]]] = {"": {}}
    title = ""
    for line in render_reference().splitlines():
        if line.startswith("## "):
            title = line.strip("# `")
            found[title] = {}
        elif row := ROW.fullmatch(line):
            found[title][row[1]] = (row[2], row[3], row[4])
    return found


def test_the_page_is_what_the_program_says() -> None:
    """The file on disk is the one that `make docs` writes."""
    assert PAGE.read_text(encoding="utf-8") == render_reference(), "run `make docs`"


def test_every_key_is_on_the_page() -> None:
    """Each table has its section, and each section every key of its table, and no other."""
    found = sections()
    assert set(found[""]) == {"mappings_dir"}
    for name in ("server", "database", "smartico", "opt_out", "inbound"):
        assert set(found[f"[{name}]"]) == set(get_type_hints(get_type_hints(Settings)[name]))
    for adapter, struct in ADAPTERS.items():
        own = found[f'[providers.NAME] with adapter = "{adapter}"']
        assert set(own) | set(found["[providers.NAME]"]) == set(get_type_hints(struct)) - {"name"}
    assert set(found["[[ops.operators]]"]) == {"name", "token", "role"}


def test_every_key_has_a_meaning() -> None:
    """No cell is empty, and every meaning is a few words at least."""
    for title, rows in sections().items():
        for key, cells in rows.items():
            assert all(cells), (title, key)
            assert len(cells[2].split()) > 1, (title, key)


@pytest.mark.parametrize(
    ("title", "key", "cells"),
    [
        ("[server]", "port", ("a whole number from 0 to 65535", "`8080`", "0: any free port")),
        ("[ops]", "secure_cookies", ("true or false", "`true`", "false: sign-in also over http://, for tests")),
        ("[providers.NAME]", "callback_username", ("a name without colons and control characters", '`"NAME"`', None)),
        ('[providers.NAME] with adapter = "smtp"', "tls", ("one of `starttls`, `tls`, `none`", '`"starttls"`', None)),
        ("[gateways.NAME]", "authorization", (None, "needed: `SMARTICO_NAME_SECRET`", None)),
        ("[smartico]", "not_found_schedule", (None, "`[1, 2, 5, 15, 60, 300, 1800]`", None)),
    ],
)  # fmt: skip
def test_a_row(title: str, key: str, cells: tuple[str | None, ...]) -> None:
    """Types, defaults and meanings are those of the declarations and of the template."""
    for said, expected in zip(sections()[title][key], cells, strict=True):
        assert expected is None or said == expected


def test_a_key_without_a_meaning_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that the template does not explain stops `make docs`."""
    monkeypatch.setattr(reference, "render_template", lambda secrets: "[server]\n# port = 8080\n")
    with pytest.raises(KeyError):
        render_reference()
