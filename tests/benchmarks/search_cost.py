"""What having search on costs those who send webhooks: the same service with search off and on.

How to think about it: both services run, each on its own database, and take turns: off, on, on,
off. After each turn with search on, and before the next begins, its projection catches up, so that
no work of one turn falls into another; how far it was behind and how long that took is told. What
search costs within a turn is the projection's share of the service's process, the database's, and
whatever OpenSearch could get hold of.
"""

from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from statistics import median

from tests.benchmarks.generator import Measured, closed_loop, open_loop
from tests.benchmarks.report import Findings, Table, number
from tests.benchmarks.run import cpu_cells
from tests.benchmarks.scale import FULL, QUICK, SMOKE, Scale
from tests.benchmarks.search_server import LOWEST_PRIORITY, Node, Projected
from tests.benchmarks.section import Asked
from tests.benchmarks.service import running_service
from tests.benchmarks.write_path import (
    CLOSED_MAX_PER_SECOND,
    DUPLICATE,
    OPEN_CONNECTIONS,
    TAKEN,
    Contender,
    contender,
)

ROUNDS = {FULL.name: 16, QUICK.name: 4, SMOKE.name: 2}
WARM_UP_ROUNDS = {FULL.name: 3, QUICK.name: 2, SMOKE.name: 1}
"""What is compiled or prepared at first is no round's."""

SECONDS = {FULL.name: 6.0, QUICK.name: 6.0, SMOKE.name: SMOKE.seconds}
"""Of a closed turn: longer than search takes between two refreshes, which are part of its cost."""

CONNECTIONS = {FULL.name: 64, QUICK.name: 64, SMOKE.name: 4}
OPEN_SHARE = 0.5
"""Of what the service without search can do: where a service is meant to be used."""

COST_BAR = 0.1

OFF, ON = "off", "on"

METHOD = f"""
**Cost.** Two services, search off and on, each with a database of its own, take turns: off, on, on,
off, {ROUNDS[FULL.name]} rounds of {SECONDS[FULL.name]:g} s each, closed loop at
{CONNECTIONS[FULL.name]} connections; then an open loop at half of what the one without search could
do. After each turn with search on its projection catches up before the next turn begins. In service
OpenSearch has machines of its own; here it shares two processors with what is measured, so it runs
with the lowest priority (nice {LOWEST_PRIORITY}).
"""


@dataclass(slots=True)
class Side:
    """One of the two, and what its turns found. `behind`: events, and seconds until none."""

    flow: Contender
    projected: Projected | None
    closed: list[Measured] = field(default_factory=list)
    opened: list[Measured] = field(default_factory=list)
    behind: list[tuple[int, float]] = field(default_factory=list)

    async def settled(self) -> None:
        if self.projected is not None:
            self.behind.append(await self.projected.caught_up(self.flow.service.database_url))


async def measure(asked: Asked, node: Node) -> None:
    scale, projected = asked.scale, Projected(node, "cost")
    async with AsyncExitStack() as stack:
        off = await stack.enter_async_context(running_service(asked.folder / "off", {}))
        on = await stack.enter_async_context(
            running_service(asked.folder / "on", projected.settings)
        )
        sides = [Side(contender(OFF, off), None), Side(contender(ON, on), projected)]
        for _ in range(WARM_UP_ROUNDS[scale.name]):
            for side in sides:
                await _closed(side, scale)
        for side in sides:
            side.closed.clear()
            side.behind.clear()
        for turn in range(ROUNDS[scale.name]):
            for side in _in_turn(sides, turn):
                await _closed(side, scale)
        per_second = OPEN_SHARE * median(each.per_second for each in sides[0].closed)
        for turn in range(scale.open_rounds):
            for side in _in_turn(sides, turn):
                await _open(side, scale, per_second)
        _tell(asked.findings, scale, sides, per_second)


def _in_turn(sides: list[Side], turn: int) -> list[Side]:
    """Off, on; on, off: who goes second must not always be the same."""
    return sides if turn % 2 == 0 else sides[::-1]


async def _closed(side: Side, scale: Scale) -> None:
    flow, seconds = side.flow, SECONDS[scale.name]
    flow.webhooks.ahead((seconds + scale.warm_up_seconds) * CLOSED_MAX_PER_SECOND / 2)
    flow.checkpoint()
    measured = await closed_loop(
        flow.service.address, flow.webhooks, flow.service.meter,
        connections=CONNECTIONS[scale.name], seconds=seconds, warm_up_seconds=scale.warm_up_seconds,
    )  # fmt: skip
    flow.answers.update(measured.statuses)
    side.closed.append(measured)
    await side.settled()


async def _open(side: Side, scale: Scale, per_second: float) -> None:
    flow = side.flow
    flow.webhooks.ahead((scale.open_seconds + scale.warm_up_seconds) * per_second)
    flow.checkpoint()
    measured = await open_loop(
        flow.service.address, flow.webhooks, flow.service.meter, per_second=per_second,
        connections=OPEN_CONNECTIONS, seconds=scale.open_seconds,
        warm_up_seconds=scale.warm_up_seconds,
    )  # fmt: skip
    flow.answers.update(measured.statuses)
    side.opened.append(measured)
    await side.settled()


def _tell(findings: Findings, scale: Scale, sides: list[Side], per_second: float) -> None:
    off, on = sides
    ratios = [b.per_second / a.per_second for a, b in zip(off.closed, on.closed, strict=True)]
    table = Table(
        "What search costs webhooks",
        ("loop", "search", "webhooks/s", "p50 ms", "p99 ms", "CPU µs: service", "PostgreSQL",
         "generator", "others' CPU", "on / off (rounds)", "behind, events", "caught up s"),
        note=f"Closed: {CONNECTIONS[scale.name]} connections, medians of {len(off.closed)} turns "
        f"of {SECONDS[scale.name]:g} s. Open: {number(per_second)} a second, half of that, medians "
        f"of {len(off.opened)} turns of {scale.open_seconds:g} s. CPU per webhook; OpenSearch is "
        "among the others, whose CPU is in parts of one processor. Behind: how many events search "
        "didn't have at the end of a turn, and how long it took to have them.",
    )  # fmt: skip
    turns = len(off.closed)
    for loop in ("closed", "open"):
        for side in sides:
            runs = side.closed if loop == "closed" else side.opened
            behind = side.behind[:turns] if loop == "closed" else side.behind[turns:]
            compared = loop == "closed" and side is on
            table.add(
                loop,
                side.flow.name,
                number(median(run.per_second for run in runs)),
                *(number(median(run.quantile_ms(share) for run in runs)) for share in (0.5, 0.99)),
                *cpu_cells(runs),
                f"{median(ratios):.3f} ({min(ratios):.2f}–{max(ratios):.2f})" if compared else "",
                number(median(events for events, _ in behind)) if behind else "",
                number(median(seconds for _, seconds in behind)) if behind else "",
            )
    findings.keep(table)
    lost = 1 - median(ratios)
    findings.bar(
        f"throughput lost to search, {CONNECTIONS[scale.name]} connections",
        f"≤ {COST_BAR:.0%}", lost <= COST_BAR, f"{lost:.1%}",
    )  # fmt: skip
    answers = off.flow.answers + on.flow.answers
    durable = off.flow.taken_durably() + on.flow.taken_durably()
    findings.bar(
        "cost: every 202 is in the database, off and on",
        "none missing, no errors",
        durable == answers[TAKEN] and set(answers) <= {TAKEN, DUPLICATE},
        ", ".join(f"{count:,} × {status}" for status, count in sorted(answers.items()))
        + f"; {durable:,} in the database",
    )
