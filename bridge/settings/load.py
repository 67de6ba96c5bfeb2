"""Reads `bridge.toml`: text in, checked `Settings` out, or one error that lists everything that is wrong."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from bridge.errors import Problem, SettingsError
from bridge.settings.checks import check
from bridge.settings.leaf import LeafReader
from bridge.settings.model import Settings
from bridge.settings.problems import Problems
from bridge.settings.reader import Reader
from bridge.settings.warn import warnings_of

__all__ = ["load_settings", "parse_settings"]

# What people most often mean by what tomllib complains of.
_HINTS = {
    "Illegal character '\\n'": "is the closing quotation mark missing?",
    "Invalid value": 'a text stands in straight quotation marks, "…"; yes and no are written true and false',
    "Unescaped '\\' in a string": "write each \\ twice, or put the text in single quotation marks",
    "Cannot declare": "write each [table] once, with all of its keys",
    "Cannot overwrite": "write each key once",
}


def load_settings(path: Path, environ: Mapping[str, str]) -> Settings:
    """The settings in a file. Raises SettingsError with all problems at once, also where there is no such file."""
    text = _read(path)
    return parse_settings(text, file=str(path), base_dir=path.absolute().parent, environ=environ)


def parse_settings(text: str, *, file: str, base_dir: Path, environ: Mapping[str, str]) -> Settings:
    """The settings in a text. `file` names it in problems; relative paths start at `base_dir`.

    Raises SettingsError with all problems at once.
    """
    problems = Problems(file)
    document = _parse(text, problems)
    reader = Reader(problems, LeafReader(problems, base_dir, environ))
    given = {"file": Path(file), "base_dir": base_dir, "warnings": ()}
    settings = reader.table(Settings, document, "", given)
    check(settings, problems)
    if problems.found:
        raise SettingsError(problems.found)
    return replace(settings, warnings=warnings_of(settings))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")  # editors on Windows begin a file with a mark
    except FileNotFoundError:
        text = "there is no such file: run `bridge init` to write one, or name one with --config"
    except UnicodeDecodeError:
        text = "it is not UTF-8 text: save it as UTF-8"
    except OSError as error:
        text = f"it cannot be read ({error.strerror}): mend its rights, or name another with --config"
    raise SettingsError([Problem(str(path.absolute()), "", text)])


def _parse(text: str, problems: Problems) -> dict[str, Any]:
    """The TOML document. A text that is none is a problem by itself: nothing else can be said of it."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.fullmatch(r"(.*) \(at (.*)\)", str(error), re.DOTALL)
        what, where = found.groups() if found else (str(error), "")
        hint = next((f" ({hint})" for start, hint in _HINTS.items() if what.startswith(start)), "")
        problems.add(where, f"this is not TOML: {what}{hint}; mend it there")
    except (ValueError, RecursionError):  # a number of thousands of digits, thousands of brackets
        problems.add("", "this is not TOML that can be read: a number is too long, or brackets nest too deep")
    raise SettingsError(problems.found)
