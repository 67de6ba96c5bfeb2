"""Settings that are wrong: every kind of mistake is named with its key path and its mend, and all at once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bridge.errors import Problem, SettingsError
from bridge.settings import load_settings
from tests.settings.mistakes import (
    BETWEEN_VALUES,
    IMPOSSIBLE_ADDRESSES,
    IMPOSSIBLE_NUMBERS,
    IMPOSSIBLE_WORDS,
    INBOX,
    REFERENCES,
    REVICOM,
    UNKNOWN_KEYS,
    WRONG_TYPES,
)
from tests.settings.support import ENVIRON, SECTION_2, problems, refusal


@pytest.mark.parametrize(
    ("text", "key", "fragment"),
    [
        *UNKNOWN_KEYS,
        *WRONG_TYPES,
        *IMPOSSIBLE_NUMBERS,
        *IMPOSSIBLE_WORDS,
        *IMPOSSIBLE_ADDRESSES,
        *BETWEEN_VALUES,
        *REFERENCES,
    ],
)
def test_one_mistake(text: str, key: str, fragment: str) -> None:
    """One mistake gives one problem: its key path, what is wrong, and the mend."""
    found = problems(text)
    assert list(found) == [key]
    assert fragment in found[key]
    assert "\n" not in f"{key}{found[key]}"


@pytest.mark.parametrize(
    ("text", "key", "variable"),
    [
        ("", "smartico.api_key", "SMARTICO_API_KEY"),
        (REVICOM, "providers.revicom.token", "REVICOM_TOKEN"),
        (REVICOM, "providers.revicom.callback_password", "REVICOM_CALLBACK_PASSWORD"),
        ("providers.sendgrid = {}", "providers.sendgrid.token", "SENDGRID_TOKEN"),
        (INBOX, "providers.inbox.callback_password", "INBOX_CALLBACK_PASSWORD"),
        (REVICOM + "gateways.sms = {}", "gateways.sms.authorization", "SMARTICO_SMS_SECRET"),
        (REVICOM + "gateways.my-sms = {}", "gateways.my-sms.authorization", "SMARTICO_MY_SMS_SECRET"),
        ("communications = {}", "communications.authorization", "SMARTICO_COMMUNICATIONS_SECRET"),
        ('ops.operators = [{ name = "bob b" }]', "ops.operators[0].token", "OPS_BOB_B_TOKEN"),
    ],
)
def test_missing_secret(text: str, key: str, variable: str) -> None:
    """A secret that is neither written nor in the environment is asked for, with the name of its variable."""
    environ = {name: value for name, value in ENVIRON.items() if name != variable}
    assert problems(text, environ) == {key: f"set it, or set {variable} in the environment"}


ODD_VALUES = [
    "''",
    "'x'",
    "'${'",
    "'\\u0000'",
    '"\\u0000\\ud7ff"',
    "'http://['",
    "'[::1'",
    "'99999999999999999999/8'",
    "-1",
    "0",
    "1e308",
    "-inf",
    f"0x{'f' * 400}",
    "true",
    "12:00:00",
    "[]",
    "[[]]",
    "['', 1]",
    "{}",
    "{ a = 1 }",
]


@pytest.mark.parametrize("value", ODD_VALUES)
def test_odd_values(value: str) -> None:
    """An odd value at every key is a list of problems at these keys, and never breaks the reader."""
    text = re.sub(
        r"^(?!adapter)([a-z_]+) = .*", lambda found: f"{found[1]} = {value}", SECTION_2, flags=re.MULTILINE
    )
    written = set(re.findall(r"^([a-z_]+) = ", text, flags=re.MULTILINE))
    for problem in refusal(text).problems:
        assert written & set(re.split(r"[.\[]", problem.key)), problem


def test_operator_without_a_name() -> None:
    """An operator needs a name, which has no default."""
    found = problems(f'ops.operators = [{{ token = "{"t" * 16}" }}]')
    assert found == {"ops.operators[0].name": "set it: this key has no default"}


def test_all_at_once() -> None:
    """Every mistake in a file is reported, also those between values, one line each."""
    text = """
    colour = "red"
    [server]
    port = 70000
    [smartico]
    retry_schedule = [1, -2, "3"]
    callback_hosts = ["*", "https://x"]
    [providers.revicom]
    unknown_send = "maybe"
    [gateways.sms]
    type = "smss"
    provider = "revicon"
    [gateways.bulk]
    provider = "revicom"
    senders = []
    [[ops.operators]]
    name = "alice"
    role = "boss"
    [[ops.operators]]
    name = "alice"
    """
    error = refusal(text)
    keys = {problem.key for problem in error.problems}
    assert keys == {
        "colour",
        "server.port",
        "smartico.retry_schedule[1]",
        "smartico.retry_schedule[2]",
        "smartico.callback_hosts[0]",
        "smartico.callback_hosts[1]",
        "providers.revicom.unknown_send",
        "gateways.sms.type",
        "gateways.sms.provider",
        "gateways.bulk.authorization",
        "gateways.bulk.senders",
        "ops.operators[0].role",
        "ops.operators[1].name",
        "ops.operators[1].token",
    }
    lines = str(error).splitlines()
    assert len(lines) == len(error.problems) == len(keys)
    assert all(line.startswith("bridge.toml: ") for line in lines)
    assert "bridge.toml: colour: this key is not known" in str(error)


def test_several_references_in_one_string() -> None:
    """Every missing variable of a string is named."""
    texts = [problem.text for problem in refusal('mappings_dir = "${ONE} ${TWO}"').problems]
    assert [text.split(" is not set")[0].split()[-1] for text in texts] == ["ONE", "TWO"]


@pytest.mark.parametrize(
    ("text", "where", "fragment"),
    [
        ("[server]\nport = \n", "line 2, column 8", "Invalid value"),
        ("a = yes\n", "line 1, column 5", "yes and no are written true and false"),
        ("a = “b”\n", "line 1, column 5", "straight quotation marks"),
        ('a = "b\n', "line 1, column 7", "is the closing quotation mark missing?"),
        ('a = "C:\\maps"\n', "line 1, column 10", "write each \\ twice"),
        ("[a]\n[a]\n", "line 2, column 3", "write each [table] once"),
        ("a = 1\na = 2\n", "line 2, column 6", "write each key once"),
        ("a = 'x", "end of document", "mend it there"),
        (f"a = {'9' * 5000}", "", "a number is too long"),
        (f"a = {'[' * 100000}", "", "nest too deep"),
    ],
)
def test_not_toml(text: str, where: str, fragment: str) -> None:
    """Text that is no TOML is one problem, with its place."""
    (problem,) = refusal(text).problems
    assert problem.key == where
    assert "not TOML" in problem.text
    assert fragment in problem.text


def test_no_file(tmp_path: Path) -> None:
    """A missing file says how to get one."""
    with pytest.raises(SettingsError) as caught:
        load_settings(tmp_path / "bridge.toml", ENVIRON)
    assert str(tmp_path / "bridge.toml") in caught.value.sentence
    assert "run `bridge init` to write one, or name one with --config" in caught.value.sentence


def test_unreadable_files(tmp_path: Path) -> None:
    """A folder, or bytes that are no text, are refused with a sentence."""
    (tmp_path / "latin.toml").write_bytes(b"a = '\xe9'")
    for path, fragment in ((tmp_path, "cannot be read"), (tmp_path / "latin.toml", "save it as UTF-8")):
        with pytest.raises(SettingsError, match=fragment):
            load_settings(path, ENVIRON)


def test_a_problem_as_a_line() -> None:
    """A problem reads as `file: key: text`, and without a key as `file: text`."""
    assert str(Problem("f", "k", "t")) == "f: k: t"
    assert str(Problem("f", "", "t")) == "f: t"
