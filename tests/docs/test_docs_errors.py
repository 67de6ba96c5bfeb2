"""docs/errors.md has every code, kind and sentence that the program knows, and none besides."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import get_args

import pytest

from bridge.flows import status
from bridge.flows.forwarding import Verdict
from bridge.providers.protocol import ItemResult, LookupResult, SendResult
from bridge.smartico import ErrorCode, StatusReply
from bridge.store.review import Kind
from tests.docs.pages import arguments, first_cells, fits, modules, page, returned, section, spans

PAGE = page("errors.md")
SPANS = spans(PAGE)
ALL = modules("web", "flows", "worker", "store", "transport", "smartico", "providers", "core")
ALL += ["bridge/app.py", "bridge/process.py"]


def test_every_error_code() -> None:
    """Both tables of what Smartico is answered have each code, and 0."""
    codes = {str(int(code)) for code in ErrorCode}
    tables = section(PAGE, "## `/smartico/{gateway}`").split("The sentences")
    assert {cell for cell in first_cells(tables[0]) if cell.isdigit() and len(cell) == 1} == codes | {"0"}
    assert {cell for cell in first_cells(tables[1]) if cell.isdigit()} == codes


def refusals() -> Iterator[str]:
    """What is said to Smartico."""
    requests = "bridge/smartico/requests.py"
    for path in [*modules("web", "flows"), requests]:
        yield from arguments(path, "Refusal", 1)
    for path in ("bridge/web/sends.py", "bridge/web/communications.py", "bridge/web/callbacks.py"):
        yield from arguments(path, "_refuse", 1)
    yield from arguments(requests, "_invalid", 0)
    yield from returned(requests, "_wrong")
    yield from returned(requests, "_half")
    yield from arguments("bridge/notifications.py", "Unreadable", 0)
    yield from (f"callback_url {each}" for each in arguments("bridge/core/callback_url.py", "NotAllowed", 0))


def reasons() -> Iterator[str]:
    """Why an exchange failed, in the words of the transport and of what reads the answers."""
    for path in [*modules("transport"), "bridge/smartico/reports.py"]:
        for name in ("NoConnection", "NoReply", "abort", "cut", "OSError"):
            yield from arguments(path, name, 0)
    for path in modules("providers"):
        yield from arguments(path, "PerhapsTaken", 0)
    yield from arguments("bridge/worker/sends.py", "PerhapsTaken", 0)
    yield from arguments("bridge/worker/lane.py", "Hopeless", 0)


def ends() -> Iterator[str]:
    """Why a message failed or is under review, as the bridge itself says it."""
    yield from arguments("bridge/flows/sending.py", "fail", 1)
    yield from arguments("bridge/flows/sending.py", "fail", 2)
    yield from arguments("bridge/flows/sending.py", "_to_review", 1)
    for path in modules("flows"):
        yield from (each for each in arguments(path, "add_to_review", 2) if each.strip("…: "))


def events() -> Iterator[str]:
    """What is logged as an error or a warning."""
    for path in ALL:
        for name in ("error", "warning", "exception"):
            yield from arguments(path, name, 0)


def problems() -> Iterator[str]:
    """What is said of the settings. Hints at the end of a sentence are cut."""
    for path in modules("settings"):
        yield from (each.split("; ")[0] for each in arguments(path, "add", 1))
        yield from arguments(path, "LookupError", 0)


@pytest.mark.parametrize("said", [refusals, reasons, ends, events, problems])
def test_every_sentence(said: object) -> None:
    """What the code says, the page has, word for word."""
    assert callable(said)
    found = {re.sub("…+", "…", each) for each in said()}
    assert len(found) > 4
    assert sorted(form for form in found if not any(fits(form, each) for each in SPANS)) == []


def test_no_sentence_besides() -> None:
    """What the page has of sentences to Smartico, and of lines of the log, the code says."""
    said, logged = list(refusals()), set(events())
    _, _, sentences = section(PAGE, "## `/smartico/{gateway}`").partition("The sentences")
    for sentence in spans("".join(line.partition(" | ")[2] for line in sentences.splitlines())):
        assert any(fits(form, sentence) for form in said) or " " not in sentence, sentence
    for sentence in spans(" ".join(first_cells(section(PAGE, "## The log"), marked=True))):
        assert sentence in logged, sentence


def names(union: object) -> set[str]:
    return {each.__name__ for each in get_args(union)}


@pytest.mark.parametrize(
    ("heading", "expected"),
    [
        (
            "## What became of a request to a provider",
            names(SendResult) | names(LookupResult) | names(ItemResult),
        ),
        ("## Status reports", names(StatusReply)),
        ("## What is passed on to your own API", names(Verdict)),
        ("## Review", {str(kind) for kind in Kind}),
    ],
)
def test_every_result(heading: str, expected: set[str]) -> None:
    """A row for every result that the code can come to (those of the metrics), and for every kind of review item."""
    assert set(first_cells(section(PAGE, heading))) - {"result", "kind"} == expected


def test_who_is_left_alone() -> None:
    """The words of /api/status for a host that gets nothing now."""
    found = section(PAGE, "## Who is left alone")
    for word in (status.DOWN, status.API_KEY_REFUSED, status.HEADERS_REFUSED):
        assert f"`{word}`" in found


def test_every_line_of_the_check() -> None:
    """What `bridge check` looks at, by the word that its line begins with."""
    looked_at = {"settings", "provider NAME"}
    for path in modules("cli"):
        looked_at |= set(arguments(path, "Finding", 0))
    assert set(first_cells(section(PAGE, "## `bridge check`"))) - {"line"} == looked_at
