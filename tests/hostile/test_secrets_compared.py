"""Secrets are compared in constant time: by the type that does it, or by `hmac.compare_digest`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from bridge.secret import Secret

ROOT = Path(__file__).parents[2] / "bridge"
NOT_OURS = {"sim", "bench", "demo"}  # peers of a test
SECRET_WORDS = {
    "token",
    "csrf",
    "password",
    "secret",
    "authorization",
    "signature",
    "api_key",
    "pii_key",
    "digest",
}
# Compared openly, since no secret: what came is compared with our own digest of it, or with an empty text.
OPEN = {("store", "digest"), ("flows", "digest"), ("notifications", "digest"), ("cli", "digest")}


def comparisons() -> Iterator[tuple[Path, ast.Compare]]:
    for path in sorted(ROOT.rglob("*.py")):
        if path.relative_to(ROOT).parts[0] in NOT_OURS:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare) and any(
                isinstance(each, ast.Eq | ast.NotEq) for each in node.ops
            ):
                yield path, node


def last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def is_revealed(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and last_name(node.func) == "reveal"


def test_no_secret_is_compared_as_a_text() -> None:
    """Nowhere stands `==` between the text of a secret and anything else. (`Secret == Secret` takes constant time.)"""
    found = []
    for path, node in comparisons():
        sides = [node.left, *node.comparators]
        if any(isinstance(each, ast.Constant) for each in sides):
            continue
        place = path.relative_to(ROOT).parts[0].removesuffix(".py")
        names = {last_name(each) for each in sides} & SECRET_WORDS
        if any(map(is_revealed, sides)) or {name for name in names if (place, name) not in OPEN}:
            found.append((str(path.relative_to(ROOT)), ast.unparse(node)))
    assert found == [
        ("settings/checks.py", "database.pii_key == database.pii_key_old"),
        ("settings/warn_secrets.py", "known == secret"),
        ("web/access.py", "secret == presented"),
        ("web/access.py", "operator.token == presented"),
        ("web/ops/sessions.py", "each.token == presented"),
    ]


def test_the_type_compares_itself() -> None:
    """What those four compare are secrets, whose `==` is `hmac.compare_digest`, and which never equal a text."""
    source = (ROOT / "secret.py").read_text()
    assert "hmac.compare_digest(self._bytes(), other._bytes())" in source
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
