"""Which transactions are seen: PostgreSQL's snapshots, read and put together.

How to think about it: a snapshot is a set of transactions that ended: all before `xmax`, but those
that were running. What came behind a checkpoint is what its set has not: the ones that ran then,
and all from its `xmax` on. A checkpoint that has taken only some of these is a set too, made of the
old one and of the new one cut off behind the last that was taken.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`xmax`: the first transaction that is not seen for being later; `running`: those before it
    that are not seen.
    """

    xmax: int
    running: frozenset[int] = frozenset()

    @classmethod
    def parse(cls, text: str) -> "Snapshot":
        """From the form in which PostgreSQL writes a `pg_snapshot`: xmin:xmax:running,running."""
        _, xmax, running = text.split(":")
        return cls(int(xmax), frozenset(map(int, running.split(","))) if running else frozenset())

    def __str__(self) -> str:
        return f"{self.xmin}:{self.xmax}:{','.join(map(str, sorted(self.running)))}"

    @property
    def xmin(self) -> int:
        """All before it are seen."""
        return min(self.running, default=self.xmax)

    def sees(self, transaction: int) -> bool:
        return transaction < self.xmax and transaction not in self.running

    def up_to(self, last: int) -> "Snapshot":
        """Of what is seen, that up to this transaction."""
        xmax = min(last + 1, self.xmax)
        return Snapshot(xmax, frozenset(each for each in self.running if each < xmax))

    def __or__(self, other: "Snapshot") -> "Snapshot":
        """What either of them sees."""
        unseen = {each for each in self.running if not other.sees(each)}
        unseen |= {each for each in other.running if not self.sees(each)}
        return Snapshot(max(self.xmax, other.xmax), frozenset(unseen))
