"""One single value of the settings: from what TOML holds to what a field holds.

Checks the type, fills in the references of strings, and asks the rules. Knows no table and no key. A value is shown in
a sentence only if it stands in the file as it is, is no secret, and its rule allows it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

from bridge.secret import Secret
from bridge.settings.expand import expand, references
from bridge.settings.model import Network
from bridge.settings.problems import Problems, shown
from bridge.settings.rules import Rule

__all__ = ["UNREAD", "LeafReader", "one_of", "wrong_type"]

UNREAD: Final = object()
"""Stands for a value whose problem has been noted."""

_TOML_NAMES: Mapping[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number with a point",
    str: "a string",
    list: "a list",
    dict: "a table",
}
# What may be written for the type of a field. Exact types: to Python true is an int, to an operator it is not.
_WRITTEN: Mapping[Any, tuple[type, ...]] = {bool: (bool,), int: (int,), float: (float, int)}
_MADE: Mapping[Any, Callable[[Any], object]] = {
    float: float,
    Secret: Secret,
    Network: lambda text: ip_network(text, strict=False),
}


_IN_QUOTES = re.compile(r"[+-]?[0-9][0-9.]*|true|false")


def wrong_type(wanted: str, raw: object) -> str:
    """The sentence for a value of the wrong TOML type; says nothing of the value itself."""
    sentence = f"write {wanted}, not {_TOML_NAMES.get(type(raw), 'a date or a time')}"
    if isinstance(raw, str) and _IN_QUOTES.fullmatch(raw):
        return f"{sentence}: leave the quotation marks out"
    return f"{sentence}: put it in [ ]" if wanted == "a list" and not isinstance(raw, dict) else sentence


def one_of(words: Sequence[str]) -> Rule:
    """A string that is one of these."""
    return Rule(f"one of {', '.join(words)}", lambda text: text in words)


def _blame(source: str, value: object) -> str:
    """What is wrong with the value that references stand for; nothing of the value itself."""
    if not source:
        return ""
    text = str(value)
    if text != text.strip():
        return f"; {source} has a space or a line break at its ends"
    return f"; {source} holds something else" if text else f"; {source} is empty"


class LeafReader:
    """Reads single values; what is wrong goes to `problems`."""

    def __init__(self, problems: Problems, base_dir: Path, environ: Mapping[str, str]) -> None:
        self._problems = problems
        self._base_dir = base_dir
        self._environ = environ

    def read(self, base: Any, rules: Sequence[Rule], raw: object, path: str) -> object:
        """The value for a field of type `base`, or UNREAD."""
        types = _WRITTEN.get(base, (str,))
        if type(raw) not in types:
            wanted = "a number" if base is float else _TOML_NAMES[types[0]]
            self._problems.add(path, wrong_type(wanted, raw))
            return UNREAD
        value = self._filled_in(raw, path) if isinstance(raw, str) else raw
        source = references(raw) if isinstance(raw, str) else ""
        if get_origin(base) is Literal:
            rules = [one_of(get_args(base)), *rules]
        if value is UNREAD or not self.obeys(
            rules, value, path, secret=base is Secret or value != raw, source=source
        ):
            return UNREAD
        return _MADE[base](value) if base in _MADE else value

    def obeys(
        self, rules: Sequence[Rule], value: object, path: str, *, secret: bool = False, source: str = ""
    ) -> bool:
        """Whether a value obeys all rules; the first that it breaks is noted. `source`: the references it came by."""
        broken = next((rule for rule in rules if not rule.holds(value)), None)
        if broken is None:
            return True
        but = f", not {shown(value)}" if broken.show and not secret else ""
        self._problems.add(path, f"write {broken.wanted}{but}{_blame(source, value)}")
        return False

    def has_variable(self, name: str) -> bool:
        """Whether the environment knows a variable."""
        return name in self._environ

    def _filled_in(self, text: str, path: str) -> object:
        value, sentences = expand(text, self._environ, self._base_dir)
        for sentence in sentences:
            self._problems.add(path, sentence)
        return UNREAD if sentences else value
