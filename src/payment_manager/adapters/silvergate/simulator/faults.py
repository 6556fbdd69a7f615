"""What can be made to go wrong at the simulated provider, and when.

How to think about it: faults stand in a queue. Each call to a route is spoiled by the oldest fault
that is meant for its route, and uses it up once; a fault without a number of times stays until it
is deleted. Nothing is random, so a lab or a test sees the same every time.
"""

from typing import Annotated, Literal

import msgspec

Route = Literal["capture", "representment"]

Kind = Literal[
    "slow",  # the effect happens, the answer comes `delay_ms` later
    "error_500",  # no effect
    "rate_limited",  # 429, no effect
    "drop_before",  # the connection breaks, no effect
    "drop_after",  # the connection breaks after the effect
    "garbage",  # the effect happens, the answer is no JSON
    "file_not_ready",  # 422 for a representment: a definite no
    "decline",  # a capture answers "failed": a definite no, remembered by its key
]

# The two that only one route can answer with.
_ONLY_ROUTE: dict[str, Route] = {"file_not_ready": "representment", "decline": "capture"}

# What "slow" means where nobody said: noticed by people, far below any client's time-out.
_SLOW_MS = 1_000

# A forgotten fault shouldn't hold connections for longer than an hour.
_DELAY_MS_MAX = 3_600_000


class Fault(msgspec.Struct, kw_only=True):
    """`times` None: until deleted. `delay_ms` delays any fault's answer. `route` None: both."""

    fault: Kind
    times: Annotated[int, msgspec.Meta(ge=1)] | None = None
    delay_ms: Annotated[int, msgspec.Meta(ge=0, le=_DELAY_MS_MAX)] | None = None
    route: Route | None = None

    def __post_init__(self) -> None:
        if self.delay_ms is None:
            self.delay_ms = _SLOW_MS if self.fault == "slow" else 0
        only = _ONLY_ROUTE.get(self.fault)
        if only is not None:
            if self.route not in (None, only):
                raise ValueError(f"{self.fault} is something that only a {only} can meet")
            self.route = only


class Faults:
    """The queue. It lives in memory: a restarted simulator has no faults."""

    def __init__(self) -> None:
        self._queue: list[Fault] = []

    def add(self, fault: Fault) -> None:
        self._queue.append(msgspec.structs.replace(fault))  # `times` counts down in our own copy

    def clear(self) -> None:
        self._queue.clear()

    def active(self) -> list[Fault]:
        return list(self._queue)

    def take(self, route: Route) -> Fault | None:
        """The fault that spoils this call, if any."""
        for fault in self._queue:
            if fault.route in (None, route):
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times == 0:
                        self._queue.remove(fault)
                return fault
        return None
