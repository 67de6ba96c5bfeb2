"""Which addresses may be called back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.core.callback_url import NotAllowed, find_destination

HOSTS = [
    "*.smartico.ai",
    "cb.example:8443",
    "*.dev.example:81",
    "10.0.0.5",
    "127.0.0.1",
    "[::1]",
    "*.0.0.9",
    "localhost",
    "Upper.Example",
]


@pytest.mark.parametrize(
    ("url", "destination"),
    [
        ("https://api.smartico.ai", "api.smartico.ai"),
        ("https://api.smartico.ai/a;b=c/@x/[y]?q=https://evil.example/&r='%ff#frag", "api.smartico.ai"),
        ("https://api.smartico.ai?x", "api.smartico.ai"),
        ("https://api.smartico.ai#@evil.example", "api.smartico.ai"),
        ("HTTPS://API5.eu.Smartico.AI:443/", "api5.eu.smartico.ai"),
        ("https://api_1.smartico.ai:08443/", "api_1.smartico.ai:8443"),
        ("https://cb.example:8443/", "cb.example:8443"),
        ("https://a.dev.example:81/", "a.dev.example:81"),
        ("https://10.0.0.5/", "10.0.0.5"),
        ("https://upper.example/", "upper.example"),
    ],
)
def test_allowed(url: str, destination: str) -> None:
    """An allowed address leads to its host in lower case, without the port that goes without saying."""
    assert find_destination(url, HOSTS, allow_insecure=False) == destination


@pytest.mark.parametrize(
    ("url", "destination"),
    [
        ("http://api.smartico.ai:80/", "api.smartico.ai"),
        ("http://api.smartico.ai:443/", "api.smartico.ai:443"),
        ("http://127.0.0.1:9000/x", "127.0.0.1:9000"),
        ("https://[::1]:9000/x", "[::1]:9000"),
        ("http://localhost/", "localhost"),
    ],
)
def test_allowed_for_tests(url: str, destination: str) -> None:
    """Plain http and this machine want `allow_insecure`."""
    assert find_destination(url, HOSTS, allow_insecure=True) == destination
    assert isinstance(find_destination(url, HOSTS, allow_insecure=False), NotAllowed)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.smartico.ai",
        "//api.smartico.ai/",
        "https:api.smartico.ai/",
        "https:/api.smartico.ai/",
        "https:///api.smartico.ai/",
        "ftp://api.smartico.ai/",
        "javascript://api.smartico.ai/",
        "https://smartico.ai/",
        "https://.smartico.ai/",
        "https://a..smartico.ai/",
        "https://api.smartico.ai./",
        "https://evilsmartico.ai/",
        "https://api.smartico.ai.evil.example/",
        "https://user@api.smartico.ai/",
        "https://user:pass@api.smartico.ai/",
        "https://@api.smartico.ai/",
        "https://api.smartico.ai@evil.example/",
        "https://evil.example/@api.smartico.ai/",
        "https://evil.example#.smartico.ai/",
        "https://evil.example?.smartico.ai/",
        "https://evil.example\\.smartico.ai/",
        "https://api.smartico.ai\\@evil.example/",
        "https://api.smartico.ai/\\x",
        "https://api.smartico.ai%2f@evil.example/",
        "https://%61pi.smartico.ai/",
        "https://-a.smartico.ai/",
        "https://api.smartico.ai:/",
        "https://api.smartico.ai:0/",
        "https://api.smartico.ai:65536/",
        "https://api.smartico.ai:x/",
        "https://api.smartico.ai:443:443/",
        " https://api.smartico.ai/",
        "https://api.smartico.ai/ ",
        "https://api.smartico.ai/\n",
        "https://api.\tsmartico.ai/",
        "https://api.smartico.ai/a\0",
        "https://api.smartico.ai/é",
        "https://ápi.smartico.ai/",
        "https://api.smart\u0131co.ai/",
        "https://api.\u017fmartico.ai/",
        "https://api.smartico.ai\u2024evil.example/",
        "https://api.smartico.ai/" + "x" * 2000,
        "https://cb.example/",
        "https://cb.example:8444/",
        "https://a.dev.example/",
        "https://10.0.0.6/",
        "https://1.0.0.9/",
        "https://x.0.0.9/",
        "https://167772165/",
        "https://0xa000005/",
        "https://[::ffff:10.0.0.5]/",
        "https://[::1/",
    ],
)
@pytest.mark.parametrize("allow_insecure", [False, True])
def test_not_allowed(url: str, allow_insecure: bool) -> None:
    """Nothing else is ever called, whatever tricks an address plays, and the reason does not repeat it."""
    found = find_destination(url, HOSTS, allow_insecure=allow_insecure)
    assert isinstance(found, NotAllowed)
    assert "smartico" not in found.reason
    assert "example" not in found.reason


def test_kelvin_is_no_k() -> None:
    """Letters that merely look up as ASCII do not count as ASCII."""
    assert isinstance(
        find_destination("https://a.\u212aey.example/", ["*.key.example"], allow_insecure=True), NotAllowed
    )


@given(st.text() | st.text("https://.@:#?\\api.smartico.ai[]%").map("https://".__add__))
def test_any_text(url: str) -> None:
    """No address raises, and what is allowed is a subdomain that was listed."""
    found = find_destination(url, ["*.smartico.ai"], allow_insecure=True)
    assert isinstance(found, NotAllowed) or found.partition(":")[0].endswith(".smartico.ai")
