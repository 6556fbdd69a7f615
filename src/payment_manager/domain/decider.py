"""The shape that every aggregate here has: `decide` and `evolve`, two pure functions.

How to think about it: `decide(command, state)` answers with the events that the command means now,
or with the reason why it is refused; `evolve(state, event)` is the only way that a state changes. A
state is therefore never more than the fold of its events, and the log can be folded again at any
time to prove it.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from enum import StrEnum
from functools import reduce
from typing import NamedTuple, TypeVar

State = TypeVar("State")
Event = TypeVar("Event")


class Precedence(NamedTuple):
    """Where a webhook stands among its order's or dispute's. A tuple, so `<` is the rule itself.

    Level 0 is not final, 1 a plain `closed`, 2 any other final status. The rank breaks equal times,
    the provider's id equal ranks, so that two different webhooks are never equal and every order of
    arrival ends alike.
    """

    level: int
    time: datetime
    rank: int
    provider_event_id: str


class Outcome(StrEnum):
    """What a webhook came to. All but `DUPLICATE` and `CONFLICT` are recorded."""

    APPLIED = "applied"
    STALE = "stale"
    PARKED = "parked"
    REJECTED = "rejected"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"


def fold(
    evolve: Callable[[State | None, Event], State],
    events: Iterable[Event],
    state: State | None = None,
) -> State | None:
    """The state that these events give, beginning at `state` (nothing, unless told)."""
    return reduce(evolve, events, state)
