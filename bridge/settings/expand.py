"""`${NAME}` and `${file:/path}` inside the strings of the settings; `$${` stands for a plain `${`.

The only module of the settings that reads the environment or another file. What it fills in is never read again for
references, and no sentence of it holds a value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

__all__ = ["expand", "references"]

_REFERENCE = re.compile(r"\$(?P<literal>\$\{)|\$\{(?P<inside>[^{}]*)\}|\$\{")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def expand(text: str, environ: Mapping[str, str], base_dir: Path) -> tuple[str, list[str]]:
    """The text with everything filled in, and one sentence for each reference that could not be.

    A relative path starts at `base_dir`; one newline at the end of a file is dropped, and the mark with which editors
    on Windows begin a file.
    """
    problems: list[str] = []

    def fill(found: re.Match[str]) -> str:
        if literal := found["literal"]:
            return literal
        try:
            return _look_up(found["inside"], environ, base_dir)
        except LookupError as error:
            problems.append(str(error.args[0]))
            return ""

    return _REFERENCE.sub(fill, text), problems


def references(text: str) -> str:
    """The references in a text, as they are written."""
    return " and ".join(found[0] for found in _REFERENCE.finditer(text) if found["inside"])


def _look_up(inside: str | None, environ: Mapping[str, str], base_dir: Path) -> str:
    """What a reference stands for; LookupError with a sentence where it stands for nothing."""
    if inside is not None and inside.startswith("file:"):
        return _read(base_dir / inside.removeprefix("file:"))
    if inside is None or not _VARIABLE.fullmatch(inside):
        raise LookupError("write ${NAME} or ${file:/path}, or $${ where a plain ${ is meant")
    if inside not in environ:
        raise LookupError(f"the environment variable {inside} is not set: set it, or write the value here")
    return environ[inside]


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise LookupError(f"cannot read the file {path}: {reason}; mend the path or the rights") from None
    return text.removesuffix("\n").removesuffix("\r")
