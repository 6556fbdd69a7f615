"""A believable history, for trying things out on.

How to think about it: every step of a life goes through the same use cases as in service, on a
database in memory and with the clock set to the past; what they would have written in many
transactions is then written in a few large ones. So a seeded history is as sound as a lived one:
`verify` finds nothing in it.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from uuid import UUID

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.postgres import rows
from payment_manager.adapters.postgres.errors import translated
from payment_manager.adapters.postgres.partitions.native import NativePartitions
from payment_manager.adapters.postgres.seed_lives import Happens, Lives
from payment_manager.adapters.postgres.statements import SQL
from payment_manager.adapters.postgres.transactions import PostgresTransaction
from payment_manager.application.apply_webhooks import ApplyWebhooks, Webhook
from payment_manager.application.ports import (
    Attempt,
    Changes,
    Known,
    Loaded,
    OpenIntents,
    Parked,
    PartitionHealth,
    Space,
    WebhookId,
)
from payment_manager.application.working_set import WorkingSet
from payment_manager.contracts.commands import read_notice
from payment_manager.contracts.envelope import Kind
from payment_manager.domain import dispute, order

# Some seconds of work and some megabytes: the progress bar moves, and a statement's cost is shared.
ORDERS_PER_WRITE = 1000

# Of the chargebacks, one in so many is about an order that never appears.
DISPUTES_PER_STRAY = 500

# About as many orders as a customer makes in two months; some make far more.
ORDERS_PER_USER = 12

CORRELATION_ID = "seed"

# One seeding at a time: two would choose the same ids.
_LOCK = "SELECT pg_try_advisory_lock(8230617002)"
_UNLOCK = "SELECT pg_advisory_unlock(8230617002)"

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class SeedReport:
    """What was added. `prefix`: how the ids of this run's orders begin."""

    prefix: str
    orders: int
    disputes: int
    events: int
    webhooks: int
    parked: int


async def seed(
    pool: AsyncConnectionPool,
    *,
    orders: int = 50_000,
    disputes: int = 5_000,
    days: int = 60,
    now: datetime,
    rng_seed: int = 1,
    on_progress: Progress | None = None,
) -> SeedReport:
    """Add so many orders, and chargebacks for so many of them, recorded over the last `days` days.

    The same seed after the same number of runs gives the same history. `on_progress` is told how
    many orders are written, of how many. Raises `Unavailable`, and `ValueError` for numbers that
    make no sense and while another seeding is at work; what was written stays, and is sound.
    """
    if not 0 <= disputes <= orders or days < 1:
        raise ValueError("at most one dispute an order, and at least one day")
    first = now - timedelta(days=days)
    # From a day before: a chargeback may overtake the first order's webhook.
    await NativePartitions(pool).make(first.date() - timedelta(days=1), now.date())
    with translated():
        async with pool.connection() as connection, _alone(connection):
            run = await _run_number(connection)
            prefix = f"seed{run}-"
            chance = Random(f"{rng_seed}:{run}")
            lives = Lives(chance, now=now, days=days, users=1 + orders // ORDERS_PER_USER)
            writer = _Writer(connection, chance)
            disputed = set(chance.sample(range(orders), disputes))
            for start in range(0, orders, ORDERS_PER_WRITE):
                end = min(start + ORDERS_PER_WRITE, orders)
                await writer.write(
                    (id, lives.order(id, is_disputed=number in disputed))
                    for number in range(start, end)
                    for id in (f"{prefix}{number:06}",)
                )
                if on_progress:
                    on_progress(end, orders)
            strays = [f"{prefix}stray-{n}" for n in range(-(-disputes // DISPUTES_PER_STRAY))]
            await writer.write((id, lives.stray_chargeback(id)) for id in strays)
            # So that plans and `print-db-size` know of it at once.
            await connection.execute("ANALYZE")
    return writer.report(prefix)


@asynccontextmanager
async def _alone(connection: AsyncConnection) -> AsyncIterator[None]:
    cursor = await connection.execute(_LOCK)
    if await cursor.fetchone() != (True,):
        raise ValueError("another seeding is at work on this database")
    await connection.execute("SET statement_timeout = '5min'")
    try:
        yield
    finally:
        if not connection.broken:
            await connection.execute("RESET statement_timeout")
            await connection.execute(_UNLOCK)


async def _run_number(connection: AsyncConnection) -> int:
    cursor = await connection.execute(SQL["seed_runs"])
    row = await cursor.fetchone()
    assert row is not None  # an aggregate always has one row
    return int(row[0]) + 1


# ── Lives, lived ──────────────────────────────────────────────────────────────────────────────────


class _Writer:
    def __init__(self, connection: AsyncConnection, chance: Random) -> None:
        self._connection = connection
        self._moment = _Moment(chance)
        self._orders = self._disputes = self._events = self._webhooks = self._parked = 0

    async def write(self, lives: Iterable[tuple[str, Sequence[Happens]]]) -> None:
        """Live these lives, then write what came of them in one transaction."""
        draft = _Draft()
        apply = ApplyWebhooks(draft, self._moment, self._moment, _NoTelemetry())
        for order_id, life in lives:
            for happens in life:
                self._moment.at = happens.at
                match happens.kind:
                    case "order webhook" | "chargeback webhook":
                        self._webhooks += 1
                        await apply([_webhook(happens)])
                    case "order command" | "dispute command":
                        await self._tell(draft, order_id, happens)
        await self._save(draft)

    async def _tell(self, draft: "_Draft", order_id: str, happens: Happens) -> None:
        """What is refused, a capture while on hold for one, leaves nothing, as in life."""
        at, key = happens.at, None
        work = WorkingSet(await draft.load([order_id]), at, self._moment)
        if happens.kind == "order command":
            space = Space.ORDER
            match work.tell_order(order_id, happens.step, CORRELATION_ID):
                case [order.CaptureRequested(asked)]:
                    key = asked
        else:
            space = Space.DISPUTE
            match work.tell_dispute(order_id, happens.step, CORRELATION_ID):
                case [dispute.SubmissionRequested(asked)]:
                    key = asked
        if key is not None:
            work.will_ask(Attempt(space, order_id, key, CORRELATION_ID, at))
        await draft.save(work.changes)

    async def _save(self, draft: "_Draft") -> None:
        changes = draft.changes
        async with self._connection.pipeline(), self._connection.transaction():
            await PostgresTransaction(self._connection).save(changes)
            ids = [rows.webhook_id_row(id, *taken) for id, taken in draft.known.items()]
            if ids:
                values = {"rows": rows.as_json(ids)}
                await self._connection.execute(SQL["save_webhook_ids"], values)
        self._orders += len(changes.orders)
        self._disputes += len(changes.disputes)
        self._events += len(changes.events)
        self._parked += len(changes.parked)

    def report(self, prefix: str) -> SeedReport:
        return SeedReport(
            prefix, self._orders, self._disputes, self._events, self._webhooks, self._parked
        )


def _webhook(happens: Happens) -> Webhook:
    kind = Kind.ORDER if happens.kind == "order webhook" else Kind.DISPUTE
    return Webhook(*read_notice(kind, happens.step), CORRELATION_ID)


class _Moment:
    """`Clock` and `EventIds` of the moment that is told: UUIDv7s of its millisecond."""

    at: datetime

    def __init__(self, chance: Random) -> None:
        self._chance = chance

    def now(self) -> datetime:
        return self.at

    def next(self) -> UUID:
        milliseconds = int(self.at.timestamp() * 1000)
        chance = self._chance.getrandbits(74)
        version_and_chance = 0x7 << 76 | (chance >> 62) << 64
        variant_and_chance = 0b10 << 62 | chance & (1 << 62) - 1
        return UUID(int=milliseconds << 80 | version_and_chance | variant_and_chance)


class _Draft:
    """`Database` in memory: what many transactions would have written, to be written in one."""

    def __init__(self) -> None:
        self.changes = Changes()
        self.known: dict[WebhookId, tuple[Known, datetime]] = {}

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["_Draft"]:
        yield self

    async def load(self, order_ids: Sequence[str], webhook_ids: Sequence[WebhookId] = ()) -> Loaded:
        stored, loaded = self.changes, Loaded()
        for id in order_ids:
            if (order := stored.orders.get(id)) is not None:
                loaded.orders[id] = order
            if (dispute := stored.disputes.get(id)) is not None:
                loaded.disputes[id] = dispute
            if parked := self._parked_of(id):
                loaded.parked[id] = parked
        for webhook_id in webhook_ids:
            if webhook_id in self.known:
                loaded.known[webhook_id], _ = self.known[webhook_id]
        return loaded

    async def save(self, changes: Changes) -> None:
        all_changes = self.changes
        all_changes.orders.update(changes.orders)
        all_changes.disputes.update(changes.disputes)
        all_changes.events.extend(changes.events)
        all_changes.evidence.update(changes.evidence)
        all_changes.requested.extend(changes.requested)
        all_changes.settled.extend(changes.settled)
        for id in changes.unparked:
            waiting = self._parked_of(id)
            all_changes.parked = [each for each in all_changes.parked if each not in waiting]
        all_changes.parked.extend(changes.parked)
        for webhook_id, known in changes.known.items():
            # Of what was parked: taken when it was parked, whatever it came to.
            recorded = changes.events[0].created_at if changes.events else None
            taken_at = recorded or changes.parked[0].parked_at
            _, taken_at = self.known.get(webhook_id, (known, taken_at))
            self.known[webhook_id] = known, taken_at

    def _parked_of(self, order_id: str) -> list[Parked]:
        return [each for each in self.changes.parked if each.notice.order_id == order_id]


class _NoTelemetry:
    """`Telemetry`: what is made up is not counted as work of the service."""

    def webhook(self, space: Space, outcome: str) -> None: ...

    def webhook_batch(self, size: int) -> None: ...

    def provider_answer(self, space: Space, answer: str) -> None: ...

    def intents(self, found: OpenIntents, now: datetime) -> None: ...

    def partitions(self, health: PartitionHealth) -> None: ...
