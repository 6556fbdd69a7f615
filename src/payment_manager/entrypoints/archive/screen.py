"""What is told about days that left the logs, in words."""

from collections import Counter
from collections.abc import Iterator

from payment_manager.application.verify import Report


def unprovable(report: Report) -> Iterator[str]:
    """What of the log could not be read, and what that left unproved."""
    if not report.unprovable:
        return
    for why, days in Counter(report.gone.values()).items():
        yield f"gone: {why}" + (f" ({days} days)" if days > 1 else "")
    last = max(day.day for day in report.gone)
    yield (
        f"{report.unprovable} orders and disputes could not be proved:"
        f" events of theirs, of {last} or before, are gone"
    )
