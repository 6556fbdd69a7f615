"""Why a command is refused.

How to think about it: a refusal is a value that `decide` returns, not an accident. The tree says
what kind of refusal it is, so that an edge needs one line a branch to answer it (no HTTP numbers
here), and `code` is the name that other programs match on.

    Rejection
    ├── NotThere               OrderUnknown, DisputeUnknown, EvidenceUnknown
    ├── StateForbids           what was asked is well formed, but not now
    │   ├── OrderOnHold, OrderFinal, AlreadyCaptured, CaptureInProgress
    │   └── DisputeStatusForbids, SubmissionInProgress
    ├── RequestContradicts     what was asked contradicts what is known, and always will
    │   ├── KeyReused, AmountTooLarge, CurrencyDiffers
    │   └── EvidenceMissing, FileMissing
    └── DecisionContradicts    a webhook's decision against an earlier one; recorded all the same
"""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Rejection:
    """`code` is for programs and never changes; `detail` is for people."""

    code: ClassVar[str] = "rejected"

    @property
    def detail(self) -> str:
        return "The request was refused."


@dataclass(frozen=True, slots=True)
class NotThere(Rejection):
    pass


@dataclass(frozen=True, slots=True)
class OrderUnknown(NotThere):
    code: ClassVar[str] = "order_not_found"

    @property
    def detail(self) -> str:
        return "There is no such order."


@dataclass(frozen=True, slots=True)
class DisputeUnknown(NotThere):
    code: ClassVar[str] = "dispute_not_found"

    @property
    def detail(self) -> str:
        return "There is no such dispute."


@dataclass(frozen=True, slots=True)
class EvidenceUnknown(NotThere):
    code: ClassVar[str] = "evidence_not_found"

    @property
    def detail(self) -> str:
        return "The dispute has no evidence yet."


@dataclass(frozen=True, slots=True)
class StateForbids(Rejection):
    pass


@dataclass(frozen=True, slots=True)
class OrderOnHold(StateForbids):
    code: ClassVar[str] = "order_on_hold"

    @property
    def detail(self) -> str:
        return "The order is on hold; clear the hold before capturing."


@dataclass(frozen=True, slots=True)
class OrderFinal(StateForbids):
    code: ClassVar[str] = "order_final"
    status: str

    @property
    def detail(self) -> str:
        return f"The order is final: {self.status}."


@dataclass(frozen=True, slots=True)
class AlreadyCaptured(StateForbids):
    code: ClassVar[str] = "already_captured"

    @property
    def detail(self) -> str:
        return "The order was captured already."


@dataclass(frozen=True, slots=True)
class CaptureInProgress(StateForbids):
    code: ClassVar[str] = "capture_in_progress"

    @property
    def detail(self) -> str:
        return "Another capture of this order is under way; its outcome is not known yet."


@dataclass(frozen=True, slots=True)
class DisputeStatusForbids(StateForbids):
    code: ClassVar[str] = "dispute_status"
    status: str

    @property
    def detail(self) -> str:
        return f"The dispute's status does not allow this: {self.status}."


@dataclass(frozen=True, slots=True)
class SubmissionInProgress(StateForbids):
    code: ClassVar[str] = "submission_in_progress"

    @property
    def detail(self) -> str:
        return "A submission is under way; its evidence can't be changed."


@dataclass(frozen=True, slots=True)
class RequestContradicts(Rejection):
    pass


@dataclass(frozen=True, slots=True)
class KeyReused(RequestContradicts):
    code: ClassVar[str] = "idempotency_key_reused"

    @property
    def detail(self) -> str:
        return "This idempotency key was used with other parameters."


@dataclass(frozen=True, slots=True)
class AmountTooLarge(RequestContradicts):
    code: ClassVar[str] = "amount_exceeds_order"

    @property
    def detail(self) -> str:
        return "The amount is more than the order's."


@dataclass(frozen=True, slots=True)
class CurrencyDiffers(RequestContradicts):
    code: ClassVar[str] = "currency_mismatch"
    currency: str

    @property
    def detail(self) -> str:
        return f"The order's currency is {self.currency}."


@dataclass(frozen=True, slots=True)
class EvidenceMissing(RequestContradicts):
    code: ClassVar[str] = "no_evidence"

    @property
    def detail(self) -> str:
        return "The dispute has no evidence yet."


@dataclass(frozen=True, slots=True)
class FileMissing(RequestContradicts):
    code: ClassVar[str] = "no_evidence_file"

    @property
    def detail(self) -> str:
        return "The evidence has no file; the provider needs at least one."


@dataclass(frozen=True, slots=True)
class DecisionContradicts(Rejection):
    """The first decision stands, whatever the times of the two."""

    code: ClassVar[str] = "decision_contradicts"
    standing: str
    claimed: str

    @property
    def detail(self) -> str:
        return f"The decision {self.claimed!r} contradicts {self.standing!r}, which came first."
