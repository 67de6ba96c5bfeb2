"""Changes made through the `/api` of the service that owns the database, with an operator's token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from bridge.core.exchange import Reply, Request
from bridge.errors import BridgeError
from bridge.flows.directory import ContactDraft, Erased
from bridge.flows.review import Replayed
from bridge.secret import Secret
from bridge.transport import ProviderTransport
from bridge.web.api.reports import ReplayRequest
from bridge.web.api.review import Decision, Dismissed

__all__ = ["RemoteBackend"]

T = TypeVar("T")
_TIMEOUT = 600.0  # seconds: a replay of very many takes its time


class RemoteBackend:
    """See `bridge.cli.access.Backend`. `url`: where the service answers."""

    def __init__(self, url: str, token: Secret) -> None:
        self._url = url
        self._token = token
        self._transport = ProviderTransport(1)

    async def keep_contacts(self, drafts: Sequence[ContactDraft]) -> None:
        reply = await self._exchange("POST", "/api/contacts", [_import_row(draft) for draft in drafts])
        if reply.status == 413 and len(drafts) > 1:
            middle = len(drafts) // 2
            await self.keep_contacts(drafts[:middle])
            await self.keep_contacts(drafts[middle:])
        elif reply.status != 200:
            raise self._refused(reply)

    async def delete_contact(self, ext_user_id: str) -> Erased | None:
        if ext_user_id in (".", ".."):
            # In an address it would be another one, and the answer to that would sound as if nobody was known.
            raise BridgeError(
                f"{self._url} cannot be asked for this ext_user_id: stop the service, then repeat it."
            )
        return await self._call("DELETE", f"/api/contacts/{quote(ext_user_id, safe='')}", None, Erased)

    async def replay_reports(self, wanted: ReplayRequest) -> Replayed:
        result = await self._call("POST", "/api/reports/replay", wanted, Replayed)
        if result is None:
            raise BridgeError(f"The service at {self._url} knows no replay: is it another version?")
        return result

    async def replay_review(self, review_id: int, reason: str, *, resend: bool) -> Replayed | None:
        decision = Decision(reason=reason, resend=resend)
        return await self._call("POST", f"/api/review/{review_id}/replay", decision, Replayed)

    async def dismiss_review(self, review_id: int, note: str) -> bool | None:
        decision = Decision(reason=note)
        result = await self._call("POST", f"/api/review/{review_id}/dismiss", decision, Dismissed)
        return result.dismissed if result else None

    async def send_test(self, gateway: str, ext_user_id: str, text: str) -> str:
        """Stores a test message; gives its ext_message_id."""
        path = f"/api/gateways/{quote(gateway, safe='')}/test"
        reply = await self._exchange("POST", path, {"ext_user_id": ext_user_id, "text": text})
        if reply.status != 200:
            raise self._refused(reply)
        return str(msgspec.json.decode(reply.body)["ext_message_id"])

    async def message(self, ext_message_id: str) -> dict[str, Any]:
        """A message with its timeline, as /api has it."""
        found = await self._call("GET", f"/api/messages/{ext_message_id}", None, dict[str, Any])
        if found is None:
            raise BridgeError(f"The service at {self._url} does not know the message any more.")
        return found

    async def close(self) -> None:
        await self._transport.close()

    async def _call(self, method: str, path: str, body: object, kind: type[T]) -> T | None:
        """The answer; None for 404."""
        reply = await self._exchange(method, path, body)
        if reply.status == 404:
            return None
        if reply.status != 200:
            raise self._refused(reply)
        return msgspec.json.decode(reply.body, type=kind)

    async def _exchange(self, method: str, path: str, body: object) -> Reply:
        headers = {"Authorization": f"Bearer {self._token.reveal()}", "Content-Type": "application/json"}
        content = b"" if body is None else msgspec.json.encode(body)
        outcome = await self._transport.exchange(
            Request(method, self._url + path, _TIMEOUT, headers, content)
        )
        if isinstance(outcome, Reply):
            return outcome
        raise BridgeError(
            f"The service does not answer at {self._url} ({outcome.reason}): try again, start it, or stop it."
        )

    def _refused(self, reply: Reply) -> BridgeError:
        if reply.status in (401, 403):
            return BridgeError(
                f"The service at {self._url} refuses the operator token of these settings: name the settings that it "
                "runs with (--config), or restart it."
            )
        return BridgeError(f"The service at {self._url} refuses it: {_detail(reply)}.")


def _import_row(draft: ContactDraft) -> dict[str, Any]:
    contact = draft.contact
    return {
        "ext_user_id": contact.ext_user_id,
        "phone": contact.phone or "",
        "email": contact.email or "",
        "opted_out": None if draft.opted_out is None else sorted(draft.opted_out),
    }


def _detail(reply: Reply) -> str:
    """What the problem details say (RFC 9457)."""
    try:
        detail = msgspec.json.decode(reply.body).get("detail")
    except (ValueError, AttributeError):
        detail = None
    return str(detail or f"HTTP {reply.status}").rstrip(".")
