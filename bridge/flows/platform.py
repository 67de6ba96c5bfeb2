"""Asking the operator's platform who a user is: at most one question at a time for a user, and answers kept a while.

Users, and that somebody is none, are kept in memory for times of their own; that the platform is away is not kept.
Addresses are nowhere but in memory, and neither they nor user ids are ever logged.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable

import structlog
from msgspec import Struct

from bridge.contacts import Answer, Away, Directory, Known, UnknownUser, build_lookup, read_lookup
from bridge.core.breaker import Breaker
from bridge.core.exchange import Outcome, Request
from bridge.core.model import Millis

__all__ = ["Platform"]

_log = structlog.get_logger()

_STOPPING = Away("the bridge is stopping")
_CROWDED = Away("too many users are being asked for")
_AT_ONCE = 64  # questions under way; the next ones wait
_MOST = 2_000  # questions under way or waiting
_ENOUGH = 3  # questions in a row without an answer: then the platform is away, and asked now and then


class _Kept(Struct, frozen=True):
    """An answer that is believed for a while, and when it came."""

    answer: Known | UnknownUser
    since: Millis


class _Question:
    """One question under way. Everybody who asks the same meanwhile waits for its answer.

    The task belongs to none of them: whoever gives up takes it from nobody. `keep`: the answer may be kept.
    """

    def __init__(self, task: asyncio.Task[Answer]) -> None:
        self.task = task
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.keep = True


class Platform:
    """Finds users. `exchange` performs a request, `clock` gives the time; 0 seconds: such answers are not kept.
    `steady` is a clock that never goes back; `max_questions`: how many may be under way or waiting.

    `away` says why the platform is away, by the last question to it; it is empty where it is not. While it is away one
    question at a time finds out whether it is back, and everybody else is told so at once: nobody waits for nothing.
    """

    def __init__(
        self,
        directory: Directory,
        exchange: Callable[[Request], Awaitable[Outcome]],
        clock: Callable[[], Millis],
        *,
        steady: Callable[[], Millis],
        cache_seconds: float,
        not_found_cache_seconds: float,
        max_entries: int = 100_000,
        max_questions: int = _MOST,
    ) -> None:
        self.away = ""
        self._directory = directory
        self._exchange = exchange
        self._clock = clock
        self._steady = steady
        self._known_for: Millis = round(cache_seconds * 1000)
        self._unknown_for: Millis = round(not_found_cache_seconds * 1000)
        self._max_entries = max_entries
        self._max_questions = max_questions
        self._kept: OrderedDict[str, _Kept] = OrderedDict()  # who was asked for last is at the end
        self._questions: dict[str, _Question] = {}
        self._closed = False
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._breaker = Breaker(_ENOUGH, first=0.5, longest=5.0)

    async def find(self, ext_user_id: str) -> Answer:
        """Who the user is, from memory or from the platform. Raises what `exchange` raises: that is a bug."""
        kept = self._recall(ext_user_id)
        if kept is not None:
            return kept
        question = self._questions.get(ext_user_id)
        if question is None:
            request = build_lookup(self._directory, ext_user_id)
            if isinstance(request, UnknownUser):
                return request
            not_now = self._not_now()
            if not_now is not None:
                return not_now
            question = self._begin(ext_user_id, request)
        return await asyncio.shield(question.answer)

    def forget(self, ext_user_id: str) -> None:
        """Drops what is known of a user; what a question that is under way brings is not kept either."""
        self._kept.pop(ext_user_id, None)
        question = self._questions.get(ext_user_id)
        if question is not None:
            question.keep = False

    async def close(self) -> None:
        """Ends what is under way (who waits for it is told that the bridge stops), and forgets everybody."""
        self._closed = True
        tasks = [question.task for question in self._questions.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._kept.clear()

    # --- a question ---

    def _begin(self, ext_user_id: str, request: Request) -> _Question:
        probe = self._breaker.is_open
        question = _Question(asyncio.create_task(self._ask(request, probe=probe), name="platform"))
        self._questions[ext_user_id] = question
        question.task.add_done_callback(lambda _: self._end(ext_user_id, question))
        return question

    def _not_now(self) -> Away | None:
        """Why nobody is asked at this moment. Where the platform is away, whoever is let through is the probe."""
        if self._closed:
            return _STOPPING
        if len(self._questions) >= self._max_questions:
            return _CROWDED
        return None if self._breaker.allows(self._steady()) else Away(self.away)

    async def _ask(self, request: Request, *, probe: bool) -> Answer:
        try:
            async with self._slots:
                if self._breaker.is_open and not probe:
                    return Away(self.away)  # it went away while this one waited
                answer = read_lookup(self._directory, await self._exchange(request))
        except BaseException:
            if probe:
                self._breaker.cancel_probe()
            raise
        self._note(answer)
        return answer

    def _end(self, ext_user_id: str, question: _Question) -> None:
        del self._questions[ext_user_id]
        if question.task.cancelled():
            question.answer.set_result(_STOPPING)
            return
        error = question.task.exception()
        if error is not None:
            question.answer.set_exception(error)
            return
        answer = question.task.result()
        if question.keep:
            self._keep(ext_user_id, answer)
        question.answer.set_result(answer)

    def _note(self, answer: Answer) -> None:
        """Says when the platform goes away, and when it is back."""
        if isinstance(answer, Away):
            self._breaker.failed(self._steady(), answer.reason)
        else:
            self._breaker.succeeded()
        was_away, self.away = self.away, self._breaker.reason
        if self.away and not was_away:
            _log.warning("the operator's platform cannot be asked", reason=self.away)
        elif was_away and not self.away:
            _log.info("the operator's platform can be asked again")

    # --- what is kept ---

    def _recall(self, ext_user_id: str) -> Answer | None:
        kept = self._kept.get(ext_user_id)
        if kept is None:
            return None
        if not self._is_fresh(kept):
            del self._kept[ext_user_id]
            return None
        self._kept.move_to_end(ext_user_id)
        return kept.answer

    def _keep(self, ext_user_id: str, answer: Answer) -> None:
        if isinstance(answer, Away) or self._closed or not self._lasts(answer):
            return
        self._kept[ext_user_id] = _Kept(answer, self._clock())
        # Those at the front have not been asked for the longest: no address stays for want of a question.
        while self._kept and (len(self._kept) > self._max_entries or not self._is_fresh(self._oldest())):
            self._kept.popitem(last=False)

    def _oldest(self) -> _Kept:
        return next(iter(self._kept.values()))

    def _is_fresh(self, kept: _Kept) -> bool:
        # A clock that was set back must not make an answer last longer.
        return 0 <= self._clock() - kept.since < self._lasts(kept.answer)

    def _lasts(self, answer: Known | UnknownUser) -> Millis:
        return self._known_for if isinstance(answer, Known) else self._unknown_for
