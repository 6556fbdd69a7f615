"""One run: calibration, webhooks, reads, and where the processors' time went.

How to think about it: three questions. What does sharing a batch buy (A against B, closed loop)?
What does it do to the waiting (open loop, at B's capacity)? What do questions cost on a long log?
Each method measures one of them, makes its table, and says which bars and aims were met.
"""

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from statistics import median

from payment_manager.adapters.postgres.pool import connection_pool
from tests.benchmarks import calibration
from tests.benchmarks.calibration import Machine
from tests.benchmarks.generator import Measured, closed_loop
from tests.benchmarks.history import EVENTS_AN_ORDER, History, write_history
from tests.benchmarks.mix import MadeAhead, webhook_requests
from tests.benchmarks.profiles import CONNECTIONS, Profiles, ask
from tests.benchmarks.questions import KIND_IN_WINDOW, NEWEST, ONE_ORDER, plan_of, questions
from tests.benchmarks.report import Table, number
from tests.benchmarks.section import Asked, Section
from tests.benchmarks.service import Service, running_service
from tests.benchmarks.write_path import (
    CAPACITY_CONNECTIONS,
    DUPLICATE,
    NOT_NOW,
    OPEN_CONNECTIONS,
    TAKEN,
    Contender,
    Level,
    OpenRound,
    closed_level,
    contender,
    open_round,
)

# Bars, for any machine: what sharing batches must buy, and what it may cost one who is alone.
RATIO_BARS = {64: 4.0, 1: 0.9}
LATENCY_SHARE_BAR = 1 / 5

# Aims, for two cores that also carry the database and the generator.
WEBHOOKS_AIM = 6_500
READ_AIMS = {(ONE_ORDER, 64): 5_000, (KIND_IN_WINDOW, 64): 2_000}
PAGE_MS_AIM = 5.0

_CPU_COLUMNS = ("CPU µs: service", "PostgreSQL", "generator", "others' CPU")


class Run:
    """Measures the parts that are asked for, and tells `findings` what came of it."""

    def __init__(self, asked: Asked) -> None:
        self._scale = asked.scale
        self._parts = asked.parts
        self._folder = asked.folder
        self._console = asked.console
        self._findings = asked.findings
        self._profiles = Profiles(
            asked.console,
            asked.functions,
            f"Where the service's CPU goes ({CONNECTIONS} connections)",
        )

    async def everything(self) -> None:
        machine = Machine.here()  # before our own load
        async with running_service(self._folder / "a", {}) as a:
            await self._calibrate(machine, a)
            if "webhooks" in self._parts:
                one_by_one = {"WEBHOOK_BATCH_MAX": "1"}
                async with running_service(self._folder / "b", one_by_one) as b:
                    await self._webhooks([contender("A", a), contender("B", b)])
        if "reads" in self._parts:
            await self._reads()
        if "profile" in self._parts:
            seconds = self._scale.open_seconds
            webhooks = MadeAhead(webhook_requests("p")).ahead(seconds * 6_000)
            await self._profiles.sample(
                "webhooks",
                self._folder / "p",
                {},
                partial(ask, requests=webhooks, seconds=seconds),
            )
            self._findings.keep(self._profiles.table())
        self._add_speeds(self._calibration, "after it")

    # ── Calibration ───────────────────────────────────────────────────────────────────────────────

    async def _calibrate(self, machine: Machine, service: Service) -> None:
        seconds = self._scale.calibration_seconds
        table, durable = calibration.machine_table(machine, service.database_url)
        self._add_speeds(table, "before the run")
        in_company = number(calibration.fixed_work_ms_in_company())
        table.add("… while another process does the same", f"{in_company} ms")
        requests = MadeAhead(webhook_requests("bare")).ahead((seconds + 1) * 25_000)
        bare = await calibration.bare_http(requests, connections=64, seconds=seconds)
        table.add("bare HTTP, 64 connections", f"{number(bare.per_second)} requests/s")
        cost = bare.cpu.service * 1e6 / len(bare.latencies)
        own = bare.cpu.generator * 1e6 / len(bare.latencies)
        table.add("… CPU of the bare server, the generator", f"{cost:.0f} µs, {own:.0f} µs")
        for events in (1, 64, 500):
            payloads = calibration.bodies(webhook_requests("bare"))
            found = calibration.bare_statement(
                service.database_url, payloads, events=events, seconds=seconds
            )
            rate = number(found.events_per_second)
            table.add(f"bare append, {events} a transaction", f"{rate} events/s")
        self._findings.keep(table)
        self._calibration = table
        calibration.check_durability(self._findings, durable)

    def _add_speeds(self, table: Table, when: str) -> None:
        seconds = self._scale.calibration_seconds
        calibration.add_speeds(table, self._folder, seconds, when)

    # ── Webhooks ──────────────────────────────────────────────────────────────────────────────────

    async def _webhooks(self, both: list[Contender]) -> None:
        levels = [await closed_level(self._scale, n, both) for n in self._scale.levels]
        self._tell_closed(levels)
        rounds = range(self._scale.open_rounds)
        self._tell_open([await open_round(self._scale, both, n) for n in rounds])
        for each in both:
            self._check_answers(each)

    def _tell_closed(self, levels: list[Level]) -> None:
        table = Table(
            "Webhooks, closed loop",
            ("connections", "service", "webhooks/s", "p50 ms", "p99 ms", "503", "batch",
             *_CPU_COLUMNS, "A / B (rounds)"),
            note="A is the service as it is, B the same with `WEBHOOK_BATCH_MAX=1`. "
            f"Medians of {self._scale.rounds} turns of {self._scale.seconds:g} s each (twice as "
            "many at one connection), the ratio that of the median round; "
            "CPU per webhook; others' CPU in parts of one processor. A 503 counts for nothing.",
        )  # fmt: skip
        for level in levels:
            for name, turns in level.turns.items():
                table.add(
                    level.connections,
                    name,
                    number(level.median_per_second(name)),
                    number(level.median_ms(name, 0.5)),
                    number(level.median_ms(name, 0.99)),
                    refused_cell([turn.measured for turn in turns]),
                    number(median(turn.batch_size for turn in turns)),
                    *cpu_cells([turn.measured for turn in turns]),
                    _ratio_cell(level) if name == "A" else "",
                )
        self._findings.keep(table)
        for level in levels:
            if (wanted := RATIO_BARS.get(level.connections)) is not None:
                name = f"webhooks, connections: {level.connections}, A / B"
                met = level.ratio >= wanted
                self._findings.bar(name, f"≥ {wanted:g}", met, f"{level.ratio:.2f}")
        most = max(level.median_per_second("A") for level in levels)
        self._findings.aim(
            "durable webhooks a second", f"≥ {WEBHOOKS_AIM:,}", most >= WEBHOOKS_AIM, most
        )

    def _tell_open(self, rounds: list[OpenRound]) -> None:
        rates = ", ".join(number(each.per_second) for each in rounds)
        table = Table(
            "Webhooks, open loop at what B can do at most",
            ("service", "p50 ms", "p90 ms", "p99 ms", "max ms", "503", *_CPU_COLUMNS),
            note=f"{rates} a second: what B reached with {CAPACITY_CONNECTIONS} connections right "
            f"before. Arrivals at fixed times on {OPEN_CONNECTIONS} connections; a latency counts "
            f"from when its request was due. Medians of {len(rounds)} turns of "
            f"{self._scale.open_seconds:g} s.",
        )
        for name in ("A", "B"):
            measured = [each.measured[name] for each in rounds]
            quantiles = (
                median(one.quantile_ms(share) for one in measured)
                for share in (0.5, 0.9, 0.99, 1.0)
            )
            table.add(name, *map(number, quantiles), refused_cell(measured), *cpu_cells(measured))
        self._findings.keep(table)
        share = median(each.share_of_p99 for each in rounds)
        self._findings.bar(
            "open loop: p99 of A / p99 of B",
            f"≤ {LATENCY_SHARE_BAR:g}",
            share <= LATENCY_SHARE_BAR,
            f"{share:.3f}",
        )

    def _check_answers(self, each: Contender) -> None:
        """B may say that it can't keep up; A never has to."""
        answers = each.answers
        allowed = {TAKEN, DUPLICATE, NOT_NOW} if each.name == "B" else {TAKEN, DUPLICATE}
        durable = each.taken_durably()
        # What was given up on may have been taken all the same.
        none_missing = answers[TAKEN] <= durable <= answers[TAKEN] + answers[NOT_NOW]
        self._findings.bar(
            f"{each.name}: every 202 is in the database",
            "none missing, no errors",
            none_missing and set(answers) <= allowed,
            ", ".join(f"{count:,} × {status}" for status, count in sorted(answers.items()))
            + f"; {durable:,} in the database",
        )

    # ── Reads ─────────────────────────────────────────────────────────────────────────────────────

    async def _reads(self) -> None:
        history = History.of(self._scale.events)
        async with AsyncExitStack() as stack:
            service = await stack.enter_async_context(running_service(self._folder / "r", {}))
            loop = asyncio.get_running_loop()
            began = loop.time()
            await write_history(service.database_url, history)
            self._console.print(f"The history was written in {loop.time() - began:.0f} s.\n")
            await self._plans(service, history)
            table = Table(
                f"Reads on {EVENTS_AN_ORDER * history.orders:,} order events",
                ("question", "connections", "requests/s", "p50 ms", "p99 ms", *_CPU_COLUMNS),
                note=f"60 days of events, pages of 100, {self._scale.read_seconds:g} s each.",
            )
            for question in questions(history, seed=2):
                for connections in self._scale.read_levels:
                    measured = await closed_loop(
                        service.address,
                        question.requests(),
                        service.meter,
                        connections=connections,
                        seconds=self._scale.read_seconds,
                        warm_up_seconds=self._scale.read_seconds / 5,
                    )
                    self._tell_read(table, question.name, connections, measured)
            self._findings.keep(table)
            if "profile" in self._parts:
                for question in questions(history, seed=3):
                    if question.name in (ONE_ORDER, KIND_IN_WINDOW):
                        seconds, requests = 2 * self._scale.read_seconds, question.requests()
                        await self._profiles.sample(
                            question.name,
                            self._folder / question.name.partition(":")[0].replace(" ", "-"),
                            {"PG_URL": service.database_url},
                            partial(ask, requests=requests, seconds=seconds),
                        )

    async def _plans(self, service: Service, history: History) -> None:
        table = Table(
            "Plans",
            ("question", "statements", "days looked into", "buffers", "ms", "rows", "days scanned"),
            note="`EXPLAIN (ANALYZE, BUFFERS)` of the statements that the service sends, summed up "
            "for a page; the time is planning, where it is done each time, and execution. Only "
            "days of the log that have rows count; as scanned, those that have more than a page "
            "and were read from end to end.",
        )
        scanned: list[str] = []
        async with connection_pool(service.database_url, size_max=1) as pool:
            for question in questions(history, seed=1):
                plan = await plan_of(pool, question)
                table.add(
                    question.name, plan.statements, plan.partitions, plan.buffers,
                    number(plan.milliseconds), plan.rows, len(plan.scanned),
                )  # fmt: skip
                if plan.scanned:
                    scanned.append(f"{question.name} ({plan.scanned[0]} …)")
        self._findings.keep(table)
        self._findings.bar(
            "no question reads a day of the log from end to end",
            "none",
            not scanned,
            ", ".join(scanned) or "none",
        )

    def _tell_read(self, table: Table, name: str, connections: int, measured: Measured) -> None:
        p50 = measured.quantile_ms(0.5)
        table.add(
            name,
            connections,
            number(measured.per_second),
            number(p50),
            number(measured.quantile_ms(0.99)),
            *cpu_cells([measured]),
        )
        if wrong := {status: n for status, n in measured.statuses.items() if status != 200}:
            self._findings.bar(f"{name}: all answered 200", "no other", False, str(wrong))
        if (wanted := READ_AIMS.get((name, connections))) is not None:
            met = measured.per_second >= wanted
            name = f"{name}, connections: {connections}, a second"
            self._findings.aim(name, f"≥ {wanted:,}", met, measured.per_second)
        elif (name, connections) == (NEWEST, 1):
            self._findings.aim(f"{name}: p50 ms", f"< {PAGE_MS_AIM:g}", p50 < PAGE_MS_AIM, p50)


def cpu_cells(runs: list[Measured]) -> list[str]:
    """CPU in µs a request, of each, and how much of a processor all others used."""
    answers = sum(len(run.latencies) for run in runs) or 1
    seconds = sum(run.seconds for run in runs)
    spent = (
        sum(run.cpu.service for run in runs),
        sum(run.cpu.postgres for run in runs),
        sum(run.cpu.generator for run in runs),
    )
    others = sum(run.cpu.others for run in runs) / seconds
    return [*(f"{each * 1e6 / answers:.0f}" for each in spent), f"{others:.2f}"]


def refused_cell(runs: list[Measured]) -> str:
    answers = sum(run.statuses.total() for run in runs)
    return f"{sum(run.statuses[NOT_NOW] for run in runs) / answers:.1%}"


def _ratio_cell(level: Level) -> str:
    return f"{level.ratio:.2f} ({min(level.ratios):.2f}–{max(level.ratios):.2f})"


async def measure(asked: Asked) -> None:
    await Run(asked).everything()


SECTION = Section("figures", measure, parts=("webhooks", "reads", "profile"))
