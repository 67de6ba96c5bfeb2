"""No text makes a regular expression take more than its length in time: the service has one loop for everybody.

The expressions are found in the source, with the methods that are called on them, so that a new one is tried as well.
"""

from __future__ import annotations

import ast
import importlib
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.core.json_text import batch_elements, split_elements, without_trailing_commas
from bridge.core.mailbox import read_mailbox
from bridge.core.redact import redact
from bridge.flows.showing import hide_addresses, mask_sample

Expression = re.Pattern[Any]

ROOT = Path(__file__).parents[2] / "bridge"
# Where nobody else's text gets to.
NOT_FOREIGN = {
    "sim", "bench", "demo", "cli", "settings", "store/postgres/statements.py", "store/sqlite/statements.py",
}  # fmt: skip
METHODS = {"match", "fullmatch", "search", "sub", "split", "findall", "finditer"}
SIZE = 12_000  # characters
MOST = 1.5  # seconds of the processor; what grows with the square of the size needs several

PIECES = (
    "a", "1", "@", ".", "-", " ", '"', "\\", '\\"', "\\\\", "a-", "a.", "1 ", "1-", "<", "(", "://", "a:", "=",
    "\u2022", "_", "+1", "[", "{", ",", ", ", "2026-11-21T", "12345678-", "timeout=1", "api_key=", "${", "\n", "\t",
    "\r", "\u00e9", "error_code 1", "0x", "a@", "a@a.", "--", ":x", " FOR UPDATE", "\\u0000",
)  # fmt: skip
STARTS = ("", '"', "a@")
ENDS = ("", "\0")


def _calls(tree: ast.Module) -> Iterator[tuple[ast.expr, str, ast.Call]]:
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in {*METHODS, "compile"}
        ):
            yield node.func.value, node.func.attr, node


def _of_module(path: Path) -> Iterator[tuple[str, str, Expression]]:
    """Name, method and expression; those that are written where they are used have the line as their name."""
    source = path.read_text()
    if "re." not in source:
        return
    tree = ast.parse(source)
    name = ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")
    module = importlib.import_module(name)
    for on, method, call in _calls(tree):
        if isinstance(on, ast.Name) and isinstance(pattern := getattr(module, on.id, None), re.Pattern):
            yield f"{name}.{on.id}", method, pattern
        elif isinstance(on, ast.Name) and on.id == "re" and isinstance(call.args[0], ast.Constant):
            yield (
                f"{name}:{call.lineno}",
                "match" if method == "compile" else method,
                re.compile(call.args[0].value),
            )


def _all() -> list[tuple[str, str, Expression]]:
    found: dict[tuple[str, str], Expression] = {}
    for path in sorted(ROOT.rglob("*.py")):
        place = path.relative_to(ROOT)
        if not {place.parts[0], str(place)} & NOT_FOREIGN:
            found |= {(name, method): pattern for name, method, pattern in _of_module(path)}
    return [(*key, pattern) for key, pattern in found.items()]


EXPRESSIONS = _all()


def _run(pattern: Expression, method: str, text: str) -> None:
    subject = text.encode() if isinstance(pattern.pattern, bytes) else text
    if method == "sub":
        list(pattern.finditer(subject))
    elif method in {"match", "fullmatch", "search"}:
        getattr(pattern, method)(subject)
    else:
        list(getattr(pattern, method)(subject))


def _spent(work: object, *arguments: object) -> float:
    assert callable(work)
    started = time.thread_time()
    work(*arguments)
    return time.thread_time() - started


def test_they_are_found() -> None:
    """The search sees those of every corner that reads foreign text."""
    names = {name.rpartition(".")[0] for name, _, _ in EXPRESSIONS}
    for module in (
        "core.callback_url",
        "core.json_text",
        "core.redact",
        "core.mailbox",
        "flows.showing",
        "log",
    ):
        assert f"bridge.{module}" in names


@pytest.mark.parametrize(
    ("name", "method", "pattern"), EXPRESSIONS, ids=[f"{name}.{method}" for name, method, _ in EXPRESSIONS]
)
def test_time_grows_with_the_text(name: str, method: str, pattern: Expression) -> None:
    """Twelve thousand characters of one thing, begun and ended in several ways, are looked at in no time."""
    for piece in PIECES:
        for start in STARTS:
            for end in ENDS:
                text = start + piece * (SIZE // len(piece)) + end
                assert _spent(_run, pattern, method, text) < MOST, (name, start, piece, end)


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize("start", STARTS)
def test_readers_of_foreign_text(start: str, piece: str) -> None:
    """Neither do the functions around them: with ten times as many."""
    short = start + piece * (SIZE // len(piece))
    long = short * 10
    for work in (redact, hide_addresses, mask_sample, read_mailbox):
        assert _spent(work, long) < MOST * 20, work
    for read in (without_trailing_commas, split_elements, batch_elements):
        for whole in (long, f"[{long}", f'["{long}', f'{{"{long}":'):
            assert _spent(read, whole.encode()) < MOST * 20, read


@pytest.mark.parametrize(
    "text",
    [
        "@jane@example.com",
        "123 456jane@example.com",
        "123 456http://u:pw@example.com/x",
        "+http://u:pw@example.com",
    ],
)
def test_what_touches_another_secret(text: str) -> None:
    """An address that begins in the middle of something else that is hidden is hidden as well."""
    for work in (redact, hide_addresses):
        shown = work(text)
        assert "jane" not in shown
        assert "example" not in shown
        assert "pw" not in shown
