"""Reads the mapping tables: those shipped with the bridge, or of the same name in the operator's folder."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

from bridge.core.lifecycle import Vocabulary
from bridge.core.mapping import ProviderMapping, read_provider_mapping, read_vocabulary
from bridge.errors import Problem, SettingsError

__all__ = ["load_mapping", "load_vocabulary"]

T = TypeVar("T")


def load_mapping(adapter: str, folder: Path | None) -> ProviderMapping:
    """The table of a provider's adapter. Raises SettingsError with everything that is wrong in it."""
    return _load(f"{adapter}.toml", folder, lambda text, file: read_provider_mapping(text, file=file))


def load_vocabulary(folder: Path | None) -> Vocabulary:
    """Smartico's words. Raises SettingsError with everything that is wrong in them."""
    return _load("smartico.toml", folder, lambda text, file: read_vocabulary(text, file=file))


def _load(name: str, folder: Path | None, read: Callable[[str, str], tuple[T, list[Problem]]]) -> T:
    text, file = _text(name, folder)
    table, problems = read(text, file)
    if problems:
        raise SettingsError(problems)
    return table


def _text(name: str, folder: Path | None) -> tuple[str, str]:
    """The text of a table, and the name by which to speak of it."""
    if folder is not None and not folder.is_dir():
        raise SettingsError(
            [Problem(str(folder), "", "mappings_dir is no folder: create it, or leave the key out")]
        )
    own = folder / name if folder else None
    try:
        if own and own.is_file():
            return own.read_text(encoding="utf-8"), str(own)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError([Problem(str(own), "", f"cannot be read ({error})")]) from None
    return _shipped(name), f"(shipped) {name}"


def _shipped(name: str) -> str:
    """From the wheel, or from the folder `mappings` at the top of a checkout."""
    inside = files("bridge").joinpath("mappings", name)
    if inside.is_file():
        return inside.read_text(encoding="utf-8")
    return (Path(__file__).parent.parent / "mappings" / name).read_text(encoding="utf-8")
