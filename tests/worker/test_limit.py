"""How many dead letters are too many: the arithmetic, without servers."""

import pytest

from payment_manager.entrypoints.worker.limit import WINDOW, DeadLetterLimit


def counted(limit: DeadLetterLimit, *batches: tuple[int, int]) -> DeadLetterLimit:
    for messages, dead in batches:
        assert limit.allows(messages, dead), (messages, dead)
        limit.count(messages, dead)
    return limit


@pytest.mark.parametrize("percent", [1, 10, 50, 100])
def test_exactly_the_percentage_of_a_window_is_allowed_and_one_more_is_not(percent: int) -> None:
    most = WINDOW * percent // 100
    assert DeadLetterLimit(percent).allows(WINDOW, most)
    assert percent == 100 or not DeadLetterLimit(percent).allows(WINDOW, most + 1)


def test_the_first_messages_are_judged_as_part_of_a_whole_window() -> None:
    limit = DeadLetterLimit(10)
    assert limit.allows(1, 1)
    assert limit.allows(100, 100)
    assert not limit.allows(101, 101)


def test_a_flood_is_stopped_at_the_limit_however_small_the_batches() -> None:
    limit = counted(DeadLetterLimit(10), *[(1, 1)] * 100)
    assert not limit.allows(1, 1)
    assert limit.allows(1, 0)


def test_what_was_refused_is_not_counted() -> None:
    limit = DeadLetterLimit(10)
    for _ in range(50):
        assert not limit.allows(500, 101)
        assert limit.allows(500, 100)


def test_what_lies_behind_the_window_is_forgotten() -> None:
    limit = counted(DeadLetterLimit(10), (100, 100), *[(100, 0)] * 8)
    assert not limit.allows(100, 1)
    limit.count(100, 0)
    assert limit.allows(100, 100)


def test_good_messages_count_too_so_one_percent_never_stops_a_flow_of_small_polls() -> None:
    limit = DeadLetterLimit(2)
    for at in range(20_000):
        counted(limit, (1, int(at % 100 == 0)))


@pytest.mark.parametrize("size", [1, 3, 7, 400, 500, 999, 1000, 1001, 5000])
def test_one_percent_never_stops_a_flow_whatever_the_size_of_the_polls(size: int) -> None:
    limit, dead_before = DeadLetterLimit(2), 0
    for at in range(size, 50_000, size):
        dead_by_now = at // 100
        counted(limit, (size, dead_by_now - dead_before))
        dead_before = dead_by_now


@pytest.mark.parametrize("size", [400, 1001, 3000])
def test_the_percentage_is_of_all_that_is_looked_at_where_batches_dont_fill_a_window(
    size: int,
) -> None:
    limit = counted(DeadLetterLimit(10), *[(size, size // 10)] * 20)
    assert not limit.allows(size, size // 5 + 100)
