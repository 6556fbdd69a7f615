"""Any life of an order or a dispute: whatever is asked, and in whatever order, these always hold.

How to think about it: a machine sends any commands, contradicting and senseless ones included, and
keeps the log. What it checks after each are the promises that money hangs on (one success, one
attempt in flight, a decision that stays), that the log alone gives the state (I3), and that
`decide` has an answer for everything: a raise ends the test.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from payment_manager.domain import dispute as disputes
from payment_manager.domain import order as orders
from payment_manager.domain import rejections
from payment_manager.domain.decider import Outcome, fold
from payment_manager.domain.dispute import (
    ChargebackNotice,
    Dispute,
    DisputeStatus,
    EvidenceFile,
    EvidenceReplaced,
    NoticeRejected,
    NoticeTaken,
    SubmissionRequested,
)
from payment_manager.domain.gateway import Done, Refused
from payment_manager.domain.money import Money
from payment_manager.domain.order import (
    AttemptStatus,
    CaptureRequested,
    HoldReason,
    Order,
    OrderSnapshot,
    OrderStatus,
    SnapshotRejected,
    SnapshotTaken,
)
from payment_manager.domain.rejections import Rejection
from tests.domain.histories import (
    AMOUNTS,
    ANSWERS,
    DISPUTE_WORK,
    FIELDS,
    FILES,
    KEYS,
    ORDER_WORK,
    TIMES,
    UNDECIDED_DISPUTE,
    UNDECIDED_ORDER,
    notices,
    snapshots,
)
from tests.domain.scenario import take, take_notice

# Forty steps are enough to reach every state; eighty such lives take a second.
lives = settings(max_examples=80, stateful_step_count=40, deadline=None)

# Decisions are rare, since after one there is little left to do.
ANY_SNAPSHOT = snapshots((*UNDECIDED_ORDER * 8, "success", "failed"))
ANY_NOTICE = notices((*UNDECIDED_DISPUTE * 12, "closed", "won", "lost", "canceled"))


def order_row(order: Order | None) -> object:
    """What people see of it: all but from which webhook each field came."""
    return order and (
        *(order.user_id, order.status, order.created_at, order.updated_at, order.amount),
        *(order.hold_reason, order.hold_changed_at, order.captures),
    )


def dispute_row(dispute: Dispute | None) -> object:
    return dispute and (
        *(dispute.status, dispute.reason, dispute.amount, dispute.opened_at, dispute.closed_at),
        *(dispute.evidence_due_at, dispute.evidence, dispute.submissions),
    )


class OrderLife(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.order: Order | None = None
        self.log: list[orders.Event] = []
        self.decision: OrderStatus | None = None

    def ask(self, command: orders.Command) -> Sequence[orders.Event] | Rejection:
        before, result = self.order, orders.decide(command, self.order)
        if isinstance(result, Rejection):
            return result
        self.order = fold(orders.evolve, result, before)
        self.log.extend(result)
        if self.order and self.order.status.is_final and self.decision is None:
            self.decision = self.order.status
        return result

    def ask_twice(self, command: orders.Command) -> Sequence[orders.Event] | Rejection:
        """An operator's repeat is no news, and what was refused is refused again."""
        first, after = self.ask(command), self.order
        second = self.ask(command)
        assert second == (first if isinstance(first, Rejection) else [])
        assert self.order == after
        return first

    @initialize(seen=snapshots(UNDECIDED_ORDER))
    def first_webhook(self, seen: OrderSnapshot) -> None:
        self.ask(take(seen))

    @rule(seen=ANY_SNAPSHOT)
    def webhook(self, seen: OrderSnapshot) -> None:
        before = self.order
        result = self.ask(take(seen))
        assert not isinstance(result, Rejection)
        (event,) = result
        match event:
            case SnapshotTaken(outcome=Outcome.APPLIED):
                assert self.order != before
            case SnapshotTaken(outcome=Outcome.STALE):
                assert order_row(self.order) == order_row(before)
            case SnapshotRejected():
                assert before is not None
                assert self.order == before
                assert {before.status, seen.status} == {OrderStatus.SUCCESS, OrderStatus.FAILED}
            case _:
                raise AssertionError(event)
        assert not seen.status.is_final or (self.order and self.order.status.is_final)

    @rule(reason=st.sampled_from(HoldReason), at=TIMES)
    def set_hold(self, reason: HoldReason, at: datetime) -> None:
        self.ask_twice(orders.SetHold(reason, "ann", at))

    @rule(at=TIMES)
    def clear_hold(self, at: datetime) -> None:
        result = self.ask_twice(orders.ClearHold("ann", at))
        assert isinstance(result, rejections.OrderUnknown) or not isinstance(result, Rejection)
        assert self.order is None or not self.order.on_hold

    @rule(key=KEYS, money=AMOUNTS, at=TIMES)
    def capture(self, key: str, money: Money, at: datetime) -> None:
        before = self.order
        result = self.ask_twice(orders.RequestCapture(key, money, "ann", at))
        if isinstance(result, Rejection) or not result:
            return
        assert before is not None
        assert not before.on_hold
        assert not before.status.is_final
        assert before.capture is None or before.capture.status is AttemptStatus.FAILED

    @rule(key=KEYS, answer=ANSWERS, at=TIMES)
    def answer(self, key: str, answer: Done | Refused, at: datetime) -> None:
        self.ask_twice(orders.RecordCaptureAnswer(key, answer, at))
        assert self.order is None or all(
            capture.status is not AttemptStatus.PENDING
            for capture in self.order.captures
            if capture.key == key
        )

    @rule(answer=ANSWERS, at=TIMES)
    def answer_what_is_pending(self, answer: Done | Refused, at: datetime) -> None:
        if self.order and self.order.capture:
            self.ask_twice(orders.RecordCaptureAnswer(self.order.capture.key, answer, at))

    @invariant()
    def the_log_gives_the_state(self) -> None:
        assert fold(orders.evolve, self.log) == self.order

    @invariant()
    def at_most_one_capture_succeeds_and_it_is_the_newest(self) -> None:
        captures = self.order.captures if self.order else ()
        succeeded = [each for each in captures if each.status is AttemptStatus.SUCCESS]
        assert succeeded in ([], list(captures[-1:]))

    @invariant()
    def at_most_one_capture_is_pending_and_it_is_the_newest(self) -> None:
        captures = self.order.captures if self.order else ()
        pending = [each for each in captures if each.status is AttemptStatus.PENDING]
        assert pending in ([], list(captures[-1:]))

    @invariant()
    def a_key_is_used_once(self) -> None:
        keys = [event.key for event in self.log if isinstance(event, CaptureRequested)]
        assert len(keys) == len(set(keys))

    @invariant()
    def the_first_decision_stays(self) -> None:
        assert self.decision is None or (self.order and self.order.status is self.decision)


class DisputeLife(RuleBasedStateMachine):
    # From each status to those that a step may lead to; spec's picture, read from left to right.
    DECISIONS: ClassVar = {DisputeStatus.WON, DisputeStatus.LOST, DisputeStatus.CANCELED}
    FINAL: ClassVar = {*DECISIONS, DisputeStatus.CLOSED}
    STEPS: ClassVar[dict[DisputeStatus, set[DisputeStatus]]] = {
        DisputeStatus.OPEN: {DisputeStatus.UNDER_REVIEW, *FINAL},
        DisputeStatus.UNDER_REVIEW: {DisputeStatus.SUBMITTED, *FINAL},
        DisputeStatus.SUBMITTED: FINAL,
        DisputeStatus.CLOSED: DECISIONS,
        DisputeStatus.WON: set(),
        DisputeStatus.LOST: set(),
        DisputeStatus.CANCELED: set(),
    }

    def __init__(self) -> None:
        super().__init__()
        self.dispute: Dispute | None = None
        self.log: list[disputes.Event] = []

    def ask(self, command: disputes.Command) -> Sequence[disputes.Event] | Rejection:
        before, result = self.dispute, disputes.decide(command, self.dispute)
        if isinstance(result, Rejection):
            return result
        self.dispute = fold(disputes.evolve, result, before)
        self.log.extend(result)
        if before and self.dispute and before.status is not self.dispute.status:
            assert self.dispute.status in self.STEPS[before.status]
        return result

    def ask_twice(self, command: disputes.Command) -> Sequence[disputes.Event] | Rejection:
        """An operator's repeat is no news, and what was refused is refused again."""
        first, after = self.ask(command), self.dispute
        second = self.ask(command)
        assert second == (first if isinstance(first, Rejection) else [])
        assert self.dispute == after
        return first

    @initialize(said=notices(UNDECIDED_DISPUTE))
    def first_webhook(self, said: ChargebackNotice) -> None:
        self.ask(take_notice(said))

    @rule(said=ANY_NOTICE)
    def webhook(self, said: ChargebackNotice) -> None:
        before = self.dispute
        result = self.ask(take_notice(said))
        assert not isinstance(result, Rejection)
        match result[0]:
            case NoticeTaken(outcome=Outcome.APPLIED):
                assert self.dispute != before
            case NoticeTaken(outcome=Outcome.STALE):
                assert dispute_row(self.dispute) == dispute_row(before)
            case NoticeRejected():
                assert before is not None
                assert self.dispute == before
                assert before.status in self.DECISIONS - {said.decision}
                assert said.decision in self.DECISIONS
            case _:
                raise AssertionError(result)
        assert not said.decision or (self.dispute and self.dispute.status.is_final)

    @rule(fields=FIELDS, files=FILES, at=TIMES)
    def replace_evidence(
        self, fields: dict[str, str], files: tuple[EvidenceFile, ...], at: datetime
    ) -> None:
        before = self.dispute
        result = self.ask_twice(disputes.ReplaceEvidence(fields, files, "ann", at))
        if isinstance(result, Rejection):
            return
        assert before is not None
        assert before.pending_submission is None
        assert before.status in (DisputeStatus.OPEN, DisputeStatus.UNDER_REVIEW)

    @rule(key=KEYS, at=TIMES)
    def submit(self, key: str, at: datetime) -> None:
        before = self.dispute
        result = self.ask_twice(disputes.RequestSubmission(key, "ann", at))
        if isinstance(result, Rejection) or not result:
            return
        assert before is not None
        assert before.evidence is not None
        assert before.evidence.files
        assert before.status in (DisputeStatus.OPEN, DisputeStatus.UNDER_REVIEW)

    @rule(key=KEYS, answer=ANSWERS, at=TIMES)
    def answer(self, key: str, answer: Done | Refused, at: datetime) -> None:
        self.ask_twice(disputes.RecordSubmissionAnswer(key, answer, at))

    @rule(fields=FIELDS, key=KEYS, at=TIMES)
    def replace_evidence_and_submit(self, fields: dict[str, str], key: str, at: datetime) -> None:
        self.replace_evidence(fields, (EvidenceFile("f-1", "a", "text/plain", 1),), at)
        self.submit(key, at)

    @rule(answer=ANSWERS, at=TIMES)
    def answer_what_is_pending(self, answer: Done | Refused, at: datetime) -> None:
        if self.dispute and self.dispute.pending_submission:
            self.ask_twice(
                disputes.RecordSubmissionAnswer(self.dispute.pending_submission.key, answer, at)
            )

    @invariant()
    def the_log_gives_the_state(self) -> None:
        assert fold(disputes.evolve, self.log) == self.dispute

    @invariant()
    def at_most_one_submission_succeeds_and_it_is_the_newest(self) -> None:
        attempts = self.dispute.submissions if self.dispute else ()
        succeeded = [each for each in attempts if each.status is AttemptStatus.SUCCESS]
        assert succeeded in ([], list(attempts[-1:]))

    @invariant()
    def only_the_newest_submission_is_pending_and_only_before_a_decision(self) -> None:
        attempts = self.dispute.submissions if self.dispute else ()
        pending = [each for each in attempts if each.status is AttemptStatus.PENDING]
        assert pending in ([], list(attempts[-1:]))
        assert not (pending and self.dispute and self.dispute.status.is_final)

    @invariant()
    def a_key_is_used_once(self) -> None:
        keys = [event.key for event in self.log if isinstance(event, SubmissionRequested)]
        assert len(keys) == len(set(keys))

    @invariant()
    def it_is_submitted_exactly_when_a_submission_succeeded(self) -> None:
        newest = self.dispute and self.dispute.submission
        succeeded = bool(newest and newest.status is AttemptStatus.SUCCESS)
        progress = self.dispute.progress if self.dispute else None
        assert succeeded == (progress is DisputeStatus.SUBMITTED)

    @invariant()
    def evidence_moves_it_to_under_review(self) -> None:
        given = any(isinstance(event, EvidenceReplaced) for event in self.log)
        progress = self.dispute.progress if self.dispute else DisputeStatus.OPEN
        assert given == (progress is not DisputeStatus.OPEN)


TestAnOrdersLife = OrderLife.TestCase
TestAnOrdersLife.settings = lives
TestADisputesLife = DisputeLife.TestCase
TestADisputesLife.settings = lives


@given(ORDER_WORK)
def test_without_an_order_all_work_is_refused(work: list[orders.Command]) -> None:
    assert {orders.decide(each, None) for each in work} <= {rejections.OrderUnknown()}


@given(DISPUTE_WORK)
def test_without_a_dispute_all_work_is_refused(work: list[disputes.Command]) -> None:
    refused = [disputes.decide(each, None) for each in work]
    assert all(each == rejections.DisputeUnknown() for each in refused)
