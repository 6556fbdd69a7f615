"""Disputes, one line a case: what a notice comes to, and how evidence becomes a submission."""

import pytest

from payment_manager.domain import rejections
from payment_manager.domain.dispute import (
    ChargebackNotice,
    Command,
    Dispute,
    DisputeStatus,
    Event,
    EvidenceFile,
    EvidenceReplaced,
    EvidenceSubmitted,
    RecordSubmissionAnswer,
    ReplaceEvidence,
    RequestSubmission,
    SubmissionFailed,
    SubmissionRequested,
    decide,
    evolve,
)
from payment_manager.domain.dispute_id import dispute_id_of
from payment_manager.domain.gateway import Done, Refused
from payment_manager.domain.order import AttemptStatus
from tests.domain.scenario import (
    NOW,
    Scenario,
    at,
    notice,
    notice_applied,
    notice_rejected,
    notice_stale,
    take_notice,
    usd,
)

DisputeScenario = Scenario[Command, Dispute, Event]


def given(*events: Event) -> DisputeScenario:
    return Scenario(decide, evolve, events)


take, applied, stale, rejected = take_notice, notice_applied, notice_stale, notice_rejected
OPEN, UNDER_REVIEW = DisputeStatus.OPEN, DisputeStatus.UNDER_REVIEW
SUBMITTED, CLOSED = DisputeStatus.SUBMITTED, DisputeStatus.CLOSED
WON, LOST, CANCELED = DisputeStatus.WON, DisputeStatus.LOST, DisputeStatus.CANCELED

# The number is the minute of `occurred_at`.
OPENED_1, OPENED_5 = notice("opened", 1), notice("opened", 5, id="z")
UPDATED_5, UPDATED_9 = notice("updated", 5), notice("updated", 9)
CLOSED_3, CLOSED_7, CLOSED_9 = notice("closed", 3), notice("closed", 7), notice("closed", 9)
WON_3, WON_7, LOST_7 = notice("won", 3), notice("won", 7), notice("lost", 7)
LOST_3, CANCELED_3, CANCELED_7 = notice("lost", 3), notice("canceled", 3), notice("canceled", 7)
DUE_50_AT_1, DUE_60_AT_2 = notice("opened", 1, due=50), notice("updated", 2, due=60)
DUE_50_AT_6 = notice("updated", 6, due=50)
OTHER_AT_9 = notice("updated", 9, due=70, amount=usd(40), reason="not_received")
WON_WITH_ALL = notice("won", 3, due=80, amount=usd(30), reason="settled")
LOST_WITH_ALL = notice("lost", 99, due=90, amount=usd(20), reason="other")
# Its id stands the other way round to OPENED_5's than its rank.
UPDATED_5_A = notice("updated", 5, id="a")
A_AT_5, B_AT_5 = notice("updated", 5, id="a"), notice("updated", 5, id="b")

NOTICES: dict[str, DisputeScenario] = {
    # `opened` makes the dispute; so does what comes before it, in the state that it says.
    "opened first": given()
    .when(take(OPENED_1))
    .then(applied(OPENED_1))
    .leaving(status=OPEN, opened_at=at(1), closed_at=None, evidence_due_at=None),
    "updated first": given()
    .when(take(UPDATED_5))
    .then(applied(UPDATED_5))
    .leaving(status=OPEN, opened_at=None, closed_at=None),
    "won first": given()
    .when(take(WON_3))
    .then(applied(WON_3))
    .leaving(status=WON, opened_at=None, closed_at=at(3)),
    "lost first": given().when(take(LOST_3)).then(applied(LOST_3)).leaving(status=LOST),
    "canceled first": given()
    .when(take(CANCELED_3))
    .then(applied(CANCELED_3))
    .leaving(status=CANCELED),
    "plain closed first": given()
    .when(take(CLOSED_3))
    .then(applied(CLOSED_3))
    .leaving(status=CLOSED, closed_at=at(3)),
    "the first gives every field": given()
    .when(take(DUE_50_AT_1))
    .then(applied(DUE_50_AT_1))
    .leaving(
        dispute_id=dispute_id_of("o"),
        order_id="o",
        status=OPEN,
        reason="fraud",
        amount=usd(100),
        opened_at=at(1),
        evidence_due_at=at(50),
        closed_at=None,
        evidence=None,
        submission=None,
    ),
    "parked until its order came": given()
    .when(take(OPENED_1, parked=2))
    .then(applied(OPENED_1, parked=2))
    .leaving(status=OPEN, opened_at=at(1)),
    # What is higher is applied, by level, then time, then rank, then id.
    "updated refreshes reason, amount and due date": given(applied(DUE_50_AT_1))
    .when(take(OTHER_AT_9))
    .then(applied(OTHER_AT_9))
    .leaving(
        status=OPEN,
        reason="not_received",
        amount=usd(40),
        evidence_due_at=at(70),
        opened_at=at(1),
    ),
    "closed refreshes them too": given(applied(DUE_50_AT_1))
    .when(take(WON_WITH_ALL))
    .then(applied(WON_WITH_ALL))
    .leaving(status=WON, reason="settled", amount=usd(30), evidence_due_at=at(80), closed_at=at(3)),
    "won": given(applied(OPENED_1)).when(take(WON_3)).then(applied(WON_3)).leaving(status=WON),
    "lost": given(applied(OPENED_1)).when(take(LOST_3)).then(applied(LOST_3)).leaving(status=LOST),
    "a decision is higher whatever the times": given(applied(OPENED_1), applied(UPDATED_9))
    .when(take(WON_3))
    .then(applied(WON_3))
    .leaving(status=WON, closed_at=at(3), opened_at=at(1)),
    "a plain closed is higher whatever the times": given(applied(UPDATED_9))
    .when(take(CLOSED_3))
    .then(applied(CLOSED_3))
    .leaving(status=CLOSED, closed_at=at(3)),
    "at equal times updated is higher than opened": given(applied(OPENED_5))
    .when(take(UPDATED_5_A))
    .then(applied(UPDATED_5_A))
    .leaving(latest=UPDATED_5_A.precedence, opened_at=at(5)),
    "at equal times opened is lower than updated": given(applied(UPDATED_5_A))
    .when(take(OPENED_5))
    .then(applied(OPENED_5))
    .leaving(latest=UPDATED_5_A.precedence, opened_at=at(5)),
    "at equal ranks the higher id": given(applied(A_AT_5)).when(take(B_AT_5)).then(applied(B_AT_5)),
    "at equal ranks the lower id": given(applied(B_AT_5)).when(take(A_AT_5)).then(stale(A_AT_5)),
    "a later opened moves opened_at": given(applied(OPENED_1))
    .when(take(OPENED_5))
    .then(applied(OPENED_5))
    .leaving(status=OPEN, opened_at=at(5)),
    # What changes nothing is stale.
    "the same again": given(applied(OPENED_1)).when(take(OPENED_1)).then(stale(OPENED_1)),
    "an earlier updated": given(applied(UPDATED_9)).when(take(UPDATED_5)).then(stale(UPDATED_5)),
    "an earlier opened": given(applied(OPENED_5)).when(take(OPENED_1)).then(stale(OPENED_1)),
    "a late one that was parked": given(applied(OPENED_5))
    .when(take(OPENED_1, parked=9))
    .then(stale(OPENED_1, parked=9)),
    # What comes late fills in what is missing, and nothing else.
    "a late opened gives opened_at": given(applied(OTHER_AT_9))
    .when(take(OPENED_1))
    .then(applied(OPENED_1))
    .leaving(opened_at=at(1), reason="not_received", amount=usd(40), evidence_due_at=at(70)),
    "a late one gives the due date": given(applied(UPDATED_9))
    .when(take(DUE_60_AT_2))
    .then(applied(DUE_60_AT_2))
    .leaving(evidence_due_at=at(60), opened_at=None, latest=UPDATED_9.precedence),
    "a due date stays when a higher one carries none": given(applied(DUE_50_AT_1))
    .when(take(UPDATED_9))
    .then(applied(UPDATED_9))
    .leaving(evidence_due_at=at(50)),
    "a late due date above the one that stands": given(applied(DUE_50_AT_1), applied(UPDATED_9))
    .when(take(DUE_60_AT_2))
    .then(applied(DUE_60_AT_2))
    .leaving(evidence_due_at=at(60)),
    "a late due date below the one that stands": given(applied(DUE_60_AT_2), applied(OPENED_5))
    .when(take(DUE_50_AT_1))
    .then(stale(DUE_50_AT_1))
    .leaving(evidence_due_at=at(60), opened_at=at(5)),
    "the same due date, late, is stale": given(applied(DUE_50_AT_1), applied(UPDATED_9))
    .when(take(DUE_50_AT_6))
    .then(stale(DUE_50_AT_6))
    .leaving(evidence_due_at=at(50), due_from=DUE_50_AT_6.precedence),
    "and still owns the due date from then on": given(
        applied(DUE_50_AT_1), applied(UPDATED_9), stale(DUE_50_AT_6)
    )
    .when(take(DUE_60_AT_2))
    .then(stale(DUE_60_AT_2))
    .leaving(evidence_due_at=at(50)),
    # So also once final: late fills in, or is stale, and moves nothing.
    "opened after the decision": given(applied(WON_3))
    .when(take(DUE_50_AT_1))
    .then(applied(DUE_50_AT_1))
    .leaving(status=WON, opened_at=at(1), evidence_due_at=at(50), closed_at=at(3)),
    "a later opened after the decision": given(applied(WON_3))
    .when(take(OPENED_5))
    .then(applied(OPENED_5))
    .leaving(status=WON, opened_at=at(5), latest=WON_3.precedence),
    "updated after the decision": given(applied(OPENED_1), applied(WON_3))
    .when(take(UPDATED_9))
    .then(stale(UPDATED_9)),
    "updated with a due date after the decision": given(applied(WON_3))
    .when(take(OTHER_AT_9))
    .then(applied(OTHER_AT_9))
    .leaving(status=WON, evidence_due_at=at(70), reason="fraud", amount=usd(100)),
    "a due date above the one that stands, after the decision": given(
        applied(DUE_50_AT_1), applied(WON_3)
    )
    .when(take(OTHER_AT_9))
    .then(applied(OTHER_AT_9))
    .leaving(status=WON, evidence_due_at=at(70), reason="fraud"),
    "updated after a plain closed": given(applied(OPENED_1), applied(CLOSED_3))
    .when(take(UPDATED_9))
    .then(stale(UPDATED_9))
    .leaving(status=CLOSED),
    "the same decision, later": given(applied(WON_3))
    .when(take(WON_7))
    .then(applied(WON_7))
    .leaving(status=WON, closed_at=at(7)),
    "the same decision, earlier": given(applied(WON_7)).when(take(WON_3)).then(stale(WON_3)),
    # A plain closed gives way to a decision, never the other way round.
    "won replaces a plain closed": given(applied(CLOSED_3))
    .when(take(WON_7))
    .then(applied(WON_7))
    .leaving(status=WON, closed_at=at(7)),
    "an earlier lost replaces it too": given(applied(CLOSED_7))
    .when(take(LOST_3))
    .then(applied(LOST_3))
    .leaving(status=LOST, closed_at=at(3)),
    "canceled replaces it too": given(applied(CLOSED_3))
    .when(take(CANCELED_7))
    .then(applied(CANCELED_7))
    .leaving(status=CANCELED),
    "a later plain closed doesn't replace won": given(applied(WON_3))
    .when(take(CLOSED_9))
    .then(stale(CLOSED_9))
    .leaving(status=WON, closed_at=at(3)),
    "an earlier plain closed doesn't either": given(applied(WON_7))
    .when(take(CLOSED_3))
    .then(stale(CLOSED_3))
    .leaving(status=WON, closed_at=at(7)),
    "a later plain closed after a plain closed": given(applied(CLOSED_3))
    .when(take(CLOSED_7))
    .then(applied(CLOSED_7))
    .leaving(status=CLOSED, closed_at=at(7)),
    # The first decision stays.
    "won over lost": given(applied(LOST_3)).when(take(WON_7)).then(rejected(WON_7)),
    "lost over won": given(applied(WON_3)).when(take(LOST_7)).then(rejected(LOST_7)),
    "canceled over won": given(applied(WON_3)).when(take(CANCELED_7)).then(rejected(CANCELED_7)),
    "an earlier won over lost": given(applied(LOST_7))
    .when(take(WON_3))
    .then(rejected(WON_3))
    .leaving(status=LOST, closed_at=at(7)),
    "a rejected one that was parked": given(applied(LOST_3))
    .when(take(WON_7, parked=9))
    .then(rejected(WON_7, parked=9)),
    "the rejected one again": given(applied(WON_3), rejected(LOST_7))
    .when(take(LOST_7))
    .then(rejected(LOST_7)),
    "a rejected one fills in nothing": given(applied(WON_3))
    .when(take(LOST_WITH_ALL))
    .then(rejected(LOST_WITH_ALL))
    .leaving(
        status=WON,
        evidence_due_at=None,
        due_from=None,
        amount=usd(100),
        reason="fraud",
        latest=WON_3.precedence,
    ),
    "after a rejected one all goes on as before": given(applied(WON_3), rejected(LOST_WITH_ALL))
    .when(take(DUE_50_AT_1))
    .then(applied(DUE_50_AT_1))
    .leaving(status=WON, opened_at=at(1), evidence_due_at=at(50)),
}

FILE, FILE_2 = (
    EvidenceFile("file-1", "receipt.pdf", "application/pdf", 1000),
    EvidenceFile("file-2", "parcel.jpg", "image/jpeg", 2000),
)
TEXT = {"note": "delivered"}


def replaced(
    *files: EvidenceFile, fields: dict[str, str] = TEXT, minute: int = 1000
) -> EvidenceReplaced:
    return EvidenceReplaced(fields, files, "ann", at(minute))


def replace(*files: EvidenceFile, fields: dict[str, str] = TEXT) -> ReplaceEvidence:
    return ReplaceEvidence(fields, files, "ann", NOW)


def requested(key: str, *file_ids: str) -> SubmissionRequested:
    return SubmissionRequested(key, file_ids or ("file-1",), TEXT, "ann", NOW)


def submit(key: str) -> RequestSubmission:
    return RequestSubmission(key, "ann", NOW)


def answer(key: str, what: Done | Refused) -> RecordSubmissionAnswer:
    return RecordSubmissionAnswer(key, what, at(2000))


def submitted(key: str) -> EvidenceSubmitted:
    return EvidenceSubmitted(key, "sg-subm-1", at(2000))


def failed(key: str, error: str = "File not ready", minute: int = 2000) -> SubmissionFailed:
    return SubmissionFailed(key, error, at(minute))


def ended(key: str) -> SubmissionFailed:
    return failed(key, "the dispute was decided meanwhile", 1000)


def forbids(status: DisputeStatus) -> rejections.DisputeStatusForbids:
    return rejections.DisputeStatusForbids(status)


BEGUN = (applied(OPENED_1),)
READY = (*BEGUN, replaced(FILE, minute=20))
ASKED = (*READY, requested("k"))
SENT = (*ASKED, submitted("k"))
REFUSED = (*ASKED, failed("k"))
IN_PROGRESS = rejections.SubmissionInProgress()
NO_DISPUTE = rejections.DisputeUnknown()

EVIDENCE: dict[str, DisputeScenario] = {
    "the first moves open to under review": given(*BEGUN)
    .when(replace(FILE))
    .then(replaced(FILE))
    .leaving(status=UNDER_REVIEW, opened_at=at(1)),
    "it replaces the whole": given(*READY)
    .when(replace(FILE_2, fields={}))
    .then(replaced(FILE_2, fields={}))
    .leaving(status=UNDER_REVIEW),
    "the same again is no news": given(*READY).when(replace(FILE)).then(),
    "other texts are news": given(*READY)
    .when(replace(FILE, fields={"note": "lost"}))
    .then(replaced(FILE, fields={"note": "lost"})),
    "texts alone": given(*BEGUN).when(replace()).then(replaced()).leaving(status=UNDER_REVIEW),
    "not while pending": given(*ASKED).when(replace(FILE_2)).refused(IN_PROGRESS),
    "not even the same while pending": given(*ASKED).when(replace(FILE)).refused(IN_PROGRESS),
    "not once submitted": given(*SENT).when(replace(FILE_2)).refused(forbids(SUBMITTED)),
    "not even the same once submitted": given(*SENT)
    .when(replace(FILE))
    .refused(forbids(SUBMITTED)),
    "again after a failed submission": given(*REFUSED).when(replace(FILE_2)).then(replaced(FILE_2)),
    "not once won": given(*BEGUN, applied(WON_3)).when(replace(FILE)).refused(forbids(WON)),
    "not once lost": given(*READY, applied(LOST_3)).when(replace(FILE)).refused(forbids(LOST)),
    "not once canceled": given(applied(CANCELED_3)).when(replace(FILE)).refused(forbids(CANCELED)),
    "not once closed": given(applied(CLOSED_3)).when(replace(FILE)).refused(forbids(CLOSED)),
    "not on a dispute that isn't there": given().when(replace(FILE)).refused(NO_DISPUTE),
    "on a dispute that began with updated": given(applied(UPDATED_5))
    .when(replace(FILE))
    .then(replaced(FILE))
    .leaving(status=UNDER_REVIEW),
    "a late opened doesn't undo it": given(applied(UPDATED_5), replaced(FILE))
    .when(take(OPENED_1))
    .then(applied(OPENED_1))
    .leaving(status=UNDER_REVIEW, opened_at=at(1)),
    "nor does an update": given(*READY)
    .when(take(OTHER_AT_9))
    .then(applied(OTHER_AT_9))
    .leaving(status=UNDER_REVIEW, reason="not_received"),
}

SUBMISSIONS: dict[str, DisputeScenario] = {
    "what there is now is sent": given(*READY)
    .when(submit("k"))
    .then(requested("k"))
    .leaving(status=UNDER_REVIEW),
    "all files are": given(*BEGUN, replaced(FILE, FILE_2))
    .when(submit("k"))
    .then(requested("k", "file-1", "file-2")),
    "not without evidence": given(*BEGUN).when(submit("k")).refused(rejections.EvidenceMissing()),
    "not without a file": given(*BEGUN, replaced())
    .when(submit("k"))
    .refused(rejections.FileMissing()),
    "not without a dispute": given().when(submit("k")).refused(NO_DISPUTE),
    "not once won": given(*READY, applied(WON_3)).when(submit("k")).refused(forbids(WON)),
    "not once lost": given(*READY, applied(LOST_3)).when(submit("k")).refused(forbids(LOST)),
    "not once canceled": given(*READY, applied(CANCELED_3))
    .when(submit("k"))
    .refused(forbids(CANCELED)),
    "not once closed": given(*READY, applied(CLOSED_3)).when(submit("k")).refused(forbids(CLOSED)),
    "the status is looked at before the evidence": given(applied(WON_3))
    .when(submit("k"))
    .refused(forbids(WON)),
    # While it is pending, asking again is no news; a key belongs to its first use.
    "again while pending": given(*ASKED).when(submit("k")).then(),
    "by another key while pending": given(*ASKED).when(submit("j")).then(),
    "again once submitted": given(*SENT).when(submit("k")).then(),
    "by another key once submitted": given(*SENT).when(submit("j")).refused(forbids(SUBMITTED)),
    "again after it failed": given(*REFUSED).when(submit("k")).then(),
    "again after it failed, with other evidence": given(*REFUSED, replaced(FILE_2))
    .when(submit("k"))
    .then(),
    "by another key after it failed": given(*REFUSED).when(submit("j")).then(requested("j")),
    "again once won": given(*SENT, applied(WON_3)).when(submit("k")).then(),
    "by another key once won": given(*SENT, applied(WON_3)).when(submit("j")).refused(forbids(WON)),
}

ANSWERS: dict[str, DisputeScenario] = {
    "done": given(*ASKED)
    .when(answer("k", Done("sg-subm-1")))
    .then(submitted("k"))
    .leaving(status=SUBMITTED),
    "refused": given(*ASKED)
    .when(answer("k", Refused("File not ready")))
    .then(failed("k"))
    .leaving(status=UNDER_REVIEW),
    "done twice": given(*SENT).when(answer("k", Done("sg-subm-2"))).then(),
    "refused after done": given(*SENT).when(answer("k", Refused("no"))).then(),
    "done after refused": given(*REFUSED).when(answer("k", Done("sg-subm-2"))).then(),
    "to another key": given(*ASKED).when(answer("j", Done("sg-subm-2"))).then(),
    "that nobody waits for": given(*READY).when(answer("k", Done("sg-subm-2"))).then(),
    "after a decision ended it": given(*ASKED, applied(WON_3), ended("k"))
    .when(answer("k", Done("sg-subm-2")))
    .then(),
    "no dispute": given().when(answer("k", Done("sg-subm-2"))).refused(NO_DISPUTE),
}

DECISIONS: dict[str, DisputeScenario] = {
    "of an open dispute": given(*BEGUN).when(take(WON_3)).then(applied(WON_3)).leaving(status=WON),
    "under review": given(*READY).when(take(LOST_3)).then(applied(LOST_3)).leaving(status=LOST),
    "once submitted": given(*SENT).when(take(WON_3)).then(applied(WON_3)).leaving(status=WON),
    "plain, once submitted": given(*SENT)
    .when(take(CLOSED_3))
    .then(applied(CLOSED_3))
    .leaving(status=CLOSED),
    "won while pending ends the submission": given(*ASKED)
    .when(take(WON_3))
    .then(applied(WON_3), ended("k"))
    .leaving(status=WON, pending_submission=None),
    "canceled while pending ends it too": given(*ASKED)
    .when(take(CANCELED_3))
    .then(applied(CANCELED_3), ended("k")),
    "a plain closed while pending ends it too": given(*ASKED)
    .when(take(CLOSED_3))
    .then(applied(CLOSED_3), ended("k"))
    .leaving(status=CLOSED, pending_submission=None),
    "the one that replaces the plain closed ends nothing more": given(
        *ASKED, applied(CLOSED_3), ended("k")
    )
    .when(take(WON_7))
    .then(applied(WON_7)),
    "after a failed submission ends nothing": given(*REFUSED)
    .when(take(WON_3))
    .then(applied(WON_3)),
    "no decision, no end": given(*ASKED)
    .when(take(UPDATED_5))
    .then(applied(UPDATED_5))
    .leaving(status=UNDER_REVIEW),
    "an update once submitted": given(*SENT)
    .when(take(UPDATED_5))
    .then(applied(UPDATED_5))
    .leaving(status=SUBMITTED),
}


@pytest.mark.parametrize("scenario", NOTICES.values(), ids=NOTICES)
def test_a_notice_is_applied_stale_or_rejected(scenario: DisputeScenario) -> None:
    scenario.holds()


@pytest.mark.parametrize("scenario", EVIDENCE.values(), ids=EVIDENCE)
def test_evidence_is_replaced_until_it_is_sent(scenario: DisputeScenario) -> None:
    scenario.holds()


@pytest.mark.parametrize("scenario", SUBMISSIONS.values(), ids=SUBMISSIONS)
def test_a_submission_is_requested_once_or_refused(scenario: DisputeScenario) -> None:
    scenario.holds()


@pytest.mark.parametrize("scenario", ANSWERS.values(), ids=ANSWERS)
def test_an_answer_settles_the_submission_that_waits_for_it(scenario: DisputeScenario) -> None:
    scenario.holds()


@pytest.mark.parametrize("scenario", DECISIONS.values(), ids=DECISIONS)
def test_a_decision_may_come_from_any_status(scenario: DisputeScenario) -> None:
    scenario.holds()


def after(*events: Event) -> Dispute:
    dispute = None
    for event in events:
        dispute = evolve(dispute, event)
    assert dispute is not None
    return dispute


def test_a_submission_shows_how_far_it_has_come() -> None:
    pending = after(*ASKED).submission
    assert pending is not None
    assert (pending.status, pending.file_ids) == (AttemptStatus.PENDING, ("file-1",))
    done = after(*SENT).submission
    assert done is not None
    assert (done.status, done.submission_id, done.submitted_at) == (
        AttemptStatus.SUCCESS,
        "sg-subm-1",
        at(2000),
    )
    refused = after(*REFUSED).submission
    assert refused is not None
    assert (refused.status, refused.error) == (AttemptStatus.FAILED, "File not ready")


def test_a_submission_keeps_what_was_sent() -> None:
    first, second = after(*REFUSED, replaced(FILE_2), requested("j", "file-2")).submissions
    assert (first.key, first.file_ids) == ("k", ("file-1",))
    assert (second.key, second.file_ids) == ("j", ("file-2",))


def test_evidence_carries_the_time_of_its_last_change() -> None:
    evidence = after(*READY).evidence
    assert evidence is not None
    assert (evidence.fields, evidence.files, evidence.updated_at) == (TEXT, (FILE,), at(20))


def test_the_dispute_of_an_order_is_the_same_on_every_replica() -> None:
    # Written down, since a changed namespace would give every dispute a new identity.
    assert str(dispute_id_of("ord-1")) == "b4d6b05b-ccc1-5f19-9ccd-3980c7c7c3a6"
    assert dispute_id_of("ord-1") != dispute_id_of("ord-2")
    assert dispute_id_of("ord-1").version == 5


@pytest.mark.parametrize(
    ("said", "level"),
    [(OPENED_1, 0), (UPDATED_5, 0), (CLOSED_3, 1), (WON_3, 2), (LOST_3, 2), (CANCELED_3, 2)],
)
def test_only_a_plain_closed_is_between(said: ChargebackNotice, level: int) -> None:
    assert said.precedence.level == level


@pytest.mark.parametrize("event", [replaced(FILE), requested("k"), submitted("k"), rejected(WON_3)])
def test_a_log_that_begins_with_anything_else_is_damaged(event: Event) -> None:
    with pytest.raises(ValueError, match="can't begin with"):
        evolve(None, event)
