"""A scenario played by our own generator, where k6 is missing.

How to think about it: the same streams side by side, each on connections of its own. It differs in
one point: an arrival that finds all connections busy is not dropped but waits for one, and the wait
counts. It is counted as dropped all the same, so the limits mean the same.
"""

import asyncio
from collections.abc import Iterator, Mapping

from tests.benchmarks.cpu import CpuMeter
from tests.benchmarks.generator import Address, Measured, closed_loop, timed_loop
from tests.benchmarks.mix import MadeAhead
from tests.benchmarks.scenarios import Arrivals, Callers, Outcome, Scenario, Stream


async def play(
    scenario: Scenario,
    requests: Mapping[str, Iterator[bytes]],
    address: Address,
    meter: CpuMeter,
) -> dict[str, Outcome]:
    measured = await asyncio.gather(
        *(_measured(stream, requests[stream.name], address, meter) for stream in scenario.streams)
    )
    return {
        stream.name: _outcome(found)
        for stream, found in zip(scenario.streams, measured, strict=True)
    }


async def _measured(
    stream: Stream, requests: Iterator[bytes], address: Address, meter: CpuMeter
) -> Measured:
    match stream.load:
        case Callers(count=count, seconds=seconds):
            return await closed_loop(
                address, requests, meter, connections=count, seconds=seconds, warm_up_seconds=0.0
            )
        case Arrivals() as load:
            return await timed_loop(
                address,
                MadeAhead(requests).ahead(load.count),
                meter,
                times=load.times(),
                connections=load.connections,
                seconds=load.after + load.seconds,
                warm_up_seconds=0.0,
            )


def _outcome(measured: Measured) -> Outcome:
    answered = sum(n for status, n in measured.statuses.items() if 200 <= status < 300)
    return Outcome(
        requests=measured.statuses.total(),
        failed=measured.statuses.total() - answered,
        dropped=measured.late,
        p50_ms=measured.quantile_ms(0.5),
        p95_ms=measured.quantile_ms(0.95),
        p99_ms=measured.quantile_ms(0.99),
        max_ms=measured.quantile_ms(1.0),
    )
