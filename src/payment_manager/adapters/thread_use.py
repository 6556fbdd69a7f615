"""How much of a processor this thread uses, and how much more it would: Linux tells both."""

from pathlib import Path
from time import thread_time

from payment_manager.application.pace import Use

_SCHEDULED = Path("/proc/thread-self/schedstat")


def thread_use() -> Use:
    """Where the system doesn't tell for how long it let the thread wait: as if for nothing."""
    try:
        ran, waited, _ = _SCHEDULED.read_text().split()
    except (OSError, ValueError):
        return Use(thread_time(), 0.0)
    return Use(int(ran) / 1e9, int(waited) / 1e9)
