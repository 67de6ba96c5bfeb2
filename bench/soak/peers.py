"""A process with all simulated peers of the soak: they live on, whatever happens to the bridge, and keep the books.

`python -m bench.soak.peers`, see `bridge.bench.child`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

from bench.soak import scene
from bench.soak.books import Moment, count_repeats
from bridge.bench.child import Command, run_child
from bridge.bench.files import read_rows
from bridge.sim import PlatformSimulator, RevicomSimulator, SendgridSimulator, SmarticoSimulator, judge
from bridge.sim.verdict import Sent

_SHOWN = 5  # examples of what is wrong


class Peers:
    """Smartico and the providers. `opened` comes first, then `lead`, which says where everything is."""

    def __init__(self) -> None:
        self._running = AsyncExitStack()
        self._smartico: SmarticoSimulator
        self._providers: list[RevicomSimulator | SendgridSimulator | PlatformSimulator] = []
        self._surfaces: tuple[str, ...] = ()
        self._bridge = self._callback_url = ""
        self._traffic: asyncio.Task[None] | None = None
        self._sending: set[asyncio.Task[Any]] = set()
        self._moments: list[Moment] = []
        self._next = 0
        self._enough = False

    async def open(
        self, surfaces: list[str], seed: int, step_seconds: float, faults: bool, outcome: str
    ) -> dict[str, Any]:
        """Starts the peers; gives their addresses. `outcome`: that of every message by Revicom; empty: drawn."""
        self._surfaces = tuple(surfaces)
        wrong = scene.Faults.usual() if faults else scene.Faults.none()
        enter = self._running.enter_async_context
        self._smartico = await enter(SmarticoSimulator(scene.smartico_config(seed), wrong.smartico))
        urls = {"smartico": self._smartico.url}
        revicom = await enter(
            RevicomSimulator(scene.revicom_config(seed, step_seconds, outcome), wrong.revicom)
        )
        self._providers.append(revicom)
        urls["revicom"] = revicom.url
        if "mailing" in surfaces:
            self._sendgrid = await enter(
                SendgridSimulator(scene.sendgrid_config(seed, step_seconds), wrong.sendgrid)
            )
            self._providers.append(self._sendgrid)
            urls |= {"sendgrid": self._sendgrid.url, "sendgrid_key": self._sendgrid.public_key}
        if "cim" in surfaces:
            platform = await enter(
                PlatformSimulator(scene.platform_config(seed, step_seconds), wrong.platform)
            )
            self._providers.append(platform)
            urls["platform"] = platform.url
        return urls

    async def lead(self, bridge: str, smartico: str) -> None:
        """Where Smartico finds the bridge, and where the bridge finds Smartico."""
        self._bridge, self._callback_url = bridge, f"{smartico}/callback"
        if "mailing" in self._surfaces:
            self._sendgrid.webhook_url = f"{bridge}/callbacks/sendgrid"

    async def traffic(self, messages: int, rate: float) -> None:
        """Smartico begins to send so many messages, `rate` a second, in the background."""
        self._traffic = asyncio.create_task(self._send_all(messages, rate))

    async def enough(self) -> None:
        """No further message begins; those that did are repeated until they are answered, as always."""
        self._enough = True

    async def send(self) -> str:
        """One message, in the background; gives its im_uid."""
        uid = f"walk-{self._next}"
        self._start(uid)
        return uid

    async def _send_all(self, messages: int, rate: float) -> None:
        loop = asyncio.get_running_loop()
        began, slots = loop.time(), asyncio.Semaphore(self._smartico.config.send_concurrency)
        for number in range(messages):
            if self._enough:
                break
            await asyncio.sleep(max(0.0, began + number / rate - loop.time()))
            await slots.acquire()
            self._start(None).add_done_callback(lambda _: slots.release())
        while self._sending:
            await asyncio.wait(self._sending)

    def _start(self, uid: str | None) -> asyncio.Task[Any]:
        gateways = scene.gateways(self._surfaces)
        gateway, user = gateways[self._next % len(gateways)], scene.USERS[self._next % len(scene.USERS)]
        self._next += 1
        sending = self._smartico.send(
            self._bridge, gateway, user, im_uid=uid, callback_url=f"{self._callback_url}/{gateway.name}"
        )
        task = asyncio.create_task(sending)
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)
        return task

    async def progress(self) -> dict[str, Any]:
        """Where it stands."""
        ledger = self._smartico.ledger
        return {
            "sending": len(self._sending) + (self._traffic is not None and not self._traffic.done()),
            "accepted": len(ledger.accepted),
            "refused": len(ledger.refused),
            "given_up": len(ledger.given_up),
            "statuses": ledger.statuses.total(),
            "repeated": ledger.repeated,
            "callbacks_pending": sum(each.ledger.callbacks_pending for each in self._providers),
        }

    async def message(self, uid: str) -> dict[str, Any]:
        """What Smartico knows of a message that it sent: its id, once there is one, and its statuses."""
        ledger = self._smartico.ledger
        known = ledger.messages.get(ledger.accepted.get(uid, ""))
        if known is None:
            return {"ext_message_id": "", "statuses": []}
        return {
            "ext_message_id": known.ext_message_id,
            "statuses": [each.status for each in known.arrivals],
        }

    async def killed(self, at: float, pending: str) -> None:
        """The bridge was killed, or a peer cut off, while the reports in a file were pending."""
        self._moments.append(Moment(at, [(row[0], row[1]) for row in read_rows(pending) if row]))

    async def verdict(self) -> dict[str, Any]:
        """What the books say, compared with each other."""
        ledger = self._smartico.ledger
        sent: list[Sent] = [row for each in self._providers for row in each.ledger.listing()]
        verdict = judge(sent, ledger.listing())
        repeats = count_repeats(ledger.messages.values(), self._moments)
        strange = [each.what for each in ledger.errors if not each.what.endswith("was repeated")]
        findings = verdict.lost + verdict.out_of_order + verdict.unexpected
        examples = [f"{each.ext_message_id}: {each.what}" for each in findings[:_SHOWN]]
        examples += [f"{each}: sent twice" for each in verdict.sent_twice[:_SHOWN]]
        answers = ledger.send_answers
        return {
            "accepted": len(ledger.accepted),
            "refused": len(ledger.refused),
            "given_up": len(ledger.given_up),
            "sends_posted": answers.total(),
            "at_provider": sum(1 for one in sent if not one.refused),
            "callbacks": sum(each.ledger.callbacks_acknowledged for each in self._providers),
            "callbacks_again": sum(each.ledger.callbacks_repeated for each in self._providers),
            "reports": ledger.statuses.total(),
            "lost": len({each.ext_message_id for each in verdict.lost}),
            "sent_twice": len(verdict.sent_twice),
            "out_of_order": len(verdict.out_of_order),
            "unexpected": len(verdict.unexpected),
            "strangers": verdict.strangers,
            "callbacks_owed": verdict.unacknowledged,
            "in_flight": repeats.in_flight,
            "repeated": repeats.repeated,
            "unexcused": repeats.unexcused,
            "protocol_errors": len(strange),
            "examples": examples + repeats.examples + strange[:_SHOWN],
        }


async def _commands() -> Mapping[str, Command]:
    peers = Peers()
    return {
        name: getattr(peers, name)
        for name in ("open", "lead", "traffic", "enough", "send", "progress", "message", "killed", "verdict")
    }


if __name__ == "__main__":
    run_child(_commands)
