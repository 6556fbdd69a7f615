"""A test's own world: a database, a provider over HTTP, a clock, and as many replicas as it wants.

How to think about it: what must survive is outside of a replica, so a crash is an exception that no
replica catches, and a restart is another replica. At the end of each test every row must equal the
fold of its events, whatever the test was about.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.clock import UUIDv7s
from payment_manager.adapters.postgres.intents import PostgresIntents
from payment_manager.adapters.postgres.read_model import PostgresReadModel
from payment_manager.adapters.postgres.transactions import PostgresDatabase
from payment_manager.adapters.silvergate.client import SilvergateClient
from payment_manager.adapters.silvergate.simulator import (
    Fault,
    RunningSimulator,
)
from payment_manager.adapters.telemetry.metrics import PrometheusTelemetry
from payment_manager.application.apply_webhooks import ApplyWebhooks, Taken
from payment_manager.application.ask_provider import AskProvider
from payment_manager.application.operate import Operate, Operator
from payment_manager.application.ports import (
    Database,
    EventRow,
    EventsAsked,
    Gateway,
    ReadModel,
    Space,
    Transaction,
    Unavailable,
)
from payment_manager.application.reconcile import Reconcile
from payment_manager.contracts.events import decode_dispute_event, decode_order_event
from payment_manager.domain import dispute, order
from payment_manager.domain.decider import fold
from payment_manager.domain.dispute import Dispute, EvidenceFile
from payment_manager.domain.dispute_id import dispute_id_of
from payment_manager.domain.gateway import Answer, CaptureQuestion, RepresentmentQuestion
from payment_manager.domain.order import Order
from tests.clock import FakeClock
from tests.webhooks import as_webhook, chargeback_webhook, order_webhook

ANN = Operator("ann", "c-1")
FILE = EvidenceFile("file-1", "receipt.pdf", "application/pdf", 1024)

# By the test's clock: after it, another one may ask.
PROVIDER_TIMEOUT = timedelta(seconds=0.3)

PROVIDER_SECONDS_MAX = 60.0
"""The simulator answers within 5 ms; on a busy machine nobody gives it up before it has."""
ASK_AGAIN_AFTER = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Replica:
    operate: Operate
    reconcile: Reconcile


@dataclass(slots=True)
class World:
    pool: AsyncConnectionPool
    clock: FakeClock
    provider: RunningSimulator
    silvergate: SilvergateClient
    event_ids: UUIDv7s = field(default_factory=UUIDv7s)

    @property
    def database(self) -> PostgresDatabase:
        return PostgresDatabase(self.pool)

    @property
    def read_model(self) -> PostgresReadModel:
        return PostgresReadModel(self.pool)

    @property
    def intents(self) -> PostgresIntents:
        return PostgresIntents(self.pool)

    def replica(
        self,
        *,
        database: Database | None = None,
        gateway: Gateway | None = None,
        read_model: ReadModel | None = None,
    ) -> Replica:
        """Another process of the service. What is given stands between it and the real part."""
        database = database or self.database
        ask_provider = AskProvider(
            database,
            self.intents,
            gateway or self.silvergate,
            self.clock,
            self.event_ids,
            PrometheusTelemetry(),
            timeout=PROVIDER_TIMEOUT,
            ask_again_after=ASK_AGAIN_AFTER,
        )
        return Replica(
            Operate(
                database, read_model or self.read_model, ask_provider, self.clock, self.event_ids
            ),
            Reconcile(self.intents, ask_provider, self.clock),
        )

    async def receive(self, *bodies: bytes) -> Sequence[Any]:
        apply = ApplyWebhooks(self.database, self.clock, self.event_ids, PrometheusTelemetry())
        taken = await apply([as_webhook(body) for body in bodies])
        assert all(isinstance(each, Taken) for each in taken)
        return taken

    async def known_order(self, order_id: str = "ord-1") -> str:
        await self.receive(order_webhook(order_id))
        return order_id

    async def known_dispute(self, order_id: str = "ord-1") -> UUID:
        """Open, without evidence."""
        await self.receive(order_webhook(order_id), chargeback_webhook(order_id))
        return dispute_id_of(order_id)

    async def dispute_with_evidence(self, order_id: str = "ord-1") -> UUID:
        dispute_id = await self.known_dispute(order_id)
        answer = await self.replica().operate.replace_evidence(
            dispute_id, {"note": "It was delivered."}, (FILE,), ANN
        )
        assert isinstance(answer, dispute.Evidence)
        return dispute_id

    @contextlib.contextmanager
    def impatient(self) -> Iterator[None]:
        """A provider that is slow is given up meanwhile."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.silvergate, "_timeout_seconds", 1.0)
            yield

    async def effects_are(self, count: int) -> None:
        """Returns when the provider has had so many: one that was given up may have them later."""
        async with asyncio.timeout(60):
            while len(self.effects()) != count:
                await asyncio.sleep(0.01)

    def spoil(self, fault: Any, times: int | None = 1, delay_ms: int | None = None) -> None:
        """What goes wrong at the provider, and how often."""
        self.provider.app.faults.add(Fault(fault=fault, times=times, delay_ms=delay_ms))

    def calls(self, order_id: str = "ord-1") -> list[dict[str, Any]]:
        return self.provider.app.ledger.calls(order_id)

    def effects(self, order_id: str = "ord-1") -> list[dict[str, Any]]:
        return self.provider.app.ledger.effects(order_id)

    async def order(self, order_id: str = "ord-1") -> Order:
        return (await self.read_model.orders_by_id([order_id]))[order_id]

    async def dispute(self, order_id: str = "ord-1") -> Dispute:
        dispute_id = dispute_id_of(order_id)
        return (await self.read_model.disputes_by_id([dispute_id]))[dispute_id]

    async def events(self, space: Space, stream: str = "") -> Sequence[EventRow]:
        asked = EventsAsked(space, streams=[stream] if stream else [], ascending=True)
        return await self.read_model.events(asked, None, 1000)

    async def order_log(self, order_id: str = "ord-1") -> list[str]:
        return [event.kind for event in await self.events(Space.ORDER, order_id)]

    async def dispute_log(self, order_id: str = "ord-1") -> list[str]:
        stream = str(dispute_id_of(order_id))
        return [event.kind for event in await self.events(Space.DISPUTE, stream)]

    async def rows_equal_their_logs(self) -> None:
        logs: dict[str, list[order.Event]] = {}
        for row in await self.events(Space.ORDER):
            event = decode_order_event(row.kind, row.data, row.created_at)
            logs.setdefault(row.stream, []).append(event)
            assert row.sequence == len(logs[row.stream])
        folded = {stream: fold(order.evolve, events) for stream, events in logs.items()}
        assert await self.read_model.orders_by_id(list(logs)) == folded
        cases: dict[UUID, list[dispute.Event]] = {}
        for row in await self.events(Space.DISPUTE):
            case = cases.setdefault(UUID(row.stream), [])
            case.append(decode_dispute_event(row.kind, row.data, row.created_at))
            assert row.sequence == len(case)
        states = {stream: fold(dispute.evolve, events) for stream, events in cases.items()}
        assert await self.read_model.disputes_by_id(list(cases)) == states


# ── What can stand between a replica and a real part ──────────────────────────────────────────────


class Killed(Exception):
    """kill -9: nothing of ours catches it, nothing of ours runs afterwards."""


@dataclass(slots=True)
class InterruptedDatabase:
    """The n-th transaction raises: before it begins, or once it is committed and nobody knows."""

    database: Database
    interrupted: dict[int, Exception]
    committed: bool = False
    count: int = 0

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        self.count += 1
        error = self.interrupted.get(self.count)
        if error is not None and not self.committed:
            raise error
        async with self.database.transaction() as transaction:
            yield transaction
        if error is not None:
            raise error


@dataclass(slots=True)
class InterruptedGateway:
    """Runs something (or raises) just before the provider is asked, or just after."""

    gateway: Gateway
    before: Callable[[], Any] | None = None
    after: Callable[[], Any] | None = None

    async def capture(self, question: CaptureQuestion, *, correlation_id: str) -> Answer:
        await _run(self.before)
        answer = await self.gateway.capture(question, correlation_id=correlation_id)
        await _run(self.after)
        return answer

    async def submit_representment(
        self, question: RepresentmentQuestion, *, correlation_id: str
    ) -> Answer:
        await _run(self.before)
        answer = await self.gateway.submit_representment(question, correlation_id=correlation_id)
        await _run(self.after)
        return answer


async def _run(action: Callable[[], Any] | None) -> None:
    if action is not None:
        await action()


async def killed() -> None:
    raise Killed


class LostReadModel(PostgresReadModel):
    """Away from the n-th question on."""

    def __init__(self, pool: AsyncConnectionPool, lost_after: int) -> None:
        super().__init__(pool)
        self._left = lost_after

    def _ask(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise Unavailable("the connection is gone")

    async def orders_by_id(self, order_ids: Sequence[str]) -> dict[str, Order]:
        self._ask()
        return await super().orders_by_id(order_ids)

    async def disputes_by_id(self, dispute_ids: Sequence[UUID]) -> dict[UUID, Dispute]:
        self._ask()
        return await super().disputes_by_id(dispute_ids)
