"""Templates, and how times, numbers and money are written on the pages. Everything is escaped unless it is `Markup`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import jinja2
import msgspec
from msgspec import Struct

from bridge.core.model import Millis
from bridge.core.moments import format_time, read_when
from bridge.web.ops import words

__all__ = ["ASSETS", "STATIC", "StaticFile", "render"]

_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}


class StaticFile(Struct, frozen=True):
    """A file that pages load. Its address changes with its content, so browsers may keep it for ever."""

    content: bytes
    media_type: str
    version: str


def _load(name: str) -> StaticFile:
    content = files("bridge.web.ops").joinpath("static", name).read_bytes()
    return StaticFile(content, _TYPES[name.rpartition(".")[2]], hashlib.sha256(content).hexdigest()[:12])


STATIC: Mapping[str, StaticFile] = {name: _load(name) for name in ("ops.css", "ops.js", "icon.svg")}
ASSETS = {name: f"/ops/static/{name}?v={each.version}" for name, each in STATIC.items()}


def render(template: str, values: Mapping[str, Any]) -> str:
    """A page. Raises for a value that a template names and nobody gave."""
    return _environment.get_template(template).render(values)


def _time(at: Millis | str | None) -> str:
    """ "2026-11-21 04:22:01 UTC", from milliseconds or from what `format_time` wrote."""
    if at is None or at == "":
        return "–"
    text = format_time(at) if isinstance(at, int) else at
    return f"{text[:10]} {text[11:19]} UTC"


def _short(at: str, now: Millis) -> str:
    """The same without the day, if that is today."""
    return _time(at) if at[:10] != format_time(now)[:10] else f"{at[11:19]} UTC"


def _exact(at: str) -> str:
    """ "04:22:01.250 UTC"; the day stands above."""
    return f"{at[11:23]} UTC"


def _millis(text: str) -> Millis:
    return read_when(text, 0) or 0


def _number(value: int | float | None, digits: int = 0) -> str:
    """With separators: 12,345."""
    return "–" if value is None else f"{value:,.{digits}f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value * 100:.1f} %"


def _money(amount: str) -> str:
    """With separators and two decimals at least, and nothing rounded: 1,234.50."""
    whole, _, decimals = amount.partition(".")
    return f"{int(whole):,}.{decimals.ljust(2, '0')}" if whole.isdigit() else amount


def _pretty(value: Any) -> str:
    """JSON as people read it."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


_environment = jinja2.Environment(
    loader=jinja2.PackageLoader("bridge.web.ops"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters |= {
    "time": _time,
    "iso": format_time,
    "exact": _exact,
    "short": _short,
    "money": _money,
    "number": _number,
    "percent": _percent,
    "pretty": _pretty,
    "millis": _millis,
    "duration": words.duration,
    "ago": words.ago,
    "state_word": words.state_word,
    "kind_word": words.kind_word,
}
for _name in _environment.list_templates():  # compiled at the start, so that no visitor waits for that
    _environment.get_template(_name)
