"""Nobody makes the bridge call into its own network: what a callback_url may say, and where its name may lead.

`core.callback_url` decides by the text, `transport.addresses` by the very address that is connected to.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from bridge.core.callback_url import NotAllowed, find_destination
from bridge.core.exchange import NoConnection, Request
from bridge.transport import ReportTransport
from bridge.transport.addresses import Addresses, is_public

INSIDE = [
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
    "169.254.169.254", "100.64.0.1", "100.127.255.255", "192.0.0.8", "192.0.2.1", "198.18.0.1", "198.51.100.1",
    "203.0.113.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "::", "::1", "::ffff:127.0.0.1",
    "::ffff:169.254.169.254", "::ffff:0:127.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::7f00:1", "2002:7f00:1::", "2001::1", "2001:db8::1", "fc00::1", "fd00:ec2::254", "fe80::1",
    "fe80::1%eth0", "fec0::1", "ff02::1", "3fff::1", "100::1",
]  # fmt: skip
OUTSIDE = ["93.184.215.14", "2606:4700:4700::1111", "::ffff:93.184.215.14"]

# Ways to write 127.0.0.1, 169.254.169.254 and other places that no pattern with a star may let in.
WRITTEN = [
    "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0x7F.0x0.0x0.0x1", "017700000001", "0177.0.0.1",
    "127.0.0.1.", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:7f00:1]", "[::1%25lo]", "[fe80::1%25eth0]",
    "[64:ff9b::7f00:1]", "169.254.169.254", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376",
]  # fmt: skip


@pytest.mark.parametrize("host", WRITTEN)
def test_numbers_need_to_be_listed(host: str) -> None:
    """No pattern takes an address for a name, however it is written; and no letter of another alphabet is a letter."""
    last = host.strip("[].").rpartition(".")[2]
    patterns = ["*", "*.example.com", f"*.{last}", "*.0.0.1", "*.1"]
    for scheme in ("https", "http"):
        for url in (f"{scheme}://{host}/x", f"{scheme}://{host}:443/", f"{scheme.upper()}://{host.upper()}/"):
            assert isinstance(find_destination(url, patterns, allow_insecure=True), NotAllowed), url


@pytest.mark.parametrize(
    "url",
    [
        "https://аpi.example.com/",  # a Cyrillic letter
        "https://api。example。com/",
        "https://api.example.com\N{FULLWIDTH SOLIDUS}.evil.example/",
        "https://ⓐⓟⓘ.example.com/",
        "https://api.exam\N{SOFT HYPHEN}ple.com/",
        "https://api.example.com\N{ZERO WIDTH SPACE}/",
        "https://\N{RIGHT-TO-LEFT OVERRIDE}api.example.com/",
        "https://evil.example\t.example.com/",
        "https://evil.example\r\nHost: api.example.com/",
        "https:\\\\api.example.com/",
        "https://evil.example\\@api.example.com/",
        "https://evil.example;.example.com/",
        "https://api.example.com:443@evil.example/",
        "https://api.example.com%00.evil.example/",
        "https://api.example.com%2eevil.example/",
        "https://[api.example.com]/",
        "https://api.example.com:4 43/",
        "https://api.example.com:+443/",
        "https://api.example.com:٤٤٣/",
        "file:///etc/passwd",
        "gopher://api.example.com/",
        "https://api.example.com./",
    ],
)
def test_no_two_readers_of_an_address(url: str) -> None:
    """What another reader might take for another host is no address, though the host is listed."""
    hosts = ["*.example.com", "api.example.com"]
    assert isinstance(find_destination(url, hosts, allow_insecure=True), NotAllowed)


@pytest.mark.parametrize("address", INSIDE)
def test_inside(address: str) -> None:
    """Private, local, special, mapped, translated and tunnelled addresses are not the public internet."""
    assert not is_public(address)


@pytest.mark.parametrize("address", OUTSIDE)
def test_outside(address: str) -> None:
    """Ordinary addresses are."""
    assert is_public(address)


class Resolver:
    """A name server that says something else each time it is asked, and a network that notes who is called."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = iter(answers)
        self.asked = 0
        self.called: list[str] = []

    async def getaddrinfo(self, *_: object, **__: object) -> list[Any]:
        self.asked += 1
        return [(0, 0, 0, "", (address, 443)) for address in next(self.answers)]

    async def create_connection(self, _: object, host: str, port: int, **__: object) -> Any:
        self.called.append(host)
        raise ConnectionRefusedError


@pytest.fixture
def time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that was resolved is kept."""
    monkeypatch.setattr("bridge.transport.addresses._KEPT", 0.0)


@pytest.mark.usefixtures("time_passes")
@pytest.mark.parametrize("inside", ["127.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1"])
async def test_a_name_that_changes_its_mind(monkeypatch: pytest.MonkeyPatch, inside: str) -> None:
    """Each connection goes to an address that was looked at itself, as a number: there is no second question whose
    answer could be another one."""
    resolver = Resolver(["93.184.215.14"], [inside], ["93.184.215.14", inside], [inside, "93.184.215.14"])
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "getaddrinfo", resolver.getaddrinfo, raising=False)
    monkeypatch.setattr(loop, "create_connection", resolver.create_connection, raising=False)
    transport = ReportTransport(public_only=True)
    outcomes = [await transport.exchange(Request("GET", "https://cb.example/x", 5.0)) for _ in range(4)]
    await transport.close()
    assert all(isinstance(each, NoConnection) for each in outcomes)
    assert outcomes[1] == NoConnection("the name resolves to an address that is not public")
    assert resolver.asked == 4
    assert resolver.called == ["93.184.215.14"] * 3


async def test_numbers_ask_nobody() -> None:
    """Only an address in its one usual form is connected to as it is; every other number is resolved, and looked at."""
    addresses = Addresses(public_only=True)
    for host in ("2130706433", "0x7f.1", "127.1", "0177.0.0.1"):
        with pytest.raises(OSError, match=r"not public|could not be resolved"):
            await addresses.of(host, 443)


async def test_the_bridge_itself() -> None:
    """The names of this machine lead nowhere, unless insecure callbacks are allowed."""
    addresses = Addresses(public_only=True)
    for host in ("localhost", socket.gethostname(), "ip6-localhost"):
        try:
            found = await addresses.of(host, 443)
        except OSError:
            continue
        assert all(is_public(each) for each in found), host
