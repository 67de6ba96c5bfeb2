"""The cause in an error: what varies from report to report is taken out, what tells causes apart stays."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.cause import cause_of, pieces_of


@pytest.mark.parametrize(
    "error",
    [
        "HTTP 500",
        "HTTP 200 without a readable error_code",
        "error_code 40001: wrong brand",
        "no answer within 10.0 s",
        "too old; no connection could be made",
        "callback_url is not allowed any more",
    ],
)
def test_what_does_not_vary_stays(error: str) -> None:
    """Codes, short numbers and words are the cause."""
    assert cause_of(error) == error


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        ("error_code 4: 01936f1c-3c5b-7c2e-8f00-0123456789ab is locked", "error_code 4: ••• is locked"),
        ("error_code 4: 0193•••-3c5b-7c2e-8f00-ab is locked", "error_code 4: ••• is locked"),
        ("error_code 4: message 48213 not found, try 99231", "error_code 4: message ••• not found, try •••"),
        ("error_code 4: (req9f3c2ab81d7)", "error_code 4: (•••)"),
    ],
)
def test_what_varies_is_taken_out(error: str, cause: str) -> None:
    """Ids and long numbers, whole or half redacted, become the same dots."""
    assert cause_of(error) == cause


@given(st.text(alphabet="ab1459 -•:_(", max_size=60))
def test_every_error_fits_its_cause(error: str) -> None:
    """The cause of a cause is itself, and the pieces of a cause stand in each of its errors, in order."""
    cause = cause_of(error)
    assert cause_of(cause) == cause
    assert re.fullmatch(".*".join(map(re.escape, pieces_of(cause))), error, re.DOTALL)
