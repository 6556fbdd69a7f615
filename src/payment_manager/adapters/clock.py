"""Time and new ids: what the domain must never make itself."""

from datetime import UTC, datetime
from uuid import UUID

from uuid_utils.compat import uuid7


class SystemClock:
    """`Clock` of this machine."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class UUIDv7s:
    """`EventIds` by RFC 9562 §5.7, with a counter within the millisecond: each is greater than the
    one before.
    """

    def next(self) -> UUID:
        return uuid7()
