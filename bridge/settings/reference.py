"""The page docs/settings.md: every key with what it must be, its default and its meaning.

`python -m bridge.settings.reference` prints it, `make docs` writes it. Rules and defaults are taken from the
declarations in `model`, meanings from the comments of the template: each of these is said once.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any, Literal, get_args, get_origin, get_type_hints

from msgspec import Struct

from bridge.secret import Secret
from bridge.settings import model
from bridge.settings.reader import Hint
from bridge.settings.rules import NOT_EMPTY, REQUIRED, FromEnvironment, NamedDefaults
from bridge.settings.template import SECRETS, render_template

__all__ = ["render_reference"]

Meanings = Mapping[str, Mapping[str, str]]  # by table of the template, then by key

# Fields that no key sets; an adapter is one only beside its own keys.
_UNWRITTEN = {"file", "base_dir", "warnings", "name", "adapter"}
# What a struct cannot be made without.
_GIVEN: Mapping[str, object] = {"file": Path(), "base_dir": Path(), "name": "NAME", "adapter": "NAME"}
_HEADER = re.compile(r"(?:# )?\[+([a-z_.]+)\]+(?:\s.*)?")
_KEY = re.compile(r"(?:# )?([a-z_]+) = .*?(?:\s# (.*))?")
_OWN_NAME = re.compile(r"`\[+[a-zA-Z_.]+\]+`[.:] ?")
_INTRO = """\
# Settings

Every key of `bridge.toml`. This page is written by `make docs`, from the program. `bridge init` writes a file with the
same explanations, `bridge check` says everything that is wrong in yours; a running service reads it at its start.

* `${NAME}` in a text is taken from the environment, `${file:/run/secrets/x}` from a file; `$${` is a plain `${`.
* Relative paths start at the folder of `bridge.toml`.
* NAME stands for a name of your own. A key that is not written has its default; *needed*: there is none, and where a
  variable stands beside it, the key may be left out if the environment has that.
* A key that is not known is an error, so that a slip is noticed.
"""


def render_reference() -> str:
    """The text of the page. KeyError where the template does not explain a key."""
    meanings = _meanings()
    parts = [_INTRO, _table(model.Settings, meanings[""])]
    for key, hint in _hints(model.Settings):
        if key == "providers":
            parts += _providers(hint, meanings)
        elif key == "gateways":
            parts += [
                _section("[gateways.NAME]", model.GatewaySettings, meanings["gateways.sms"]),
                _names(hint),
            ]
        elif hint.is_struct:
            parts += _tree(key, hint, meanings)
    return "\n".join(parts)


# --- sections ---


def _tree(path: str, hint: Hint, meanings: Meanings) -> Iterator[str]:
    """A table, and those within it."""
    yield _section(f"[{path}]", hint.base, meanings[path])
    for key, inner in _hints(hint.base):
        below = f"{path}.{key}"
        if inner.is_struct:
            yield from _tree(below, inner, meanings)
        elif (item := _item(inner)) is not None and item.is_struct:
            yield _section(f"[[{below}]]", item.base, meanings[below])


def _providers(hint: Hint, meanings: Meanings) -> Iterator[str]:
    """What all have, then what each adapter has by itself."""
    names = {str(values["adapter"]): name for name, values in _named_defaults(hint).items()}
    common = meanings["providers.revicom"]
    yield _section("[providers.NAME]", model.ProviderCommon, common)
    for adapter, struct in model.ADAPTERS.items():
        own = {**common, **meanings[f"providers.{names[adapter]}"]}
        yield _section(
            f'[providers.NAME] with adapter = "{adapter}"', struct, own, only=struct.__annotations__
        )
    yield _names(hint)


def _names(hint: Hint) -> str:
    """What a name must be, and the defaults that only the tables of some names have."""
    rules = Hint.of(get_args(hint.base)[0]).rules
    lines = [
        f"NAME must be {rules[0].wanted}. Some names bring defaults of their own:",
        "",
    ]
    for name, values in _named_defaults(hint).items():
        lines.append(
            f"* `{name}`: " + ", ".join(f"`{key} = {_toml(value)}`" for key, value in values.items())
        )
    return "\n".join(lines) + "\n"


def _section(
    title: str, struct: type[Struct], meanings: Mapping[str, str], *, only: Mapping[str, object] | None = None
) -> str:
    said = _OWN_NAME.sub("", dedent(f"    {struct.__doc__}").strip())
    return f"## `{title}`\n\n{said[:1].upper()}{said[1:]}\n\n{_table(struct, meanings, only=only)}"


def _table(
    struct: type[Struct], meanings: Mapping[str, str], *, only: Mapping[str, object] | None = None
) -> str:
    lines = ["| key | must be | default | meaning |", "| --- | --- | --- | --- |"]
    for key, hint in _hints(struct):
        if _is_key(hint) and (only is None or key in only):
            cells = (_must_be(hint), _default(struct, key, hint), meanings[key])
            lines.append(f"| `{key}` | {' | '.join(map(_cell, cells))} |")
    return "\n".join(lines) + "\n"


# --- keys ---


def _hints(struct: type[Struct]) -> Iterator[tuple[str, Hint]]:
    for key, annotation in get_type_hints(struct, include_extras=True).items():
        hint = Hint.of(annotation)
        if key not in _UNWRITTEN or REQUIRED in hint.marks or (key == "adapter" and hint.base is not str):
            yield key, hint


def _is_key(hint: Hint) -> bool:
    """Whether it is written as `key = …`, not as a table of its own."""
    item = _item(hint)
    return not (
        hint.is_struct or hint.mark(NamedDefaults) is not None or (item is not None and item.is_struct)
    )


def _item(hint: Hint) -> Hint | None:
    return Hint.of(get_args(hint.base)[0]) if get_origin(hint.base) is tuple else None


def _named_defaults(hint: Hint) -> Mapping[str, Mapping[str, object]]:
    marked = hint.mark(NamedDefaults)
    assert marked is not None
    return marked.by_name


def _must_be(hint: Hint) -> str:
    if (item := _item(hint)) is not None:
        return f"a list, each {_must_be(item)}{'; at least one' if NOT_EMPTY in hint.rules else ''}"
    if get_origin(hint.base) is dict:
        name, value = (_must_be(Hint.of(each)) for each in get_args(hint.base))
        return f"a table; each key {name}, each value {value}"
    if get_origin(hint.base) is Literal:
        words = ", ".join(f"`{word}`" for word in get_args(hint.base))
        return f"one of {words}" if "," in words else words
    if hint.base is bool:
        return "true or false"
    wanted = " and ".join(rule.wanted for rule in hint.rules) or "a text"
    if hint.base is int:
        wanted = wanted.replace("a number", "a whole number")
    return f"{wanted} (secret)" if hint.base is Secret else wanted


def _default(struct: type[Struct], key: str, hint: Hint) -> str:
    if source := hint.mark(FromEnvironment):
        return f"needed: `{source.variable_for('NAME')}`"
    if REQUIRED in hint.marks or key == "adapter":
        return "needed"
    given = {name: value for name, value in _GIVEN.items() if name in struct.__struct_fields__}
    return f"`{_toml(getattr(struct(**given), key))}`"


def _toml(value: Any) -> str:
    if isinstance(value, Secret):
        return _toml(value.reveal())
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False)


def _cell(text: str) -> str:
    """As a cell of a table: outside of code no sign has a meaning of its own."""
    pieces = text.replace("|", "\\|").split("`")
    return "`".join(
        re.sub(r"([*_<>])", r"\\\1", piece) if place % 2 == 0 else piece for place, piece in enumerate(pieces)
    )


# --- meanings ---


def _meanings() -> Meanings:
    """What the template says of each key: behind it, or in the comment above."""
    found: dict[str, dict[str, str]] = {"": {}}
    table, above = "", ""
    for line in render_template(dict.fromkeys(SECRETS, "")).splitlines():
        if header := _HEADER.fullmatch(line):
            table, above = header[1], ""
            found.setdefault(table, {})
        elif key := _KEY.fullmatch(line):
            said = (
                (key[2] or f"{above[:1].lower()}{above[1:]}").removeprefix("CHANGE THIS: ").removesuffix(".")
            )
            found[table] |= {key[1]: said} if said else {}
            above = ""
        else:
            above = line.removeprefix("# ") if line.startswith("# ") else ""
    return found


if __name__ == "__main__":
    sys.stdout.write(render_reference())
