"""A provider that never gives up: many connections, each webhook sent until it is acknowledged.

How to think about it: what was acknowledged is written down, and only that is a promise; a webhook
without an answer is sent again, as a real provider does. Every few webhooks an acknowledged one is
sent once more, and must be known. What comes out is the list that the log is held against.
"""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

from tests.e2e.wire import CHARGEBACKS, ORDERS
from tests.webhooks import ANN, chargeback_webhook, order_webhook

Sent = tuple[str, str, str]
"""Which webhook: its path, its order, its provider_event_id."""

USERS = 40


@dataclass(slots=True)
class Load:
    """`acknowledged`: each webhook's status, as it was first answered; of one order, in the order
    in which they were sent. `per_second`: a steady rate, else as fast as it goes.
    `knows_again`: who takes a webhook tells whether it was taken before, which Ingest can't.
    """

    port: int
    connections: int = 12
    per_second: float | None = None
    knows_again: bool = True
    retry_seconds: float = 0.02
    acknowledged: dict[Sent, int] = field(default_factory=dict)
    answers: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    slowest_seconds: float = 0.0
    _orders: Iterator[int] = field(default_factory=count)
    _over: bool = False
    _progress: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        """Webhooks flow meanwhile; at the end all that was begun is acknowledged."""
        running = asyncio.create_task(self.run())
        try:
            yield
            self.stop()
            await asyncio.wait_for(running, 60)
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    async def run(self) -> None:
        """Until `stop`, and then until all that was begun is acknowledged."""
        await asyncio.gather(*(self._work(number) for number in range(self.connections)))

    def stop(self) -> None:
        self._over = True

    async def more(self, amount: int, timeout: float = 60) -> None:
        """Returns when so many more are acknowledged."""
        wanted = len(self.acknowledged) + amount
        async with asyncio.timeout(timeout):
            while len(self.acknowledged) < wanted:
                self._progress.clear()
                await self._progress.wait()

    async def _work(self, number: int) -> None:
        dice = random.Random(number)
        with closing(Connection(self.port)) as connection:
            while not self._over:
                history = self._history(dice)
                for path, body in history:
                    await self._deliver(connection, path, body)
                    if dice.random() < 0.2:
                        await self._deliver(connection, *dice.choice(history))

    def _history(self, dice: random.Random) -> list[tuple[str, bytes]]:
        """One order's life, as badly ordered as webhooks come."""
        number = next(self._orders)
        order_id = f"load-{number}"
        order = partial(order_webhook, order_id, user_id=user(number))
        chargeback = partial(chargeback_webhook, order_id, user_id=user(number))
        history = [
            (ORDERS, order()),
            (ORDERS, order("updated", 1)),
            (ORDERS, order(dice.choice(["success", "failed"]), 2)),
            (ORDERS, order("success", 3)),
            (CHARGEBACKS, chargeback("opened", 4)),
            (CHARGEBACKS, chargeback("closed", 5, "won")),
        ]
        dice.shuffle(history)
        return history

    async def _deliver(self, connection: "Connection", path: str, body: bytes) -> None:
        read = json.loads(body)
        sent = (path, read["order_id"], read["provider_event_id"])
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            asked = loop.time()
            try:
                status, answer = await connection.post(path, body)
            except (OSError, EOFError, asyncio.IncompleteReadError):
                await asyncio.sleep(self.retry_seconds)
                continue
            self.slowest_seconds = max(self.slowest_seconds, loop.time() - asked)
            self.answers[status] += 1
            if status == 503:
                await asyncio.sleep(self.retry_seconds)
                continue
            break
        if status not in (200, 202, 422):
            self.wrong.append(f"{status} {answer}")
        elif self.knows_again and sent in self.acknowledged and status == 202:
            self.wrong.append(f"{sent} was acknowledged before, and is new now: {answer}")
        self.acknowledged.setdefault(sent, status)
        self._progress.set()
        if self.per_second is not None:
            turn = began + self.connections / self.per_second
            await asyncio.sleep(max(0.0, turn - loop.time()))


def user(number: int) -> str:
    """One of so many whose orders these are, so that Kafka mode has many keys."""
    return f"{ANN[:-2]}{number % USERS:02}"


class Connection:
    """HTTP/1.1 as far as it is needed here: a client that costs less than the service."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: bytes) -> tuple[int, Any]:
        """Status and JSON. Raises OSError or EOFError where the connection breaks."""
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection("127.0.0.1", self._port)
            reader, writer = self._streams
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            head_of_answer = await reader.readuntil(b"\r\n\r\n")
            lines = head_of_answer.decode().lower().split("\r\n")
            [length] = [int(line[15:]) for line in lines if line.startswith("content-length:")]
            answer = json.loads(await reader.readexactly(length))
            return int(lines[0].split()[1]), answer
        except (OSError, EOFError):
            self.close()
            raise

    def close(self) -> None:
        if self._streams is not None:
            with suppress(OSError):
                self._streams[1].close()
            self._streams = None
