"""A question's windows are the question, cut at midnights, and few."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from payment_manager.adapters.postgres.event_windows import (
    DAYS_MAX,
    GAP_MAX,
    INSTANT,
    common,
    is_empty,
    joined,
    windows,
)

DAY = timedelta(days=1)

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
moments = st.timedeltas(timedelta(0), timedelta(days=130 * 365)).map(lambda age: EARLIEST + age)
lengths = st.timedeltas(timedelta(0), timedelta(days=4000))


@given(moments, lengths, st.booleans(), st.sampled_from([1, 8]))
def test_windows_put_together_are_the_question_in_its_order(
    start: datetime, length: timedelta, ascending: bool, days: int
) -> None:
    found = list(windows(start, start + length, ascending=ascending, days=days))
    assert not any(map(is_empty, found))
    if not ascending:
        found.reverse()
    edges = [edge for window in found for edge in window]
    assert edges == sorted(edges)
    assert edges[1:-1:2] == edges[2:-1:2]  # each begins where the one before ends
    assert (edges[:1], edges[-1:]) == (([start], [start + length]) if found else ([], []))


@given(moments, lengths, st.booleans(), st.sampled_from([1, 8]))
def test_a_window_is_whole_days_but_at_the_ends_twice_as_many_as_the_last_one(
    start: datetime, length: timedelta, ascending: bool, days: int
) -> None:
    found = list(windows(start, start + length, ascending=ascending, days=days))
    for n, (begin, end) in enumerate(found):
        assert end - begin <= min(days * 2**n, DAYS_MAX) * DAY
        if 0 < n < len(found) - 1:
            assert begin.time() == end.time() == datetime.min.time()
            assert end - begin == min(days * 2**n, DAYS_MAX) * DAY


@given(st.lists(st.tuples(moments, lengths), max_size=20))
def test_joined_spans_cover_every_event_and_no_long_time_without_any(
    lives: list[tuple[datetime, timedelta]],
) -> None:
    spans = [(first, first + length) for first, length in lives]
    runs = joined(spans)
    assert all(any(start <= first and last < end for start, end in runs) for first, last in spans)
    assert runs == sorted(runs)
    assert all(after[0] - before[1] > GAP_MAX for before, after in pairwise(runs))
    assert {start for start, _ in runs} <= {first for first, _ in spans}
    assert {end - INSTANT for _, end in runs} <= {last for _, last in spans}


@given(*(st.none() | moments for _ in range(4)), moments)
def test_what_lies_in_both_windows_lies_in_their_common_one(
    a: datetime | None, b: datetime | None, c: datetime | None, d: datetime | None, moment: datetime
) -> None:
    def within(window: tuple[datetime | None, datetime | None]) -> bool:
        start, end = window
        return (start is None or start <= moment) and (end is None or moment < end)

    both = common((a, b), (c, d))
    assert within(both) == (within((a, b)) and within((c, d)))
    assert not (is_empty(both) and within(both))
