"""Kafka mode's section: consumers, poison, Ingest, the way from the socket to the log, a backlog.

How to think about it: one broker and one database serve the whole section, as on the one machine of
a small user; whoever is compared takes turns on them. The database is the embedded one of an API in
sync mode, which is also what Kafka mode is held against. Each method measures one thing, makes its
table, and says which bars and aims were met.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from itertools import count, cycle, islice
from statistics import median

from infra.kafka_server import KAFKA, KafkaServer, why_not
from payment_manager.contracts.envelope import DEAD_LETTER_SUFFIX, DeadLetterHeader
from tests.benchmarks import calibration
from tests.benchmarks.calibration import Machine
from tests.benchmarks.cpu import CpuMeter, CpuTimes
from tests.benchmarks.flow import WARM_UP_SHARE, Flow, durability, made
from tests.benchmarks.generator import Measured, closed_loop, open_loop
from tests.benchmarks.kafka_turns import (
    MESSAGES_MIN,
    Drained,
    Drainer,
    EndToEnd,
    Through,
    ages,
    checkpoint,
    ids_in,
    in_the_log,
    log_end,
    memory_mib,
)
from tests.benchmarks.mix import MadeAhead, get, webhook_requests
from tests.benchmarks.profiles import CONNECTIONS, Profiles, ask
from tests.benchmarks.report import Table, number
from tests.benchmarks.run import cpu_cells
from tests.benchmarks.section import Asked, Section
from tests.benchmarks.service import Service, running_bare_app, running_service
from tests.benchmarks.write_path import DUPLICATE, TAKEN, in_turn
from tests.kafka import warm_up

# Bars, for any machine.
CONSUMER_RATIO_BAR = 12.0
POISON_RATIO_BAR = 0.9

# Aims, for two cores that also carry the broker, the database and the generator.
APPLIED_AIM = 7_500
ACKNOWLEDGED_AIM = 9_000

_READS_PER_SECOND = 50.0
"""Of an operator's page or two, beside a backlog; a load of its own would be another benchmark."""

_OPEN_CONNECTIONS = 512
_CLOSED_MAX_PER_SECOND = 12_000


class KafkaRun:
    """Measures all of Kafka mode, and tells `findings` what came of it."""

    def __init__(self, asked: Asked) -> None:
        self._scale = asked.scale
        self._folder = asked.folder
        self._findings = asked.findings
        title = f"Where the CPU goes in Kafka mode (Ingest: {CONNECTIONS} connections)"
        note = " The Kafka client's own threads count for whatever Python did at that moment."
        self._profiles = Profiles(asked.console, asked.functions, title, note)

    async def everything(self) -> None:
        machine = Machine.here()  # before our own load
        with KafkaServer(self._folder / "kafka", long_running=True) as self._broker:
            warm_up(self._broker.brokers)
            async with running_service(self._folder / "sync", {}) as self._database:
                table = await self._calibrate(machine)
                await self._consumers()
                await self._ingest()
                await self._end_to_end()
                await self._drain()
                await self._profile()
                self._add_speeds(table, "after it")

    # ── Who takes part ────────────────────────────────────────────────────────────────────────────

    @asynccontextmanager
    async def _service(
        self, kind: str, flow: Flow, settings: dict[str, str] | None = None
    ) -> AsyncIterator[tuple[Service, CpuMeter]]:
        """One of ours on these topics, and the meter that counts broker and database too."""
        everything = {**flow.settings, "PG_URL": self._database.database_url, **(settings or {})}
        folder = self._folder / f"{kind}-{flow.name}"
        async with running_service(folder, everything, kind=kind) as service:
            postmaster = self._database.meter.postmaster
            meter = CpuMeter(service.meter.service, postmaster, self._broker.pid)
            yield replace(service, meter=meter), meter

    async def _flow(self, name: str) -> Flow:
        return await Flow(self._broker, name).prepare()

    def _check_log(self, name: str, run: str, sent: int) -> None:
        found = in_the_log(self._database.database_url, run)
        self._findings.bar(
            f"{name} is in the log, once",
            f"{sent:,}",
            found == sent,
            f"{found:,}",
        )

    # ── Calibration ───────────────────────────────────────────────────────────────────────────────

    async def _calibrate(self, machine: Machine) -> Table:
        table, durable = calibration.machine_table(machine, self._database.database_url)
        kafka = durability(await self._flow("durability"))
        table.add("Kafka", KAFKA.version)
        table.add("an acknowledgement", ", ".join(f"{name} {said}" for name, said in kafka.items()))
        self._add_speeds(table, "before the run")
        in_company = number(calibration.fixed_work_ms_in_company())
        table.add("… while another process does the same", f"{in_company} ms")
        table.note = (
            "One broker on this machine: what it acknowledged survives its end by kill -9, and the "
            "service's; it is in the system's page cache, and on no other machine. A cluster with "
            "`KAFKA_REPLICATION=3` and `KAFKA_MIN_INSYNC_REPLICAS=2` survives a machine, and pays "
            "for it with a round trip between brokers, which no figure here holds."
        )
        self._findings.keep(table)
        self._findings.bar(
            "durability is on",
            "on, on, on; acks all, idempotence on",
            durable == calibration.DURABLE
            and (kafka["acks"], kafka["idempotence"]) == ("all", "on"),
            f"{', '.join(durable.values())}; acks {kafka['acks']}, "
            f"idempotence {kafka['idempotence']}",
        )
        return table

    def _add_speeds(self, table: Table, when: str) -> None:
        calibration.add_speeds(table, self._folder, self._scale.calibration_seconds, when)

    # ── Consumers ─────────────────────────────────────────────────────────────────────────────────

    async def _consumers(self) -> None:
        async with AsyncExitStack() as stack:
            both = []
            for name, settings in {"A": {}, "B": {"WEBHOOK_BATCH_MAX": "1"}}.items():
                flow = await self._flow(name.lower())
                worker = await stack.enter_async_context(self._service("worker", flow, settings))
                both.append(Drainer.of(name, flow, *worker))
            turns: dict[str, list[Drained]] = {each.name: [] for each in both}
            seconds = self._scale.turn_seconds
            for each in both:
                # Warm, and once more to know how much is some seconds' work.
                await each.turn(300 * seconds if each.name == "B" else 3_000 * seconds)
                await each.turn(each.rate * seconds)
            for number_ in range(self._scale.rounds):
                for each in in_turn(both, number_):
                    turns[each.name].append(await each.turn(each.rate * seconds))
            self._tell_consumers(turns)
            await self._poison(both[0])
            for each in both:
                self._check_log(
                    f"{each.name}: every webhook", each.flow.name, len(each.flow.sent_ids)
                )

    def _tell_consumers(self, turns: dict[str, list[Drained]]) -> None:
        pairs = zip(turns["A"], turns["B"], strict=True)
        ratios = [a.turn.per_second / b.turn.per_second for a, b in pairs]
        table = Table(
            "Consumer: batches (A), and one message a transaction and a commit (B)",
            ("consumer", "applied/s", "batch", *_CONSUMER_CPU, "A / B (rounds)"),
            note="A is `payment-manager worker` as it is, B the same with `WEBHOOK_BATCH_MAX=1`. "
            f"Medians of {self._scale.rounds} turns, each a backlog of about "
            f"{self._scale.turn_seconds:g} s that was there when the clock started, its first "
            f"{WARM_UP_SHARE:.0%} left out; the ratio is that of the median round. "
            "CPU per message; others' in parts of one processor.",
        )
        for name, drained in turns.items():
            table.add(
                name,
                number(median(each.turn.per_second for each in drained)),
                number(median(each.batch_size for each in drained)),
                *_consumer_cpu(drained),
                f"{median(ratios):.1f} ({min(ratios):.1f}–{max(ratios):.1f})"
                if name == "A"
                else "",
            )
        self._findings.keep(table)
        ratio = median(ratios)
        wanted = f"≥ {CONSUMER_RATIO_BAR:g}"
        self._findings.bar("consumer, A / B", wanted, ratio >= CONSUMER_RATIO_BAR, f"{ratio:.1f}")
        applied = median(each.turn.per_second for each in turns["A"])
        self._findings.aim(
            "applied a second", f"≥ {APPLIED_AIM:,}", applied >= APPLIED_AIM, applied
        )

    async def _poison(self, consumer: Drainer) -> None:
        # Shorter turns and more of them: the bar is close to 1, and the machine drifts.
        messages, rounds = consumer.rate * self._scale.turn_seconds / 2, 2 * self._scale.rounds
        await consumer.turn(messages / 2, poison=True)  # the first letter opens a connection
        turns: dict[bool, list[Drained]] = {False: [], True: []}
        for number_ in range(rounds):
            for poison in in_turn([False, True], number_):
                turns[poison].append(await consumer.turn(messages, poison=poison))
        pairs = zip(turns[True], turns[False], strict=True)
        ratios = [sick.good_per_second / well.good_per_second for sick, well in pairs]
        found = self._reasons(consumer.flow, await consumer.flow.ends(DEAD_LETTER_SUFFIX))
        reasons = ", ".join(f"{n:,} × {words}" for words, n in sorted(found.items()))
        table = Table(
            "Poison: one message in a hundred",
            ("flow", "good ones applied/s", *_CONSUMER_CPU, "with / without (rounds)"),
            note=f"The same consumer, the same number of messages, {rounds} turns of each. "
            f"In the dead letters: {reasons}.",
        )
        for poison, drained in turns.items():
            table.add(
                "1 % poison" if poison else "no poison",
                number(median(each.good_per_second for each in drained)),
                *_consumer_cpu(drained),
                f"{median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})" if poison else "",
            )
        self._findings.keep(table)
        self._findings.bar(
            "throughput with 1 % poison / without",
            f"≥ {POISON_RATIO_BAR:g}",
            median(ratios) >= POISON_RATIO_BAR,
            f"{median(ratios):.2f}",
        )
        sent, kept = consumer.poison, found.total()
        self._findings.bar(
            "all poison is in the dead letters, and nothing else", f"{sent:,}", kept == sent,
            f"{kept:,}",
        )  # fmt: skip

    def _reasons(self, flow: Flow, end: dict[tuple[str, int], int]) -> Counter[str]:
        name = DeadLetterHeader.ERROR_CLASS
        return Counter(letter.headers[name].decode() for letter in flow.messages({}, end))

    # ── Ingest ────────────────────────────────────────────────────────────────────────────────────

    async def _ingest(self) -> None:
        flow = await self._flow("i")
        requests = MadeAhead(webhook_requests("i"))
        # The bare server reads nothing of what it is sent.
        bare_requests = cycle(list(islice(webhook_requests("bare"), 2_000)))
        turns: dict[int, dict[str, list[Measured]]] = {}
        answers: Counter[int] = Counter()
        seconds, warm_up_seconds = self._scale.seconds, self._scale.warm_up_seconds
        async with self._service("ingest", flow) as (ingest, meter), running_bare_app() as bare:
            for connections in self._scale.kafka_levels:
                turns[connections] = {"Ingest": [], "bare": []}
                for number_ in range(self._scale.open_rounds):
                    for name in in_turn(["Ingest", "bare"], number_):
                        if name == "bare":
                            measured = await closed_loop(
                                bare[0], bare_requests, bare[1], connections=connections,
                                seconds=seconds / 2, warm_up_seconds=warm_up_seconds / 2,
                            )  # fmt: skip
                        else:
                            requests.ahead((seconds + warm_up_seconds) * _CLOSED_MAX_PER_SECOND)
                            measured = await closed_loop(
                                ingest.address, requests, meter, connections=connections,
                                seconds=seconds, warm_up_seconds=warm_up_seconds,
                            )  # fmt: skip
                            answers.update(measured.statuses)
                        turns[connections][name].append(measured)
            ends = await flow.ends()
        self._tell_ingest(turns, answers, sum(ends.values()))

    def _tell_ingest(
        self, turns: dict[int, dict[str, list[Measured]]], answers: Counter[int], in_topics: int
    ) -> None:
        table = Table(
            "Ingest: acknowledged by the broker, closed loop",
            ("connections", "acknowledged/s", "p50 ms", "p99 ms", "CPU µs: Ingest", "broker",
             "generator", "bare HTTP/s", "Ingest / bare"),
            note="Nobody consumes meanwhile. Bare HTTP is a server that reads the body and answers "
            f"202, in turns with Ingest: what this machine can do at that moment. Medians of "
            f"{self._scale.open_rounds} turns of {self._scale.seconds:g} s; CPU per webhook.",
        )  # fmt: skip
        for connections, both in turns.items():
            ours, bare = both["Ingest"], both["bare"]
            per_second = median(one.per_second for one in ours)
            done = sum(len(one.latencies) for one in ours) or 1
            cpu = [cpu_cells(ours)[0], f"{sum(one.cpu.broker for one in ours) * 1e6 / done:.0f}"]
            pairs = zip(ours, bare, strict=True)
            table.add(
                connections,
                number(per_second),
                number(median(one.quantile_ms(0.5) for one in ours)),
                number(median(one.quantile_ms(0.99) for one in ours)),
                *cpu,
                cpu_cells(ours)[2],
                number(median(one.per_second for one in bare)),
                f"{median(one.per_second / other.per_second for one, other in pairs):.2f}",
            )
            if connections == CONNECTIONS:
                name = f"Ingest, connections: {connections}, acknowledged a second"
                met = per_second >= ACKNOWLEDGED_AIM
                self._findings.aim(name, f"≥ {ACKNOWLEDGED_AIM:,}", met, per_second)
        self._findings.keep(table)
        self._findings.bar(
            "Ingest: every 202 is in the topics",
            "none missing, no errors",
            set(answers) == {TAKEN} and in_topics == answers[TAKEN],
            f"{_told(answers)}; {in_topics:,} in the topics",
        )

    # ── From the socket to the log ────────────────────────────────────────────────────────────────

    async def _end_to_end(self) -> None:
        flow = await self._flow("e")
        scale, sync = self._scale, self._database
        sync_webhooks, sync_answers = MadeAhead(webhook_requests("s")), Counter[int]()
        kafka_turns: list[Through] = []
        sync_turns: list[Measured] = []
        async with self._service("worker", flow) as worker, self._service("ingest", flow) as ingest:
            kafka = EndToEnd(
                flow, ingest[0], worker[0], ingest[1], MadeAhead(webhook_requests("e"))
            )
            await kafka.closed(CONNECTIONS, scale.warm_up_seconds, 0.0)
            for number_ in range(scale.open_rounds):
                for mode in in_turn(["kafka", "sync"], number_):
                    webhooks = kafka.webhooks if mode == "kafka" else sync_webhooks
                    webhooks.ahead((scale.seconds + scale.warm_up_seconds) * _CLOSED_MAX_PER_SECOND)
                    checkpoint(sync.database_url)
                    if mode == "kafka":
                        kafka_turns.append(
                            await kafka.closed(CONNECTIONS, scale.seconds, scale.warm_up_seconds)
                        )
                        continue
                    measured = await closed_loop(
                        sync.address, webhooks, sync.meter, connections=CONNECTIONS,
                        seconds=scale.seconds, warm_up_seconds=scale.warm_up_seconds,
                    )  # fmt: skip
                    sync_answers.update(measured.statuses)
                    sync_turns.append(measured)
            capacity = median(one.sustained_per_second for one in kafka_turns)
            found = [await self._ages(kafka, capacity / 2) for _ in range(scale.open_rounds)]
            ends = await flow.ends()
        self._tell_through(kafka_turns, sync_turns)
        self._tell_ages(found, capacity)
        self._findings.bar(
            "end to end: every 202 is in the topics",
            "none missing, no errors",
            set(kafka.answers) == {TAKEN} and sum(ends.values()) == kafka.answers[TAKEN],
            f"{_told(kafka.answers)}; {sum(ends.values()):,} in the topics",
        )
        self._check_log("end to end: every webhook of the topics", "e", len(ids_in(flow, ends)))
        self._findings.bar(
            "sync mode: no errors",
            "none",
            set(sync_answers) <= {TAKEN, DUPLICATE},
            _told(sync_answers),
        )
        self._check_log("sync mode: every 202", "s", sync_answers[TAKEN])

    def _tell_through(self, kafka: list[Through], sync: list[Measured]) -> None:
        table = Table(
            f"What there is to beat: {CONNECTIONS} connections, from the socket to the log",
            ("what", "acknowledged/s", "p50 ms", "p99 ms", "applied/s", "sustained/s", "lost"),
            note="Kafka mode: Ingest and one worker beside each other; *applied* while the load "
            "lasts, *sustained* all of a turn's webhooks by the time until the last is applied. "
            f"Modes in turns on one broker and one database, medians of {len(kafka)} turns of "
            f"{self._scale.seconds:g} s. *Lost*: the bars above; what happens when things are "
            "killed is the tests' to show. The open Go implementation: as reported, on this class "
            "of machine with one broker; its loss is of PostgreSQL's restart under 150 a second.",
        )
        measured = [one.measured for one in kafka]
        table.add(
            "Kafka mode",
            *_speed_cells(measured),
            number(median(one.applied_per_second for one in kafka)),
            number(median(one.sustained_per_second for one in kafka)),
            "none",
        )
        speed = _speed_cells(sync)
        table.add("sync mode", *speed, speed[0], speed[0], "none")
        table.add("open Go implementation", "3,000–3,300", "", "", "250–330", "", "7–21 of 2,100")
        self._findings.keep(table)

    async def _ages(self, through: EndToEnd, per_second: float) -> list[float]:
        scale, flow = self._scale, through.flow
        through.webhooks.ahead((scale.open_seconds + scale.warm_up_seconds) * per_second)
        checkpoint(self._database.database_url)
        start, log_start = await flow.ends(), log_end(through.consumer)
        measured = await open_loop(
            through.ingest.address, through.webhooks, through.meter,
            per_second=per_second, connections=_OPEN_CONNECTIONS,
            seconds=scale.open_seconds, warm_up_seconds=scale.warm_up_seconds,
        )  # fmt: skip
        through.answers.update(measured.statuses)
        await flow.caught_up()
        end, log = await flow.ends(), through.consumer.log
        return ages(flow, start, end, log, log_start, scale.warm_up_seconds)

    def _tell_ages(self, found: list[list[float]], capacity: float) -> None:
        table = Table(
            "Age: from received by Ingest to applied, at half of the capacity",
            ("webhooks/s", "p50 ms", "p90 ms", "p99 ms", "max ms"),
            note=f"Arrivals at fixed times, half of the {number(capacity)} a second that were "
            "sustained. Of each webhook: from its envelope's time to the consumer's log line, "
            f"which follows the commit. Medians of {len(found)} turns of "
            f"{self._scale.open_seconds:g} s.",
        )
        quantiles = (
            median(one[round(share * (len(one) - 1))] * 1000 for one in found)
            for share in (0.5, 0.9, 0.99, 1.0)
        )
        table.add(number(capacity / 2), *map(number, quantiles))
        self._findings.keep(table)

    # ── A backlog ─────────────────────────────────────────────────────────────────────────────────

    async def _drain(self) -> None:
        flow = await self._flow("d")
        backlog = await flow.fill(islice(made(webhook_requests("d")), self._scale.backlog))
        checkpoint(self._database.database_url)
        await flow.shoot()
        began = time.perf_counter()
        async with self._service("api", flow) as (api, _):
            at_start, _ = memory_mib(api.meter.service)
            reads = asyncio.create_task(self._read(api))
            marks = [mark async for mark in flow.progress(backlog)]
            _, most = memory_mib(api.meter.service)
            during = await reads
            webhooks, batches = await api.batches()
            idle = await self._read(api)
        warm = next(mark for mark in marks if mark[1] >= backlog.count * WARM_UP_SHARE)
        ended, all_of_it = marks[-1]
        table = Table(
            f"A backlog of {backlog.count:,}, drained by the API service itself",
            ("what", "figure"),
            note=f"`payment-manager api` with `WEBHOOK_MODE=kafka`, its time from the start of the "
            f"process; the rate without the first {WARM_UP_SHARE:.0%}. Reads: "
            f"{_READS_PER_SECOND:g} orders a second, over HTTP, at fixed times.",
        )
        table.add("all applied after", f"{ended - began:.1f} s")
        rate = (all_of_it - warm[1]) / (ended - warm[0]) if ended > warm[0] else float("nan")
        table.add("applied", f"{number(rate)}/s")
        table.add("webhooks a transaction", number(webhooks / max(1.0, batches)))
        table.add("memory of the process: ready, at most", f"{at_start:.0f} MiB, {most:.0f} MiB")
        for name, measured in {"while it drains": during, "afterwards": idle}.items():
            p50, p99 = number(measured.quantile_ms(0.5)), number(measured.quantile_ms(0.99))
            table.add(f"reading an order {name}: p50, p99", f"{p50} ms, {p99} ms")
        self._findings.keep(table)
        self._check_log("backlog: every webhook", "d", len(flow.sent_ids))

    async def _read(self, api: Service) -> Measured:
        """Orders that the consumer's turns left there."""
        return await open_loop(
            api.address, (get(f"/orders/ord-a-{n % MESSAGES_MIN}") for n in count()), api.meter,
            per_second=_READS_PER_SECOND, connections=16,
            seconds=self._scale.open_seconds, warm_up_seconds=self._scale.warm_up_seconds,
        )  # fmt: skip

    # ── Where the time goes ───────────────────────────────────────────────────────────────────────

    async def _profile(self) -> None:
        seconds = self._scale.turn_seconds
        flow = await self._flow("p")
        settings = {**flow.settings, "PG_URL": self._database.database_url}

        async def drain(service: Service) -> None:
            messages = islice(made(webhook_requests("p")), round(2 * seconds * 4_000))
            await flow.worked_off(await flow.fill(messages), service.meter)

        await self._profiles.sample(
            "consumer", self._folder / "sampled-worker", settings, drain, kind="worker"
        )
        requests: Iterator[bytes] = MadeAhead(webhook_requests("q")).ahead(2 * seconds * 6_000)
        await self._profiles.sample(
            "Ingest",
            self._folder / "sampled-ingest",
            settings,
            partial(ask, requests=requests, seconds=2 * seconds),
            kind="ingest",
        )
        self._findings.keep(self._profiles.table())


_CONSUMER_CPU = ("CPU µs: consumer", "PostgreSQL", "broker", "others' CPU")


def _consumer_cpu(drained: list[Drained]) -> list[str]:
    """CPU in µs a message, of each, and how much of a processor all others used."""
    messages = sum(each.turn.count for each in drained)
    seconds = sum(each.turn.seconds for each in drained)
    spent = sum((each.turn.cpu for each in drained), CpuTimes(0.0, 0.0, 0.0, 0.0))
    ours = (spent.service, spent.postgres, spent.broker)
    return [*(f"{each * 1e6 / messages:.0f}" for each in ours), f"{spent.others / seconds:.2f}"]


def _speed_cells(measured: list[Measured]) -> list[str]:
    return [
        number(median(one.per_second for one in measured)),
        number(median(one.quantile_ms(0.5) for one in measured)),
        number(median(one.quantile_ms(0.99) for one in measured)),
    ]


def _told(answers: Counter[int]) -> str:
    return ", ".join(f"{n:,} × {status}" for status, n in sorted(answers.items()))


async def measure(asked: Asked) -> None:
    await KafkaRun(asked).everything()


SECTION = Section("kafka", measure, why_not=why_not)
