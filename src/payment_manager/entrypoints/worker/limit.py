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
        self._max_percent = max_percent
        self._batches: deque[tuple[int, int]] = deque()
        self._messages = self._dead = 0

    def allows(self, messages: int, dead: int) -> bool:
        """Whether so many of a batch may be dead-lettered, after those that were counted."""
        seen, seen_dead = self._messages, self._dead
        for gone, gone_dead in self._batches:
            if seen - gone + messages < WINDOW:
                break
            seen -= gone
            seen_dead -= gone_dead
        # Batches are looked at whole, so it may be more than a window; at the start it is less, and
        # a few dead letters among the first messages are no flood.
        looked_at = max(WINDOW, seen + messages)
        return (seen_dead + dead) * 100 <= self._max_percent * looked_at

    def count(self, messages: int, dead: int) -> None:
        """A batch that is done with, one without dead letters too."""
        self._batches.append((messages, dead))
        self._messages += messages
        self._dead += dead
        while self._messages - self._batches[0][0] >= WINDOW:
            gone, gone_dead = self._batches.popleft()
            self._messages -= gone
            self._dead -= gone_dead
