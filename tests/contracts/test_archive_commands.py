"""What can be said to `payment-manager archive` on the command line."""

from typing import Any

import pytest
from typer.testing import CliRunner

from payment_manager.application.ports import Archive, EventRow, EventsAsked, Space
from payment_manager.entrypoints.archive.commands import archive_commands

WELL = [
    (["query"], EventsAsked(Space.ORDER, [], [])),
    (
        ["query", "--order-ids", "a,b", "--order-ids", "c", "--kinds", "hold_set", "--sort-asc"],
        EventsAsked(Space.ORDER, ["a", "b", "c"], ["hold_set"], ascending=True),
    ),
    (
        ["query", "--log", "disputes", "--dispute-ids", "7D1F0000-0000-5000-8000-000000000000"],
        EventsAsked(Space.DISPUTE, ["7d1f0000-0000-5000-8000-000000000000"], []),
    ),
]
WRONG = [
    ["query", "--log", "events"],
    ["query", "--kinds", "evidence_added"],
    ["query", "--log", "disputes", "--kinds", "hold_set"],
    ["query", "--log", "disputes", "--order-ids", "a"],
    ["query", "--dispute-ids", "7d1f0000-0000-5000-8000-000000000000"],
    ["query", "--log", "disputes", "--dispute-ids", "7d1f"],
    ["query", "--time-from", "yesterday"],
    ["query", "--time-to", "2026-11-22T00:00:00"],
    ["query", "--limit", "0"],
    ["drop-kept", "2026-11-31", "--log", "orders"],
    ["drop-kept", "2026-11-22"],
    ["drop-kept", "2026-11-22", "--log", "../orders"],
]


def asked(arguments: list[str]) -> tuple[int, list[EventsAsked]]:
    seen: list[EventsAsked] = []

    class Asked:
        async def events(self, asked: EventsAsked, limit: int) -> tuple[list[EventRow], list[str]]:
            seen.append(asked)
            return [], []

    def ask(work: Any) -> None:
        archive: Archive = Asked()  # type: ignore[assignment]
        with pytest.raises(StopIteration):
            work(archive).send(None)

    def compare(work: Any) -> None:
        raise AssertionError("not asked for")

    done = CliRunner().invoke(archive_commands(ask, compare), arguments)
    return done.exit_code, seen


@pytest.mark.parametrize(("arguments", "question"), WELL)
def test_a_question_is_understood_as_the_api_understands_it(
    arguments: list[str], question: EventsAsked
) -> None:
    assert asked(arguments) == (0, [question])


@pytest.mark.parametrize("arguments", WRONG, ids=" ".join)
def test_what_makes_no_sense_is_refused_before_anything_is_asked(arguments: list[str]) -> None:
    assert asked(arguments) == (2, [])
