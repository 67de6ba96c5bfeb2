"""The commands that README.md and docs/ tell people to type: in shell examples, and in sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.docs.pages import DOCS, ROOT, blocks, spans

PAGES = [ROOT / "README.md", ROOT / "deploy" / "README.md", *sorted(DOCS.glob("*.md"))]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def typed() -> Iterator[tuple[str, str]]:
    """The page and the text of every line of the shell examples, as a shell would read it. Comments stay in it."""
    for path in PAGES:
        for block in blocks(read(path), "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                if line and not line.startswith("#"):
                    yield name(path), line


def mentioned() -> Iterator[tuple[str, str]]:
    """The page and the text of every command that a sentence names."""
    for path in PAGES:
        for each in sorted(spans(read(path))):
            if re.match(r"(bridge|make) [a-z]", each):
                yield name(path), each.replace("\\|", "|")  # within a table


def alternatives(text: str) -> list[str]:
    """A sentence may name several commands by `bridge a b|c`: these are `bridge a b` and `bridge a c`."""
    if not re.fullmatch(r"[a-z ]+(\|[a-z]+)+", text):
        return [text]
    before, _, last = text.rpartition(" ")
    return [f"{before} {each}" for each in last.split("|")]
