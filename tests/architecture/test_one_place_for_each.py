"""Some things may be done in one place only, so that a reader knows where to look for them.

The environment is read once, in settings. A transaction ends in one module, so that "committed,
then answered" can be checked by reading it. The clock is an adapter, so that tests can set the
time. Imports are import-linter's job.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "payment_manager"
MODULES = sorted(SOURCE.rglob("*.py"))

# What the code may say, as it is written there -> the only modules that may say it.
ENVIRONMENT = {"os.environ", "os.getenv", "os.environb", "os.putenv"}
CLOCK = {
    "datetime.now", "datetime.utcnow", "datetime.today", "date.today",
    "time.time", "time.time_ns",
}  # fmt: skip
ONLY_IN = {
    "the environment is read": ("settings.py",),
    # The transaction's, and in Kafka mode the offsets' that follow it.
    "something is committed": (
        "adapters/postgres/transactions.py",
        "adapters/kafka/consumer.py",
        "entrypoints/worker/consume.py",
    ),
    "the clock is asked": ("adapters/clock.py",),
}


def dotted(node: ast.AST) -> str:
    """`a.b.c` for names and attributes, else an empty string in the place of what is no name."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=attr):
            return f"{dotted(value)}.{attr}"
        case _:
            return ""


def what_is_done(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        match node:
            case ast.Attribute() if ".".join(dotted(node).split(".")[-2:]) in ENVIRONMENT:
                yield "the environment is read", node.lineno
            case ast.Attribute() if ".".join(dotted(node).split(".")[-2:]) in CLOCK:
                yield "the clock is asked", node.lineno
            case ast.ImportFrom(module="os", names=names) if any(
                f"os.{each.name}" in ENVIRONMENT for each in names
            ):
                yield "the environment is read", node.lineno
            case ast.ImportFrom(module="time", names=names) if any(
                f"time.{each.name}" in CLOCK for each in names
            ):
                yield "the clock is asked", node.lineno
            case ast.Call(func=ast.Attribute(attr="commit")):
                yield "something is committed", node.lineno
            case _:
                pass


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_each_is_done_in_its_own_module_only(module: Path) -> None:
    name = module.relative_to(SOURCE).as_posix()
    tree = ast.parse(module.read_text(encoding="utf-8"), filename=name)
    assert [
        f"{name}:{line}: {what}, which belongs in {' or '.join(ONLY_IN[what])}"
        for what, line in what_is_done(tree)
        if name not in ONLY_IN[what]
    ] == []


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("os.environ['A']", "the environment is read"),
        ("from os import getenv", "the environment is read"),
        ("datetime.now(UTC)", "the clock is asked"),
        ("datetime.datetime.now()", "the clock is asked"),
        ("from time import time", "the clock is asked"),
        ("await self._connection.commit()", "something is committed"),
    ],
)
def test_the_rule_sees(code: str, what: str) -> None:
    assert [found for found, _ in what_is_done(ast.parse(code))] == [what]


@pytest.mark.parametrize("code", ["time.monotonic()", "event.now", "commit_log.append(1)"])
def test_the_rule_lets_pass(code: str) -> None:
    assert list(what_is_done(ast.parse(code))) == []
