"""The broker is away for some seconds: what a service may answer to those who send webhooks.

How to think about it: whoever is told 202 never sends again. So an answer before the broker's is a
promise that only this process remembers, and a queue without an end is one too: it answers when the
broker is back, long after its callers have gone. What can't be kept soon is better refused soon.

    make lab-broker-away
"""

import asyncio
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count

import structlog
import uvloop
from confluent_kafka import KafkaError, Producer

from infra.leash import Leash
from labs.ground import show
from labs.kafka_ground import (
    as_settings,
    broker,
    in_topic,
    make_topic,
    member,
    quiet,
    until,
)
from payment_manager.adapters.kafka.connection import client_config
from payment_manager.adapters.kafka.publisher import KafkaPublisher
from payment_manager.contracts.publishing import Receipt

RATE = 200
"""Webhooks a second, to each of the ways."""
BODY = b"x" * 1024

WELL_SECONDS = 3.0
AWAY_SECONDS = 6.0
"""Until the broker is started again; it needs some more until it answers."""
CRASH_AFTER_SECONDS = 5.0
"""Into the outage; then the services' processes are killed, and started anew."""
END_SECONDS = 10.0
"""For the answers that are still due at the end."""

QUEUE_MAX = 5000
"""The service's own."""

Publish = Callable[[int], Awaitable[int]]
"""The status that whoever sent this webhook is answered with."""


# ── The services: a process each, that says on its output what it is asked and what it answers ────


def answer_first(brokers: str, topic: str) -> tuple[Publish, Callable[[], int]]:
    """`acks=1` as many set it; here it makes no difference, there is one replica."""
    producer = Producer({**quiet(brokers), "acks": 1})
    _fetch_reports(producer)

    async def publish(number: int) -> int:
        producer.produce(topic, BODY, b"%d" % number)
        return 202

    return publish, lambda: len(producer)


def queue_without_end(brokers: str, topic: str) -> tuple[Publish, Callable[[], int]]:
    """Waits for the broker's answer, and for as long as it takes."""
    producer = Producer({**quiet(brokers), "acks": "all", "queue.buffering.max.messages": 0})
    _fetch_reports(producer)

    async def publish(number: int) -> int:
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def delivered(fault: KafkaError | None, _: object) -> None:
            answer.set_result(503 if fault else 202)

        producer.produce(topic, BODY, b"%d" % number, on_delivery=delivered)
        return await answer

    return publish, lambda: len(producer)


def ours(brokers: str, topic: str) -> tuple[Publish, Callable[[], int]]:
    """The publisher of the Ingest service."""
    publisher = KafkaPublisher(
        client_config(as_settings(brokers)), queue_max=QUEUE_MAX, message_bytes_max=2 * len(BODY)
    )

    async def publish(number: int) -> int:
        receipt = await publisher.publish(topic, b"%d" % number, BODY, [])
        return 202 if receipt is Receipt.ACKNOWLEDGED else 503

    return publish, lambda: publisher.waiting


WAYS = {"answer first": answer_first, "a queue without end": queue_without_end, "ours": ours}


def _fetch_reports(producer: Producer) -> None:
    producer.poll(0)
    asyncio.get_running_loop().call_later(0.005, _fetch_reports, producer)


async def serve(way: str, brokers: str, topic: str, first: int) -> None:
    """So many webhooks a second, whatever became of those before, until SIGTERM. What it says ends
    with when that was, by the clock that the processes of a machine share.
    """
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    publish, waiting = WAYS[way](brokers, topic)
    loop, ending = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ending.set)

    async def asked(number: int) -> None:
        print("asked", number, waiting(), time.monotonic(), flush=True)
        print("answered", number, await publish(number), time.monotonic(), flush=True)

    began, tasks = loop.time(), set()
    for number in count(first):
        if ending.is_set():
            break
        tasks.add(asyncio.create_task(asked(number)))
        await asyncio.sleep(began + (number - first) / RATE - loop.time())
    await asyncio.wait(tasks, timeout=END_SECONDS)
    await until(lambda: waiting() == 0)


# ── What their callers see ────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class Seen:
    """From outside, over both processes of a way."""

    way: str
    topic: str
    asked_at: dict[int, float] = field(default_factory=dict)
    answers: dict[int, int] = field(default_factory=dict)
    longest_seconds: float = 0.0
    most_waiting: int = 0
    last_taken_asked_at: float = 0.0

    async def start(self, brokers: str) -> Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "labs.broker_away", self.way, brokers, self.topic,
            str(len(self.asked_at)), stdout=PIPE,
            start_new_session=True,  # a terminal's Ctrl-C is for the lab, which ends them
        )  # fmt: skip

    async def watch(self, process: Process) -> None:
        """Until its end. Whoever has no answer by then gets none."""
        first, last_word_at = len(self.asked_at), 0.0
        assert process.stdout is not None
        with Leash(process.pid):
            async for line in process.stdout:
                if line.endswith(b"\n"):  # the last one may be half a line
                    last_word_at = self._note(*line.decode().split())
            await process.wait()
        for number in self.asked_at:
            if number >= first and number not in self.answers:
                self._waited(number, last_word_at)

    def _note(self, what: str, number: str, figure: str, at: str) -> float:
        if what == "asked":
            self.asked_at[int(number)] = float(at)
            self.most_waiting = max(self.most_waiting, int(figure))
        else:
            self.answers[int(number)] = int(figure)
            self._waited(int(number), float(at))
            if int(figure) == 202:
                self.last_taken_asked_at = self.asked_at[int(number)]
        return float(at)

    def _waited(self, number: int, until: float) -> None:
        self.longest_seconds = max(self.longest_seconds, until - self.asked_at[number])

    def has_taken_since(self, moment: float) -> bool:
        """A webhook that came in after that."""
        return self.last_taken_asked_at > moment

    def has_refused(self) -> bool:
        return 503 in list(self.answers.values())

    def row(self, in_topic: set[int]) -> Sequence[object]:
        told = list(self.answers.values())
        taken = {number for number, status in self.answers.items() if status == 202}
        return (
            self.way,
            len(taken),
            told.count(503),
            len(self.asked_at) - len(told),
            len(taken - in_topic),
            len(in_topic - taken),
            f"{self.longest_seconds:.1f}",
            f"{self.most_waiting * len(BODY) // 1024:,}",
        )


async def run() -> None:
    with broker() as server:
        seen = [Seen(way, way.replace(" ", "-")) for way in WAYS]
        for each in seen:
            make_topic(server.brokers, each.topic)
        async with _services(seen, server.brokers) as crash:
            # On a busy machine it may be later that each has shown what it does, with a broker and
            # without.
            await asyncio.sleep(WELL_SECONDS)
            await until(lambda: all(each.has_taken_since(0) for each in seen))
            server.kill()
            gone_at = time.monotonic()
            await asyncio.sleep(CRASH_AFTER_SECONDS)
            naive, _, our_own = seen
            await until(lambda: naive.has_taken_since(gone_at) and our_own.has_refused())
            crash()
        async with _services(seen, server.brokers):
            await asyncio.sleep(gone_at + AWAY_SECONDS - time.monotonic())
            await asyncio.to_thread(server.start)
            away_seconds = time.monotonic() - gone_at
            await asyncio.sleep(WELL_SECONDS)
        rows = [each.row(_numbers_in(server.brokers, each.topic)) for each in seen]
    show(
        f"{RATE} webhooks/s; the broker is away for {away_seconds:.0f} s, and"
        f" {CRASH_AFTER_SECONDS:g} s into it the service is killed",
        ("", "202", "503", "no answer", "202, and lost", "503, yet in topic", "longest answer s",
         "held at most KiB"),
        rows,
    )  # fmt: skip


@asynccontextmanager
async def _services(seen: Sequence[Seen], brokers: str) -> AsyncIterator[Callable[[], None]]:
    """A process each, asked all the time; at the end they stop in good order, unless they were
    killed by what this gives.
    """
    processes = [await each.start(brokers) for each in seen]
    watching = [each.watch(process) for each, process in zip(seen, processes, strict=True)]
    ended = asyncio.gather(*watching)

    def signalled(number: int) -> None:
        for process in processes:
            with suppress(ProcessLookupError):
                process.send_signal(number)

    before = [len(each.asked_at) for each in seen]
    try:
        await until(lambda: all(len(s.asked_at) > b for s, b in zip(seen, before, strict=True)))
        yield lambda: signalled(signal.SIGKILL)
        signalled(signal.SIGTERM)
        await ended
    finally:
        signalled(signal.SIGKILL)
        await asyncio.gather(*(process.wait() for process in processes))


def _numbers_in(brokers: str, topic: str) -> set[int]:
    found: set[int] = set()
    end = in_topic(brokers, topic)
    with member(brokers, topic, "reader") as consumer:
        read = 0
        while read < end:
            messages = consumer.consume(1000, 1.0)
            read += len(messages)
            found |= {int(message.key() or b"") for message in messages}
    return found


if __name__ == "__main__":
    if sys.argv[1:]:
        way, brokers, topic, first = sys.argv[1:]
        uvloop.run(serve(way, brokers, topic, int(first)))
    else:
        uvloop.run(run())
