"""Dockerfile and compose.yaml: no engine runs them here, so whatever they name is looked up where it comes from."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from bridge.cli.serve import serve_command
from bridge.settings import Settings, load_settings
from bridge.store.sqlite import library

ROOT = Path(__file__).parents[2]
DRAIN = 10  # seconds that a stop may take
REFERENCE = re.compile(r"\$\{(\w+)\}")


def instructions() -> list[tuple[str, str]]:
    """Every instruction of the Dockerfile with its arguments on one line; comments left out."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines if line.strip())]


def arguments_of(word: str) -> list[str]:
    return [rest for each, rest in instructions() if each == word]


def code_of(*, mentions: str) -> str:
    """The Python program in the Dockerfile that mentions something."""
    listed = [json.loads(rest[rest.index("[") :]) for _, rest in instructions() if '["python", "-c"' in rest]
    found = [program[2] for program in listed if mentions in program[2]]
    assert len(found) == 1
    return str(found[0])


def compose() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    return read


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose()["services"]
    return found


def bridges() -> dict[str, dict[str, Any]]:
    return {name: each for name, each in services().items() if each["image"] == "bridge"}


def example_environ() -> dict[str, str]:
    """What deploy/compose/env.example asks for, filled in."""
    text = (ROOT / "deploy/compose/env.example").read_text(encoding="utf-8")
    given = dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))
    made = {name: value or f"made-up-value-of-{name.lower()}" for name, value in given.items()}
    return made | {"PII_KEY": "A" * 43 + "="}


def settings_of(service: dict[str, Any]) -> Settings:
    """The settings as the service reads them: its own environment, and nothing else."""
    given = example_environ()
    environ = {
        name: given[name] if value is None else re.sub(r"\$\{(\w+):-\}", lambda found: given[found[1]], value)
        for name, value in service["environment"].items()
    }
    return load_settings(ROOT / "deploy/compose/bridge.toml", environ)


def test_what_is_copied_is_there_and_sent() -> None:
    """Every source of a COPY exists, and .dockerignore lets through these and nothing else."""
    sources = {
        source.rstrip("/")
        for rest in arguments_of("COPY")
        if not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignored
    assert {line[1:].rstrip("/") for line in ignored if line.startswith("!")} == sources
    assert all((ROOT / source).exists() for source in sources)


def test_it_is_installed_as_the_makefile_does() -> None:
    """The hash-pinned files and the way to the wheel are those of the Makefile; pip takes nothing without a hash."""
    runs = " && ".join(arguments_of("RUN"))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    pinned = set(re.findall(r"-r (requirements/\w+\.txt)", runs))
    assert pinned == {"requirements/build.txt", "requirements/run.txt"}
    assert f"install --require-hashes {' '.join(f'-r {each}' for each in sorted(pinned))}" in makefile
    assert "wheel --no-deps --no-build-isolation --wheel-dir" in makefile
    assert "pip wheel --no-deps --no-build-isolation --wheel-dir /dist ." in runs
    for command in re.findall(r"pip install [^&]*", runs):
        assert "--require-hashes" in command or "--no-deps /dist/bridge-" in command, command


def test_both_stages_have_one_python() -> None:
    """A virtual environment belongs to the Python that made it; that one is new enough for the bridge."""
    assert [each.partition(" AS ")[0] for each in arguments_of("FROM")] == ["python:${PYTHON}"] * 2
    version = re.fullmatch(r"PYTHON=3\.(\d+)-slim", arguments_of("ARG")[0])
    needed = re.search(
        r'requires-python = ">=3\.(\d+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    )
    assert version
    assert needed
    assert int(version[1]) >= int(needed[1])


def test_an_old_sqlite_ends_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line that asks for the version passes here, and fails for one that is older than the code needs."""
    code = code_of(mentions="SQLITE_NEEDED")
    exec(code, {})
    monkeypatch.setattr(library, "SQLITE_NEEDED", (library.sqlite_version()[0] + 1, 0, 0))
    with pytest.raises(AssertionError, match="is older than"):
        exec(code, {})
    order = [word for word, rest in instructions() if word == "USER" or "SQLITE_NEEDED" in rest]
    assert order == ["RUN", "USER"]


def test_it_does_not_run_as_root_and_listens_where_it_is_asked() -> None:
    """A user by its number, the port of the settings, and a command that the bridge takes."""
    assert arguments_of("USER") == ["10001:10001"]
    port = Settings(file=Path(), base_dir=Path()).server.port
    assert arguments_of("EXPOSE") == [str(port)]
    assert f"'127.0.0.1', {port}" in code_of(mentions="/healthz")
    program, name, *arguments = json.loads(arguments_of("CMD")[0])
    assert (program, name) == ("bridge", serve_command.name)
    assert serve_command.make_context("serve", arguments).params["host"] == "0.0.0.0"


def test_what_compose_mounts_and_builds_is_there() -> None:
    """Files exist (bridge.toml: the one to copy), and named volumes are declared."""
    read = compose()
    for service in services().values():
        for mount in service.get("volumes", []):
            source, target = mount.split(":")[:2]
            if source.startswith("./"):
                where = source.replace("./bridge.toml", "deploy/compose/bridge.toml")
                assert (ROOT / where).is_file(), source
                assert mount.endswith(":ro"), target
            else:
                assert source in read["volumes"], source
        for other in service.get("depends_on", {}):
            assert other in services()
    for path in re.findall(r"\bdeploy/[\w./-]+", (ROOT / "compose.yaml").read_text(encoding="utf-8")):
        assert (ROOT / path).exists(), path


def test_the_settings_of_compose() -> None:
    """Each service gives bridge.toml every variable that it names, and no other; one has SQLite, two PostgreSQL."""
    text = (ROOT / "deploy/compose/bridge.toml").read_text(encoding="utf-8")
    asked = set(REFERENCE.findall(text))
    for service in bridges().values():
        assert set(service["environment"]) == asked
    urls = {name: settings_of(each).database.url.reveal() for name, each in bridges().items()}
    shared = "postgresql://bridge:made-up-value-of-postgres_password@postgres:5432/bridge"
    assert urls == {"bridge": "sqlite:////data/bridge.db", "bridge-1": shared, "bridge-2": shared}
    settings = settings_of(services()["bridge"])
    assert settings.warnings == ()
    assert settings.server.public_url == "https://bridge.example.com"
    subnet = compose()["networks"]["default"]["ipam"]["config"][0]["subnet"]
    assert [str(each) for each in settings.server.trusted_proxies] == [subnet]
    assert all(name in asked or name == "POSTGRES_PASSWORD" for name in example_environ())


def test_the_services_of_compose() -> None:
    """Without a profile one bridge starts, open to this machine only; with it what belongs to it, healthy in order."""
    assert [name for name, each in services().items() if "profiles" not in each] == ["bridge"]
    assert services()["bridge"]["ports"] == ["127.0.0.1:8080:8080"]
    proxy, database = services()["proxy"], services()["postgres"]
    instances = {name for name in bridges() if name != "bridge"}
    assert proxy["environment"]["BRIDGE_UPSTREAMS"].split() == [f"{name}:8080" for name in sorted(instances)]
    caddy = (ROOT / "deploy/caddy/Caddyfile").read_text(encoding="utf-8")
    assert set(re.findall(r"\{\$(\w+):", caddy)) == set(proxy["environment"])
    healthy = {"condition": "service_healthy"}
    assert proxy["depends_on"] == dict.fromkeys(sorted(instances), healthy)
    assert all(bridges()[name]["depends_on"] == {"postgres": healthy} for name in instances)
    assert proxy["healthcheck"]
    assert database["healthcheck"]
    user, name = (database["environment"][f"POSTGRES_{each}"] for each in ("USER", "DB"))
    assert {f"--username={user}", f"--dbname={name}"} <= set(database["healthcheck"]["test"])


def test_there_is_time_to_stop() -> None:
    """What is in flight may take ten seconds to end before Docker kills."""
    for service in bridges().values():
        assert int(service["stop_grace_period"].removesuffix("s")) > DRAIN
        assert service["cap_drop"] == ["ALL"]
        assert service["read_only"]


def test_the_commands_in_compose_name_its_services() -> None:
    """The commands at its top and in the guide are about services and profiles that there are."""
    said = f"{(ROOT / 'compose.yaml').read_text()}\n{(ROOT / 'docs/deploy.md').read_text()}"
    profiles = {profile for each in services().values() for profile in each.get("profiles", [])}
    found = re.findall(r"docker compose ([^`\n#)]*)", said)
    assert len(found) > 4
    for command in found:
        words = shlex.split(command)
        if words[0] == "--profile":
            assert words[1] in profiles
            words = words[2:]
        action, *rest = words
        named = [word for word in rest if not word.startswith("-")]
        if action in {"exec", "run", "stop"}:
            named = named[:1]
        elif action not in {"up", "restart", "logs"}:
            continue
        assert set(named) <= set(services()), command
