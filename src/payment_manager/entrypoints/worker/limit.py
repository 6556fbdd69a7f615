"""When dead letters are no longer single messages' trouble."""

from collections import deque

WINDOW = 1000
"""Messages that are looked back on: a few polls, so that a bad deployment is noticed in a second,
and one provider's bad minute is not taken for one."""


class DeadLetterLimit:
    """At most so many percent of the last `WINDOW` messages may be dead-lettered.

    Above it the messages are hardly to blame: a deployment is, or a sender whose every message is
    wrong. Putting all of them aside would only turn one repair into thousands.
    """

    def __init__(self, max_percent: int) -> None:
        self._max = WINDOW * max_percent // 100
        self._batches: deque[tuple[int, int]] = deque()
        self._messages = self._dead = 0

    def allows(self, messages: int, dead: int) -> bool:
        """Whether so many of a batch may be dead-lettered; if so, they are counted."""
        while self._batches and self._messages - self._batches[0][0] + messages >= WINDOW:
            gone, gone_dead = self._batches.popleft()
            self._messages -= gone
            self._dead -= gone_dead
        # A single batch may be larger than the window.
        scale = max(1.0, messages / WINDOW)
        if self._dead + dead > self._max * scale:
            return False
        self._batches.append((messages, dead))
        self._messages += messages
        self._dead += dead
        return True
