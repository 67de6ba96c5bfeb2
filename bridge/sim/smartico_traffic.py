"""Sends messages to the bridge as Smartico does: one POST with a JSON body each, the gateway's Authorization.

Bodies have the fields of Smartico's page "Secured Messaging Gateways", no more. Smartico documents neither a
rate nor a retry rule; this client repeats with the same id on connection errors, answers other than 200,
unreadable answers and error_code 8 (the bridge's "overloaded"), for a bounded time. An answer that breaks the
documented form is an error.
"""

import asyncio
import itertools
import secrets
from collections.abc import Sequence
from typing import Any, NamedTuple

import aiohttp
import msgspec

from bridge.sim.faults import Dice
from bridge.sim.smartico_assets import Assets
from bridge.sim.smartico_config import Gateway, SmarticoConfig, SmarticoFaults
from bridge.sim.smartico_ledger import Known, SmarticoLedger, Unsent

_OVERLOADED = 8
_LONGEST_PAUSE = 2.0


class Answer(NamedTuple):
    """What became of a message: accepted (error_code 0), refused (above 0), or given up (None)."""

    im_uid: str
    error_code: int | None
    ext_message_id: str = ""
    reason: str = ""


class Order(NamedTuple):
    """One message on its way: where to, as whom, and its body."""

    url: str
    gateway: Gateway
    uid: str
    ext_user_id: str
    body: bytes
    preview: str = ""  # the to_email_address of a preview


class Traffic:
    """The sending half of the simulated Smartico. `callback_base` is the address of its status endpoint."""

    def __init__(
        self, config: SmarticoConfig, dice: Dice[SmarticoFaults], ledger: SmarticoLedger, callback_base: str
    ) -> None:
        self._config = config
        self._dice = dice
        self._ledger = ledger
        self._callback_base = callback_base
        self._prefix = config.im_uid_prefix or secrets.token_hex(6)
        self._numbers = itertools.count(1)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=config.send_timeout_seconds),
            skip_auto_headers=("User-Agent", "Accept-Encoding"),
        )
        self._assets = Assets(config, ledger, self._session, callback_base)

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def send(
        self,
        bridge_url: str,
        gateway: Gateway,
        ext_user_id: str,
        *,
        text: str = "Best offer ever",
        im_uid: str | None = None,
        callback_url: str | None = None,
        preview_to: str | None = None,
    ) -> Answer:
        """Send one message until it is answered for good; faults may send it twice."""
        uid = im_uid or f"{self._prefix}{next(self._numbers)}"
        callback = callback_url or self._callback_url(gateway)
        preview = self._preview(gateway) if preview_to is None else preview_to
        body = build_body(gateway, ext_user_id, text, uid, callback)
        if preview:
            body |= {"activity_type": "preview", "to_email_address": preview}
        url = f"{bridge_url}/smartico/{gateway.name}"
        order = Order(url, gateway, uid, ext_user_id, msgspec.json.encode(body), preview)
        answer = await self._send(order)
        if answer.error_code == 0:
            await self._assets.post(bridge_url, gateway, ext_user_id, answer.ext_message_id)
        return answer

    async def _send(self, order: Order) -> Answer:
        """Send an order, or by a fault twice."""
        if self._dice.throws("twin_send"):
            answers = await asyncio.gather(self._deliver(order), self._deliver(order))
            return answers[0]
        answer = await self._deliver(order)
        if answer.error_code == 0 and self._dice.throws("repeat_send"):
            await self._deliver(order)
        return answer

    async def run(
        self,
        bridge_url: str,
        gateways: Sequence[Gateway],
        users: Sequence[str],
        rate: float,
        messages: int | None,
    ) -> None:
        """Send so many messages (None: until cancelled), `rate` a second (0: at full speed)."""
        loop = asyncio.get_running_loop()
        started, slots = loop.time(), asyncio.Semaphore(self._config.send_concurrency)
        async with asyncio.TaskGroup() as tasks:
            for number in itertools.count() if messages is None else range(messages):
                wait = started + number / rate - loop.time() if rate > 0 else 0.0
                if wait > 0:
                    await asyncio.sleep(wait)
                await slots.acquire()
                gateway, user = gateways[number % len(gateways)], users[number % len(users)]
                task = tasks.create_task(self.send(bridge_url, gateway, user))
                task.add_done_callback(lambda _: slots.release())

    async def _deliver(self, order: Order) -> Answer:
        """Attempt after attempt, until an answer is final or time is up."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._config.send_retry_for_seconds
        pause = self._config.send_retry_seconds
        while True:
            answer = await self._attempt(order)
            if answer.error_code not in (None, _OVERLOADED):
                return self._settle(order, answer)
            if loop.time() + pause > end:
                self._ledger.given_up.append(Unsent(order.uid, answer.error_code, answer.reason))
                return answer._replace(error_code=None)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _attempt(self, order: Order) -> Answer:
        headers = {"Authorization": order.gateway.authorization, "Content-Type": "application/json"}
        try:
            async with self._session.post(
                order.url, data=order.body, headers=headers, allow_redirects=False
            ) as reply:
                raw = await reply.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._ledger.send_answers[type(error).__name__] += 1
            return Answer(order.uid, None, reason=type(error).__name__)
        if reply.status != 200:
            self._ledger.send_answers[f"http {reply.status}"] += 1
            return Answer(order.uid, None, reason=f"http {reply.status}")
        return self._read(order, reply.content_type, raw)

    def _read(self, order: Order, content_type: str, raw: bytes) -> Answer:
        """An answer with HTTP 200, held to the documented form."""
        if content_type != "application/json":
            self._ledger.note_error("", f"{order.uid}: answered with {content_type}")
        problem, answer = read_answer(order.uid, raw)
        if problem:
            self._ledger.note_error("", f"{order.uid}: {problem}")
        self._ledger.send_answers["unreadable" if answer.error_code is None else str(answer.error_code)] += 1
        return answer

    def _settle(self, order: Order, answer: Answer) -> Answer:
        if answer.error_code == 0:
            if order.preview:
                self._ledger.previews[order.uid] = order.preview
            self._ledger.learn(Known(answer.ext_message_id, order.gateway.type, order.uid, order.ext_user_id))
        else:
            self._ledger.refused.append(Unsent(order.uid, answer.error_code, answer.reason))
        return answer

    def _preview(self, gateway: Gateway) -> str:
        """The to_email_address when this message becomes a preview."""
        share = self._config.preview_share
        drawn = gateway.type == "email" and share > 0 and self._dice.random.random() < share
        return self._config.preview_address if drawn else ""

    def _callback_url(self, gateway: Gateway) -> str:
        query = f"?{self._config.callback_query}" if self._config.callback_query else ""
        return f"{self._callback_base}/callback/{gateway.name}{query}"


def read_answer(uid: str, raw: bytes) -> tuple[str | None, Answer]:
    """What is wrong with the form of an answer, and the answer as far as it can be read."""
    try:
        answer = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "the answer is not JSON", Answer(uid, None, reason="not JSON")
    code = answer.get("error_code") if isinstance(answer, dict) else None
    if type(code) is not int or code < 0:
        return "the answer has no error_code", Answer(uid, None, reason="no error_code")
    name = "error_message" if code else "ext_message_id"
    text = answer.get(name)
    if not isinstance(text, str) or not text:
        return f"the answer has no {name}", Answer(uid, code or None, reason=f"no {name}")
    extra = sorted(set(answer) - {"error_code", name})
    problem = f"the answer also has {', '.join(extra)}" if extra else None
    return problem, Answer(uid, code, reason=text) if code else Answer(uid, 0, ext_message_id=text)


def build_body(gateway: Gateway, ext_user_id: str, text: str, uid: str, callback_url: str) -> dict[str, Any]:
    """The documented JSON body for the type of the gateway."""
    if gateway.type == "email":
        return {
            "ext_user_id": ext_user_id,
            "from_email_address": gateway.from_email_address,
            "reply_to_email_address": gateway.reply_to_email_address,
            "subject": gateway.subject,
            "body": f"<html>{text}</html>",
            "text_body": text,
            "email_uid": uid,
            "callback_url": callback_url,
        }
    body = {
        "ext_user_id": ext_user_id,
        "from_number": gateway.from_number,
        "body": text,
        "im_uid": uid,
        "callback_url": callback_url,
    }
    return body | {"extension": gateway.extension} if gateway.type == "cim" else body
