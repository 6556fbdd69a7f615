"""Scenarios say the same to both generators; k6 itself isn't needed to know."""

from itertools import pairwise

import pytest

from tests.benchmarks.by_k6 import options
from tests.benchmarks.scenarios import (
    Arrivals,
    Asks,
    Callers,
    Limits,
    Outcome,
    Scenario,
    Stream,
    capacity,
    mixed,
    open_model,
    pages,
    spike,
)

LIMITS = Limits(p95_ms=100, p99_ms=200)
ALL = [capacity("mixed", 1.0), pages(1.0), *(one(2_000, 1.0) for one in (mixed, spike, open_model))]


def only(load: Callers | Arrivals) -> Scenario:
    return Scenario("one", [Stream("stream", Asks.WEBHOOKS, load, LIMITS)])


def test_an_even_rate_is_due_evenly_from_its_start_on() -> None:
    assert Arrivals(4, 1.0, after=2.0).times() == [2.0, 2.25, 2.5, 2.75]


def test_a_rising_rate_asks_as_much_as_the_area_under_its_line_and_ever_faster() -> None:
    times = Arrivals(300, 10.0, rising_from=100).times()
    assert len(times) == 2_000
    assert times[0] == 0.0
    assert times[-1] < 10.0
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert gaps[0] == pytest.approx(1 / 100, rel=0.05)
    assert gaps[-1] == pytest.approx(1 / 300, rel=0.05)
    assert gaps == sorted(gaps, reverse=True)


def test_a_rate_that_rises_from_where_it_ends_is_an_even_one() -> None:
    assert Arrivals(5, 1.0, rising_from=5).times() == Arrivals(5, 1.0).times()


def test_however_short_a_stream_is_it_asks_once() -> None:
    assert Arrivals(1, 0.01).times() == [0.0]


def test_k6_is_told_each_model_by_the_executor_for_it() -> None:
    def told(load: Callers | Arrivals) -> dict[str, object]:
        executor: dict[str, object] = options(only(load))["scenarios"]["stream"]
        return executor

    assert told(Callers(8, 1.5)) == {"executor": "constant-vus", "vus": 8, "duration": "1500ms"}
    assert told(Arrivals(50, 2.0, after=0.5, connections=9)) == {
        "executor": "constant-arrival-rate",
        "rate": 50,
        "timeUnit": "1s",
        "duration": "2000ms",
        "startTime": "500ms",
        "preAllocatedVUs": 9,
        "maxVUs": 9,
    }
    rising = told(Arrivals(50, 2.0, rising_from=10))
    assert rising["executor"] == "ramping-arrival-rate"
    assert rising["startRate"] == 10
    assert rising["stages"] == [{"target": 50, "duration": "2000ms"}]


@pytest.mark.parametrize("scenario", ALL, ids=lambda scenario: scenario.name)
def test_every_limit_of_a_stream_is_a_threshold_of_k6(scenario: Scenario) -> None:
    thresholds = options(scenario)["thresholds"]
    for stream in scenario.streams:
        of_it = f"{{scenario:{stream.name}}}"
        assert thresholds[f"http_req_failed{of_it}"] == ["rate<=0.0"]
        assert thresholds[f"dropped_iterations{of_it}"] == ["count<=0"]
        assert thresholds[f"http_req_duration{of_it}"] == [
            f"p(95)<={stream.limits.p95_ms}",
            f"p(99)<={stream.limits.p99_ms}",
        ]


def test_a_mixed_day_is_49_percent_webhooks_and_51_percent_reads() -> None:
    rates = {
        stream.asks: stream.load.per_second
        for stream in mixed(2_000, 1.0).streams
        if isinstance(stream.load, Arrivals)
    }
    assert rates == {Asks.WEBHOOKS: 196, Asks.READS: 204}


def test_streams_of_a_scenario_have_names_of_their_own() -> None:
    for scenario in ALL:
        assert len({stream.name for stream in scenario.streams}) == len(scenario.streams)


@pytest.mark.parametrize(
    "found",
    [
        Outcome(requests=0, failed=0, dropped=0, p50_ms=1, p95_ms=1, p99_ms=1, max_ms=1),
        Outcome(requests=9, failed=1, dropped=0, p50_ms=1, p95_ms=1, p99_ms=1, max_ms=1),
        Outcome(requests=9, failed=0, dropped=1, p50_ms=1, p95_ms=1, p99_ms=1, max_ms=1),
        Outcome(requests=9, failed=0, dropped=0, p50_ms=1, p95_ms=101, p99_ms=1, max_ms=1),
        Outcome(requests=9, failed=0, dropped=0, p50_ms=1, p95_ms=1, p99_ms=201, max_ms=1),
    ],
    ids=["nothing asked", "a failure", "a dropped one", "p95", "p99"],
)
def test_one_limit_that_is_missed_is_enough(found: Outcome) -> None:
    assert not found.keeps(LIMITS)
    kept = Outcome(requests=9, failed=0, dropped=0, p50_ms=1, p95_ms=100, p99_ms=200, max_ms=900)
    assert kept.keeps(LIMITS)
