"""What README.md and docs/ name exists: commands, options, files, headings, folders. And every page can be found."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from bridge import __version__
from bridge.cli.root import bridge_group
from tests.docs.commands import PAGES, alternatives, mentioned, name, read, typed
from tests.docs.pages import DOCS, ROOT, blocks, without_blocks

_MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z]+):", _MAKEFILE, re.MULTILINE))
VARIABLES = set(re.findall(r"^(\w+) \?=", _MAKEFILE, re.MULTILINE))
_BEHIND = {"demo": "demo", "run": "serve"}  # what ARGS goes to


# --- commands ---


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every command of bridge or make in the shell examples, in words. What follows in a pipe is somebody else's."""
    for page, line in typed():
        words = shlex.split(line.split(" | ")[0].split(" > ")[0].split(" && ")[0], comments=True)
        if words[0] in {"bridge", "make"}:
            yield page, words


@pytest.mark.parametrize(
    ("page", "words"), [pytest.param(*each, id=" ".join(each[1])) for each in commands()]
)
def test_every_example_of_a_command_can_be_run(page: str, words: list[str]) -> None:
    """The command, its arguments and its options exist; it is read as a shell would hand it over, and not run."""
    if words[0] == "make":
        check_make(words[1:])
    else:
        understand(words[1:])


def understand(words: list[str]) -> None:
    command, rest = find(words)
    assert not isinstance(command, click.Group), words
    try:
        command.make_context(command.name, rest)
    except click.UsageError as error:
        pytest.fail(f"{' '.join(words)}: {error.format_message()}")


def find(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that the words begin with, and the rest of them."""
    command: click.Command = bridge_group
    rest = list(words)
    while isinstance(command, click.Group) and rest:
        assert rest[0] in command.commands, f"there is no command {' '.join(words)}"
        command = command.commands[rest.pop(0)]
    return command, rest


def check_make(words: list[str]) -> None:
    for word in words:
        variable, is_set, value = word.partition("=")
        if is_set:
            assert variable in VARIABLES, word
        else:
            assert word in TARGETS, word
        if variable == "ARGS" and words[0] in _BEHIND:
            understand([_BEHIND[words[0]], *shlex.split(value)])


@pytest.mark.parametrize(("page", "text"), [pytest.param(*each, id=each[1]) for each in mentioned()])
def test_every_mention_of_a_command_is_right(page: str, text: str) -> None:
    """The command and the options exist; arguments may be left out, and several commands may be named by `a|b`."""
    first, *rest = text.split()
    if first == "make":
        assert rest[0] in TARGETS
        return
    options = {word for word in rest if word.startswith("--")}
    for each in alternatives(text):
        command, _ = find(shlex.split(each)[1:])
        known = {option for parameter in command.params for option in parameter.opts}
        assert options <= known | {"--help"}, text


# --- links ---


def headings(path: Path) -> set[str]:
    """What a link into a page may name, as GitHub makes it of the headings."""
    found: list[str] = []
    for title in re.findall(r"^#+ (.+)$", without_blocks(read(path)), re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title).lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        found.append(f"{slug}-{found.count(slug)}" if slug in found else slug)
    return set(found)


def links(path: Path) -> list[str]:
    text = re.sub(r"`[^`\n]*`", "`", without_blocks(read(path)))
    return re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|srcset)="([^"]+)"', text)


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_every_link_leads_somewhere(path: Path) -> None:
    """Files are there, and so are headings; absolute addresses are not followed."""
    for link in links(path):
        file, _, heading = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), link
        if heading:
            assert heading in headings(target), link


def test_every_page_is_linked() -> None:
    """From the README, or from another page, every page of docs/ can be found."""
    linked = {
        (path.parent / link.partition("#")[0]).resolve()
        for path in PAGES
        for link in links(path)
        if (path.parent / link.partition("#")[0]).resolve() != path
    }
    assert {name(path) for path in DOCS.glob("*.md") if path not in linked} <= {"docs/README.md"}


def test_the_index_has_every_page() -> None:
    """docs/README.md says of each page which question it answers."""
    index = {(DOCS / link).resolve() for link in links(DOCS / "README.md")}
    assert {name(path) for path in DOCS.glob("*.md") if path not in index} == {"docs/README.md"}


# --- the tree ---


def drawn() -> Iterator[Path]:
    """What the tree in docs/architecture.md names."""
    (tree, *_) = blocks(read(DOCS / "architecture.md"), "")
    parents = {0: ROOT}
    for line in tree.splitlines():
        depth = len(line) - len(line.lstrip())
        if line and depth in (0, 2, 4):
            places = list(named(line, parents[depth]))
            yield from places
            parents[depth + 2] = places[-1] if depth else places[0]
        elif parents.get(2) == ROOT / "tests":  # its folders need two lines
            yield from named(line, ROOT / "tests")


def named(line: str, parent: Path) -> Iterator[Path]:
    """The paths that a line begins with; behind the folder of the tests stand its own."""
    for word in line.split():
        if not re.fullmatch(r"[\w.]*[./][\w./]*|Makefile|Dockerfile", word):
            return
        yield parent / word
        if word == "tests/":
            parent = parent / word


def test_the_tree_is_that_on_disk() -> None:
    """Everything that is drawn is there; every module and folder of bridge/ is drawn, and every folder of tests/."""
    found = {path.resolve() for path in drawn()}
    assert len(found) > 40
    assert [str(path) for path in found if not path.exists()] == []
    package = ROOT / "bridge"
    there = {
        path for path in package.iterdir() if path.name not in {"__init__.py", "__pycache__", "py.typed"}
    }
    there |= {path for path in (ROOT / "tests").iterdir() if path.is_dir() and path.name != "__pycache__"}
    there |= {path for each in ("web", "store") for path in (package / each).iterdir() if path.is_dir()}
    assert [name(path) for path in sorted(there - found) if path.name != "__pycache__"] == []


# --- the changelog ---


def test_the_changelog_begins_with_this_version() -> None:
    """A release says what is in it, and when it was made."""
    (newest, *_) = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert re.fullmatch(rf"\[{re.escape(__version__)}\] - \d{{4}}-\d\d-\d\d", newest)


def test_the_tests_that_the_threat_model_names() -> None:
    """docs/security.md says where each defence is tested: every file is there."""
    named = re.findall(r"`([\w/]*test_\w+\.py)`", read(DOCS / "security.md"))
    assert len(named) > 30
    assert [each for each in named if not (ROOT / "tests" / each).is_file()] == []
