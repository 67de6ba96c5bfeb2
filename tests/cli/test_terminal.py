"""A terminal obeys what it is shown; nobody but the bridge speaks to it, whatever stands in the database."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from bridge.assembly import open_database
from bridge.core.model import id_text
from bridge.settings import load_settings
from tests.cli.conftest import Run
from tests.dead_reports import add_dead_reports
from tests.web.everywhere import write_everywhere

EVIL = "x\x1b]0;title\x07\x1b[2J\r\nall is well\t\x08\x9b31m\u202e\u2028y"


@pytest.fixture
def ext_message_id(folder: Path) -> str:
    """A database in which what a terminal obeys stands in every field."""

    async def fill() -> str:
        store = await open_database(load_settings(folder / "bridge.toml", os.environ))
        (message_id,) = await add_dead_reports(store, "HTTP 500")
        await store.close()
        return id_text(message_id)

    made = asyncio.run(fill())
    write_everywhere(folder / "bridge.db", made, EVIL)
    return made


def test_what_others_wrote_is_only_text(bridge: Run, ext_message_id: str) -> None:
    """Tables, records and timelines have no sign in them that is not printable, and no line of somebody else's."""
    for arguments in (
        ("messages", "find", ext_message_id),
        ("messages", "find", EVIL),
        ("messages", "show", ext_message_id),
        ("messages", "show", EVIL),
        ("contacts", "show", EVIL),
        ("contacts", "timeline", EVIL),
        ("contacts", "delete", f"{EVIL}?"),
        ("reports", "list"),
        ("reports", "causes"),
        ("review", "list"),
        *(("review", "show", str(number)) for number in range(1, 9)),
    ):
        result = bridge(*arguments)
        for line in (result.out + result.err).split("\n"):
            assert line.replace("\t", " ").isprintable(), (arguments, line)
            assert not line.startswith("all is well"), arguments
    assert "all is well" in bridge("messages", "show", ext_message_id).out
