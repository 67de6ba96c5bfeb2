"""kill -9 in the middle of traffic over every surface, while every peer misbehaves."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from bridge.sim import (
    PlatformConfig,
    PlatformFaults,
    PlatformSimulator,
    RevicomConfig,
    RevicomFaults,
    SendgridConfig,
    SendgridFaults,
    SendgridSimulator,
    SmarticoFaults,
    SmtpFaults,
    SmtpSimulator,
    Verdict,
    judge,
)
from bridge.sim.verdict import Sent
from tests.e2e.stage import CIM, EMAIL, MAILING, PHONES, SMS, WHATSAPP, Stage, eventually, open_stage

MESSAGES = 250
REVICOM = RevicomConfig(token="token-of-revicom", resend_seconds=0.3, step_seconds=0.1)
REVICOM_FAULTS = RevicomFaults(
    slow=0.2, slow_seconds=0.2, early=0.2, shuffle=0.5, repeat_batch=0.2, repeat_element=0.1, reset_after=0.05
)
SMARTICO_FAULTS = SmarticoFaults(error=0.05, slow=0.05, slow_seconds=0.3, repeat_send=0.05, twin_send=0.05)
SMTP_FAULTS = SmtpFaults(
    greeting=0.05,
    sender_later=0.02,
    recipient_later=0.02,
    recipient_refused=0.03,
    content_refused=0.03,
    reset_before_dot=0.1,
    reset_after_dot=0.03,
    slow=0.2,
    slow_seconds=0.2,
    close_idle=0.2,
    close_idle_silently=True,
)
SENDGRID = SendgridConfig(token="token-of-sendgrid", resend_seconds=0.3, step_seconds=0.1)
SENDGRID_FAULTS = SendgridFaults(
    slow=0.2,
    slow_seconds=0.2,
    too_many_requests=0.02,
    bad_request=0.03,
    early=0.2,
    error_after=0.03,
    reset_after=0.05,
    bad_signature=0.1,
    unknown_event=0.05,
    malformed=0.05,
    foreign=0.05,
    shuffle=0.5,
    repeat_batch=0.2,
    repeat_element=0.1,
)
PLATFORM = PlatformConfig(authorization="secret-of-the-platform", resend_seconds=0.3, step_seconds=0.1)
PLATFORM_FAULTS = PlatformFaults(
    slow=0.1,
    slow_seconds=0.2,
    error=0.05,
    reset=0.05,
    reset_after=0.1,
    early=0.2,
    unknown_status=0.05,
    malformed=0.05,
    foreign=0.05,
    shuffle=0.5,
    repeat_batch=0.2,
    repeat_element=0.1,
)


class Everybody:
    """All peers of a stage, and what they saw together."""

    def __init__(self, stage: Stage, *others: SmtpSimulator | SendgridSimulator | PlatformSimulator) -> None:
        self._stage = stage
        self._others = others

    def seen(self) -> list[Sent]:
        """Every message as a provider saw it."""
        listings = [self._stage.provider.ledger.listing(), *(each.ledger.listing() for each in self._others)]
        return [one for listing in listings for one in listing]

    def verdict(self) -> Verdict:
        return judge(self.seen(), self._stage.smartico.ledger.listing())

    async def unknown(self) -> dict[str, dict[str, Any]]:
        """Messages that were perhaps sent, by id."""
        answer = await self._stage.api.get("/api/messages", params={"state": "unknown", "limit": 1000})
        return {item["ext_message_id"]: item for item in answer.json()["items"]}

    async def settled(self) -> bool:
        """Everything that is owed was told, but of messages that are unknown, and each of those is under review."""
        unknown, verdict = await self.unknown(), self.verdict()
        if verdict.unacknowledged or not {finding.ext_message_id for finding in verdict.lost} <= set(unknown):
            return False
        if self.overlooked(unknown):
            return False
        items = (await self._stage.api.get("/api/review", params={"limit": 1000})).json()["items"]
        counts: list[int] = [item["count"] for item in items if item["kind"] == "unknown_send"]
        return sum(counts) == len(unknown)

    async def what_is_left(self) -> str:
        """Why it is not settled, for whoever reads the failure."""
        unknown, verdict = await self.unknown(), self.verdict()
        lost = [finding for finding in verdict.lost if finding.ext_message_id not in unknown]
        owing = [one for one in self.seen() if len(one.planned) > len(one.acknowledged)]
        return (
            f"{verdict.unacknowledged} callbacks are not acknowledged, of {owing}; lost: {lost}; unknown: "
            f"{sorted(unknown)}, overlooked: {self.overlooked(unknown)}"
        )

    def overlooked(self, unknown: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
        """Unknown messages that somebody took, of which there is a trace. (A mail server cannot be asked for one.)

        A refusal leaves none: SendGrid tells nothing of what it refused, so a lost refusal stays unknown.
        """
        tags = {tag for one in self.seen() if not one.refused for tag in one.tags}
        return [
            item
            for name, item in unknown.items()
            if item["gateway"] != "email" and name.replace("-", "") in tags
        ]


@pytest.mark.timeout(240)
async def test_kill_9_over_all_surfaces_loses_nothing_and_sends_nothing_twice(tmp_path: Path) -> None:
    """Four kills during 250 messages by SMS, WhatsApp, SMTP, SendGrid and Custom IM, with faults at every peer.

    Only what is perhaps sent and has no trace may be unknown, and is under review then: never a Custom IM, which is
    sent again under its id; never a mail of which SendGrid told anything.
    """
    smtp = SmtpSimulator(faults=SMTP_FAULTS)
    sendgrid = SendgridSimulator(SENDGRID, SENDGRID_FAULTS)
    platform = PlatformSimulator(PLATFORM, PLATFORM_FAULTS)
    draw = random.Random(11)
    async with open_stage(
        tmp_path,
        provider=REVICOM,
        provider_faults=REVICOM_FAULTS,
        smartico_faults=SMARTICO_FAULTS,
        smtp=smtp,
        sendgrid=sendgrid,
        platform=platform,
    ) as stage:
        everybody = Everybody(stage, smtp, sendgrid, platform)
        gateways = [SMS, WHATSAPP, EMAIL, MAILING, CIM]
        users = sorted(PHONES)[:199]  # so that each of them is sent to through other gateways in turn
        traffic = asyncio.create_task(
            stage.smartico.run_traffic(stage.bridge.url, gateways, users, rate=50, messages=MESSAGES)
        )
        for _ in range(4):
            await asyncio.sleep(draw.uniform(0.5, 1.2))
            await stage.bridge.kill()
            await stage.bridge.start()
        await traffic
        ledger = stage.smartico.ledger
        assert not ledger.given_up
        assert {refused.error_code for refused in ledger.refused} <= {4}  # who complained gets nothing more
        assert len(ledger.accepted) + len({refused.im_uid for refused in ledger.refused}) == MESSAGES
        try:
            await eventually(everybody.settled, 90)
        except AssertionError as error:
            error.add_note(await everybody.what_is_left())
            raise
        verdict, unknown = everybody.verdict(), await everybody.unknown()
        assert not verdict.sent_twice
        assert not verdict.unexpected
        assert not verdict.out_of_order
        assert not verdict.strangers
        # A status may come again after a crash; nothing else is wrong with any.
        assert not [problem for problem in ledger.errors if not problem.what.endswith("was repeated")]
        assert not everybody.overlooked(unknown)
        assert "cim" not in {item["type"] for item in unknown.values()}
        assert smtp.ledger.faults
        assert sendgrid.ledger.callbacks_repeated
        assert platform.ledger.callbacks_repeated
