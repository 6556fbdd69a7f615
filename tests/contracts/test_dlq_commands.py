"""What can be said to `payment-manager dlq`, and what is refused before anything is asked."""

import pytest
from typer.testing import CliRunner

from payment_manager.entrypoints.dlq.commands import Run, dlq_commands

CLI = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"})


def said(*arguments: str, run: Run) -> tuple[int, str]:
    done = CLI.invoke(dlq_commands(run), arguments)
    return done.exit_code, done.output


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ("list payments", "say orders or disputes"),
        ("list --limit 0", "greater than or equal to 1"),
        ("show", "Missing argument"),
        ("show orders/1", "no ids of letters: orders/1"),
        ("replay", "say which: ids, or --all, or --error-class"),
        ("drop orders/0/1 --all", "say which"),
        ("drop --all --error-class X", "say which"),
        ("replay orders/0/1 payments/0/1 orders/-1/2", "payments/0/1, orders/-1/2; an id is like"),
        ("replay orders/0/1234567890123456789", "no ids of letters"),
        ("replay orders/٣/1", "no ids of letters"),
        ("replay orders/0/1 --yes", "say why: --reason TEXT"),
        ("drop --all --yes --reason ''", "--reason must be"),
    ],
)
def test_wrong_usage_is_told_in_words_and_asks_nobody(arguments: str, why: str) -> None:
    def never(_work: object) -> None:
        raise AssertionError("it was asked for")

    code, output = said(*(word.strip("'") for word in arguments.split(" ")), run=never)
    assert code == 2
    assert why in output


@pytest.mark.parametrize(
    "arguments",
    [
        "list", "list disputes --all --json --limit 3", "show orders/0/1",
        "replay orders/0/1 disputes/5/77", "drop --all", "replay --error-class InvalidInput",
        "drop --all --yes --reason because --actor ann",
    ],
)  # fmt: skip
def test_all_else_is_work(arguments: str) -> None:
    asked: list[object] = []
    assert said(*arguments.split(), run=asked.append) == (0, "")
    assert len(asked) == 1
