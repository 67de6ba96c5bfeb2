"""Changes made in this process, as the owner of the database, by the same flows that the service calls."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from bridge.assembly import build_providers, build_rules, open_database
from bridge.cli.options import now, operator_name
from bridge.errors import BridgeError
from bridge.flows import directory, review
from bridge.flows.directory import ContactDraft, Erased
from bridge.flows.review import Actor, Replayed, ReplayFilter, choose_reports
from bridge.flows.rotating import Rotated, Rotation
from bridge.flows.rules import Rules
from bridge.settings import Settings
from bridge.store.reports import DueReport
from bridge.store.review import ReviewItem, get_review
from bridge.store.search import ReportFilter
from bridge.store.tx import Store, Tx
from bridge.web.api.reports import ReplayRequest, read_report_id

__all__ = ["LocalBackend"]

T = TypeVar("T")


class LocalBackend:
    """See `bridge.cli.access.Backend`."""

    def __init__(self, rules: Rules, store: Store) -> None:
        self._rules = rules
        self._store = store
        self._name = operator_name()
        self._rotation = Rotation(store)

    @classmethod
    async def open(cls, settings: Settings) -> LocalBackend:
        """Raises BridgeError where the database cannot be opened, or has another owner."""
        rules = build_rules(settings, build_providers(settings, settings.server.public_url))
        return cls(rules, await open_database(settings, worker=False))

    async def keep_contacts(self, drafts: Sequence[ContactDraft]) -> None:
        await directory.keep_many(self._store, drafts, self._name, now())

    async def delete_contact(self, ext_user_id: str) -> Erased | None:
        async def job(tx: Tx) -> tuple[Erased, list[DueReport]] | None:
            return await directory.erase(tx, self._rules, ext_user_id, self._name, now())

        result = await self._store.write(job)
        return result[0] if result else None

    async def replay_reports(self, wanted: ReplayRequest) -> Replayed:
        actor = Actor(self._name, wanted.reason)
        return await review.replay_reports(self._store, _chosen(wanted), actor, now(), dry_run=wanted.dry_run)

    async def replay_review(self, review_id: int, reason: str, *, resend: bool) -> Replayed | None:
        async def replay(item: ReviewItem) -> Replayed:
            actor = Actor(self._name, reason)
            return await review.replay(self._store, self._rules, item, actor, now(), resend=resend)

        return await self._of_item(review_id, replay)

    async def dismiss_review(self, review_id: int, note: str) -> bool | None:
        async def dismiss(item: ReviewItem) -> bool:
            return await review.dismiss(self._store, item, Actor(self._name, note), now())

        return await self._of_item(review_id, dismiss)

    async def rotate_keys(self, key: str) -> Rotated:  # noqa: ARG002 - the settings were read by this process
        return await self._rotation.step(self._name, now())

    async def _of_item(self, review_id: int, act: Callable[[ReviewItem], Awaitable[T]]) -> T | None:
        item = await self._store.read(lambda tx: get_review(tx, review_id))
        return await act(item) if item else None

    async def close(self) -> None:
        await self._store.close()


def _chosen(wanted: ReplayRequest) -> ReportFilter:
    if wanted.ids is not None:
        return ReportFilter(state="dead", keys=[key for text in wanted.ids if (key := read_report_id(text))])
    chosen = choose_reports(wanted.filter or ReplayFilter(), now())
    if chosen is None:
        raise BridgeError("The time since when reports are replayed cannot be read: write it as RFC 3339.")
    return chosen
