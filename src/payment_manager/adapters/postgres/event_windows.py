"""Which stretch of a log is looked into next.

How to think about it: a statement pays for every day that its window names, to plan it and to lock
it, whether it is read or not. So a question is asked of a short window first, where a page is
usually full, and then of ever longer ones; each is a half open stretch of time, cut at midnight
UTC, where the log is cut into days. Put one after the other they are the whole question.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TypeAlias, overload

Window: TypeAlias = tuple[datetime | None, datetime | None]
"""From the first, up to and without the second; None: no bound."""

Span: TypeAlias = tuple[datetime, datetime]
"""A window that has both bounds."""

INSTANT = timedelta(microseconds=1)
"""The resolution of time in the log: what is up to t lies before t + INSTANT."""

DAYS_FIRST = 1
DAYS_FIRST_OF_STREAMS = 8
"""The events of one order are few and seldom fill a page; most orders are over within a week."""

GAP_MAX = timedelta(days=4)
"""To plan for some days in vain costs what another statement costs."""

DAYS_MAX = 64
"""A day costs about 70 µs of planning and locks on its table and its three indexes. 64 of them are
5 ms and 260 of the 6,400 locks that all connections of a server share as it is installed.
"""


def windows(start: datetime, end: datetime, *, ascending: bool, days: int) -> Iterator[Span]:
    """From `start` up to `end`, in the order asked for: first `days`, then twice as many each time,
    up to `DAYS_MAX`.
    """
    while start < end:
        if ascending:
            cut = min(end, _midnight(start) + timedelta(days=days))
            yield start, cut
            start = cut
        else:
            cut = max(start, _midnight(end - INSTANT) - timedelta(days=days - 1))
            yield cut, end
            end = cut
        days = min(2 * days, DAYS_MAX)


def joined(spans: Iterable[tuple[datetime, datetime]]) -> list[Span]:
    """From the first event to the last of each of some orders: the runs of time that they cover, in
    order. Those that lie close together are one.
    """
    runs: list[Span] = []
    for first, last in sorted(spans):
        end = last + INSTANT
        if runs and first - runs[-1][1] <= GAP_MAX:
            runs[-1] = (runs[-1][0], max(end, runs[-1][1]))
        else:
            runs.append((first, end))
    return runs


@overload
def common(one: Window, other: Span) -> Span: ...
@overload
def common(one: Window, other: Window) -> Window: ...
def common(one: Window, other: Window) -> Window:
    """What lies in both; nothing, where the end is not after the start."""
    starts = [start for start, _ in (one, other) if start is not None]
    ends = [end for _, end in (one, other) if end is not None]
    return max(starts, default=None), min(ends, default=None)


def is_empty(window: Window) -> bool:
    start, end = window
    return start is not None and end is not None and start >= end


def _midnight(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
