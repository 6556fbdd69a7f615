"""What a checkpoint sees that is put together is what was taken, and nothing else.

How to think about it: a made-up server gives out transactions and ends them in any order; a reader
takes what it has not seen yet, sometimes only the first few. Beside its snapshots it keeps a plain
set of what it has taken, and both must always say the same.
"""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from payment_manager.adapters.postgres.search.snapshots import Snapshot

CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine


@pytest.mark.parametrize("text", ["3:3:", "10:20:10,14,15", "752:753:752", "1:5000000000:1"])
def test_a_snapshot_reads_as_postgresql_writes_it(text: str) -> None:
    assert str(Snapshot.parse(text)) == text


def test_what_ran_and_what_came_later_is_not_seen() -> None:
    snapshot = Snapshot.parse("10:20:10,14")
    assert [each for each in range(8, 23) if not snapshot.sees(each)] == [10, 14, 20, 21, 22]
    assert snapshot.xmin == 10
    assert Snapshot.parse("20:20:").xmin == 20


snapshots = st.builds(
    lambda xmax, running: Snapshot(xmax, frozenset(each for each in running if each < xmax)),
    st.integers(3, 30),
    st.sets(st.integers(3, 30)),
)


@CALM
@given(snapshots, snapshots)
def test_together_they_see_what_either_sees(one: Snapshot, other: Snapshot) -> None:
    both = one | other
    for transaction in range(1, 35):
        assert both.sees(transaction) == (one.sees(transaction) or other.sees(transaction))
    assert both == other | one
    assert both | one == both
    assert Snapshot.parse(str(both)) == both


@CALM
@given(snapshots, st.integers(3, 35))
def test_cut_off_it_sees_nothing_behind(whole: Snapshot, last: int) -> None:
    cut = whole.up_to(last)
    for transaction in range(1, 40):
        assert cut.sees(transaction) == (whole.sees(transaction) and transaction <= last)


class _Server:
    """Transactions that begin in order and end in any."""

    def __init__(self) -> None:
        self._next = 3
        self.running: set[int] = set()
        self.committed: set[int] = set()

    def begin(self) -> None:
        self.running.add(self._next)
        self._next += 1

    def end(self, which: int) -> None:
        if self.running:
            ended = sorted(self.running)[which % len(self.running)]
            self.running.remove(ended)
            # Some roll back: they never had anything to take.
            if ended % 5:
                self.committed.add(ended)

    def snapshot(self) -> Snapshot:
        """As PostgreSQL's: `xmax` is behind the last that ended, not the last that began."""
        ended = max(set(range(3, self._next)) - self.running, default=2)
        return Snapshot(ended + 1, frozenset(each for each in self.running if each <= ended))


steps = st.lists(
    st.one_of(
        st.just(("begin", 0)),
        st.tuples(st.just("end"), st.integers(0, 20)),
        st.tuples(st.just("read"), st.integers(1, 6)),
    ),
    max_size=120,
)


@CALM
@given(steps)
def test_whatever_ends_when_each_transaction_is_taken_once(history: list[tuple[str, int]]) -> None:
    server, taken = _Server(), set[int]()
    seen = server.snapshot()
    for step, number in history:
        match step:
            case "begin":
                server.begin()
            case "end":
                server.end(number)
            case _:
                now = server.snapshot()
                waiting = sorted(each for each in server.committed if not seen.sees(each))
                assert set(waiting) == server.committed - taken
                assert all(now.sees(each) for each in waiting)
                piece = waiting[:number]
                # Not the whole of it: only up to the last that was taken.
                seen |= now if piece == waiting else now.up_to(piece[-1])
                taken |= set(piece)
        known = server.committed | server.running
        assert {each for each in known if seen.sees(each)} == taken
