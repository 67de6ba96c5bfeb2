"""Handing messages over to Revicom: the requests, and what they show of themselves."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from bridge.providers.protocol import OutgoingMessage, Provider
from bridge.providers.revicom import Revicom
from bridge.secret import Secret

MakeRevicom = Callable[..., Revicom]
MakeMessage = Callable[..., OutgoingMessage]


def test_revicom_is_a_provider(revicom: Revicom) -> None:
    """The class has all that the protocol asks for, and its settings show through."""
    provider: Provider = revicom
    assert (provider.name, provider.adapter, provider.max_batch) == ("revicom", "revicom", 100)


def test_sms_request(revicom: Revicom, make_message: MakeMessage, golden: Callable[[str], bytes]) -> None:
    """A plain SMS becomes the documented request, with nothing in it that was not asked for."""
    request = revicom.build_send([make_message()])
    assert (request.method, request.url) == ("POST", "https://direct.revicom.ltd/api/v1/message")
    assert request.headers == {
        "Authorization": "Basic a2V5OnRvcC1zZWNyZXQ=",
        "Content-Type": "application/json",
    }
    assert request.timeout == 70
    assert json.loads(request.body) == json.loads(golden("send_sms.json"))


def test_request_with_everything(
    make_revicom: MakeRevicom, make_message: MakeMessage, golden: Callable[[str], bytes]
) -> None:
    """WhatsApp content is an object; lifetime, short links, own id and a path prefix arrive where they belong."""
    revicom = make_revicom(
        "https://bridge.example/sms/",
        base_url="http://127.0.0.1:9000/api/v1/",
        external_id=True,
        callback_events=("delivered",),
        timeout_seconds=5.5,
    )
    request = revicom.build_send([make_message(channel="WHATSAPP", ttl_seconds=600, short_links=True)])
    assert (request.url, request.timeout) == ("http://127.0.0.1:9000/api/v1/message", 5.5)
    assert json.loads(request.body) == json.loads(golden("send_everything.json"))


def test_request_keeps_the_order(revicom: Revicom, pair: Sequence[OutgoingMessage]) -> None:
    """Messages stand in the request in the order of the batch, each with its own tag."""
    tags = [item["tags"] for item in json.loads(revicom.build_send(pair).body)]
    assert tags == [[message.message_id.hex()] for message in pair]


def test_callback_url_of_an_ipv6_host(make_revicom: MakeRevicom, make_message: MakeMessage) -> None:
    """Port and brackets of the public address survive beside the credentials."""
    revicom = make_revicom("http://[::1]:8080", name="second", callback_username="u")
    url = json.loads(revicom.build_send([make_message()]).body)[0]["callbackUrl"]
    assert url == "http://u:pa%3Ass%2Fword@[::1]:8080/callbacks/second"


def test_nothing_shows_in_reprs(revicom: Revicom, make_message: MakeMessage) -> None:
    """Provider, request and message print without token, password, number and text."""
    message = make_message()
    text = repr([revicom, message, revicom.build_send([message]), revicom.build_lookup(message)])
    for secret in ("a2V5", "pa:ss", "pa%3Ass", "4085553911", "message text"):
        assert secret not in text


def test_secret_is_not_doubled(make_revicom: MakeRevicom) -> None:
    """The token goes out unchanged: it is base64 already."""
    request = make_revicom(token=Secret("abc")).build_balance()
    assert request.headers["Authorization"] == "Basic abc"
