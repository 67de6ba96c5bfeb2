"""Samples for the review list: the beginning of what nobody could make sense of."""

from __future__ import annotations

from typing import Any

from msgspec import json

__all__ = ["sample_of", "without_texts"]

_MOST = 2000  # bytes
_TEXTS = frozenset({"content", "text", "specialContent", "destination"})


def sample_of(raw: bytes) -> str:
    """The first 2,000 bytes. From longer JSON what people wrote is taken out first: once cut, it cannot be read."""
    if len(raw) > _MOST:
        try:
            raw = json.encode(without_texts(json.decode(raw)))
        except (ValueError, RecursionError):
            pass  # it is no JSON: that is why a person has to look
    return raw[:_MOST].decode(errors="replace")


def without_texts(value: Any) -> Any:
    """JSON, decoded, with what people wrote taken out."""
    if isinstance(value, dict):
        return {key: "•••" if key in _TEXTS else without_texts(each) for key, each in value.items()}
    if isinstance(value, list):
        return [without_texts(each) for each in value]
    return value
