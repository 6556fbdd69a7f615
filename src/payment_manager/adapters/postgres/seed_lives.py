"""Lives of orders and disputes as they happen: what a provider sends and when, what operators do.

How to think about it: a life is a list of steps with times; most go well, some fail, some webhooks
come late or twice, some charges come back. Nothing here decides what a step means, the domain does;
and nothing happens after the present, so young orders are still on their way. All chance comes from
one generator, so the same seed gives the same lives.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any, Literal
from uuid import UUID

import msgspec

from payment_manager.domain import dispute, order
from payment_manager.domain.dispute import EvidenceFile
from payment_manager.domain.gateway import Done, Refused
from payment_manager.domain.money import Money, exponent_of, to_decimal
from payment_manager.domain.order import HoldReason

Kind = Literal["order webhook", "chargeback webhook", "order command", "dispute command"]

# How often each is seen in life, about; and what a dollar is, so that amounts are of one size.
CURRENCIES = {"USD": 50, "EUR": 26, "GBP": 12, "JPY": 8, "KWD": 4}
PER_DOLLAR = {"USD": 1.0, "EUR": 0.9, "GBP": 0.8, "JPY": 150.0, "KWD": 0.3}
REASONS = {
    "fraud": 45, "product_not_received": 20, "product_unacceptable": 11, "duplicate": 8,
    "subscription_canceled": 7, "credit_not_processed": 5, "general": 4,
}  # fmt: skip
FILES = (
    ("receipt.pdf", "application/pdf"),
    ("delivery.jpg", "image/jpeg"),
    ("conversation.txt", "text/plain"),
)

_encode = msgspec.json.Encoder(decimal_format="number").encode


@dataclass(frozen=True, slots=True)
class Happens:
    """`step` is a webhook's body, or a command that is told the time at which it happens."""

    at: datetime
    kind: Kind
    step: Any


@dataclass(frozen=True, slots=True)
class _Payment:
    """What all webhooks of one order agree on."""

    order_id: str
    user_id: UUID
    money: Money
    begins: datetime


class Lives:
    """Lives that begin in the last `days` days before `now`; some users have very many orders."""

    def __init__(self, chance: Random, *, now: datetime, days: int, users: int) -> None:
        self._chance = chance
        self._now = now
        self._days = days
        self._users = [UUID(int=chance.getrandbits(128), version=4) for _ in range(users)]

    def order(self, order_id: str, *, is_disputed: bool) -> list[Happens]:
        """The life of one order, in the order of time, up to now."""
        payment = self._payment(order_id, is_disputed)
        steps = self._payment_steps(payment, is_disputed)
        if is_disputed:
            steps += self._dispute_steps(payment)
        steps = [happens for happens in steps if happens.at <= self._now]
        return sorted(steps, key=lambda happens: happens.at)

    def stray_chargeback(self, order_id: str) -> list[Happens]:
        """A notice about an order that we are never told of."""
        payment = self._payment(order_id, is_disputed=True)
        return [self._chargeback(payment, "opened", payment.begins, reason=self._pick(REASONS))]

    # ── The payment ───────────────────────────────────────────────────────────────────────────────

    def _payment(self, order_id: str, is_disputed: bool) -> _Payment:
        currency = self._pick(CURRENCIES)
        dollars = self._chance.lognormvariate(4, 1)  # half of them below 55, a few in the thousands
        minor = round(dollars * PER_DOLLAR[currency] * 10 ** (exponent_of(currency) or 0))
        user_id = self._users[int(len(self._users) * self._chance.random() ** 2)]
        # A chargeback takes a while to come; its order is not of today.
        ages = (0.2, 1.0) if is_disputed else (0.0, 1.0)
        begins = self._now - self._days * self._chance.uniform(*ages) * timedelta(days=1)
        return _Payment(order_id, user_id, Money(max(1, minor), currency), begins)

    def _payment_steps(self, payment: _Payment, is_disputed: bool) -> list[Happens]:
        chance, time = self._chance, payment.begins
        steps = self._order_webhook(payment, "created", time)
        for _ in range(chance.choice((0, 1, 1, 2))):
            time += self._after(minutes=(0.5, 20))
            steps += self._order_webhook(payment, "updated", time)
        if chance.random() < 0.03:
            reason = chance.choice(list(HoldReason))
            time += self._after(minutes=(1, 5))
            steps.append(_order(time, lambda at: order.SetHold(reason, "risk-rules", at)))
            if chance.random() < 0.1:
                return steps  # and so it stays
            time += self._after(minutes=(20, 600))
            steps.append(_order(time, lambda at: order.ClearHold("reviewer", at)))
        if chance.random() < 0.7:
            time += self._after(minutes=(0.1, 3))
            steps += self._capture(payment.money, time)
            time += self._after(minutes=(0.2, 1))
        if not is_disputed and chance.random() < 0.06:
            return steps  # given up half-way
        time += self._after(minutes=(0.1, 10))
        decided, other = "success", "failed"
        if not is_disputed and chance.random() < 0.07:
            decided, other = other, decided
        steps += self._order_webhook(payment, decided, time)
        if chance.random() < 0.003:
            steps += self._order_webhook(payment, other, time + self._after(minutes=(1, 60)))
        return steps

    def _order_webhook(self, payment: _Payment, status: str, time: datetime) -> list[Happens]:
        body = _encode(
            {
                "provider_event_id": self._id("evt"),
                "order_id": payment.order_id,
                "user_id": payment.user_id,
                "status": status,
                "created_at": payment.begins.replace(microsecond=0),
                "updated_at": time.replace(microsecond=0),
                "meta": {
                    "amount": str(to_decimal(payment.money)),
                    "currency": payment.money.currency,
                },
            }
        )
        # Most arrive within seconds, some long after what came later.
        delay = self._after(seconds=(0.2, 3))
        if status == "updated" and self._chance.random() < 0.05:
            delay += self._after(minutes=(30, 1200))
        arrives = Happens(time + delay, "order webhook", body)
        if self._chance.random() >= 0.03:
            return [arrives]
        again = Happens(arrives.at + self._after(seconds=(1, 900)), "order webhook", body)
        return [arrives, again]

    def _capture(self, money: Money, time: datetime) -> list[Happens]:
        """One attempt, or one that is declined and then another. An answer comes at once."""
        steps: list[Happens] = []
        is_declined = self._chance.random() < 0.05
        for declined in (True, False) if is_declined else (False,):
            key, reference = self._id("cap"), self._id("txn")
            answer = Refused("card declined", reference) if declined else Done(reference)
            answered = time + self._after(seconds=(0.1, 2))
            if answered > self._now:
                break  # no question stays open: nobody would be there to answer it
            steps += [
                _order(time, lambda at, key=key: order.RequestCapture(key, money, "shop", at)),
                _order(
                    answered,
                    lambda at, key=key, answer=answer: order.RecordCaptureAnswer(key, answer, at),
                ),
            ]
            time = answered + self._after(seconds=(2, 9))
        return steps

    # ── The dispute ───────────────────────────────────────────────────────────────────────────────

    def _dispute_steps(self, payment: _Payment) -> list[Happens]:
        chance, reason = self._chance, self._pick(REASONS)
        opened = payment.begins + (self._now - payment.begins) * chance.uniform(0.1, 0.9)
        if chance.random() < 0.01:
            opened = payment.begins - self._after(minutes=(1, 10))  # it overtakes its order
        due = opened.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=21)
        steps = [self._chargeback(payment, "opened", opened, reason=reason, due=due)]
        time = opened + self._after(minutes=(60, 4000))
        if chance.random() < 0.3:
            steps.append(self._chargeback(payment, "updated", time, reason=reason, due=due))
        decisions = {"lost": 75, "canceled": 5, "": 20}
        if chance.random() < 0.65:
            time += self._after(minutes=(60, 9000))
            sent, time = self._representment(reason, time)
            steps += sent
            decisions = {"won": 52, "lost": 35, "canceled": 8, "": 5}
        time += self._after(minutes=(5000, 40000))
        decision = self._pick(decisions)
        steps.append(self._chargeback(payment, "closed", time, reason=reason, resolution=decision))
        return steps

    def _chargeback(
        self,
        payment: _Payment,
        status: str,
        time: datetime,
        *,
        reason: str,
        due: datetime | None = None,
        resolution: str = "",
    ) -> Happens:
        amount: Decimal = to_decimal(payment.money)
        body: dict[str, Any] = {
            "provider_event_id": self._id("evt"),
            "order_id": payment.order_id,
            "user_id": payment.user_id,
            "status": status,
            "reason": reason,
            "amount": amount,
            "currency": payment.money.currency,
            "occurred_at": time.replace(microsecond=0),
            "meta": {"resolution": resolution} if resolution else {},
        }
        if due is not None:
            body["evidence_due_at"] = due
        delay = self._after(seconds=(0.2, 5))
        if status == "updated" and self._chance.random() < 0.05:
            delay += self._after(minutes=(2000, 20000))
        return Happens(time + delay, "chargeback webhook", _encode(body))

    def _representment(self, reason: str, time: datetime) -> tuple[list[Happens], datetime]:
        """Evidence, and mostly its submission; at first the provider may not have the file yet."""
        chance = self._chance
        chosen = FILES[: chance.randint(1, len(FILES))]
        files = tuple(
            EvidenceFile(self._id("file"), name, kind, chance.randint(10_000, 4_000_000))
            for name, kind in chosen
        )
        texts = {
            "explanation": f"The claim of {reason.replace('_', ' ')} is wrong, see the files.",
            "tracking_number": f"TRK{chance.randrange(10**10):010}",
        }
        steps = [_dispute(time, lambda at: dispute.ReplaceEvidence(texts, files, "agent", at))]
        if chance.random() < 0.15:
            return steps, time
        answers: Sequence[Done | Refused] = [Done(self._id("sg-subm"))]
        if chance.random() < 0.07:
            answers = [Refused("File not ready"), *answers]
        for answer in answers:
            time += self._after(minutes=(2, 300))
            answered = time + self._after(seconds=(0.1, 3))
            if answered > self._now:
                break
            key = self._id("sub")
            steps += [
                _dispute(time, lambda at, key=key: dispute.RequestSubmission(key, "agent", at)),
                _dispute(
                    answered,
                    lambda at, key=key, answer=answer: dispute.RecordSubmissionAnswer(
                        key, answer, at
                    ),
                ),
            ]
        return steps, time

    # ── Chance ────────────────────────────────────────────────────────────────────────────────────

    def _pick(self, weights: dict[str, int]) -> str:
        return self._chance.choices(list(weights), list(weights.values()))[0]

    def _after(
        self, *, minutes: tuple[float, float] = (0, 0), seconds: tuple[float, float] = (0, 0)
    ) -> timedelta:
        uniform = self._chance.uniform
        return timedelta(minutes=uniform(*minutes), seconds=uniform(*seconds))

    def _id(self, kind: str) -> str:
        return f"{kind}-{self._chance.getrandbits(64):016x}"


def _order(at: datetime, command: Any) -> Happens:
    return Happens(at, "order command", command)


def _dispute(at: datetime, command: Any) -> Happens:
    return Happens(at, "dispute command", command)
