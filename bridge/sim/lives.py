"""Plays the life of every message step after step, each giving a callback: SendGrid's mails, the platform's
notifications.

(Revicom has its own player: cascades, stopping, and callbacks that a message asks for.)
"""

import asyncio
from collections.abc import Iterable
from typing import Any, Generic, Protocol, TypeVar

from bridge.sim.callbacks import Acknowledging, CallbackSender, Element
from bridge.sim.faults import Dice


class Living(Acknowledging, Protocol):
    """A message with a life: the steps of its plan, and how many of them have happened."""

    plan: tuple[str, ...]
    position: int


M = TypeVar("M", bound=Living)
N_contra = TypeVar("N_contra", bound=Living, contravariant=True)


class Script(Protocol[N_contra]):
    """What a simulator says of its messages' lives."""

    def callback_url(self, message: N_contra) -> str:
        """Where the callbacks of a message go now; empty: nowhere."""

    def element(self, message: N_contra, step: str) -> Element:
        """The callback of a step, as it happens now."""

    def companions(self, message: N_contra, element: Element) -> Iterable[Element]:
        """What faults put beside a callback: elements that nobody waits for."""


class Lives(Generic[M]):
    """All lives. Nothing happens any more once it is closed."""

    def __init__(
        self, step_seconds: float, dice: Dice[Any], sender: CallbackSender, script: Script[M]
    ) -> None:
        self._step_seconds = step_seconds
        self._dice = dice
        self._sender = sender
        self._script = script
        self._closed = False

    def begin(self, message: M) -> None:
        """Let a message go its way, from where it is; each step takes step_seconds, give or take a half."""
        if message.position < len(message.plan):
            delay = self._step_seconds * (0.5 + self._dice.random.random())
            asyncio.get_running_loop().call_later(delay, self._next, message)

    async def play_early(self, message: M, steps: frozenset[str]) -> None:
        """Play the life at once, as long as its steps are among these, and wait until they were posted."""
        elements: list[Element] = []
        while message.position < len(message.plan) and message.plan[message.position] in steps:
            elements.append(self._step(message))
        url = self._script.callback_url(message)
        if elements and url:
            await self._sender.post_now(url, elements)

    def close(self) -> None:
        """Stop playing."""
        self._closed = True

    def _next(self, message: M) -> None:
        if self._closed:
            return
        element = self._step(message)
        url = self._script.callback_url(message)
        if url:
            self._emit(url, message, element)
        self.begin(message)

    def _step(self, message: M) -> Element:
        step = message.plan[message.position]
        message.position += 1
        return self._script.element(message, step)

    def _emit(self, url: str, message: M, element: Element) -> None:
        """Hand an element to its lane, with what comes beside it."""
        late = self._dice.throws("late")
        self._sender.add(url, element, self._dice.faults.late_seconds if late else 0.0)
        for other in self._script.companions(message, element):
            self._sender.add(url, other)
