"""What a payment provider is asked, and what it can answer.

How to think about it: a question may be asked many times, an effect may happen once. So each
question carries a key that is the same every time it is asked, and each answer is one of three:
`Done` (it happened), `Refused` (it did not and will not), `Unknown` (nobody can say yet: ask again
with the same key). An answer that is late, broken or makes no sense is `Unknown`, never a guess.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from payment_manager.domain.money import Money


@dataclass(frozen=True, slots=True)
class CaptureQuestion:
    """Take `money` for `order_id`. `provider_key` makes a second asking harmless."""

    order_id: str
    money: Money
    provider_key: str


@dataclass(frozen=True, slots=True)
class RepresentmentQuestion:
    """Defend the payment of `order_id` with these files and texts."""

    order_id: str
    file_ids: Sequence[str]
    fields: Mapping[str, str]
    provider_key: str


@dataclass(frozen=True, slots=True)
class Done:
    """It happened. `reference` is the provider's own id: a transaction's or a submission's."""

    reference: str


@dataclass(frozen=True, slots=True)
class Refused:
    """It did not happen and asking again would not change that.

    `reference` where the provider gave one.
    """

    error: str
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nobody can say whether it happened.

    `reason` is for people: a time-out, a broken connection, a 5xx.
    """

    reason: str


Answer = Done | Refused | Unknown
