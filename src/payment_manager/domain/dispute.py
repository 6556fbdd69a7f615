"""Disputes: our case about one order's chargeback, from the provider's notice to the last decision.

How to think about it: two hands write a dispute and neither overwrites the other. The provider's
notices (opened, updated, closed) are snapshots under the same rule as an order's: each field
belongs to the highest notice that carries it. The operator's work (evidence, submission) is
progress of its own. The status that people see is the provider's decision where there is one, else
the operator's progress.

    open ─► under_review ─► submitted ─► won | lost | canceled | closed

A decision may come from any of the first three; a plain `closed` still gives way to the others.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import assert_never
from uuid import UUID

from payment_manager.domain import rejections
from payment_manager.domain.decider import Outcome, Precedence
from payment_manager.domain.dispute_id import dispute_id_of
from payment_manager.domain.gateway import Done, Refused
from payment_manager.domain.money import Money
from payment_manager.domain.order import AttemptStatus
from payment_manager.domain.rejections import Rejection


class NoticeStatus(StrEnum):
    OPENED = "opened"
    UPDATED = "updated"
    CLOSED = "closed"


class DisputeStatus(StrEnum):
    OPEN = "open"
    UNDER_REVIEW = "under_review"
    SUBMITTED = "submitted"
    WON = "won"
    LOST = "lost"
    CLOSED = "closed"
    CANCELED = "canceled"

    @property
    def is_final(self) -> bool:
        return self not in _PROGRESS


_PROGRESS = (DisputeStatus.OPEN, DisputeStatus.UNDER_REVIEW, DisputeStatus.SUBMITTED)
_RANK = {NoticeStatus.OPENED: 0, NoticeStatus.UPDATED: 1, NoticeStatus.CLOSED: 2}


@dataclass(frozen=True, slots=True)
class ChargebackNotice:
    """A chargeback as the provider saw it at `occurred_at`.

    `decision` is given exactly for a closing notice; a plain one's is `DisputeStatus.CLOSED`.
    """

    provider_event_id: str
    order_id: str
    user_id: UUID
    status: NoticeStatus
    decision: DisputeStatus | None
    reason: str
    amount: Money
    occurred_at: datetime
    evidence_due_at: datetime | None
    payload: bytes

    @property
    def precedence(self) -> Precedence:
        level = 0 if self.decision is None else 1 if self.decision is DisputeStatus.CLOSED else 2
        return Precedence(level, self.occurred_at, _RANK[self.status], self.provider_event_id)


@dataclass(frozen=True, slots=True)
class EvidenceFile:
    """A file that the provider holds already, named by its `file_id`; `size` in bytes."""

    file_id: str
    name: str
    content_type: str
    size: int


@dataclass(frozen=True, slots=True)
class Evidence:
    fields: Mapping[str, str]
    files: tuple[EvidenceFile, ...]
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Submission:
    """One attempt to send the representment.

    `file_ids` and `fields` are what was sent, whatever changes later.
    """

    key: str
    file_ids: tuple[str, ...]
    fields: Mapping[str, str]
    status: AttemptStatus
    requested_at: datetime
    submission_id: str | None = None
    submitted_at: datetime | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Dispute:
    order_id: str
    reason: str
    amount: Money
    decision: DisputeStatus | None
    opened_at: datetime | None
    evidence_due_at: datetime | None
    closed_at: datetime | None
    latest: Precedence
    opened_from: Precedence | None
    due_from: Precedence | None
    progress: DisputeStatus = DisputeStatus.OPEN
    evidence: Evidence | None = None
    submissions: tuple[Submission, ...] = ()

    @property
    def dispute_id(self) -> UUID:
        return dispute_id_of(self.order_id)

    @property
    def status(self) -> DisputeStatus:
        return self.decision or self.progress

    @property
    def submission(self) -> Submission | None:
        """The newest attempt: while one is pending, and after a success, no other begins."""
        return self.submissions[-1] if self.submissions else None

    @property
    def pending_submission(self) -> Submission | None:
        newest = self.submission
        return newest if newest and newest.status is AttemptStatus.PENDING else None

    def submission_with(self, key: str) -> Submission | None:
        return next((attempt for attempt in self.submissions if attempt.key == key), None)


# ── Commands ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class TakeNotice:
    """`parked_at`: since when the notice waited for its order; none if it did not."""

    notice: ChargebackNotice
    at: datetime
    parked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ReplaceEvidence:
    fields: Mapping[str, str]
    files: tuple[EvidenceFile, ...]
    actor: str
    at: datetime


@dataclass(frozen=True, slots=True)
class RequestSubmission:
    key: str
    actor: str
    at: datetime


@dataclass(frozen=True, slots=True)
class RecordSubmissionAnswer:
    """The provider's definite answer; an unknown one is no news and is not recorded."""

    key: str
    answer: Done | Refused
    at: datetime


Command = TakeNotice | ReplaceEvidence | RequestSubmission | RecordSubmissionAnswer


# ── Events ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class NoticeTaken:
    notice: ChargebackNotice
    outcome: Outcome
    parked_at: datetime | None
    at: datetime


@dataclass(frozen=True, slots=True)
class NoticeRejected:
    notice: ChargebackNotice
    parked_at: datetime | None
    at: datetime


@dataclass(frozen=True, slots=True)
class EvidenceReplaced:
    fields: Mapping[str, str]
    files: tuple[EvidenceFile, ...]
    actor: str
    at: datetime


@dataclass(frozen=True, slots=True)
class SubmissionRequested:
    key: str
    file_ids: tuple[str, ...]
    fields: Mapping[str, str]
    actor: str
    at: datetime


@dataclass(frozen=True, slots=True)
class EvidenceSubmitted:
    key: str
    submission_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class SubmissionFailed:
    key: str
    error: str
    at: datetime


Event = (
    NoticeTaken
    | NoticeRejected
    | EvidenceReplaced
    | SubmissionRequested
    | EvidenceSubmitted
    | SubmissionFailed
)


# ── Decide and evolve ─────────────────────────────────────────────────────────────────────────────


def decide(command: Command, dispute: Dispute | None) -> Sequence[Event] | Rejection:
    """What the command means now: its events (none for a repeat), or why it is refused."""
    match command:
        case TakeNotice():
            return _take(command, dispute)
        case _ if dispute is None:
            return rejections.DisputeUnknown()
        case ReplaceEvidence():
            return _replace_evidence(command, dispute)
        case RequestSubmission():
            return _request_submission(command, dispute)
        case RecordSubmissionAnswer(key, answer, at):
            attempt = dispute.submission_with(key)
            if attempt is None or attempt.status is not AttemptStatus.PENDING:
                return []
            match answer:
                case Done(reference):
                    return [EvidenceSubmitted(key, reference, at)]
                case Refused(error):
                    return [SubmissionFailed(key, error, at)]
                case _:
                    assert_never(answer)
        case _:
            assert_never(command)


def _take(command: TakeNotice, dispute: Dispute | None) -> Sequence[Event]:
    notice, at, parked_at = command.notice, command.at, command.parked_at
    if dispute is None:
        return [NoticeTaken(notice, Outcome.APPLIED, parked_at, at)]
    if _contradicts(notice.decision, dispute.decision):
        return [NoticeRejected(notice, parked_at, at)]
    after = _merge(dispute, notice)
    news = notice.precedence > dispute.latest or (after.opened_at, after.evidence_due_at) != (
        dispute.opened_at,
        dispute.evidence_due_at,
    )
    taken = NoticeTaken(notice, Outcome.APPLIED if news else Outcome.STALE, parked_at, at)
    pending = dispute.pending_submission
    if after.decision is not None and pending is not None:
        # Nobody asks the provider again, so the attempt must end here. The text doesn't name the
        # decision: a plain `closed` may still be replaced, and arrival must not show in the state.
        return [taken, SubmissionFailed(pending.key, "the dispute was decided meanwhile", at)]
    return [taken]


def _contradicts(claimed: DisputeStatus | None, standing: DisputeStatus | None) -> bool:
    """A plain `closed` decides nothing, so it contradicts nothing."""
    plain = (None, DisputeStatus.CLOSED)
    return claimed not in plain and standing not in plain and claimed is not standing


def _replace_evidence(command: ReplaceEvidence, dispute: Dispute) -> Sequence[Event] | Rejection:
    evidence = dispute.evidence
    if dispute.pending_submission is not None:
        return rejections.SubmissionInProgress()
    if dispute.status not in (DisputeStatus.OPEN, DisputeStatus.UNDER_REVIEW):
        return rejections.DisputeStatusForbids(dispute.status)
    if evidence and (evidence.fields, evidence.files) == (command.fields, command.files):
        return []
    return [EvidenceReplaced(command.fields, command.files, command.actor, command.at)]


def _request_submission(
    command: RequestSubmission, dispute: Dispute
) -> Sequence[Event] | Rejection:
    if dispute.submission_with(command.key) or dispute.pending_submission:
        return []
    if dispute.status not in (DisputeStatus.OPEN, DisputeStatus.UNDER_REVIEW):
        return rejections.DisputeStatusForbids(dispute.status)
    evidence = dispute.evidence
    if evidence is None:
        return rejections.EvidenceMissing()
    if not evidence.files:
        return rejections.FileMissing()
    file_ids = tuple(file.file_id for file in evidence.files)
    return [SubmissionRequested(command.key, file_ids, evidence.fields, command.actor, command.at)]


def evolve(dispute: Dispute | None, event: Event) -> Dispute:
    """The dispute after the event.

    The first event of a dispute is always a notice that was taken; for another `ValueError` is
    raised, since such a log is damaged.
    """
    if dispute is None:
        if not isinstance(event, NoticeTaken):
            raise ValueError(f"a dispute's log can't begin with {type(event).__name__}")
        return _first(event.notice)
    match event:
        case NoticeTaken(notice):
            return _merge(dispute, notice)
        case NoticeRejected():
            return dispute
        case EvidenceReplaced(fields, files, _, at):
            return replace(
                dispute, evidence=Evidence(fields, files, at), progress=DisputeStatus.UNDER_REVIEW
            )
        case SubmissionRequested(key, file_ids, fields, _, at):
            attempt = Submission(key, file_ids, fields, AttemptStatus.PENDING, at)
            return replace(dispute, submissions=(*dispute.submissions, attempt))
        case EvidenceSubmitted(key, submission_id, at):
            settled = _settle(
                dispute,
                key,
                lambda attempt: replace(
                    attempt,
                    status=AttemptStatus.SUCCESS,
                    submission_id=submission_id,
                    submitted_at=at,
                ),
            )
            return replace(settled, progress=DisputeStatus.SUBMITTED)
        case SubmissionFailed(key, error):
            return _settle(
                dispute,
                key,
                lambda attempt: replace(attempt, status=AttemptStatus.FAILED, error=error),
            )
        case _:
            assert_never(event)


def _first(notice: ChargebackNotice) -> Dispute:
    precedence = notice.precedence
    opens = notice.status is NoticeStatus.OPENED
    return Dispute(
        order_id=notice.order_id,
        reason=notice.reason,
        amount=notice.amount,
        decision=notice.decision,
        opened_at=notice.occurred_at if opens else None,
        evidence_due_at=notice.evidence_due_at,
        closed_at=notice.occurred_at if notice.decision else None,
        latest=precedence,
        opened_from=precedence if opens else None,
        due_from=precedence if notice.evidence_due_at else None,
    )


def _merge(dispute: Dispute, notice: ChargebackNotice) -> Dispute:
    """Each field from the highest notice that carries it.

    A stale one may still move a field's provenance: the same value, from a higher notice.
    """
    precedence = notice.precedence
    merged = dispute
    if notice.status is NoticeStatus.OPENED and _higher(precedence, dispute.opened_from):
        merged = replace(merged, opened_at=notice.occurred_at, opened_from=precedence)
    if notice.evidence_due_at is not None and _higher(precedence, dispute.due_from):
        merged = replace(merged, evidence_due_at=notice.evidence_due_at, due_from=precedence)
    if precedence > dispute.latest:
        # A closing notice is above all others, so only a higher decision replaces a decision.
        merged = replace(
            merged,
            reason=notice.reason,
            amount=notice.amount,
            decision=notice.decision,
            closed_at=notice.occurred_at if notice.decision else None,
            latest=precedence,
        )
    return merged


def _higher(precedence: Precedence, than: Precedence | None) -> bool:
    return than is None or precedence > than


def _settle(dispute: Dispute, key: str, settled: Callable[[Submission], Submission]) -> Dispute:
    return replace(
        dispute,
        submissions=tuple(settled(a) if a.key == key else a for a in dispute.submissions),
    )
