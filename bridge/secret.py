"""A text that must not be seen: it prints as stars, and only `reveal` gives it away.

It has no other way out: it is not a string, it cannot be pickled, and msgspec does not know how to encode it.
"""

from __future__ import annotations

import hmac
from typing import NoReturn

__all__ = ["STARS", "Secret"]

STARS = "***"


class Secret:
    """A secret text. Compare secrets with `==` (constant time); an empty one is false."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself: call this where it leaves for its peer, and nowhere else."""
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._bytes(), other._bytes())

    def __hash__(self) -> int:
        return hash(self._text)

    def _bytes(self) -> bytes:
        # What came from the environment or a header may hold lone surrogates; comparing must not fail on them.
        return self._text.encode("utf-8", "surrogatepass")

    def __repr__(self) -> str:
        return STARS

    def __format__(self, spec: str) -> str:
        return STARS

    def __deepcopy__(self, memo: object) -> Secret:
        return self  # it never changes, and copying must not need pickling

    def __copy__(self) -> Secret:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret cannot be pickled")
