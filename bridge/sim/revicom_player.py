"""Plays the life of every message that was taken: step after step, each giving its callback when it was asked
for.

Cascades (config `cascade_steps` above 1): every step but the last is undelivered, and the next one is a new
message with a new uuid and without tags, tied to the first by cascade_message_uuid.
"""

import asyncio
import time
import uuid
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from bridge.sim.faults import Dice
from bridge.sim.revicom_callbacks import CallbackSender, Element
from bridge.sim.revicom_config import RevicomConfig, RevicomFaults
from bridge.sim.revicom_ledger import Message, RevicomLedger
from bridge.sim.revicom_plan import EVENT_OF, Chances, build_element, choose_outcome, plan_steps

_EARLY = ("sent", "price", "delivered", "undelivered", "unsent")
_MALFORMED: tuple[Any, ...] = (
    "not an object",
    None,
    17,
    [],
    {},
    {"message_uuid": 5, "callback_event": "delivered"},
    {"callback_event": "delivered", "status": "delivered"},
)


class Player:
    """Takes messages and plays them. Nothing happens any more once it is closed."""

    def __init__(
        self, config: RevicomConfig, dice: Dice[RevicomFaults], ledger: RevicomLedger, sender: CallbackSender
    ) -> None:
        self._config = config
        self._dice = dice
        self._ledger = ledger
        self._sender = sender
        self._chances = Chances(config, dice.random)
        self._closed = False

    def take(self, item: dict[str, Any]) -> Message:
        """Make a request item a message of the ledger; its life begins with `begin`."""
        outcome = choose_outcome(item, self._chances)
        message = Message(
            uuid=str(uuid.uuid4()),
            tags=tuple(item.get("tags", ())),
            destination=item["destination"],
            channel_type=item["channelType"],
            sender_name=item["senderName"],
            content=item["content"],
            external_id=item.get("externalMessageId"),
            short_url=item.get("shortUrl", False),
            callback_url=item.get("callbackUrl"),
            wanted=frozenset(item.get("callbackEvents") or ("delivered",)),
            outcome=outcome,
            plan=(),
            planned=(),
        )
        if self._config.cascade_steps > 1:
            message.cascade_uuid, message.cascade_step = message.uuid, 1
        self._add(message)
        return message

    def begin(self, messages: Iterable[Message]) -> None:
        """Let the messages go their way, from where they are."""
        for message in messages:
            self._later(message)

    async def play_early(self, messages: Iterable[Message]) -> None:
        """Play everything up to the final status at once, and wait until its callbacks were posted."""
        by_url: dict[str, list[Element]] = {}
        for message in messages:
            while message.position < len(message.plan) and message.plan[message.position] in _EARLY:
                element = self._step(message)
                if element is not None and message.callback_url:
                    by_url.setdefault(message.callback_url, []).append(element)
        await asyncio.gather(*(self._sender.post_now(url, elements) for url, elements in by_url.items()))

    def stop(self, message: Message) -> bool:
        """Make a message that has not begun its life unsent; False when it is too late."""
        if message.position > 0 or not message.plan:
            return False
        message.outcome = "unsent"
        self._ledger.replan(message, ("unsent",), self._planned(message, ("unsent",)))
        return True

    def close(self) -> None:
        """Stop playing."""
        self._closed = True

    def _add(self, message: Message) -> None:
        last = message.cascade_step in (None, self._config.cascade_steps)
        outcome = message.outcome if last else "undelivered"
        message.plan = plan_steps(outcome, message.channel_type, short_url=message.short_url)
        message.planned = self._planned(message, message.plan)
        self._ledger.add(message)

    def _planned(self, message: Message, plan: tuple[str, ...]) -> tuple[str, ...]:
        if not message.callback_url:
            return ()
        return tuple(status for status in plan if EVENT_OF[status] in message.wanted)

    def _later(self, message: Message) -> None:
        delay = self._config.step_seconds * (0.5 + self._dice.random.random())
        asyncio.get_running_loop().call_later(delay, self._next, message)

    def _next(self, message: Message) -> None:
        if self._closed:
            return
        if message.position >= len(message.plan):
            self._cascade_on(message)
            return
        element = self._step(message)
        if element is not None:
            self._emit(message, element)
        self._later(message)

    def _step(self, message: Message) -> Element | None:
        """One step of a life; its callback element, when it has one."""
        status = message.plan[message.position]
        message.position += 1
        if status == "sent":
            message.sent_at = time.time()
        if not message.callback_url or EVENT_OF[status] not in message.wanted:
            return None
        return Element(build_element(message, status, self._chances), message, status)

    def _cascade_on(self, message: Message) -> None:
        step = message.cascade_step
        if step is None or step >= self._config.cascade_steps or message.plan[-1:] != ("undelivered",):
            return
        following = replace(
            message,
            uuid=str(uuid.uuid4()),
            tags=(),
            cascade_step=step + 1,
            position=0,
            accepted_at=time.time(),
            sent_at=None,
            acknowledged=[],
        )
        self._add(following)
        self._later(following)

    def _emit(self, message: Message, element: Element) -> None:
        """Hand an element to its lane, with the faults that come beside it."""
        if self._dice.throws("lost"):
            self._ledger.callbacks_abandoned += 1
            return
        url = message.callback_url or ""
        late = self._dice.throws("late")
        self._sender.add(url, element, self._dice.faults.late_seconds if late else 0.0)
        if self._dice.throws("unknown_status"):
            body = {**element.body, "callback_event": "delivered", "status": "teleported"}
            self._sender.add(url, Element(body, owed=False))
        if self._dice.throws("malformed"):
            self._sender.add(url, Element(self._dice.random.choice(_MALFORMED), owed=False))
        if self._dice.throws("foreign"):
            body = {**element.body, "message_uuid": str(uuid.uuid4())}
            self._sender.add(url, Element(body, owed=False))
