"""Every command in README.md and docs/ is really run, in a folder that was empty before, and ends well.

There is a service in that folder, made as the README says, with simulated peers around it. What cannot be run here
stands in ELSEWHERE with the reason; a new command is run, or has to be added there.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, chdir, contextmanager
from pathlib import Path

import httpx
import pytest
from msgspec import Struct

from bridge.cli import main
from bridge.cli.init import set_key
from bridge.sim import free_port
from tests.docs.commands import alternatives, mentioned, typed
from tests.docs.pages import ROOT

pytestmark = pytest.mark.e2e

# Why something is not run here, and how what is not run begins.
ELSEWHERE = {
    "tests/docs/test_docs_api.py sends these to a service": ("api ", "alias api", "URL=", "curl "),
    "tests/docs/test_docs_mapping.py does it": ("mkdir tables", "cp mappings/"),
    "`make demo` runs it": ("bridge demo",),
    "takes minutes; tests/bench/ runs it with a light load": (
        "bridge bench",
        ".venv/bin/python bench/overload/run.py",
    ),
    "takes minutes; tests/soak/ runs it with a light load": (
        ".venv/bin/python -m bench.soak.run",
        "make soak",
    ),
    "needs PostgreSQL; tests/cli/test_db_copy.py runs it": ("bridge db copy",),
    "ends what other examples are about; tests/cli/test_beside_a_service.py runs it": (
        "bridge review dismiss",
    ),
    "would run the tests within the tests": ("make test", ".venv/bin/python -m pytest"),
    "comes before the tests in .ci/run": ("make lint", "make venv"),
    "writes into the sources; tests/settings/test_reference.py compares what it would write": ("make docs",),
    "writes into the sources, with Chromium": ("make screenshots",),
    "needs the network": ("make audit",),
    "needs Kannel": ("python bench/kannel/run.py",),
    "needs a PostgreSQL server; tests/docs/test_docs_backup.py runs it": (
        "pg_dump",
        "pg_restore",
        "createdb",
    ),
    "needs Docker; tests/deploy/test_image.py reads the files": (
        "docker",
        "cp deploy/compose/",
        ". ./.env",
        "export PGPASSWORD",
    ),
    "needs a cluster; tests/deploy/test_kubernetes.py reads the files": ("kubectl",),
    "needs nginx; tests/deploy/test_proxies.py reads the files": ("nginx -t",),
    "sets up a machine; tests/deploy/test_systemd.py reads the files": (
        "systemctl",
        "journalctl",
        "useradd",
        "install -",
        "sudo -u bridge",
        "python3 -m venv /opt",
        "/opt/",
        "umask",
        "openssl",
        "for name in",
        "cat > ",
        "cd - ",
    ),
}

# What the examples have that is somebody else's, and what stands for it here.
STANDS_FOR = {
    "/backups/": "backups/",
    "restore before.db": "restore backups/bridge.db",
    "--messages 300 --duration 12": "--messages 5 --duration 1",
    "--port 9001": "--port 0",
    "--port 8090": "--port 0 --messages 3",
}
# What a sentence leaves out behind a command.
COMPLETED = {
    "bridge contacts import": "people.csv",
    "bridge contacts show": "player1",
    "bridge contacts timeline": "player1",
    "bridge contacts delete": "player2",
    "bridge db backup": "spare.db",
    "bridge db restore": "backups/bridge.db",
    "bridge messages find": "player1",
    "bridge messages show": "EXT_MESSAGE_ID",
    "bridge reports replay": "--state dead",
    "bridge review replay": "7",
    "bridge review show": "7",
    "bridge send-test": "sms player1",
}
NEVER_ENDING = ("bridge serve", "bridge simulate", "make demo")
FRESH = ("bridge init",)  # is run in an empty folder
STOPPED = ("bridge serve", "bridge db restore")  # are run in a folder without a service


def examples() -> list[str]:
    """Every command once. What a sentence says of a command that an example has in full is not run again."""
    found = [line.partition("  #")[0].strip() for _, line in typed()]
    for _, text in mentioned():
        found += [each for each in alternatives(text) if not any(line.startswith(each) for line in found)]
    return list(dict.fromkeys(found))


def elsewhere(command: str) -> set[str]:
    """The beginnings in ELSEWHERE that the command has."""
    listed = {beginning for each in ELSEWHERE.values() for beginning in each}
    return {beginning for beginning in listed if command.startswith(beginning.strip())}


class Place(Struct, frozen=True):
    """A folder with a service, the message that is in it, and beside it a folder with a copy that nobody serves."""

    served: Path
    stopped: Path
    ext_message_id: str


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The README's way from an empty folder to a service, one message that was delivered, and seven review items."""
    top = tmp_path_factory.mktemp("commands")
    served, stopped = top / "served", top / "stopped"
    served.mkdir()
    with ExitStack() as stack:
        set_up_shell(top, stack.enter_context(pytest.MonkeyPatch.context()))
        run_here("bridge init", served)
        fill_in(served / "bridge.toml", stack.enter_context(running("bridge simulate provider", top)))
        (served / "people.csv").write_text(
            "ext_user_id,phone,email\nplayer1,+14155550001,\nplayer2,,jo@example.com\n"
        )
        run_here("bridge contacts import people.csv", served)
        bridge = stack.enter_context(running("bridge serve", served))
        (ext_message_id,) = re.findall(
            r"Message (\S+) is stored", run_in_shell("bridge send-test sms player1", served)
        )
        post_unknown_words(served, bridge)
        (served / "backups").mkdir()
        run_here("bridge db backup backups/bridge-2026-11-21-0407.db", served)
        leave_a_copy(served, stopped)
        yield Place(served, stopped, ext_message_id)


def set_up_shell(top: Path, environ: pytest.MonkeyPatch) -> None:
    """`bridge` is on the path, and is also what make finds in its virtual environment, which is up to date."""
    programs = top / "venv" / "bin"
    programs.mkdir(parents=True)
    command = programs / "bridge"
    command.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m bridge "$@"\n')
    command.chmod(0o755)
    for stamp in (".bridge-run", ".bridge-dev"):
        (top / "venv" / stamp).touch()
    for inherited in ("BRIDGE_CONFIG", "ARGS", "MAKEFLAGS", "MAKELEVEL"):  # the tests may be run by make
        environ.delenv(inherited, raising=False)
    environ.setenv("PATH", str(programs), prepend=os.pathsep)
    environ.setenv("VENV", str(top / "venv"))
    environ.setenv("SMARTICO_API_KEY", "sim-api-key")
    environ.setenv("REVICOM_TOKEN", "sim-token")


def run_here(command: str, folder: Path) -> None:
    """Runs a command in this process, which is quicker than a new one. It has to end well."""
    with chdir(folder), pytest.raises(SystemExit) as ended:
        main(shlex.split(command)[1:])
    assert ended.value.code == 0


def start(command: str, folder: Path) -> subprocess.Popen[str]:
    """A shell that runs the command; both are a group of processes of their own."""
    return subprocess.Popen(
        ["bash", "-c", f"set -o pipefail; {command}"],
        cwd=folder,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def run_in_shell(command: str, folder: Path) -> str:
    """What the command printed. It has to end well."""
    with start(command, folder) as process:
        printed, _ = process.communicate(timeout=50)
    assert process.returncode == 0, printed
    return printed


@contextmanager
def running(command: str, folder: Path) -> Iterator[str]:
    """The address at which something answers that runs until it is stopped."""
    with start(command, folder) as process:
        assert process.stdout is not None
        seen = ""
        for line in process.stdout:
            seen += line
            if found := re.search(r"(?:serves|answers at|runs at) (http://\S+:\d+)", line):
                break
        else:
            pytest.fail(seen)
        try:
            yield found[1]
        finally:
            os.killpg(process.pid, signal.SIGINT)
            process.communicate(timeout=50)


def fill_in(path: Path, provider: str) -> None:
    """The settings of `bridge init`, with a free port and simulated peers on this machine."""
    port = free_port()
    text = path.read_text(encoding="utf-8").replace("\n# port = 8080 ", f"\nport = {port} ", 1)
    text = set_key(text, "public_url", f"http://127.0.0.1:{port}")
    text = set_key(text, "callback_hosts", ["127.0.0.1"])
    text = text.replace(
        '\n# base_url = "https://direct.', f'\nbase_url = "{provider}/api/v1" # "https://direct.', 1
    )
    path.write_text(text, encoding="utf-8")


def post_unknown_words(folder: Path, bridge: str) -> None:
    """Callbacks with words that no table has, one after the other: review items 1 to 7, the last that of the pages."""
    text = (folder / "bridge.toml").read_text(encoding="utf-8")
    (password,) = re.findall(r'^callback_password = "([^"$]+)"', text, re.MULTILINE)
    (token,) = re.findall(r'^token = "([^"$]+)"', text, re.MULTILINE)
    with httpx.Client(base_url=bridge, headers={"Authorization": f"Bearer {token}"}) as client:
        for number, word in enumerate(["new1", "new2", "new3", "new4", "new5", "new6", "expired"], start=1):
            element = {"message_uuid": f"0199c0de-{number}", "callback_event": "delivered", "status": word}
            answer = client.post("/callbacks/revicom", json=[element], auth=("revicom", password))
            assert answer.status_code == 200
            end = time.monotonic() + 20
            while len(client.get("/api/review").json()["items"]) < number:
                assert time.monotonic() < end


def leave_a_copy(served: Path, stopped: Path) -> None:
    """The settings and the backup, by both names that the pages have, where no service is."""
    shutil.copytree(served / "backups", stopped / "backups")
    shutil.copy(stopped / "backups" / "bridge-2026-11-21-0407.db", stopped / "backups" / "bridge.db")
    text = (served / "bridge.toml").read_text(encoding="utf-8")
    (stopped / "bridge.toml").write_text(re.sub(r"\nport = \d+", "\nport = 0", text), encoding="utf-8")


def in_full(command: str, place: Place) -> str:
    """The command with what the page leaves to the reader."""
    command = f"{command} {COMPLETED.get(command, '')}".strip()
    for theirs, ours in STANDS_FOR.items():
        command = command.replace(theirs, ours)
    return command.replace("EXT_MESSAGE_ID", place.ext_message_id)


@pytest.mark.parametrize("command", [each for each in examples() if not elsewhere(each)])
def test_every_command_runs(command: str, place: Place, tmp_path: Path) -> None:
    """It ends with 0; one that runs until it is stopped says where it answers, and answers there."""
    folder = place.served
    if command.startswith("make "):
        folder = ROOT
    elif command.startswith(STOPPED):
        folder = shutil.copytree(place.stopped, tmp_path / "stopped")
    elif command.startswith(FRESH):
        folder = tmp_path
    full = in_full(command, place)
    if command.startswith(NEVER_ENDING) and "--duration" not in full:
        with running(full, folder) as url:
            assert httpx.get(url).status_code < 500
    elif not full.startswith("bridge ") or re.search("[|$]", full):
        run_in_shell(full, folder)
    else:
        run_here(full, folder)


def test_what_is_run_elsewhere() -> None:
    """Each beginning is that of a command of the pages, and the tests that do it are there."""
    listed = {beginning for each in ELSEWHERE.values() for beginning in each}
    assert sorted(listed - set().union(*map(elsewhere, examples()))) == []
    named = re.findall(r"tests/[\w./]+", " ".join(ELSEWHERE))
    assert [path for path in named if not (ROOT / path).exists()] == []
