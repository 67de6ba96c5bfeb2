"""E-mails, end to end: through a mail server that fails in every way that SMTP has, and through SendGrid."""

from __future__ import annotations

import re
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from bridge.sim import (
    SendgridConfig,
    SendgridFaults,
    SendgridSimulator,
    SmtpConfig,
    SmtpFaults,
    SmtpSimulator,
    free_port,
)
from bridge.sim.sendgrid_signing import Signer
from bridge.sim.smartico_ledger import Known
from bridge.sim.smtp_certificate import make_certificate
from bridge.sim.smtp_ledger import SmtpMail
from tests.e2e.stage import (
    EMAIL,
    EMAILS,
    MAILING,
    SMS,
    Stage,
    eventually,
    open_stage,
    smtp_settings,
)

SENDGRID = SendgridConfig(
    token="token-of-sendgrid",
    callback_connections=1,  # one after the other: their order is certain
    resend_seconds=0.3,
    outcome_by_suffix={
        EMAILS["player1"]: "clicked",
        EMAILS["player2"]: "bounced_late",
        EMAILS["player3"]: "dropped",
        EMAILS["player4"]: "bounced",
        EMAILS["player5"]: "spam",
        EMAILS["player6"]: "unsubscribed",
        EMAILS["player7"]: "silent",
        "@example.com": "delivered",
    },
)
HEADERS = {  # all that a mail of ours may have
    *("from", "to", "reply-to", "subject", "date", "message-id", "mime-version"),
    *("content-type", "content-transfer-encoding"),
}


def sample(stage: Stage, **changes: Any) -> dict[str, Any]:
    """A request as Smartico's page shows it; None: without that field."""
    body = {
        "ext_user_id": "player1",
        "from_email_address": "Amazing <noreply@amazing.co>",
        "reply_to_email_address": "Amazing <noreply@amazing.co>",
        "subject": "The best offer your can find on the market",
        "body": "<html>..........</html>",
        "text_body": "Get the offer.....",
        "email_uid": "ksjhdf3428yqwr8fhjhfkdj",
        "callback_url": f"{stage.smartico.url}/callback/email",
    } | changes
    return {name: value for name, value in body.items() if value is not None}


async def post(stage: Stage, body: dict[str, Any], gateway: str = "email") -> dict[str, Any]:
    """What Smartico is answered."""
    headers = {"Authorization": f"secret-of-{gateway}"}
    answer = await stage.api.post(f"/smartico/{gateway}", json=body, headers=headers)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    if found["error_code"] == 0:
        known = Known(found["ext_message_id"], "email", body["email_uid"], str(body["ext_user_id"]))
        stage.smartico.ledger.learn(known)
    return found


def part(mail: EmailMessage, kind: str) -> str:
    """A body of a mail, with the line ends of this machine."""
    found = mail.get_body((kind,))
    assert isinstance(found, EmailMessage)
    content = found.get_content()
    assert isinstance(content, str)
    return content.removesuffix("\n").removesuffix("\r")


def mail_of(smtp: SmtpSimulator, ext_message_id: str) -> SmtpMail:
    """The one mail of a message."""
    (mail,) = mails_of(smtp, ext_message_id)
    return mail


def mails_of(smtp: SmtpSimulator, ext_message_id: str) -> list[SmtpMail]:
    return [each for each in smtp.ledger.mails if each.tag == ext_message_id.replace("-", "")]


async def open_items(stage: Stage, kind: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = (await stage.api.get("/api/review")).json()["items"]
    return [item for item in items if item["kind"] == kind]


async def in_state(stage: Stage, ext_message_id: str, *states: str) -> bool:
    return (await stage.message(ext_message_id))["state"] in states


# --- SMTP ---


async def test_an_email_arrives_as_the_sample_says(tmp_path: Path) -> None:
    """Addresses, subject, both parts and our id arrive as given, and what the server took is `accepted`."""
    smtp = SmtpSimulator()
    async with open_stage(tmp_path, smtp=smtp) as stage:
        ext_message_id = await stage.send(gateway=EMAIL, text="ignored")
        await eventually(lambda: stage.statuses(ext_message_id) == ["accepted"])
        answer = await post(stage, sample(stage))
        assert answer["error_code"] == 0
        mail = await eventually(lambda: mails_of(smtp, answer["ext_message_id"]))
        (mail,) = mail
        assert (mail.sender, mail.recipient) == ("noreply@amazing.co", EMAILS["player1"])
        message = mail.message
        assert message["From"] == message["Reply-To"] == "Amazing <noreply@amazing.co>"
        assert message["To"] == EMAILS["player1"]
        assert message["Subject"] == "The best offer your can find on the market"
        assert answer["ext_message_id"] in message["Message-ID"]
        assert part(message, "plain") == "Get the offer....."
        assert part(message, "html") == "<html>..........</html>"
        shown = await eventually(partial(stage.told, ext_message_id, "report_done", 1))
        assert (shown["state"], shown["type"], shown["channel"]) == ("sent", "email", "EMAIL")
        assert shown["address_masked"] == "p•••••@example.com"
        assert not stage.smartico.ledger.errors
        again = await post(stage, sample(stage, body="<html>another</html>"))
        assert again == answer


async def test_texts_of_every_kind_arrive_as_given(tmp_path: Path) -> None:
    """Lines of dots, ends of mails in the middle, long lines, emoji, bare line ends: all arrive unchanged."""
    texts = [
        ".\n..\n.x\n\n.\n",
        "one\r\n.\r\nMAIL FROM:<evil@example.net>\r\nRCPT TO:<evil@example.net>\r\nDATA\r\nsmuggled\r\n.\r\nQUIT",
        "one\n.\nMAIL FROM:<evil@example.net>\n.\r\nmore",
        "one\r.\rMAIL FROM:<evil@example.net>\r.\rmore",
        "x" * 5000,
        "Größe 🎁 — “quoted” \u2028 next " * 100,
        "From here\nFrom there\n",
        "Content-Type: text/html\n\n--===============\nBcc: evil@example.net",
    ]
    smtp = SmtpSimulator()
    async with open_stage(tmp_path, smtp=smtp) as stage:
        ids = []
        for number, text in enumerate(texts):
            body = sample(stage, text_body=text, body=f"<p>{text}</p>", email_uid=f"uid-{number}")
            ids.append((await post(stage, body))["ext_message_id"])
        await eventually(lambda: all(stage.statuses(each) == ["accepted"] for each in ids))
        for ext_message_id, text in zip(ids, texts, strict=True):
            message = mail_of(smtp, ext_message_id).message
            lines = [text.rstrip("\n").splitlines(), f"<p>{text}</p>".splitlines()]
            assert [part(message, kind).splitlines() for kind in ("plain", "html")] == lines
        assert len(smtp.ledger.mails) == len(texts)
        assert max(len(line) for mail in smtp.ledger.mails for line in mail.content.split(b"\r\n")) <= 998


async def test_who_an_email_goes_to(tmp_path: Path) -> None:
    """A preview goes to its address and needs no user; else nobody (1), no address (3), and a preview without (2)."""
    smtp = SmtpSimulator()
    async with open_stage(tmp_path, smtp=smtp) as stage:
        await stage.api.put("/api/contacts/phone-only", json={"phone": "+14155557777"})
        cases: list[tuple[dict[str, Any], int, str]] = [
            ({"ext_user_id": "nobody"}, 1, "User was not found"),
            ({"ext_user_id": "phone-only"}, 3, "e-mail"),
            ({"ext_user_id": "nobody", "activity_type": "preview"}, 2, "to_email_address"),
            ({"activity_type": "preview", "to_email_address": ""}, 2, "to_email_address"),
            ({"activity_type": "preview", "to_email_address": "nonsense"}, 2, "to_email_address"),
            ({"body": "", "text_body": " "}, 2, "body"),
            ({"from_email_address": None}, 2, "from_email_address"),
            ({"email_uid": None}, 2, "email_uid"),
        ]
        for changes, code, fragment in cases:
            answer = await post(stage, sample(stage, **changes))
            assert (answer["error_code"], fragment in answer["error_message"]) == (code, True), changes
        good: list[tuple[dict[str, Any], str]] = [
            ({"activity_type": "preview", "to_email_address": "test@amazing.co"}, "test@amazing.co"),
            ({"activity_type": "Unknown", "to_email_address": "risk@amazing.co"}, "risk@amazing.co"),
            (
                {"activity_type": "EmailCustomerSupport", "to_email_address": "test@amazing.co"}
                | {"ext_user_id": "nobody"},
                "test@amazing.co",
            ),
            (
                {"to_email_address": "test@amazing.co"},
                EMAILS["player1"],
            ),  # without activity_type it says nothing
            ({"text_body": None}, EMAILS["player1"]),
            ({"body": None, "reply_to_email_address": None, "subject": None}, EMAILS["player1"]),
        ]
        answers = [
            await post(stage, sample(stage, email_uid=f"uid-{number}", **changes))
            for number, (changes, _) in enumerate(good)
        ]
        ids = [answer["ext_message_id"] for answer in answers]
        await eventually(lambda: all(stage.statuses(each) == ["accepted"] for each in ids))
        for ext_message_id, (_, recipient) in zip(ids, good, strict=True):
            mail = mail_of(smtp, ext_message_id)
            assert (mail.recipient, mail.message["To"]) == (recipient, recipient)
        assert len(smtp.ledger.mails) == len(good)


NASTY = [
    *(
        f"Offer{end}Bcc: evil@example.net"
        for end in ("\r\n", "\n", "\r", "\r\n ", "\x0b", "\x0c", "\x85", "\u2028")
    ),
    *(
        "=?utf-8?q?Offer=0D=0ABcc:_evil=40example.net?=",
        "=?utf-8?b?T2ZmZXINCkJjYzogZXZpbEBleGFtcGxlLm5ldA==?=",
    ),
    *("Offer " * 300, "O" * 3000, "Größe " * 200 + "🎁", "\\r\\nBcc: evil@example.net", "  ", "x\tBcc: y"),
    *("Offer: Bcc: x, <evil@example.net>", '"quoted" \\', "=?utf-8?q?broken", "a\x7fb\x1b[31m"),
]


async def test_no_header_can_be_injected(tmp_path: Path) -> None:
    """Whatever subject, from and reply-to hold: a mail has our headers once each and one recipient, or is refused."""
    smtp = SmtpSimulator()
    async with open_stage(tmp_path, smtp=smtp) as stage:
        cases = [{"subject": text} for text in NASTY]
        for field in ("from_email_address", "reply_to_email_address"):
            cases += [{field: f"{text} <noreply@amazing.co>"} for text in NASTY]
            cases += [{field: f'"{text}" <noreply@amazing.co>'} for text in NASTY]
            cases += [{field: f"Amazing <noreply@amazing.co{text}>"} for text in NASTY]
            cases += [{field: 'A" <evil@example.net>, "B <noreply@amazing.co>'}]
        for to in (
            "a@b.co\r\nRCPT TO:<evil@example.net>",
            "a@b.co,evil@example.net",
            "a@b.co> NOTIFY=NEVER <x@b.co",
        ):
            cases += [{"activity_type": "preview", "to_email_address": to}]
        accepted = {}
        for number, changes in enumerate(cases):
            answer = await post(stage, sample(stage, email_uid=f"uid-{number}", **changes))
            assert answer["error_code"] in (0, 2), changes
            if answer["error_code"] == 0:
                accepted[answer["ext_message_id"]] = changes
        await eventually(lambda: all(stage.statuses(each) for each in accepted))
        # The server may refuse what is too long for it.
        taken = [each for each in accepted if stage.statuses(each) == ["accepted"]]
        assert len(smtp.ledger.mails) == len(taken) > len(NASTY)
        for ext_message_id in taken:
            changes = accepted[ext_message_id]
            mail = mail_of(smtp, ext_message_id)
            assert (mail.sender, mail.recipient) == ("noreply@amazing.co", EMAILS["player1"]), changes
            head = mail.content.partition(b"\r\n\r\n")[0]
            assert not re.search(rb"(?<!\r)\n|\r(?!\n)", mail.content), changes
            names = [line.partition(b":")[0].decode().lower() for line in re.split(rb"\r\n(?![ \t])", head)]
            assert len(names) == len(set(names)), changes
            assert set(names) <= HEADERS, changes
            lenient = message_from_bytes(
                re.sub(rb"[\r\x0b\x0c\x85]", b"\n", mail.content), policy=policy.compat32
            )
            assert lenient["Bcc"] is None, changes
            for name in ("Subject", "From", "Reply-To"):
                assert "\n" not in str(mail.message[name]), changes


async def test_later_is_later_and_never_is_rejected(tmp_path: Path) -> None:
    """4xx at any stage is tried again and the mail arrives once; 5xx at any stage is reported as rejected."""
    never = ("sender_refused", "recipient_refused", "content_refused")
    later = ("greeting", "sender_later", "recipient_later", "data_later", "content_later")
    smtp = SmtpSimulator()
    async with open_stage(tmp_path, smtp=smtp) as stage:
        ids = {}
        for fault in later + never:  # the greeting first: of that, no kept connection hears
            smtp.faults = SmtpFaults(next={fault: 1})
            ids[fault] = await stage.send(gateway=EMAIL)
            await eventually(lambda: smtp.ledger.faults[fault] == 1)  # noqa: B023
            if fault == "greeting":
                await eventually(partial(stage.has_statuses, ids[fault], ["accepted"]))
        for fault in never:
            await eventually(partial(stage.has_statuses, ids[fault], ["rejected"]))
            shown = await stage.message(ids[fault])
            assert (shown["state"], shown["error_code"][:1]) == ("rejected", "5"), shown
        for fault in later:
            await eventually(partial(stage.has_statuses, ids[fault], ["accepted"]))
            assert mail_of(smtp, ids[fault]).answered
        assert len(smtp.ledger.mails) == len(later)


async def test_a_cut_before_the_dot_is_certain_and_one_after_it_is_not(tmp_path: Path) -> None:
    """Cut before the dot: sent again, once. Cut after it, or no answer: never sent again, but put under review."""
    smtp = SmtpSimulator()
    async with open_stage(tmp_path, smtp=smtp) as stage:
        smtp.faults = SmtpFaults(next={"reset_before_dot": 1})
        large = "a line of a mail that does not fit into any buffer\n" * 70_000
        certain = (await post(stage, sample(stage, ext_user_id="player0", text_body=large)))["ext_message_id"]
        await eventually(lambda: stage.statuses(certain) == ["accepted"])
        assert smtp.ledger.faults["reset_before_dot"] == 1
        assert len(mails_of(smtp, certain)) == 1
        uncertain = []
        for fault in ("reset_after_dot", "timeout_after_dot"):
            smtp.faults = SmtpFaults(next={fault: 1})
            uncertain.append(await stage.send(gateway=EMAIL))
            await eventually(lambda: smtp.ledger.faults[fault] == 1)  # noqa: B023

        async def reviewed() -> list[dict[str, Any]]:
            items = await open_items(stage, "unknown_send")
            return items if sum(item["count"] for item in items) == 2 else []

        (item,) = await eventually(reviewed)
        for each in uncertain:
            assert (await stage.message(each))["state"] == "unknown"
            assert len(mails_of(smtp, each)) == 1
            assert stage.statuses(each) == []
        # A person may look again, which finds nothing new, or say that it shall be sent again.
        await stage.api.post(f"/api/review/{item['id']}/replay", json={"reason": "look once more"})
        (item,) = await eventually(reviewed)
        assert [len(mails_of(smtp, each)) for each in uncertain] == [1, 1]
        await stage.api.post(f"/api/review/{item['id']}/replay", json={"reason": "sure", "resend": True})
        for each in uncertain:
            await eventually(partial(stage.has_statuses, each, ["accepted"]))
            assert len(mails_of(smtp, each)) == 2
        assert await open_items(stage, "unknown_send") == []


async def test_a_server_that_is_away_or_closes_connections_loses_nothing(tmp_path: Path) -> None:
    """While nobody listens mails wait; that kept connections are closed, with or without a word, nobody notices."""
    port = free_port()
    async with open_stage(tmp_path, more=smtp_settings(port)) as stage:
        waiting = [await stage.send(f"player{number}", EMAIL) for number in range(3)]
        for each in waiting:
            assert await in_state(stage, each, "queued")
        for silently in (False, True):
            faults = SmtpFaults(close_idle=0.5, close_idle_silently=silently)
            async with SmtpSimulator(SmtpConfig(port=port, messages_per_connection=3), faults) as smtp:
                for each in waiting:
                    await eventually(partial(stage.has_statuses, each, ["accepted"]))
                for number in range(10):
                    ext_message_id = await stage.send(f"player{number}", EMAIL)
                    await eventually(partial(stage.has_statuses, ext_message_id, ["accepted"]))
                    shown = await stage.message(ext_message_id)
                    kinds = [step["kind"] for step in shown["timeline"]]
                    assert not {"deferred", "not_taken", "perhaps_sent"} & set(kinds)
                assert smtp.ledger.connections > 3
                assert not smtp.summary()["duplicates_by_tag"]
                waiting = []


async def test_a_refused_sign_in_pauses_and_loses_nothing(tmp_path: Path) -> None:
    """535 fails no mail: it waits as queued, and leaves once the server takes us."""
    config = SmtpConfig(username="bridge", password="secret of mail")
    sign_in = 'username = "bridge"\npassword = "secret of mail"'
    smtp = SmtpSimulator(config, SmtpFaults(auth_refused=1.0))
    async with open_stage(tmp_path, smtp=smtp, mail=sign_in) as stage:
        ext_message_id = await stage.send(gateway=EMAIL)
        await eventually(lambda: smtp.ledger.faults["auth_refused"] >= 2)
        assert await in_state(stage, ext_message_id, "queued")
        smtp.faults = SmtpFaults(next={"auth_later": 1})
        await eventually(lambda: stage.statuses(ext_message_id) == ["accepted"])
        assert mail_of(smtp, ext_message_id).recipient == EMAILS["player1"]
    assert "secret of mail" not in stage.bridge.log.read_text()


async def test_nothing_goes_over_an_open_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """starttls: no word of sign-in or mail before TLS, nothing for a server that is not trusted, all once it is."""
    port = free_port()
    trusted, _ = make_certificate(tmp_path)  # of nobody here, for now
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    sign_in = 'username = "bridge"\npassword = "secret of mail"'
    settings = smtp_settings(port, mail=sign_in).replace('tls = "none"', 'tls = "starttls"')
    async with open_stage(tmp_path, more=settings) as stage:
        ext_message_id = await stage.send(gateway=EMAIL)
        async with SmtpSimulator(SmtpConfig(port=port)) as smtp:
            await eventually(lambda: smtp.ledger.commands["EHLO"])
        assert set(smtp.ledger.commands) <= {"EHLO", "QUIT"}
        config = SmtpConfig(port=port, tls="starttls", username="bridge", password="secret of mail")
        async with SmtpSimulator(config) as smtp:
            await eventually(lambda: smtp.ledger.connections)
            assert await in_state(stage, ext_message_id, "queued")
            assert smtp.certificate_path is not None
            trusted.write_bytes(smtp.certificate_path.read_bytes())
            await eventually(partial(stage.has_statuses, ext_message_id, ["accepted"]))
            assert mail_of(smtp, ext_message_id).secure


# --- SendGrid ---


async def test_sendgrid_all_the_way(tmp_path: Path) -> None:
    """A mail is as given, its signed events become statuses; late bounces are `failed`, drops `rejected`."""
    sendgrid = SendgridSimulator(SENDGRID)
    async with open_stage(tmp_path, sendgrid=sendgrid) as stage:
        first = (await post(stage, sample(stage), "mailing"))["ext_message_id"]
        await eventually(partial(stage.has_learned, first, ["accepted", "delivered", "opened", "clicked"]))
        (mail,) = sendgrid.ledger.by_tag[first.replace("-", "")]
        assert mail.sender == mail.reply_to == {"email": "noreply@amazing.co", "name": "Amazing"}
        assert (mail.to, mail.subject) == (EMAILS["player1"], "The best offer your can find on the market")
        assert (mail.text, mail.html) == ("Get the offer.....", "<html>..........</html>")
        shown = await stage.message(first)
        assert (shown["state"], shown["provider_message_id"]) == ("read", mail.x_message_id.lower())
        histories = {
            "player2": ["accepted", "delivered", "failed"],
            "player3": ["rejected"],
            "player4": ["accepted", "failed"],
        }
        ids = {user: await stage.send(user, MAILING) for user in histories}
        for user, history in histories.items():
            await eventually(partial(stage.has_learned, ids[user], history))
        # What is signed with another key is refused, and SendGrid posts it again.
        sendgrid.faults = SendgridFaults(next={"bad_signature": 1})
        ids["player3"] = await stage.send("player3", MAILING)
        await eventually(partial(stage.has_statuses, ids["player3"], ["rejected"]))
        assert sendgrid.ledger.callback_answers["401"] == 1
        failed = await stage.message(ids["player4"])
        assert (failed["error_code"], failed["state"]) == ("5.1.1", "failed")
        assert not stage.smartico.ledger.errors
        assert len(sendgrid.ledger.mails) == 5


async def test_only_what_sendgrid_signed_is_believed(tmp_path: Path) -> None:
    """No signature, another key, a changed body or timestamp, Basic credentials: 401, and nothing is kept."""
    sendgrid = SendgridSimulator(SENDGRID)
    password = 'callback_password = "password-of-events"'
    async with open_stage(tmp_path, sendgrid=sendgrid, events=password) as stage:
        ext_message_id = await stage.send("player7", MAILING)
        await eventually(lambda: in_state(stage, ext_message_id, "submitted"))
        event = b'[{"event":"delivered","timestamp":1700000000,"ext_message_id":"%s"}]'
        body = event % ext_message_id.encode()
        nobody = httpx.Auth()
        signed = sendgrid._signer.headers(body)
        later = signed | {name: "1" for name in signed if name.endswith("Timestamp")}
        broken = signed | {name: "%%%" for name in signed if name.endswith("Signature")}
        async with httpx.AsyncClient(base_url=stage.bridge.url) as client:
            halves = [{name: value} for name, value in signed.items()]
            for half in halves:  # then the body is not even read
                large = b"[" + b" " * 5_000_000
                answer = await client.post("/callbacks/sendgrid", content=large, headers=half, auth=nobody)
                assert answer.status_code == 401
            for content, headers, auth in (
                (body, {}, nobody),
                (body, Signer().headers(body), nobody),
                (body + b" ", signed, nobody),
                (body, later, nobody),
                (body, broken, nobody),
                (body, {}, httpx.BasicAuth("sendgrid", "password-of-events")),
            ):
                answer = await client.post("/callbacks/sendgrid", content=content, headers=headers, auth=auth)
                assert answer.status_code == 401, headers
            assert stage.statuses(ext_message_id) == []
            answer = await client.post("/callbacks/sendgrid", content=body, headers=signed)
            assert answer.status_code == 200
        await eventually(lambda: stage.statuses(ext_message_id) == ["delivered"])
        assert await open_items(stage, "unreadable") == []


async def test_complaints_and_unsubscriptions_close_the_channel(tmp_path: Path) -> None:
    """spamreport and unsubscribe are reported, refuse the next mail (4), say when and why, and can be taken back."""
    sendgrid, smtp = SendgridSimulator(SENDGRID), SmtpSimulator()
    async with open_stage(tmp_path, sendgrid=sendgrid, smtp=smtp) as stage:
        for user, status in (("player5", "complained"), ("player6", "unsubscribed")):
            ext_message_id = await stage.send(user, MAILING)
            await eventually(lambda: stage.statuses(ext_message_id)[-1:] == [status])  # noqa: B023
            for gateway in (MAILING, EMAIL):
                assert (await stage.smartico.send(stage.bridge.url, gateway, user)).error_code == 4
            assert (await stage.smartico.send(stage.bridge.url, SMS, user)).error_code == 0
            shown = (await stage.api.get(f"/api/contacts/{user}")).json()
            (closed,) = shown["opt_outs"]
            assert (shown["opted_out"], closed["channel"]) == (["EMAIL"], "EMAIL")
            assert "sendgrid" in closed["reason"]
            assert closed["closed_at"].endswith("Z")
            change = {"email": EMAILS[user], "phone": "+14155550000", "opted_out": []}
            shown = (await stage.api.put(f"/api/contacts/{user}", json=change)).json()
            assert (shown["opted_out"], shown["opt_outs"]) == ([], [])
            assert {each["channel"] for each in shown["opt_out_history"]} == {"EMAIL"}
            assert [each["change"] for each in shown["opt_out_history"]] in (
                ["closed", "opened"],
                ["closed", "closed", "opened", "opened"],
            )
            assert "alice" in shown["opt_out_history"][-1]["reason"]
            answer = await stage.smartico.send(stage.bridge.url, EMAIL, user)
            assert answer.error_code == 0
            await eventually(partial(stage.has_statuses, answer.ext_message_id, ["accepted"]))
        assert await stage.send("player1", MAILING)


async def test_an_ambiguous_answer_of_sendgrid_is_settled_by_its_events(tmp_path: Path) -> None:
    """After a reset, a 5xx, a time-out: found by events, sent exactly once; without any event it goes under review."""
    sendgrid = SendgridSimulator(SENDGRID)
    async with open_stage(tmp_path, sendgrid=sendgrid) as stage:
        ids = []
        for number, fault in enumerate(("reset_after", "error_after", "timeout_after", "no_message_id"), 10):
            sendgrid.faults = SendgridFaults(next={fault: 1, "early": number % 2})
            ids.append(await stage.send(f"player{number}", MAILING))
            await eventually(lambda: sendgrid.ledger.requests_by_outcome[fault] == 1)  # noqa: B023
        sendgrid.faults = SendgridFaults(next={"reset_after": 1})
        silent = await stage.send("player7", MAILING)
        sendgrid_has = sendgrid.ledger.by_tag
        for each in ids:
            await eventually(partial(stage.has_learned, each, ["accepted", "delivered"]))
            assert len(sendgrid_has[each.replace("-", "")]) == 1
            await eventually(partial(in_state, stage, each, "delivered"))
        (item,) = await eventually(lambda: open_items(stage, "unknown_send"))
        assert item["count"] == 1
        assert (await stage.message(silent))["state"] == "unknown"
        assert len(sendgrid.ledger.mails) == 5
        # An event that comes after all settles it, and the review item with it.
        body = b'[{"event":"delivered","timestamp":1700000000,"ext_message_id":"%s"}]' % silent.encode()
        headers = sendgrid._signer.headers(body)
        assert (await stage.api.post("/callbacks/sendgrid", content=body, headers=headers)).status_code == 200
        await eventually(lambda: stage.statuses(silent) == ["delivered"], 10)
        assert await open_items(stage, "unknown_send") == []


async def test_a_refusing_sendgrid_is_waited_for_and_a_refused_mail_is_rejected(tmp_path: Path) -> None:
    """401, 403 and 429 lose nothing; 400 and 413 reject the one mail."""
    sendgrid = SendgridSimulator(SENDGRID, SendgridFaults(unauthorized=1.0))
    async with open_stage(tmp_path, sendgrid=sendgrid) as stage:
        ext_message_id = await stage.send("player10", MAILING)
        await eventually(lambda: sendgrid.ledger.requests_by_outcome["unauthorized"] >= 1)
        assert await in_state(stage, ext_message_id, "queued")
        sendgrid.faults = SendgridFaults(next={"too_many_requests": 1})
        await eventually(partial(stage.has_learned, ext_message_id, ["accepted", "delivered"]))
        for fault in ("bad_request", "too_large"):
            sendgrid.faults = SendgridFaults(next={fault: 1})
            refused = await stage.send("player11", MAILING)
            await eventually(partial(stage.has_statuses, refused, ["rejected"]))
        assert len(sendgrid.ledger.mails) == 1
