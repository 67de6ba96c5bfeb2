"""Posts "an asset was sent" notifications, as on Smartico's page "Reverse integration: messaging".

The body is the sample of that page, field by field. The page names no retry rule and no answer: there is one
attempt, and an answer with error_code 0 is a good one. Invented: the words for channels other than SMS.
"""

import time
from typing import Any

import aiohttp
import msgspec

from bridge.sim.smartico_config import Gateway, SmarticoConfig
from bridge.sim.smartico_ledger import Asset, SmarticoLedger

CHANNELS = {"sms": "SMS", "email": "Email", "cim": "Custom IM"}


class Assets:
    """The notifying half of the simulated Smartico. `base` is its own address, for view_url."""

    def __init__(
        self, config: SmarticoConfig, ledger: SmarticoLedger, session: aiohttp.ClientSession, base: str
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._session = session
        self._base = base

    async def post(self, bridge_url: str, gateway: Gateway, ext_user_id: str, ext_message_id: str) -> None:
        """Tell the bridge of one asset, when the config says so."""
        if not self._config.communications_authorization:
            return
        body = {
            "login": ext_user_id,
            "time": int(time.time() * 1000),
            "view_url": f"{self._base}/view/{ext_message_id}",
            "channel": CHANNELS[gateway.type],
            "campaign_name": self._config.campaign_name,
        }
        asset = Asset(ext_message_id, body)
        self._ledger.assets.append(asset)
        asset.answer = await self._attempt(f"{bridge_url}/smartico/communications", body)
        self._ledger.asset_answers[asset.answer] += 1

    async def _attempt(self, url: str, body: dict[str, Any]) -> str:
        """One attempt; its outcome as a word."""
        headers = {"Authorization": self._config.communications_authorization}
        method, arguments = self._dress(body)
        headers |= {"Content-Type": "application/json"} if self._config.communications_form == "json" else {}
        try:
            async with self._session.request(
                method, url, headers=headers, allow_redirects=False, **arguments
            ) as reply:
                raw = await reply.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return type(error).__name__
        return read_code(raw) if reply.status == 200 else f"http {reply.status}"

    def _dress(self, body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """The method, and what carries the body in the configured form."""
        texts = {name: str(value) for name, value in body.items()}
        match self._config.communications_form:
            case "query":
                return "GET", {"params": texts}
            case "form":
                return "POST", {"data": texts}
            case _:
                return "POST", {"data": msgspec.json.encode(body)}


def read_code(raw: bytes) -> str:
    """The error_code of an answer, as text."""
    try:
        return str(msgspec.json.decode(raw)["error_code"])
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        return "unreadable"
