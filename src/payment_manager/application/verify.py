"""Proof that the rows are what the log says, and their repair where they are not.

How to think about it: the log is the authority, so everything else can be derived from it once
more: each row is the fold of its events, each known id stands for a recorded or a parked webhook.
`verify` derives and compares; `rebuild` writes what differs. Neither changes the log: where the log
itself is damaged, that is reported and its row left alone.

Of an order whose history is partly gone (days that left the log and are in no archive that can be
read) nothing can be said: it is counted, and neither found wrong nor written.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Generic, TypeVar
from uuid import UUID

from payment_manager.application.ports import (
    Attempt,
    Audit,
    Known,
    LogDay,
    Logged,
    Parked,
    Repairs,
    Share,
    Space,
    Stream,
    Unreadable,
    WebhookId,
)
from payment_manager.domain import dispute, order
from payment_manager.domain.decider import Outcome
from payment_manager.domain.dispute import Dispute
from payment_manager.domain.dispute_id import dispute_id_of
from payment_manager.domain.order import Order

State = TypeVar("State", Order, Dispute)
Progress = Callable[[int, int], None]
"""Called with how many orders are done, and how many there are about."""

FINDINGS_KEPT_MAX = 1000
"""Enough to see what happened; after a great damage all are counted, and memory stays flat."""

IDS_KEPT_MIN = timedelta(days=35)
"""For so long at least a webhook's id is known (`WEBHOOK_IDS_RETENTION`): taken again within that
time, it was taken twice. Later it may come again, and is recorded as what it is then: stale.
"""


class FindingKind(StrEnum):
    """What can be wrong."""

    # With the log, or with what no log could bring back: reported, never repaired.
    EVENT_UNREADABLE = "event_unreadable"
    EVENT_MISPLACED = "event_misplaced"
    SEQUENCE_BROKEN = "sequence_broken"
    TIME_NOT_INCREASING = "time_not_increasing"
    WEBHOOK_TAKEN_TWICE = "webhook_taken_twice"
    DISPUTE_WITHOUT_ORDER = "dispute_without_order"
    PARKED_UNREADABLE = "parked_unreadable"
    PARKED_WITH_ORDER = "parked_with_order"
    # With what is derived from it.
    ROW_WITHOUT_EVENTS = "row_without_events"
    EVENTS_WITHOUT_ROW = "events_without_row"
    ROW_UNREADABLE = "row_unreadable"
    ROW_DIFFERS = "row_differs"
    WEBHOOK_ID_MISSING = "webhook_id_missing"
    WEBHOOK_ID_UNFOUNDED = "webhook_id_unfounded"
    CONTENT_HASH_DIFFERS = "content_hash_differs"
    REJECTED_OVER_DIFFERS = "rejected_over_differs"


@dataclass(frozen=True, slots=True)
class Finding:
    """`stream`: the order's or the dispute's id. `is_repairable`: `rebuild` does it."""

    kind: FindingKind
    space: Space
    stream: str
    detail: str
    is_repairable: bool = False


@dataclass(slots=True)
class Report:
    """What was gone through, and what was wrong with it: `findings` are the first of them.

    I2 in figures: `webhook_ids`, the webhooks that were accepted, is the sum of `outcomes` (by what
    was recorded) and `parked`, where no id was forgotten yet.

    `unprovable`: how many orders and disputes have events in days that are `gone`.
    """

    orders: int = 0
    disputes: int = 0
    events: int = 0
    webhook_ids: int = 0
    parked: int = 0
    outcomes: Counter[tuple[Space, Outcome]] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    found: Counter[FindingKind] = field(default_factory=Counter)
    repairable: int = 0
    unprovable: int = 0
    gone: dict[LogDay, str] = field(default_factory=dict)

    @property
    def is_clean(self) -> bool:
        """Nothing was wrong."""
        return not self.found

    @property
    def is_whole(self) -> bool:
        """Of a `rebuild`: nothing is wrong any more."""
        return self.repairable == self.found.total()

    def add(self, found: Iterable[Finding]) -> None:
        for finding in found:
            self.found[finding.kind] += 1
            self.repairable += finding.is_repairable
            if len(self.findings) < FINDINGS_KEPT_MAX:
                self.findings.append(finding)


async def verify(
    audit: Audit,
    on_progress: Progress | None = None,
    *,
    ids_known_since: datetime | None = None,
) -> Report:
    """Compare everything that is stored with its log, as of one moment; writers go on meanwhile.

    Ids of webhooks that were taken before `ids_known_since` may be forgotten.
    """
    report = Report()
    async with audit.reading() as walk:
        size = await walk.size()
        lost = await walk.lost_disputes()
        report.add(_without_order(lost))
        after, is_last = "", False
        while not is_last:
            share = await walk.share(after, _orders_of(lost))
            after, is_last = share.upto, share.is_last
            report.add(_examined(share, report, ids_known_since).findings)
            if on_progress:
                on_progress(report.orders, max(size, report.orders))
    return report


async def rebuild(
    audit: Audit,
    on_progress: Progress | None = None,
    *,
    ids_known_since: datetime | None = None,
) -> Report:
    """Make every row what its log says, share by share; each share's orders are locked meanwhile.

    Parked webhooks stay. Questions to the provider that are still open are due at once.
    """
    report = Report()
    async with audit.reading() as walk:
        size = await walk.size()
        lost = await walk.lost_disputes()
    report.add(_without_order(lost))
    after, is_last = "", False
    while not is_last:
        async with audit.repairing() as walk:
            share = await walk.share(after, _orders_of(lost))
            examined = _examined(share, report, ids_known_since)
            await walk.repair(examined.repairs)
        after, is_last = share.upto, share.is_last
        report.add(examined.findings)
        if on_progress:
            on_progress(report.orders, max(size, report.orders))
    return report


def _orders_of(lost: dict[Any, str | None]) -> set[str]:
    return {order_id for order_id in lost.values() if order_id is not None}


def _without_order(lost: dict[Any, str | None]) -> list[Finding]:
    """Lost disputes that the walk doesn't come by, since no order leads to their id."""
    return [
        _misplaced(dispute_id)
        for dispute_id, order_id in lost.items()
        if order_id is None or dispute_id_of(order_id) != dispute_id
    ]


def _misplaced(dispute_id: UUID) -> Finding:
    detail = "its events name no order that has this dispute"
    return Finding(FindingKind.EVENT_MISPLACED, Space.DISPUTE, str(dispute_id), detail)


# ── A share ───────────────────────────────────────────────────────────────────────────────────────


class _Examined:
    """What was found in a share, and what there is to write."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.repairs = Repairs()

    def note(
        self, kind: FindingKind, space: Space, stream: str, detail: str, *, repairable: bool
    ) -> None:
        self.findings.append(Finding(kind, space, stream, detail, repairable))


@dataclass(slots=True)
class _Folded(Generic[State]):
    """What a log says. `stream` is None where there is nothing, or nothing that can be folded.

    `is_sound`: it says all that it should; `is_whole`: none of it is gone.
    """

    stream: Stream[State] | None = None
    is_sound: bool = True
    is_whole: bool = True
    known: dict[WebhookId, tuple[Known, datetime]] = field(default_factory=dict)
    asked_by: dict[str, str] = field(default_factory=dict)


def _examined(share: Share, report: Report, ids_known_since: datetime | None) -> _Examined:
    examined = _Examined()
    examined.findings += map(_misplaced, sorted(share.strays))
    report.gone |= share.gone
    known_by_order: dict[str, dict[WebhookId, Known]] = {}
    for webhook_id, known in share.known.items():
        known_by_order.setdefault(webhook_id.order_id, {})[webhook_id] = known
    order_ids = {
        *share.orders, *share.disputes, *share.order_events, *share.dispute_events,
        *share.parked, *known_by_order,
    }  # fmt: skip
    for order_id in sorted(order_ids):
        of_order = _folded_order(order_id, share, examined, report)
        of_dispute = _folded_dispute(order_id, share, examined, report)
        _compare_order(order_id, share, of_order, of_dispute, examined)
        _compare_dispute(order_id, share, of_dispute, of_order, examined)
        parked = share.parked.get(order_id, [])
        expected = {**of_order.known, **of_dispute.known}
        ids = known_by_order.get(order_id, {})
        if ids_known_since is not None:
            for id, (_, taken_at) in list(expected.items()):
                if taken_at < ids_known_since and id not in ids:
                    del expected[id]  # forgotten
        expected |= _known_of_parked(order_id, parked, order_id in share.orders, examined)
        # What can't be read, or is gone, may be the very webhook that an id stands for.
        if of_order.is_sound and of_dispute.is_sound and not _any_unreadable(parked):
            nowhere = {
                space
                for space, folded in ((Space.ORDER, of_order), (Space.DISPUTE, of_dispute))
                if folded.stream is None and any(day.space is space for day in share.gone)
            }
            ids = {id: ids[id] for id in ids if id in expected or id.space not in nowhere}
            _compare_known(ids, expected, examined)
        report.unprovable += (not of_order.is_whole) + (not of_dispute.is_whole)
        report.parked += len(parked)
    report.orders += len(share.orders)
    report.disputes += len(share.disputes)
    report.webhook_ids += len(share.known)
    report.events += sum(map(len, share.order_events.values()))
    report.events += sum(map(len, share.dispute_events.values()))
    return examined


# ── The log ───────────────────────────────────────────────────────────────────────────────────────


def _folded_order(
    order_id: str, share: Share, examined: _Examined, report: Report
) -> _Folded[Order]:
    folded: _Folded[Order] = _Folded()
    log = _Log(Space.ORDER, order_id, order_id, examined, share.gone)
    stored, events = share.orders.get(order_id), share.order_events.get(order_id, [])
    for logged in log.in_sequence(events, stored, folded):
        before = folded.stream
        match logged.event:
            case order.SnapshotTaken(snapshot, outcome):
                log.take(folded, snapshot, logged, outcome, None, report)
            case order.SnapshotRejected(snapshot):
                over = before.state.status if before else None
                log.take(folded, snapshot, logged, Outcome.REJECTED, over, report)
            case order.CaptureRequested(key):
                folded.asked_by[key] = logged.correlation_id
        log.evolve(folded, order.evolve, logged)
    return log.closed(folded)


def _folded_dispute(
    order_id: str, share: Share, examined: _Examined, report: Report
) -> _Folded[Dispute]:
    folded: _Folded[Dispute] = _Folded()
    log = _Log(Space.DISPUTE, order_id, str(dispute_id_of(order_id)), examined, share.gone)
    stored, events = share.disputes.get(order_id), share.dispute_events.get(order_id, [])
    for logged in log.in_sequence(events, stored, folded):
        before = folded.stream
        match logged.event:
            case dispute.NoticeTaken(notice, outcome, parked_at):
                log.take(folded, notice, logged, outcome, None, report, parked_at)
            case dispute.NoticeRejected(notice, parked_at):
                over = before.state.status if before else None
                log.take(folded, notice, logged, Outcome.REJECTED, over, report, parked_at)
            case dispute.SubmissionRequested(key):
                folded.asked_by[key] = logged.correlation_id
        log.evolve(folded, dispute.evolve, logged)
    return log.closed(folded)


@dataclass(frozen=True, slots=True)
class _Log:
    """One aggregate's log, while it is gone through."""

    space: Space
    order_id: str
    name: str
    examined: _Examined
    gone: Mapping[LogDay, str]

    def note(self, kind: FindingKind, detail: str) -> None:
        self.examined.note(kind, self.space, self.name, detail, repairable=False)

    def in_sequence(
        self,
        events: Sequence[Logged],
        stored: Stream[State] | Unreadable | None,
        folded: _Folded[State],
    ) -> Iterable[Logged]:
        """The events that can be read. What is wrong with the others is noted on the way."""
        last_sequence, last_time = 0, None
        for logged in events:
            if logged.sequence > last_sequence + 1 and self.may_be_gone(
                last_time, logged.created_at
            ):
                folded.is_whole = folded.is_sound = False
            elif logged.sequence != last_sequence + 1:
                detail = f"{logged.sequence} comes after {last_sequence}"
                self.note(FindingKind.SEQUENCE_BROKEN, detail)
                folded.is_sound = False
            # The events of one command share its time.
            if last_time is not None and logged.created_at < last_time:
                detail = f"event {logged.sequence} is earlier than the one before it"
                self.note(FindingKind.TIME_NOT_INCREASING, detail)
            last_sequence, last_time = logged.sequence, logged.created_at
            if isinstance(logged.event, Unreadable):
                detail = f"event {logged.sequence}: {logged.event.why}"
                self.note(FindingKind.EVENT_UNREADABLE, detail)
                folded.is_sound = False
            else:
                yield logged
        if self.ends_too_early(last_sequence, last_time, stored):
            folded.is_whole = folded.is_sound = False

    def may_be_gone(self, after: datetime | None, before: datetime | None) -> bool:
        """Whether events between these times may lie in a day that is gone."""
        return any(
            day.space is self.space
            and (after is None or day.day >= after.date())
            and (before is None or day.day <= before.date())
            for day in self.gone
        )

    def ends_too_early(
        self,
        last_sequence: int,
        last_time: datetime | None,
        stored: Stream[State] | Unreadable | None,
    ) -> bool:
        """Whether later events may be gone: the row is of more, or can't be asked."""
        match stored:
            case Stream(_, sequence, first_event_at, last_event_at):
                since = last_time or first_event_at
                return sequence > last_sequence and self.may_be_gone(since, last_event_at)
            case None if last_time is None:
                return False  # there never was one
            case _:
                return self.may_be_gone(last_time, None)

    def take(
        self,
        folded: _Folded[State],
        webhook: order.OrderSnapshot | dispute.ChargebackNotice,
        logged: Logged,
        outcome: Outcome,
        rejected_over: str | None,
        report: Report,
        parked_at: datetime | None = None,
    ) -> None:
        """The id that a recorded webhook must be known by, from when it was taken first."""
        if webhook.order_id != self.order_id:
            detail = f"event {logged.sequence} holds a webhook of another order"
            self.note(FindingKind.EVENT_MISPLACED, detail)
            folded.is_sound = False
        id = WebhookId(self.space, self.order_id, webhook.provider_event_id)
        taken_at = parked_at or logged.created_at
        assert logged.content_hash is not None  # every webhook has one
        known = Known(logged.content_hash, rejected_over)
        if id in folded.known and taken_at - folded.known[id][1] < IDS_KEPT_MIN:
            detail = f"event {logged.sequence} repeats {id.provider_event_id}"
            self.note(FindingKind.WEBHOOK_TAKEN_TWICE, detail)
        else:
            folded.known[id] = known, taken_at
        report.outcomes[self.space, outcome] += 1

    def evolve(
        self,
        folded: _Folded[State],
        evolve: Callable[[State | None, Any], State],
        logged: Logged,
    ) -> None:
        if not folded.is_whole:
            return
        before = folded.stream
        try:
            state = evolve(before.state if before else None, logged.event)
        except ValueError as error:
            self.note(FindingKind.SEQUENCE_BROKEN, f"event {logged.sequence}: {error}")
            folded.is_sound = False
            return
        first = before.first_event_at if before else logged.created_at
        folded.stream = Stream(state, logged.sequence, first, logged.created_at)

    def closed(self, folded: _Folded[State]) -> _Folded[State]:
        """A damaged log says nothing about its row."""
        if not folded.is_sound:
            folded.stream = None
        return folded


# ── The rows ──────────────────────────────────────────────────────────────────────────────────────


def _compare_order(
    order_id: str,
    share: Share,
    of_order: _Folded[Order],
    of_dispute: _Folded[Dispute],
    examined: _Examined,
) -> None:
    stored, stream = share.orders.get(order_id), of_order.stream
    difference = _difference(stored, stream) if of_order.is_sound else None
    if difference is None:
        return
    kind, detail = difference
    # A dispute can't be without its order: where its log is there, the order's row must stay.
    goes = stream is None and not share.dispute_events.get(order_id)
    examined.note(kind, Space.ORDER, order_id, detail, repairable=stream is not None or goes)
    if stream is not None:
        examined.repairs.orders[order_id] = stream
        for capture in stream.state.captures:
            _ask_anew(Space.ORDER, order_id, capture, of_order, examined)
    elif goes:
        examined.repairs.wiped_orders.add(order_id)
        examined.repairs.wiped_disputes.add(order_id)


def _compare_dispute(
    order_id: str,
    share: Share,
    of_dispute: _Folded[Dispute],
    of_order: _Folded[Order],
    examined: _Examined,
) -> None:
    name = str(dispute_id_of(order_id))
    stored, stream = share.disputes.get(order_id), of_dispute.stream
    if stream is not None and of_order.stream is None and order_id not in share.orders:
        if not of_order.is_whole:
            return  # its order's row is missing and can't be brought back, nor it without that
        kind, detail = FindingKind.DISPUTE_WITHOUT_ORDER, "its order has neither a row nor a log"
        examined.note(kind, Space.DISPUTE, name, detail, repairable=False)
        return
    difference = _difference(stored, stream) if of_dispute.is_sound else None
    if difference is None and of_dispute.is_sound:
        if stored is not None and share.dispute_ids[order_id] != dispute_id_of(order_id):
            difference = FindingKind.ROW_DIFFERS, "dispute_id"
        elif order_id in share.lone_intents:
            difference = FindingKind.ROW_WITHOUT_EVENTS, "a submission without a dispute"
    if difference is None:
        return
    examined.note(difference[0], Space.DISPUTE, name, difference[1], repairable=True)
    examined.repairs.wiped_disputes.add(order_id)
    if stream is not None:
        examined.repairs.disputes[order_id] = stream
        for submission in stream.state.submissions:
            _ask_anew(Space.DISPUTE, order_id, submission, of_dispute, examined)


def _difference(
    stored: Stream[State] | Unreadable | None, stream: Stream[State] | None
) -> tuple[FindingKind, str] | None:
    match stored, stream:
        case None, None:
            return None
        case _, None:
            return FindingKind.ROW_WITHOUT_EVENTS, "the row has no events"
        case None, Stream(_, sequence):
            return FindingKind.EVENTS_WITHOUT_ROW, f"{sequence} events have no row"
        case Unreadable(why), _:
            return FindingKind.ROW_UNREADABLE, why
        case Stream(), Stream() if stored != stream:
            return FindingKind.ROW_DIFFERS, ", ".join(_fields_that_differ(stored, stream))
        case _:
            return None


def _fields_that_differ(stored: Stream[State], stream: Stream[State]) -> Iterable[str]:
    for left, right in ((stored.state, stream.state), (stored, stream)):
        for each in fields(left):
            if each.name != "state" and getattr(left, each.name) != getattr(right, each.name):
                yield each.name


def _ask_anew(
    space: Space,
    order_id: str,
    attempt: order.Capture | dispute.Submission,
    folded: _Folded[State],
    examined: _Examined,
) -> None:
    """Its old time is past, so an open question is due at once."""
    asked_by = folded.asked_by[attempt.key]
    examined.repairs.attempts.append(
        Attempt(space, order_id, attempt.key, asked_by, attempt.requested_at)
    )


# ── The known ids ─────────────────────────────────────────────────────────────────────────────────


def _known_of_parked(
    order_id: str,
    parked: Sequence[Parked | Unreadable],
    order_is_there: bool,
    examined: _Examined,
) -> dict[WebhookId, tuple[Known, datetime]]:
    name = str(dispute_id_of(order_id))
    known = {}
    for each in parked:
        if isinstance(each, Unreadable):
            kind = FindingKind.PARKED_UNREADABLE
            examined.note(kind, Space.DISPUTE, name, each.why, repairable=False)
            continue
        id = WebhookId(Space.DISPUTE, order_id, each.notice.provider_event_id)
        known[id] = Known(each.content_hash), each.parked_at
        if order_is_there:
            kind, detail = FindingKind.PARKED_WITH_ORDER, f"{id.provider_event_id} waits"
            examined.note(kind, Space.DISPUTE, name, detail, repairable=False)
    return known


def _any_unreadable(parked: Iterable[Parked | Unreadable]) -> bool:
    return any(isinstance(each, Unreadable) for each in parked)


def _compare_known(
    stored: dict[WebhookId, Known],
    expected: dict[WebhookId, tuple[Known, datetime]],
    examined: _Examined,
) -> None:
    for id, (known, taken_at) in expected.items():
        kind = _fault_of_known(stored.get(id), known)
        if kind is not None:
            _note_known(kind, id, examined)
            examined.repairs.wiped_ids.add(id)
            examined.repairs.known[id] = known, taken_at
    for id in stored.keys() - expected.keys():
        _note_known(FindingKind.WEBHOOK_ID_UNFOUNDED, id, examined)
        examined.repairs.wiped_ids.add(id)


def _fault_of_known(stored: Known | None, known: Known) -> FindingKind | None:
    if stored is None:
        return FindingKind.WEBHOOK_ID_MISSING
    if stored.content_hash != known.content_hash:
        return FindingKind.CONTENT_HASH_DIFFERS
    if stored.rejected_over != known.rejected_over:
        return FindingKind.REJECTED_OVER_DIFFERS
    return None


def _note_known(kind: FindingKind, id: WebhookId, examined: _Examined) -> None:
    is_order = id.space is Space.ORDER
    name = id.order_id if is_order else str(dispute_id_of(id.order_id))
    examined.note(kind, id.space, name, id.provider_event_id, repairable=True)
