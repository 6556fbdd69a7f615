"""What a provider may send, in which order it may arrive, and what an operator may ask meanwhile.

How to think about it: a history is what the provider sent, an arrival is any permutation of it with
repeats. Values are few on purpose, so that equal times, equal amounts and repeated keys are common:
that is where an order of arrival could show.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from hypothesis import strategies as st

from payment_manager.domain import dispute as disputes
from payment_manager.domain import order as orders
from payment_manager.domain.decider import fold
from payment_manager.domain.dispute import ChargebackNotice, Dispute, EvidenceFile
from payment_manager.domain.gateway import Done, Refused
from payment_manager.domain.money import Money
from payment_manager.domain.order import HoldReason, Order, OrderSnapshot
from payment_manager.domain.rejections import Rejection
from tests.domain.scenario import ANN, BOB, at, notice, snapshot, usd

Command = TypeVar("Command")
State = TypeVar("State")
Event = TypeVar("Event")
Item = TypeVar("Item")
Webhook = TypeVar("Webhook", OrderSnapshot, ChargebackNotice)

MINUTES = st.integers(1, 4)
AMOUNTS = st.sampled_from([usd(10), usd(20), Money(1000, "EUR")])
ANY_OR_NO_AMOUNT: st.SearchStrategy[Money | None] = st.none() | AMOUNTS
TIMES = st.integers(100, 120).map(at)
ACTOR = st.just("ann")
KEYS = st.sampled_from(["k", "j", "i"])
ANSWERS = st.sampled_from([Done("ref-1"), Refused("no"), Refused("no", "ref-2")])
FILES = st.lists(
    st.builds(EvidenceFile, st.sampled_from(["f-1", "f-2"]), *map(st.just, ("a", "text/plain", 1))),
    max_size=2,
).map(tuple)
FIELDS = st.sampled_from([{}, {"note": "delivered"}])

UNDECIDED_ORDER = ("created", "updated")
UNDECIDED_DISPUTE = ("opened", "updated")


# ── What the provider sends ───────────────────────────────────────────────────────────────────────


def snapshots(
    statuses: Sequence[str], amounts: st.SearchStrategy[Money | None] = ANY_OR_NO_AMOUNT
) -> st.SearchStrategy[OrderSnapshot]:
    users = st.sampled_from([ANN, BOB])
    return st.builds(snapshot, st.sampled_from(statuses), MINUTES, amounts, user=users)


def notices(statuses: Sequence[str]) -> st.SearchStrategy[ChargebackNotice]:
    due = st.none() | st.integers(50, 52)
    reasons = st.sampled_from(["fraud", "not_received"])
    return st.builds(notice, st.sampled_from(statuses), MINUTES, due, AMOUNTS, reasons)


def history_of(webhooks: st.SearchStrategy[Webhook]) -> st.SearchStrategy[list[Webhook]]:
    """Up to eight, each with an id of its own: of a known id the write path takes no other."""
    return st.lists(webhooks, min_size=1, max_size=8).map(
        lambda history: [
            replace(each, provider_event_id=f"evt-{n}") for n, each in enumerate(history)
        ]
    )


# A provider that doesn't contradict itself sends one kind of decision at most.
ORDER_HISTORIES = st.sampled_from(["success", "failed"]).flatmap(
    lambda decision: history_of(snapshots((*UNDECIDED_ORDER, decision)))
)
DISPUTE_HISTORIES = st.sampled_from(["won", "lost", "canceled"]).flatmap(
    lambda decision: history_of(notices((*UNDECIDED_DISPUTE, "closed", decision)))
)
CONTRADICTING_ORDER_HISTORIES = history_of(snapshots((*UNDECIDED_ORDER, "success", "failed")))
CONTRADICTING_DISPUTE_HISTORIES = history_of(
    notices((*UNDECIDED_DISPUTE, "closed", "won", "lost", "canceled"))
)


# ── What an operator asks, and the provider answers ───────────────────────────────────────────────

ORDER_WORK: st.SearchStrategy[list[orders.Command]] = st.lists(
    st.one_of(
        st.builds(orders.SetHold, st.sampled_from(HoldReason), ACTOR, TIMES),
        st.builds(orders.ClearHold, ACTOR, TIMES),
        st.builds(orders.RequestCapture, KEYS, AMOUNTS, ACTOR, TIMES),
        st.builds(orders.RecordCaptureAnswer, KEYS, ANSWERS, TIMES),
    ),
    max_size=8,
)
_DISPUTE_STEPS: st.SearchStrategy[list[disputes.Command]] = st.lists(
    st.one_of(
        st.builds(disputes.ReplaceEvidence, FIELDS, FILES, ACTOR, TIMES),
        st.builds(disputes.RequestSubmission, KEYS, ACTOR, TIMES),
        st.builds(disputes.RecordSubmissionAnswer, KEYS, ANSWERS, TIMES),
    ),
    max_size=4,
)
_SUBMISSION: list[disputes.Command] = [
    disputes.ReplaceEvidence({}, (EvidenceFile("f-1", "a", "text/plain", 1),), "ann", at(90)),
    disputes.RequestSubmission("k", "ann", at(91)),
]
# Half of the time with a submission in it: chance alone seldom takes its three steps in a row.
DISPUTE_WORK = st.tuples(_DISPUTE_STEPS, st.sampled_from([_SUBMISSION, []]), _DISPUTE_STEPS).map(
    lambda parts: [command for part in parts for command in part]
)


# ── Arrival ───────────────────────────────────────────────────────────────────────────────────────


def arrivals(history: Sequence[Item], again: Sequence[Item] = ()) -> st.SearchStrategy[list[Item]]:
    """All of it in any order, and in between any of it, or of what came `again`, a second time."""
    known = [*history, *again]
    repeats = st.lists(st.sampled_from(known), max_size=3) if known else st.just([])
    return repeats.flatmap(lambda repeated: st.permutations([*history, *repeated]))


def interleavings(ours: Sequence[Item], theirs: Sequence[Item]) -> st.SearchStrategy[list[Item]]:
    """Both, each in its own order."""

    def merge(turns: Sequence[bool]) -> list[Item]:
        left, right = iter(ours), iter(theirs)
        return [next(left if turn else right) for turn in turns]

    return st.permutations([True] * len(ours) + [False] * len(theirs)).map(merge)


def _after(
    decide: Callable[[Command, State | None], Sequence[Event] | Rejection],
    evolve: Callable[[State | None, Event], State],
    commands: Iterable[Command],
) -> State | None:
    """The state after these commands; a refused one leaves nothing behind."""
    state = None
    for command in commands:
        result = decide(command, state)
        if not isinstance(result, Rejection):
            state = fold(evolve, result, state)
    return state


def order_after(commands: Iterable[orders.Command]) -> Order | None:
    return _after(orders.decide, orders.evolve, commands)


def dispute_after(commands: Iterable[disputes.Command]) -> Dispute | None:
    return _after(disputes.decide, disputes.evolve, commands)
