"""What the tests of the documentation share: its pages, their words, and the sentences in the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
_FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def blocks(text: str, kind: str) -> list[str]:
    """What stands in the fenced blocks of one kind."""
    return [dedent(inside) for found, inside in _FENCE.findall(text) if found == kind]


def without_blocks(text: str) -> str:
    return _FENCE.sub("", text)


def section(text: str, heading: str) -> str:
    """What stands under a heading, up to the next one that is not below it."""
    level, _, _ = heading.partition(" ")
    _, found, rest = f"\n{without_blocks(text)}".partition(f"\n{heading}\n")
    assert found, heading
    return re.split(rf"^#{{1,{len(level)}}} ", rest, flags=re.MULTILINE)[0]


def first_cells(text: str, *, marked: bool = False) -> list[str]:
    """The first column of every table, heads included; `marked`: with its marks of code."""
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| --- ")]
    cells = [row.split(" | ")[0].removeprefix("| ") for row in rows]
    return cells if marked else [cell.strip("` |") for cell in cells]


def flat(text: str) -> str:
    """Only the words: neither line ends nor the marks of code count."""
    return re.sub(r"\s+", " ", text.replace("`", ""))


def spans(text: str) -> set[str]:
    """Everything that is marked as code within the lines."""
    found = re.findall(r"``(.+?)``|`([^`]+)`", without_blocks(text))
    return {flat(double or single) for double, single in found}


def fits(form: str, sentence: str) -> bool:
    """Whether a sentence is one of a form, in which "…" stands for anything."""
    return re.fullmatch(re.escape(flat(form)).replace("…", ".+"), sentence) is not None


def template(node: ast.expr) -> str | None:
    """The text of a string in the code, "…" for what is filled in; None where it is none."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    return None


@cache
def tree(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def arguments(path: str, name: str, place: int) -> Iterator[str]:
    """The strings that a module hands in at this place of every call of a function, whichever way it is named."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call) and len(node.args) > place and called(node) == name:
            yield from texts(node.args[place])


def called(node: ast.Call) -> str:
    match node.func:
        case ast.Name(name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""


def texts(node: ast.expr) -> Iterator[str]:
    """The text of an expression; of one that chooses, both."""
    if isinstance(node, ast.IfExp):
        yield from texts(node.body)
        yield from texts(node.orelse)
    elif isinstance(node, ast.BoolOp):
        for each in node.values:
            yield from texts(each)
    elif (text := template(node)) is not None:
        yield text


def returned(path: str, prefix: str) -> Iterator[str]:
    """The strings that functions with such a name give."""
    for function in ast.walk(tree(path)):
        if isinstance(function, ast.FunctionDef) and function.name.startswith(prefix):
            for node in ast.walk(function):
                if isinstance(node, ast.Return) and node.value is not None:
                    yield from (text for text in texts(node.value) if text)


def modules(*folders: str) -> list[str]:
    """The modules of these folders of the program, as paths from the top."""
    found = [file for folder in folders for file in sorted((ROOT / "bridge" / folder).rglob("*.py"))]
    return [str(file.relative_to(ROOT)) for file in found]
