"""The answers of a mail server: every row of the table of SMTP codes, at every stage."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.exchange import MailReply, NoConnection, NoReply, Reply, SendOutcome, Stage
from bridge.core.model import State
from bridge.providers.protocol import (
    Accepted,
    Answered,
    Blocked,
    CallbackUnreadable,
    Deferred,
    NoTrace,
    NotTaken,
    PerhapsTaken,
    Refused,
    SendResult,
)
from bridge.providers.smtp import Smtp
from bridge.tables import load_mapping
from tests.providers.smtp.conftest import PASSWORD, MakeMessage

MESSAGE_ID = "0197f3a2-b1c4-7d3e-8f00-112233445566@amazing.co"
BEFORE: tuple[Stage, ...] = ("greeting", "login")
DURING: tuple[Stage, ...] = ("sender", "recipient", "content")
PRIVATE = f"no@amazing.co +14085553911 {PASSWORD} https://x:y@example.com/"


def test_taken(smtp: Smtp, make_message: MakeMessage) -> None:
    """2xx to the content is acceptance, under the Message-ID of the mail."""
    for code in (250, 251, 252):
        result = smtp.parse_send([make_message()], MailReply("content", code, "OK"))
        assert result == Answered((Accepted(MESSAGE_ID),))


@pytest.mark.parametrize("stage", DURING)
@pytest.mark.parametrize("code", [420, 431, 432, 450, 451, 452, 454, 455, 458, 459, 471])
def test_not_now(smtp: Smtp, make_message: MakeMessage, stage: Stage, code: int) -> None:
    """4xx to one mail is tried again."""
    result = smtp.parse_send([make_message()], MailReply(stage, code, "4.2.1 later"))
    assert result == Answered((Deferred(str(code), f"{code} 4.2.1 later"),))


@pytest.mark.parametrize("stage", DURING)
@pytest.mark.parametrize("code", [500, 501, 502, 503, 504, 521, 541, 550, 551, 552, 553, 554, 555, 556])
def test_never(smtp: Smtp, make_message: MakeMessage, stage: Stage, code: int) -> None:
    """5xx to one mail is its end."""
    result = smtp.parse_send([make_message()], MailReply(stage, code, "5.1.1 no"))
    assert result == Answered((Refused(str(code), f"{code} 5.1.1 no"),))


@pytest.mark.parametrize("stage", [*BEFORE, *DURING])
@pytest.mark.parametrize("code", [530, 534, 535, 538])
def test_about_us(smtp: Smtp, make_message: MakeMessage, stage: Stage, code: int) -> None:
    """Codes about signing in are about us, at whatever stage, and no mail fails for them."""
    result = smtp.parse_send([make_message()], MailReply(stage, code, "sign in"))
    assert result == Blocked(str(code), f"{stage}: {code} sign in")


@pytest.mark.parametrize("stage", [*BEFORE, *DURING])
def test_closing(smtp: Smtp, make_message: MakeMessage, stage: Stage) -> None:
    """421: the server goes away, and took nothing."""
    result = smtp.parse_send([make_message()], MailReply(stage, 421, "bye"))
    assert result == NotTaken("421", f"{stage}: 421 bye")


@pytest.mark.parametrize("stage", BEFORE)
@pytest.mark.parametrize(
    ("code", "kind"), [(220, NotTaken), (450, NotTaken), (454, NotTaken), (500, Blocked), (554, Blocked)]
)
def test_before_the_mail(
    smtp: Smtp, make_message: MakeMessage, stage: Stage, code: int, kind: type[SendResult]
) -> None:
    """Before a mail was named, 4xx says not now, and 5xx that it refuses us."""
    result = smtp.parse_send([make_message()], MailReply(stage, code, "x"))
    assert isinstance(result, kind)
    assert isinstance(result, NotTaken | Blocked)
    assert (result.code, result.reason) == (str(code), f"{stage}: {code} x")


@pytest.mark.parametrize("stage", ["sender", "recipient"])
def test_odd_success(smtp: Smtp, make_message: MakeMessage, stage: Stage) -> None:
    """A success before the content is none: nothing was taken."""
    result = smtp.parse_send([make_message()], MailReply(stage, 250, "OK"))
    assert result == Answered((Deferred("250", "250 OK"),))


@pytest.mark.parametrize(
    ("outcome", "result"),
    [
        (NoConnection("refused"), NotTaken("no_connection", "refused")),
        (NoReply("no answer in time"), PerhapsTaken("no answer in time")),
        (Reply(200), PerhapsTaken("an answer that is not SMTP")),
    ],
    ids=repr,
)
def test_no_last_word(
    smtp: Smtp, make_message: MakeMessage, outcome: SendOutcome, result: SendResult
) -> None:
    """Without the server's last word: nothing was taken, or nobody knows."""
    assert smtp.parse_send([make_message()], outcome) == result


@given(st.sampled_from([*BEFORE, *DURING]), st.integers(0, 999), st.text(max_size=300))
def test_any_answer(smtp: Smtp, make_message: MakeMessage, stage: Stage, code: int, text: str) -> None:
    """Whatever a server says, there is a result, and only 2xx to the content is acceptance."""
    result = smtp.parse_send([make_message()], MailReply(stage, code, text))
    taken = isinstance(result, Answered) and isinstance(result.items[0], Accepted)
    assert taken == (stage == "content" and 200 <= code < 300)


@pytest.mark.parametrize("stage", [*BEFORE, *DURING])
@pytest.mark.parametrize("code", [421, 450, 535, 550])
def test_reasons_are_clean(smtp: Smtp, make_message: MakeMessage, stage: Stage, code: int) -> None:
    """No reason holds a secret, a phone number, an address or a link."""
    for outcome in (MailReply(stage, code, PRIVATE), NoConnection(PRIVATE), NoReply(PRIVATE)):
        told = repr(smtp.parse_send([make_message()], outcome))
        for secret in ("amazing.co", "4085553911", PASSWORD, "x:y"):
            assert secret not in told


def test_reprs(smtp: Smtp, make_message: MakeMessage) -> None:
    """Neither the provider nor its mail shows a secret or an address."""
    assert repr(smtp) + repr(smtp.build_send([make_message()])) == "<Smtp mail><Mail>"


def test_table() -> None:
    """A mail that was taken counts as sent: nothing more will be heard of it."""
    table = load_mapping("smtp", None)
    assert table.rows == {("taken", ""): State.SENT}


def test_nobody_calls_back(smtp: Smtp, make_message: MakeMessage) -> None:
    """There are no callbacks and no look-up."""
    assert not smtp.verify_callback({"authorization": "Basic bWFpbDo="}, b"[]")
    assert isinstance(smtp.check_callback(b"[]"), CallbackUnreadable)
    assert list(smtp.parse_callback(b"[]")) == []
    assert smtp.parse_lookup(make_message(), Reply(200)) == NoTrace()
    lookup: object = smtp.build_lookup(make_message())  # type: ignore[func-returns-value]
    assert lookup is None
    assert (smtp.asks, smtp.signs, smtp.max_batch) == (False, (), 1)
