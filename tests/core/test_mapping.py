"""The mapping tables: the shipped ones say what the contract says, and everything wrong in a file is said at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.mapping import ProviderMapping, read_provider_mapping, read_vocabulary
from bridge.core.model import Mark, State, Status
from bridge.errors import Problem, SettingsError
from bridge.tables import load_mapping, load_vocabulary

FILE = "own/revicom.toml"
SHIPPED = Path(__file__).parents[2] / "mappings"


def problems_of(text: str) -> list[Problem]:
    return read_provider_mapping(text, file=FILE)[1]


def told(text: str) -> list[str]:
    return [str(problem) for problem in problems_of(text)]


def row(**values: Any) -> str:
    return "[[reports]]\n" + "".join(f"{key} = {value!r}\n" for key, value in values.items())


GOOD = row(event="sent", status="sent", state="sent")


# --- the shipped tables ---


def test_revicom_says_what_the_contract_says() -> None:
    """The shipped table of Revicom holds the contract's rows and no other."""
    assert load_mapping("revicom", None).rows == {
        ("sent", "sent"): State.SENT,
        ("delivered", "delivered"): State.DELIVERED,
        ("delivered", "undelivered"): State.FAILED,
        ("delivered", "unsent"): State.REJECTED,
        ("read", "read"): State.READ,
        ("read", "unread"): None,
        ("click", ""): Mark.CLICKED,
        ("price", ""): None,
        ("inbound_sent", "inbound_sent"): None,
    }


def test_smartico_says_what_the_contract_says() -> None:
    """The shipped words of Smartico are the contract's: a word for each happening, and what read and click imply."""
    vocabulary = load_vocabulary(None)
    assert vocabulary.words == {
        State.SUBMITTED: None,
        State.SENT: Status.ACCEPTED,
        State.DELIVERED: Status.DELIVERED,
        State.READ: Status.OPENED,
        State.FAILED: Status.FAILED,
        State.REJECTED: Status.REJECTED,
        Mark.CLICKED: Status.CLICKED,
        Mark.UNSUBSCRIBED: Status.UNSUBSCRIBED,
        Mark.COMPLAINED: Status.COMPLAINED,
    }
    assert vocabulary.implies == {State.READ: State.DELIVERED, Mark.CLICKED: State.DELIVERED}


def test_error_codes_have_their_texts() -> None:
    """The published error codes have a text each, by the code's own digits."""
    codes = load_mapping("revicom", None).error_codes
    assert codes["508"] == "absent subscriber: off or out of coverage"
    assert all(code.isdigit() and text for code, text in codes.items())


def test_what_a_table_knows() -> None:
    """A pair with a row is known, also when nothing follows; any other pair is unmapped."""
    mapping = ProviderMapping({("read", "unread"): None, ("read", "read"): State.READ}, {})
    assert mapping.knows("read", "unread")
    assert mapping.meaning("read", "unread") is None
    assert mapping.meaning("read", "read") is State.READ
    assert not mapping.knows("read", "")
    assert not mapping.knows("READ", "read")


# --- an operator's folder ---


@pytest.mark.parametrize(("name", "tells"), [("revicom", True), ("sendgrid", True), ("smtp", False)])
def test_who_tells_of_an_end(name: str, tells: bool) -> None:
    """A provider with a word for delivered or failed can be waited for; a mail server has none."""
    assert load_mapping(name, None).tells_ends is tells


def test_an_own_table_replaces_the_shipped_one(tmp_path: Path) -> None:
    """A file of the same name in the operator's folder stands for the whole shipped table; the others stay."""
    (tmp_path / "revicom.toml").write_text(GOOD)
    assert load_mapping("revicom", tmp_path).rows == {("sent", "sent"): State.SENT}
    assert load_vocabulary(tmp_path) == load_vocabulary(None)


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    """A folder that does not exist is said, so that nobody believes that its tables are in force."""
    with pytest.raises(SettingsError, match="mappings_dir is no folder"):
        load_mapping("revicom", tmp_path / "nowhere")


def test_a_bad_own_table_names_its_file(tmp_path: Path) -> None:
    """What is wrong in the operator's table is said with the path of the file."""
    file = tmp_path / "smartico.toml"
    file.write_text('[reports]\nsent = "acepted"\n')
    with pytest.raises(SettingsError) as caught:
        load_vocabulary(tmp_path)
    assert [problem.file for problem in caught.value.problems] == [str(file)]


def test_an_own_table_that_is_not_utf8_is_an_error(tmp_path: Path) -> None:
    """Bytes that are no UTF-8 are an error in the operator's file, not a traceback."""
    (tmp_path / "revicom.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="cannot be read"):
        load_mapping("revicom", tmp_path)


# --- strictness ---


@pytest.mark.parametrize(
    ("text", "key", "says"),
    [
        (GOOD + "[eror_codes]\n", "eror_codes", "did you mean 'error_codes'"),
        (row(event="sent", status="sent", state="sent", sate="x"), "reports[0].sate", "did you mean 'state'"),
        (row(event="sent", state="snt"), "reports[0].state", "did you mean 'sent'"),
        (row(event="sent", state="Sent"), "reports[0].state", "did you mean 'sent'"),
        (row(event="sent", state="non"), "reports[0].state", "did you mean 'none'"),
        (row(event="sent", state="queued"), "reports[0].state", "is not one of"),
        (row(event="sent", state="unknown"), "reports[0].state", "is not one of"),
        (row(event="sent", state="opened"), "reports[0].state", "is not one of"),
        (row(event="sent", state=""), "reports[0].state", "is not one of"),
        (row(event="sent", state=1), "reports[0].state", "must be a string"),
        (row(event="sent"), "reports[0].state", "is missing"),
        (row(status="sent", state="sent"), "reports[0].event", "is missing"),
        (row(event="", status="sent", state="sent"), "reports[0].event", "is empty"),
        (row(event="sent", status=4, state="sent"), "reports[0].status", "must be a string"),
        (GOOD + GOOD, "reports[1].event", "has a row already"),
        (
            row(event="a", state="none") + row(event="a", status="", state="sent"),
            "reports[1].event",
            "already",
        ),
        (GOOD + "[error_codes]\n11 = 12\n", "error_codes.11", "must be a string"),
        ("error_codes = 3\n" + GOOD, "error_codes", "must be a table"),
        ("reports = 3\n", "reports", "must be an array of tables"),
        ("reports = [1]\n", "reports", "must be an array of tables"),
        ("", "reports", "has no row"),
        ("reports = []\n", "reports", "has no row"),
        ("[[reports]\n", "", "is not TOML"),
        ("\x00", "", "is not TOML"),
    ],
)
def test_what_is_wrong_is_said(text: str, key: str, says: str) -> None:
    """Each mistake is one problem that names the file, the key and what to write instead."""
    (problem,) = problems_of(text)
    assert (problem.file, problem.key) == (FILE, key)
    assert says in problem.text


def test_the_allowed_words_are_listed() -> None:
    """A bad state is answered with every word that is allowed, "none" among them."""
    (problem,) = problems_of(row(event="sent", state="zzz"))
    for word in ("submitted", "sent", "delivered", "read", "failed", "rejected", "clicked", "none"):
        assert word in problem.text


def test_everything_is_said_at_once() -> None:
    """Mistakes in several rows and tables are all in one answer."""
    text = (
        row(event="sent", state="snt")
        + row(evnt="x", event="b", state="zzz")
        + "[error_codes]\n1 = 2\n[more]\n"
    )
    assert {problem.key for problem in problems_of(text)} == {
        "reports[0].state",
        "reports[1].evnt",
        "reports[1].state",
        "error_codes.1",
        "more",
    }


@pytest.mark.parametrize(
    ("text", "key", "says"),
    [
        ('[reports]\nsent = "acepted"\n', "reports.sent", "did you mean 'accepted'"),
        ('[reports]\nsent = "non"\n', "reports.sent", "did you mean 'none'"),
        ('[reports]\nsend = "accepted"\n', "reports.send", "did you mean 'sent'"),
        ('[reports]\nqueued = "accepted"\n', "reports.queued", "is not one of"),
        ("[reports]\nsent = 4\n", "reports.sent", "is not one of"),
        ('[reports]\nsent = ["accepted"]\n', "reports.sent", "is not one of"),
        ('[reports]\nsent = "accepted"\n[implies]\nred = "sent"\n', "implies.red", "did you mean 'read'"),
        ('[reports]\nsent = "accepted"\n[implies]\nread = "clicked"\n', "implies.read", "is not one of"),
        ('[reports]\nsent = "accepted"\n[implies]\nread = "none"\n', "implies.read", "is not one of"),
        ('[report]\nsent = "accepted"\n[reports]\nread = "opened"\n', "report", "did you mean 'reports'"),
        ("reports = 1\n", "reports", "must be a table"),
        ("", "reports", "has no row"),
        ("[reports]\n", "reports", "has no row"),
    ],
)
def test_what_is_wrong_with_the_words_is_said(text: str, key: str, says: str) -> None:
    """Mistakes in Smartico's table are said in the same way; a table that would silence everything is one."""
    _, problems = read_vocabulary(text, file="smartico.toml")
    assert [problem.key for problem in problems] == [key]
    assert says in problems[0].text


def test_several_problems_of_the_words_at_once() -> None:
    """A bad name and a bad word in one row are both said."""
    _, problems = read_vocabulary('[reports]\nsend = "acepted"\n', file="smartico.toml")
    assert [problem.key for problem in problems] == ["reports.send", "reports.send"]


@pytest.mark.parametrize("name", ["revicom.toml", "smartico.toml"])
def test_the_shipped_files_are_read_strictly(name: str) -> None:
    """One unknown key more in a shipped file is an error: nothing in it is ignored."""
    text = (SHIPPED / name).read_text(encoding="utf-8")
    read = read_vocabulary if name == "smartico.toml" else read_provider_mapping
    assert read(text, file=name)[1] == []
    assert [problem.key for problem in read(f"surprise = 1\n{text}", file=name)[1]] == ["surprise"]


VALUES = st.sampled_from(
    ['"sent"', '"none"', "''", "1", "[]", "{}", "[1]", "2026-11-21", "true", "nan", "[{}]"]
)
KEYS = st.sampled_from(["reports", "error_codes", "implies", "event", "state", "sent", '"a b"'])
LINES = st.one_of(
    st.builds("{} = {}".format, KEYS, VALUES),
    st.builds("[{}]".format, KEYS),
    st.builds("[[{}]]".format, KEYS),
    st.text(max_size=10),
)


@given(st.lists(LINES, max_size=12).map("\n".join))
def test_no_file_is_a_surprise(text: str) -> None:
    """Whatever a file holds, reading it gives a table or problems with a sentence each, and never an exception."""
    for _, problems in (read_provider_mapping(text, file=FILE), read_vocabulary(text, file=FILE)):
        assert all(problem.file == FILE and problem.text for problem in problems)
