"""A secret shows itself to nobody but `reveal`."""

from __future__ import annotations

import copy
import json
import pickle

import msgspec
import pytest

from bridge.secret import Secret

TEXT = "open sesame"


def test_reveal() -> None:
    """The text comes out where it is asked for."""
    assert Secret(TEXT).reveal() == TEXT


def test_it_prints_as_stars() -> None:
    """Every way to print it gives stars, alone and inside of other things."""
    secret = Secret(TEXT)
    shown = [
        str(secret),
        repr(secret),
        f"{secret}",
        f"{secret:>20}",
        f"{secret!r}",
        f"{secret!s}",
        "%s" % (secret,),  # noqa: UP031 - this way to print is what is tested
    ]
    assert set(shown) == {"***"}
    assert "sesame" not in f"{[secret]} { ({'a': secret}) }"


def test_equality() -> None:
    """Secrets are equal when their texts are, whatever characters they hold, and equal to nothing else."""
    assert Secret(TEXT) == Secret(TEXT)
    assert Secret(TEXT) != Secret("else")
    assert Secret("пароль\udcff") == Secret("пароль\udcff")
    assert Secret(TEXT).__eq__(TEXT) is NotImplemented
    assert hash(Secret(TEXT)) == hash(Secret(TEXT))


def test_empty() -> None:
    """An empty secret is false."""
    assert not Secret("")
    assert Secret(" ")


def test_it_cannot_be_encoded() -> None:
    """Neither pickle nor JSON nor msgspec gets the text out."""
    for encode in (
        pickle.dumps,
        json.dumps,
        msgspec.json.encode,
        msgspec.msgpack.encode,
        msgspec.to_builtins,
    ):
        with pytest.raises(TypeError) as caught:
            encode(Secret(TEXT))
        assert TEXT not in str(caught.value)


def test_copies() -> None:
    """A copy of a secret is the secret."""
    secret = Secret(TEXT)
    assert copy.copy(secret) is secret
    assert copy.deepcopy([secret])[0] is secret
