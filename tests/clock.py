"""A clock that a test sets, and event ids that a test can foretell.

How to think about it: time stands still until the test moves it, also back. It begins at noon of
the present day, so that its days have their partitions and an hour more or less is the same day.
"""

from datetime import UTC, datetime, timedelta
from itertools import count
from uuid import UUID

TODAY_AT_NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)


class FakeClock:
    def __init__(self, now: datetime = TODAY_AT_NOON) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now

    def advance(self, **amount: float) -> datetime:
        """By so many `seconds=`, `minutes=`, … (negative: back); what time it is then."""
        self._now += timedelta(**amount)
        return self._now

    def set(self, now: datetime) -> None:
        self._now = now


class FakeEventIds:
    """UUIDv7s that count up from the same beginning, in every process and run."""

    def __init__(self) -> None:
        self._numbers = count(1)

    def next(self) -> UUID:
        return UUID(int=(0x7 << 76) | (0b10 << 62) | (next(self._numbers) << 80))
