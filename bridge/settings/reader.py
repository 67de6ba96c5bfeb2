"""From TOML tables to the structs of `model.py`, by walking over their declarations.

Never stops at the first problem: what cannot be read is noted and keeps its default, so that a struct always comes out
and the checks behind it can go on. Knows types, rules and marks, but no key by name except `name`, which every table
that has a name carries.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType
from typing import Annotated, Any, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

from msgspec import Struct

from bridge.settings.leaf import UNREAD, LeafReader, one_of, wrong_type
from bridge.settings.problems import Problems, did_you_mean, join, nearest
from bridge.settings.rules import REQUIRED, FromEnvironment, NamedDefaults, Rule, Tagged

__all__ = ["Hint", "Reader"]

S = TypeVar("S", bound=Struct)
M = TypeVar("M")


class Hint(NamedTuple):
    """The declared type of a field, taken apart."""

    base: Any
    marks: tuple[object, ...]
    optional: bool = False

    @classmethod
    def of(cls, annotation: Any) -> Hint:
        if get_origin(annotation) is Annotated:
            base, *marks = get_args(annotation)
            return cls(base, tuple(marks))
        args = get_args(annotation)
        if NoneType in args:
            return cls(args[0], (), optional=True)
        return cls(annotation, ())

    @property
    def is_struct(self) -> bool:
        return isinstance(self.base, type) and issubclass(self.base, Struct)

    @property
    def is_table(self) -> bool:
        return self.is_struct or get_origin(self.base) is dict or self.mark(Tagged) is not None

    @property
    def rules(self) -> list[Rule]:
        return [mark for mark in self.marks if isinstance(mark, Rule)]

    def mark(self, kind: type[M]) -> M | None:
        return next((mark for mark in self.marks if isinstance(mark, kind)), None)


class Reader:
    """Reads the tables of one file; what is wrong goes to `problems`."""

    def __init__(self, problems: Problems, leaves: LeafReader) -> None:
        self._problems = problems
        self._leaves = leaves

    def table(
        self, struct: type[S], table: Mapping[str, object], path: str, given: Mapping[str, object]
    ) -> S:
        """The struct that a table describes; `given` are fields that no key of the table can set."""
        hints = get_type_hints(struct, include_extras=True)
        self._refuse_others(table, [key for key in hints if key not in given], path)
        values = dict(given)
        for key, annotation in hints.items():
            if key not in given:
                value = self._field(Hint.of(annotation), table, key, path, str(values.get("name", "")))
                values |= {} if value is UNREAD else {key: value}
        return struct(**values)

    def _refuse_others(self, table: Mapping[str, object], keys: list[str], path: str) -> None:
        for key in table:
            if key not in keys:
                if near := nearest(key, keys):
                    self._problems.mean(join(path, near))
                hint = did_you_mean(key, keys) or f"; the keys here are {', '.join(keys)}"
                self._problems.add(join(path, key), f"this key is not known{hint}")

    def _field(self, hint: Hint, table: Mapping[str, object], key: str, path: str, name: str) -> object:
        where = join(path, key)
        if key in table:
            return self._value(hint, table[key], where)
        if self._problems.is_meant(where):
            return UNREAD
        if hint.is_struct and not hint.optional:
            return self._value(hint, {}, where)  # not written, but its keys may still need something
        if source := hint.mark(FromEnvironment):
            return self._from_environment(hint, source, where, name)
        if REQUIRED in hint.marks:
            self._problems.add(where, "set it: this key has no default")
        return UNREAD

    def _from_environment(self, hint: Hint, source: FromEnvironment, where: str, name: str) -> object:
        if source.needs_name and not name:
            return UNREAD  # the missing name is a problem already, and which variable it is cannot be said
        variable = source.variable_for(name)
        if not self._leaves.has_variable(variable):
            self._problems.add(where, f"set it, or set {variable} in the environment")
            return UNREAD
        reference = f"${{{variable}}}"
        return self._value(hint, [reference] if get_origin(hint.base) is tuple else reference, where)

    def _value(self, hint: Hint, raw: object, path: str, given: Mapping[str, object] | None = None) -> object:
        """Any value that is written; `given` goes to the struct, if it becomes one."""
        if hint.is_table:
            return self._any_table(hint, raw, path, given or {})
        if get_origin(hint.base) is tuple:
            return self._list(hint, raw, path)
        return self._leaves.read(hint.base, hint.rules, raw, path)

    def _any_table(self, hint: Hint, raw: object, path: str, given: Mapping[str, object]) -> object:
        if not isinstance(raw, dict):
            self._problems.add(path, wrong_type("a table", raw))
            return UNREAD
        if tagged := hint.mark(Tagged):
            return self._tagged(tagged, raw, path, given)
        return self.table(hint.base, raw, path, given) if hint.is_struct else self._named(hint, raw, path)

    def _tagged(
        self, tagged: Tagged, table: Mapping[str, object], path: str, given: Mapping[str, object]
    ) -> object:
        where = join(path, tagged.key)
        words = one_of(list(tagged.classes))
        if tagged.key not in table:
            self._problems.add(where, f"set it: {words.wanted}")
            return UNREAD
        word = self._leaves.read(str, [words], table[tagged.key], where)
        return UNREAD if word is UNREAD else self.table(tagged.classes[str(word)], table, path, given)

    def _named(self, hint: Hint, table: Mapping[str, object], path: str) -> dict[str, object]:
        """A table whose keys are names: of providers, of gateways, of headers."""
        key_hint, value_hint = (Hint.of(argument) for argument in get_args(hint.base))
        defaults = hint.mark(NamedDefaults) or NamedDefaults({})
        values = {}
        for name, body in table.items():
            self._leaves.obeys(key_hint.rules, name, join(path, name))
            full = {**defaults.by_name.get(name, {}), **body} if isinstance(body, dict) else body
            values[name] = self._value(value_hint, full, join(path, name), {"name": name})
        return {name: value for name, value in values.items() if value is not UNREAD}

    def _list(self, hint: Hint, raw: object, path: str) -> object:
        item = Hint.of(get_args(hint.base)[0])
        if not isinstance(raw, list):
            several = f": begin it with [[{path}]], in two brackets" if item.is_struct else ""
            self._problems.add(path, wrong_type("a list", raw) + several)
            return UNREAD
        values = tuple(self._value(item, body, f"{path}[{place}]") for place, body in enumerate(raw))
        obeyed = self._leaves.obeys(hint.rules, values, path)
        return values if obeyed and UNREAD not in values else UNREAD
