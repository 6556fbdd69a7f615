"""A small world with something of everything, made through the real write path."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.postgres.transactions import PostgresDatabase
from payment_manager.application.ports import Attempt, Space
from payment_manager.application.verify import FindingKind, Report
from payment_manager.application.working_set import WorkingSet
from payment_manager.domain import dispute as disputes
from payment_manager.domain import order as orders
from payment_manager.domain.dispute import EvidenceFile
from payment_manager.domain.gateway import Done, Refused
from payment_manager.domain.money import Money
from payment_manager.domain.order import HoldReason
from payment_manager.domain.rejections import Rejection
from tests.adapters.conftest import Query, write_path
from tests.clock import FakeClock, FakeEventIds
from tests.webhooks import as_webhook, chargeback_webhook, order_webhook

USD_5 = Money(500, "USD")
TABLES = (
    "orders", "disputes", "evidence", "provider_intents", "order_events", "dispute_events",
    "webhook_ids", "parked_webhooks",
)  # fmt: skip

OrderCommand = Callable[[datetime], orders.Command]
DisputeCommand = Callable[[datetime], disputes.Command]


class World:
    """Orders with something of everything. `step` passes before each thing that happens."""

    def __init__(
        self, pool: AsyncConnectionPool, clock: FakeClock, step: timedelta = timedelta(seconds=1)
    ) -> None:
        self._clock, self._event_ids, self._step = clock, FakeEventIds(), step
        self._apply = write_path(pool, clock, self._event_ids)
        self._database = PostgresDatabase(pool)

    async def webhooks(self, *bodies: bytes) -> None:
        self._clock.set(self._clock.now() + self._step)
        await self._apply([as_webhook(body) for body in bodies])

    @asynccontextmanager
    async def work(self, order_id: str) -> AsyncIterator[WorkingSet]:
        self._clock.set(self._clock.now() + self._step)
        async with self._database.transaction() as transaction:
            loaded = await transaction.load([order_id])
            work = WorkingSet(loaded, self._clock.now(), self._event_ids)
            yield work
            await transaction.save(work.changes)

    async def order(self, order_id: str, *commands: OrderCommand) -> None:
        async with self.work(order_id) as work:
            for command in commands:
                match work.tell_order(order_id, command, "test"):
                    case [orders.CaptureRequested(key)]:
                        work.will_ask(Attempt(Space.ORDER, order_id, key, "test", work.now))
                    case result:
                        assert not isinstance(result, Rejection)

    async def dispute(self, order_id: str, *commands: DisputeCommand) -> None:
        async with self.work(order_id) as work:
            for command in commands:
                match work.tell_dispute(order_id, command, "test"):
                    case [disputes.SubmissionRequested(key)]:
                        work.will_ask(Attempt(Space.DISPUTE, order_id, key, "test", work.now))
                    case result:
                        assert not isinstance(result, Rejection)

    async def make(self) -> None:
        await self.webhooks(order_webhook("plain"), order_webhook("plain", "success", 9))
        await self.webhooks(order_webhook("plain", "updated", 5), order_webhook("plain", "failed"))
        await self.webhooks(order_webhook("held", "updated"))
        await self.order("held", lambda at: orders.SetHold(HoldReason.RISK, "ann", at))
        await self.webhooks(order_webhook("captured"), order_webhook("capturing"))
        await self.order(
            "captured",
            lambda at: orders.RequestCapture("k-1", USD_5, "ann", at),
            lambda at: orders.RecordCaptureAnswer("k-1", Refused("declined", "txn-0"), at),
            lambda at: orders.RequestCapture("k-2", USD_5, "ann", at),
            lambda at: orders.RecordCaptureAnswer("k-2", Done("txn-1"), at),
        )
        await self.order("capturing", lambda at: orders.RequestCapture("k", USD_5, "ann", at))
        await self.webhooks(chargeback_webhook("disputed", evidence_due_at="2026-02-01T00:00:00Z"))
        await self.webhooks(order_webhook("disputed"), chargeback_webhook("waits"))
        files = (EvidenceFile("file-1", "a.pdf", "application/pdf", 12),)
        await self.dispute(
            "disputed",
            lambda at: disputes.ReplaceEvidence({"note": "delivered"}, files, "bob", at),
            lambda at: disputes.RequestSubmission("s-1", "bob", at),
            lambda at: disputes.RecordSubmissionAnswer("s-1", Refused("File not ready"), at),
            lambda at: disputes.RequestSubmission("s-2", "bob", at),
        )
        await self.webhooks(
            order_webhook("decided"),
            chargeback_webhook("decided", "opened", 1),
            chargeback_webhook("decided", "closed", 5, "won"),
            chargeback_webhook("decided", "closed", 6, "lost"),
        )


async def everything(query: Query) -> dict[str, list[tuple[Any, ...]]]:
    """All rows, but for when something is due and when a webhook's batch began."""
    row = "to_jsonb(t) - 'next_attempt_at' - 'taken_at'"
    return {
        table: sorted(await query(f"SELECT ({row})::text FROM {table} AS t")) for table in TABLES
    }


def found(report: Report) -> dict[FindingKind, list[str]]:
    """The details of what was found, by kind."""
    kinds: dict[FindingKind, list[str]] = {}
    for finding in report.findings:
        kinds.setdefault(finding.kind, []).append(finding.detail)
    return kinds
