"""Asking Revicom how messages ended that it took."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

import pytest

from bridge.core.exchange import NoReply, Outcome, Reply
from bridge.providers.protocol import Ended, LookupFailed, TellResult, Told
from bridge.providers.revicom import Revicom

A, B, C = "aaaa-1", "bbbb-2", "cccc-3"
NOBODY: list[dict[str, str]] = []


def listed(*ids: str, **more: str) -> list[dict[str, str]]:
    return [{"messageUuid": each, **more} for each in ids]


def tell(revicom: Revicom, *answers: object) -> TellResult:
    """What is read from answers: about all, delivered, undelivered, unsent, read."""
    outcomes = [Reply(200, json.dumps(each).encode()) for each in answers]
    return revicom.parse_tell([A, B, C], outcomes)


def test_the_questions(revicom: Revicom) -> None:
    """One about all ids and one for each final status, with the token and no filter on time."""
    requests = revicom.build_tell([A, B])
    queries = [parse_qs(urlsplit(each.url).query) for each in requests]
    assert [each.pop("message_uuid") for each in queries] == [[A, B]] * 5
    statuses = ["delivered", "undelivered", "unsent", "read"]
    assert queries == [{}, *({"status": [each]} for each in statuses)]
    assert {each.method for each in requests} == {"GET"}
    assert {each.headers["Authorization"] for each in requests} == {"Basic a2V5OnRvcC1zZWNyZXQ="}


def test_a_final_status_is_told_in_the_words_of_a_callback(revicom: Revicom) -> None:
    """An id that is listed for one status has it; one that is listed for none is known, and no more."""
    told = tell(revicom, listed(A, B, C), listed(A), {"items": listed(B.upper())}, NOBODY, NOBODY)
    ended = {A: Ended("delivered", "delivered"), B: Ended("delivered", "undelivered")}
    assert told == Told(frozenset({A, B, C}), ended)
    told = tell(revicom, listed(A, B), NOBODY, NOBODY, listed(A), listed(B))
    assert told == Told(frozenset({A, B}), {A: Ended("delivered", "unsent"), B: Ended("read", "read")})


def test_a_filter_that_does_nothing_decides_nothing(revicom: Revicom) -> None:
    """Listed for every status means that the filter is not obeyed; then a message's own word counts, if it has one."""
    every = listed(A)
    assert tell(revicom, every, every, every, every, every) == Told(frozenset({A}), {})
    every = listed(A, status="undelivered")
    told = tell(revicom, every, every, every, every, every)
    assert told == Told(frozenset({A}), {A: Ended("delivered", "undelivered")})
    every = listed(A, status="sending")
    assert tell(revicom, every, every, every, every, every) == Told(frozenset({A}), {})


def test_others_and_what_cannot_be_read_are_passed_over(revicom: Revicom) -> None:
    """Messages that nobody asked for, and things that are no message, say nothing."""
    told = tell(
        revicom, ["x", {}, *listed("foreign")], listed("foreign"), [{"messageUuid": 5}], NOBODY, NOBODY
    )
    assert told == Told(frozenset(), {})


@pytest.mark.parametrize(
    "outcomes",
    [
        [],
        [Reply(200, b"[]")] * 4,
        [Reply(200, b"[]")] * 4 + [Reply(200, b"{}")],
        [Reply(200, b"no JSON")] + [Reply(200, b"[]")] * 4,
        [Reply(200, b"[]")] * 4 + [Reply(503, b"")],
        [NoReply("time-out")],
    ],
)
def test_without_all_answers_nothing_is_said(revicom: Revicom, outcomes: list[Outcome]) -> None:
    """A missing, broken or negative answer to one of the questions decides nothing for all of them."""
    assert isinstance(revicom.parse_tell([A], outcomes), LookupFailed)
