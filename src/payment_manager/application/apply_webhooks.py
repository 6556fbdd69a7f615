"""The one write path for webhooks: a batch in, an outcome for each, one transaction.

How to think about it: sync mode's requests and Kafka's polls end here alike. All orders of the
batch are locked, the webhooks are decided one after the other in the order of arrival, everything
is written at once; when this returns, it is durable. A chargeback whose order is unknown is parked,
and applied in the very transaction that creates the order, so no interleaving can leave it behind.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from payment_manager.application.ports import (
    Clock,
    Database,
    EventIds,
    Known,
    Parked,
    Space,
    Telemetry,
    Unavailable,
    WebhookId,
)
from payment_manager.application.working_set import WorkingSet
from payment_manager.domain import dispute, order
from payment_manager.domain.decider import Outcome
from payment_manager.domain.dispute import ChargebackNotice
from payment_manager.domain.dispute_id import dispute_id_of
from payment_manager.domain.order import OrderSnapshot
from payment_manager.domain.rejections import DecisionContradicts, Rejection


@dataclass(frozen=True, slots=True)
class Webhook:
    """A webhook that passed the wire's checks. `content_hash` tells its JSON value."""

    notice: OrderSnapshot | ChargebackNotice
    content_hash: bytes
    correlation_id: str

    @property
    def id(self) -> WebhookId:
        space = Space.ORDER if isinstance(self.notice, OrderSnapshot) else Space.DISPUTE
        return WebhookId(space, self.notice.order_id, self.notice.provider_event_id)


@dataclass(frozen=True, slots=True)
class Taken:
    """What a webhook came to; `rejection` says why, for a rejected one (and for its redelivery)."""

    outcome: Outcome
    order_id: str
    dispute_id: UUID | None
    rejection: Rejection | None = None


class ApplyWebhooks:
    def __init__(
        self, database: Database, clock: Clock, event_ids: EventIds, telemetry: Telemetry
    ) -> None:
        self._database = database
        self._telemetry = telemetry
        self._clock = clock
        self._event_ids = event_ids

    async def __call__(self, batch: Sequence[Webhook]) -> Sequence[Taken | Exception]:
        """One outcome a webhook, in the batch's order; all of them durable.

        A batch that fails for good (`WriteRefused`, or a fault in this program) is halved until the
        webhook that is to blame stands alone: it gets the error, its neighbours their outcomes.
        Raises `Unavailable`; what was not answered may then be applied or not, and sending it again
        is safe.
        """
        try:
            return await self._apply(batch)
        except Unavailable:
            raise
        except Exception as error:
            if len(batch) == 1:
                return [error]
            middle = len(batch) // 2
            return [*await self(batch[:middle]), *await self(batch[middle:])]

    async def _apply(self, batch: Sequence[Webhook]) -> Sequence[Taken]:
        ids = [webhook.id for webhook in batch]
        async with self._database.transaction() as transaction:
            loaded = await transaction.load(sorted({id.order_id for id in ids}), ids)
            work = WorkingSet(loaded, self._clock.now(), self._event_ids)
            taken = [_take(work, webhook, id) for webhook, id in zip(batch, ids, strict=True)]
            await transaction.save(work.changes)
        self._telemetry.webhook_batch(len(batch))
        return taken


def _take(work: WorkingSet, webhook: Webhook, id: WebhookId) -> Taken:
    notice = webhook.notice
    dispute_id = None if id.space is Space.ORDER else dispute_id_of(id.order_id)
    known = work.loaded.known.get(id)
    if known is not None:
        if known.content_hash != webhook.content_hash:
            return Taken(Outcome.CONFLICT, id.order_id, dispute_id)
        if known.rejected_over is not None:
            rejection = DecisionContradicts(known.rejected_over, _claim(notice))
            return Taken(Outcome.REJECTED, id.order_id, dispute_id, rejection)
        return Taken(Outcome.DUPLICATE, id.order_id, dispute_id)
    if isinstance(notice, OrderSnapshot):
        outcome, rejected_over = _take_snapshot(work, notice, webhook.correlation_id)
    elif work.order_of(id.order_id) is None:
        outcome, rejected_over = Outcome.PARKED, None
        parked = Parked(notice, webhook.content_hash, work.now, webhook.correlation_id)
        work.loaded.parked.setdefault(id.order_id, []).append(parked)
        work.changes.parked.append(parked)
    else:
        outcome, rejected_over = _take_notice(work, notice, None, webhook.correlation_id)
    _remember(work, id, Known(webhook.content_hash, rejected_over))
    contradicts = DecisionContradicts(rejected_over, _claim(notice)) if rejected_over else None
    return Taken(outcome, id.order_id, dispute_id, contradicts)


def _take_snapshot(
    work: WorkingSet, snapshot: OrderSnapshot, correlation_id: str
) -> tuple[Outcome, str | None]:
    before = work.order_of(snapshot.order_id)
    events = work.tell_order(
        snapshot.order_id, lambda at: order.TakeSnapshot(snapshot, at), correlation_id
    )
    if before is None:
        _apply_parked(work, snapshot.order_id)
    match events:
        case [order.SnapshotTaken(_, outcome)]:
            return outcome, None
        case _:
            assert before is not None  # the first snapshot of an order contradicts nothing
            return Outcome.REJECTED, before.status


def _take_notice(
    work: WorkingSet, notice: ChargebackNotice, parked_at: datetime | None, correlation_id: str
) -> tuple[Outcome, str | None]:
    before = work.dispute_of(notice.order_id)
    events = work.tell_dispute(
        notice.order_id, lambda at: dispute.TakeNotice(notice, at, parked_at), correlation_id
    )
    match events:
        case [dispute.NoticeTaken(_, outcome), *_]:
            return outcome, None
        case _:
            assert before is not None  # the first notice of a dispute contradicts nothing
            return Outcome.REJECTED, before.status


def _apply_parked(work: WorkingSet, order_id: str) -> None:
    """What waited for this order, in the order of parking; its id is known already, only a
    rejection is news.
    """
    waiting = work.loaded.parked.pop(order_id, [])
    if not waiting:
        return
    work.changes.unparked.append(order_id)
    work.changes.parked = [p for p in work.changes.parked if p.notice.order_id != order_id]
    for parked in waiting:
        notice = parked.notice
        _, rejected_over = _take_notice(work, notice, parked.parked_at, parked.correlation_id)
        if rejected_over is not None:
            id = WebhookId(Space.DISPUTE, order_id, notice.provider_event_id)
            _remember(work, id, Known(parked.content_hash, rejected_over))


def _remember(work: WorkingSet, id: WebhookId, known: Known) -> None:
    work.loaded.known[id] = work.changes.known[id] = known


def _claim(notice: OrderSnapshot | ChargebackNotice) -> str:
    if isinstance(notice, ChargebackNotice):
        return notice.decision or notice.status
    return notice.status
