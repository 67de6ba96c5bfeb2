"""The opt-out keyword: the first word, in any case, without its punctuation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.flows.rules import opt_out_keyword

# The default of [opt_out] keywords
KEYWORDS = frozenset({"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "OPTOUT", "REVOKE"})


@pytest.mark.parametrize(
    ("text", "keyword"),
    [
        *((keyword, keyword) for keyword in sorted(KEYWORDS)),
        ("stop", "STOP"),
        ("StOp", "STOP"),
        (" stop! ", "STOP"),
        ("STOP, please", "STOP"),
        ("Stop.", "STOP"),
        ('"stop"', "STOP"),
        ("«STOP»", "STOP"),
        ("...stop...", "STOP"),
        ("¡stop!", "STOP"),
        ("stop/quit", "STOP"),
        ("stop\nsending me this", "STOP"),
        ("\tstop\r\n", "STOP"),
        ("\u200bSTOP", "STOP"),
        ("STOP\u00a0now", "STOP"),
        ("stop - now", "STOP"),
        ("- stop", "STOP"),
        ("'stop'", "STOP"),
        ("opt-out", "OPTOUT"),
        ("Opt_Out now", "OPTOUT"),
        ("stop all", "STOP"),
        ("stop-all", "STOPALL"),
    ],
)
def test_what_opts_out(text: str, keyword: str) -> None:
    """A text whose first word is a keyword opts out."""
    assert opt_out_keyword(text, KEYWORDS) == keyword


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "...",
        "please stop",
        "don't stop",
        "nonstop",
        "stopping",
        "stopp",
        "STOP1",
        "1 stop",
        "Ending",
        "endless thanks",
        "st op",
        "the end",
        "😀",
        "\x00",
    ],
)
def test_what_does_not(text: str) -> None:
    """A keyword further on, or a longer word that begins with one, is an ordinary text."""
    assert opt_out_keyword(text, KEYWORDS) == ""


def test_without_keywords_nobody_opts_out() -> None:
    """An empty list of keywords switches the feature off, for empty texts too."""
    assert opt_out_keyword("stop", frozenset()) == ""
    assert opt_out_keyword("", frozenset({""})) == ""


def test_keywords_of_other_scripts() -> None:
    """A keyword need not be English."""
    assert opt_out_keyword("стоп!", frozenset({"СТОП"})) == "СТОП"


@given(st.text(), st.sampled_from(sorted(KEYWORDS)))
def test_the_answer_is_a_keyword_or_none(text: str, keyword: str) -> None:
    """Whatever a person writes, the answer is one of the keywords or nothing, and a first keyword is always found."""
    assert opt_out_keyword(text, KEYWORDS) in KEYWORDS | {""}
    assert opt_out_keyword(f"{keyword.lower()} {text}", KEYWORDS) == keyword
