"""Faults of the simulated peers: what may go wrong, how often, and for exactly how many of the next requests.

A fault is a field of type `Rate` (0: never, 1: always). `next={"reset_after": 2}` makes it happen for exactly
the next two occasions instead, whatever the rate. Other fields say how a fault looks (seconds, codes, sizes).
Everything random is drawn from one seeded generator, so that a run can be repeated.
"""

import random
from typing import Annotated, Generic, TypeVar, get_type_hints

import msgspec

Rate = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Faults(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What the faults of every simulator have in common: the exact counters, and the check of both kinds."""

    next: dict[str, int] = {}

    def __post_init__(self) -> None:
        rates = rate_names(type(self))
        for name in rates:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: a rate is between 0 and 1")
        for name in self.next:
            if name not in rates:
                raise ValueError(f"next.{name}: no such fault; there are {', '.join(sorted(rates))}")


def rate_names(kind: type[Faults]) -> frozenset[str]:
    """The names of the fields of a Faults class that are rates."""
    hints = get_type_hints(kind, include_extras=True)
    return frozenset(name for name, hint in hints.items() if hint == Rate)


F = TypeVar("F", bound=Faults)


class Dice(Generic[F]):
    """Decides, occasion by occasion, whether a fault happens."""

    def __init__(self, faults: F, seed: int) -> None:
        self.faults = faults
        self.random = random.Random(seed)

    def throws(self, name: str) -> bool:
        """Whether the fault happens now; a counter is used up before the rate is asked."""
        left = self.faults.next.get(name, 0)
        if left > 0:
            self.faults.next[name] = left - 1
            return True
        rate: float = getattr(self.faults, name)
        return rate > 0 and self.random.random() < rate

    def first(self, names: tuple[str, ...]) -> str | None:
        """The first of these faults that happens now, if any does."""
        for name in names:
            if self.throws(name):
                return name
        return None
