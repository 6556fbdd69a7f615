"""Representments: the evidence that was there when somebody asked is submitted once, or it is known
not to be.

How to think about it: as with captures, each test ends with the provider's ledger and our log. What
is new: a dispute may be decided by the provider while nobody knows whether a submission arrived.
"""

import asyncio
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from payment_manager.application.ask_provider import LEASE_MARGIN, provider_key
from payment_manager.application.operate import Submitted
from payment_manager.application.ports import Attempt, Changes, Space, Unavailable, WriteRefused
from payment_manager.domain import rejections
from payment_manager.domain.dispute import (
    DisputeStatus,
    Evidence,
    EvidenceFile,
    Submission,
)
from payment_manager.domain.dispute_id import dispute_id_of
from payment_manager.domain.order import AttemptStatus
from tests.application.world import (
    ANN,
    ASK_AGAIN_AFTER,
    FILE,
    PROVIDER_TIMEOUT,
    InterruptedDatabase,
    InterruptedGateway,
    Killed,
    LostReadModel,
    Replica,
    World,
    killed,
)
from tests.webhooks import chargeback_webhook

pytestmark = pytest.mark.asyncio(loop_scope="module")

LEASE = PROVIDER_TIMEOUT + LEASE_MARGIN
PENDING, SUCCESS, FAILED = AttemptStatus.PENDING, AttemptStatus.SUCCESS, AttemptStatus.FAILED
DISPUTE = dispute_id_of("ord-1")

REQUESTED = ["webhook_opened", "evidence_added", "submission_requested"]
SUBMITTED = [*REQUESTED, "evidence_submitted"]
NOT_SUBMITTED = [*REQUESTED, "submission_failed"]

LOST_ANSWERS = {
    "slow": 1,
    "error_500": 0,
    "rate_limited": 0,
    "drop_before": 0,
    "drop_after": 1,
    "garbage": 1,
}


async def submit(replica: Replica, key: str | None = None, dispute_id: UUID = DISPUTE) -> Submitted:
    answer = await replica.operate.submit(dispute_id, key, ANN)
    assert isinstance(answer, Submitted)
    return answer


async def reconciled(world: World, after: timedelta) -> int:
    world.clock.advance(seconds=after.total_seconds())
    return await world.replica().reconcile.run_once()


# ── Evidence ──────────────────────────────────────────────────────────────────────────────────────


async def test_evidence_is_replaced_as_a_whole_and_moves_the_dispute_under_review(
    world: World,
) -> None:
    await world.known_dispute()
    operate = world.replica().operate
    assert (await world.dispute()).evidence is None
    first = await operate.replace_evidence(DISPUTE, {"a": "1", "b": "2"}, (FILE,), ANN)
    assert isinstance(first, Evidence)
    assert (await world.dispute()).status is DisputeStatus.UNDER_REVIEW
    at = world.clock.advance(minutes=1)
    second = await operate.replace_evidence(DISPUTE, {"b": "3"}, (), ANN)
    assert second == Evidence({"b": "3"}, (), at)
    assert (await world.dispute()).evidence == second
    assert await world.dispute_log() == ["webhook_opened", "evidence_added", "evidence_added"]


async def test_the_same_evidence_again_is_no_news(world: World) -> None:
    await world.known_dispute()
    operate = world.replica().operate
    first = await operate.replace_evidence(DISPUTE, {"a": "1", "b": "2"}, (FILE,), ANN)
    world.clock.advance(minutes=1)
    assert await operate.replace_evidence(DISPUTE, {"b": "2", "a": "1"}, (FILE,), ANN) == first
    assert await world.dispute_log() == ["webhook_opened", "evidence_added"]


async def test_an_unknown_dispute_has_no_evidence_and_takes_none(world: World) -> None:
    operate = world.replica().operate
    assert await world.read_model.disputes_by_id([DISPUTE]) == {}
    assert await operate.replace_evidence(DISPUTE, {}, (), ANN) == rejections.DisputeUnknown()
    assert await operate.submit(DISPUTE, "k", ANN) == rejections.DisputeUnknown()


# ── The provider answers ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("key", [None, "k"])
async def test_a_submission_is_done_once_and_its_outcome_is_in_the_log(
    world: World, key: str | None
) -> None:
    await world.dispute_with_evidence()
    answer = await submit(world.replica(), key)
    assert (answer.submission.status, answer.replayed) == (SUCCESS, False)
    [effect] = world.effects()
    assert answer.submission.submission_id is not None
    assert answer.submission.submission_id in effect["answer"]
    assert effect["key"] == provider_key(Space.DISPUTE, "ord-1", answer.submission.key)
    after = await world.dispute()
    assert (after.status, after.submission) == (DisputeStatus.SUBMITTED, answer.submission)
    assert await world.dispute_log() == SUBMITTED


async def test_the_same_key_again_gives_the_first_answer_and_no_key_is_refused(
    world: World,
) -> None:
    await world.dispute_with_evidence()
    first = await submit(world.replica(), "k")
    assert await submit(world.replica(), "k") == replace(first, replayed=True)
    again = await world.replica().operate.submit(DISPUTE, None, ANN)
    assert again == rejections.DisputeStatusForbids("submitted")
    assert len(world.calls()) == 1


@pytest.mark.parametrize("key", [None, "k"])
async def test_twenty_submissions_at_once_are_one_call_and_do_not_contradict(
    world: World, key: str | None
) -> None:
    await world.dispute_with_evidence()
    operate = world.replica().operate
    answers = await asyncio.gather(*(operate.submit(DISPUTE, key, ANN) for _ in range(20)))
    taken = [answer.submission for answer in answers if isinstance(answer, Submitted)]
    if key is not None:
        assert len(taken) == 20
    assert {submission.status for submission in taken} <= {PENDING, SUCCESS}
    assert len({s.submission_id for s in taken if s.status is SUCCESS}) == 1
    assert len(world.calls()) == len(world.effects()) == 1
    assert await world.dispute_log() == SUBMITTED


async def test_a_file_that_is_not_ready_fails_the_submission_in_the_providers_words(
    world: World,
) -> None:
    await world.dispute_with_evidence()
    world.spoil("file_not_ready")
    failed = await submit(world.replica(), "first")
    assert failed.submission.status is FAILED
    assert failed.submission.error == "2.01: File not ready"
    assert await world.dispute_log() == NOT_SUBMITTED
    assert (await world.dispute()).status is DisputeStatus.UNDER_REVIEW
    # The failed key tells the same again; another one may try.
    assert await submit(world.replica(), "first") == replace(failed, replayed=True)
    assert (await submit(world.replica(), "second")).submission.status is SUCCESS
    assert len(world.effects()) == 1


async def test_without_a_key_each_attempt_after_a_failed_one_is_a_new_one(world: World) -> None:
    await world.dispute_with_evidence()
    world.spoil("file_not_ready", times=2)
    attempts = [await submit(world.replica(), key) for key in (None, "k", None)]
    assert [answer.submission.status for answer in attempts] == [FAILED, FAILED, SUCCESS]
    assert len({call["key"] for call in world.calls()}) == 3
    assert len(world.effects()) == 1


async def test_what_can_not_be_submitted_asks_nobody_and_leaves_the_key_free(world: World) -> None:
    await world.known_dispute()
    operate = world.replica().operate
    assert await operate.submit(DISPUTE, "k", ANN) == rejections.EvidenceMissing()
    await operate.replace_evidence(DISPUTE, {"note": "no file"}, (), ANN)
    assert await operate.submit(DISPUTE, "k", ANN) == rejections.FileMissing()
    assert world.calls() == []
    await operate.replace_evidence(DISPUTE, {}, (FILE,), ANN)
    assert (await submit(world.replica(), "k")).submission.status is SUCCESS


async def test_one_key_on_two_disputes_is_two_submissions(world: World) -> None:
    for order_id in ("ord-1", "ord-2"):
        dispute_id = await world.dispute_with_evidence(order_id)
        answer = await submit(world.replica(), "k", dispute_id)
        assert answer.submission.status is SUCCESS
        assert len(world.effects(order_id)) == 1


# ── The provider's answer is lost ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fault", LOST_ANSWERS)
async def test_a_lost_answer_is_pending_until_asking_again_finds_it(
    world: World, fault: str
) -> None:
    await world.dispute_with_evidence()
    world.spoil(fault, delay_ms=3000 if fault == "slow" else None)
    with world.impatient() if fault == "slow" else nullcontext():
        pending = await submit(world.replica(), "k")
    assert (pending.submission.status, pending.replayed) == (PENDING, False)
    await world.effects_are(LOST_ANSWERS[fault])
    assert await world.dispute_log() == REQUESTED

    # Whoever asks meanwhile, with whatever key or none, is told about the one that is under way.
    for key in ("k", None, "other"):
        assert await submit(world.replica(), key) == pending
    assert len(world.calls()) == 1

    assert await reconciled(world, ASK_AGAIN_AFTER) == 1
    assert len(world.effects()) == 1
    assert len({call["key"] for call in world.calls()}) == 1
    assert await world.dispute_log() == SUBMITTED
    known = await submit(world.replica(), "k")
    assert (known.submission.status, known.replayed) == (SUCCESS, True)
    assert await reconciled(world, timedelta(days=1)) == 0


async def test_a_pending_submission_sends_the_evidence_as_it_was_when_it_was_asked_for(
    world: World,
) -> None:
    await world.dispute_with_evidence()
    world.spoil("drop_before")
    await submit(world.replica(), "k")
    other = EvidenceFile("file-2", "other.pdf", "application/pdf", 1)
    change = await world.replica().operate.replace_evidence(DISPUTE, {"x": "y"}, (other,), ANN)
    assert change == rejections.SubmissionInProgress()
    # Even where another hand changed it: what is sent stands in the request.
    async with world.pool.connection() as connection:
        await connection.execute("UPDATE evidence SET fields = '{\"x\": \"y\"}', files = '[]'")
    assert await reconciled(world, ASK_AGAIN_AFTER) == 1
    [effect] = world.effects()
    assert "file-1" in effect["parameters"]
    assert "It was delivered." in effect["parameters"]
    async with world.pool.connection() as connection:
        await connection.execute(
            'UPDATE evidence SET fields = \'{"note": "It was delivered."}\', files ='
            ' \'[{"file_id":"file-1","name":"receipt.pdf","content_type":"application/pdf",'
            '"size":1024}]\''
        )


async def test_changed_evidence_goes_with_the_next_attempt_only(world: World) -> None:
    await world.dispute_with_evidence()
    world.spoil("file_not_ready")
    first = await submit(world.replica(), "first")
    other = EvidenceFile("file-2", "other.pdf", "application/pdf", 1)
    await world.replica().operate.replace_evidence(DISPUTE, {}, (other,), ANN)
    second = await submit(world.replica(), "second")
    assert first.submission.file_ids == ("file-1",)
    assert second.submission.file_ids == ("file-2",)
    [effect] = world.effects()
    assert "file-2" in effect["parameters"]
    assert "file-1" not in effect["parameters"]


# ── The dispute is decided meanwhile ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize("resolution", ["won", "lost", "canceled", None])
async def test_a_decision_while_the_outcome_is_unknown_stops_the_asking(
    world: World, resolution: str | None
) -> None:
    await world.dispute_with_evidence()
    world.spoil("drop_before", times=None)
    await submit(world.replica(), "k")
    await world.receive(chargeback_webhook("ord-1", "closed", 9, resolution))
    assert await world.dispute_log() == [*REQUESTED, "provider_decision", "submission_failed"]
    assert await reconciled(world, timedelta(days=1)) == 0
    assert len(world.calls()) == 1
    answer = await submit(world.replica(), "k")
    assert (answer.submission.status, answer.replayed) == (FAILED, True)
    assert (await world.intents.open(world.clock.now())).count == 0
    other = await world.replica().operate.submit(DISPUTE, "other", ANN)
    assert other == rejections.DisputeStatusForbids(resolution or "closed")


async def test_a_decision_while_the_question_is_on_its_way_makes_the_answer_too_late(
    world: World,
) -> None:
    await world.dispute_with_evidence()

    async def decided() -> None:
        await world.receive(chargeback_webhook("ord-1", "closed", 9, "lost"))

    slow = world.replica(gateway=InterruptedGateway(world.silvergate, after=decided))
    answer = await submit(slow, "k")
    assert answer.submission.status is FAILED
    assert len(world.effects()) == 1
    assert await world.dispute_log() == [*REQUESTED, "provider_decision", "submission_failed"]
    assert (await world.dispute()).status is DisputeStatus.LOST


# ── A replica dies, or the database goes away ─────────────────────────────────────────────────────


@pytest.mark.parametrize("moment", ["before the call", "after the call", "while recording"])
async def test_killed_between_intent_and_outcome_another_replica_finds_the_outcome(
    world: World, moment: str
) -> None:
    await world.dispute_with_evidence()
    match moment:
        case "before the call":
            doomed = world.replica(gateway=InterruptedGateway(world.silvergate, before=killed))
        case "after the call":
            doomed = world.replica(gateway=InterruptedGateway(world.silvergate, after=killed))
        case _:
            doomed = world.replica(database=InterruptedDatabase(world.database, {3: Killed()}))
    with pytest.raises(Killed):
        await submit(doomed)
    assert await world.dispute_log() == REQUESTED
    assert (await submit(world.replica())).submission.status is PENDING
    assert await reconciled(world, LEASE) == 1
    assert len(world.effects()) == 1
    assert await world.dispute_log() == SUBMITTED


@pytest.mark.parametrize("committed", [False, True])
async def test_an_outcome_that_could_not_be_recorded_or_read_is_pending_and_settled_later(
    world: World, committed: bool
) -> None:
    await world.dispute_with_evidence()
    database = InterruptedDatabase(world.database, {3: Unavailable("away")}, committed)
    found_once = LostReadModel(world.pool, 1)
    pending = await submit(world.replica(database=database, read_model=found_once), "k")
    assert pending.submission.status is PENDING
    assert await reconciled(world, LEASE) == (0 if committed else 1)
    assert len(world.effects()) == 1
    assert await world.dispute_log() == SUBMITTED


async def test_the_database_refuses_a_second_submission_even_if_the_code_tried(
    world: World,
) -> None:
    await world.dispute_with_evidence()
    world.spoil("drop_before")
    await submit(world.replica(), "k")
    now = world.clock.now()
    forged = Submission("other", ("file-1",), {}, PENDING, now)

    async def forge() -> None:
        async with world.database.transaction() as transaction:
            stream = (await transaction.load(["ord-1"])).disputes["ord-1"]
            state = replace(stream.state, submissions=(*stream.state.submissions, forged))
            attempt = Attempt(Space.DISPUTE, "ord-1", "other", "c-1", now)
            await transaction.save(
                Changes(disputes={"ord-1": replace(stream, state=state)}, requested=[attempt])
            )

    with pytest.raises(WriteRefused):
        await forge()
    assert [attempt.key for attempt in (await world.dispute()).submissions] == ["k"]
