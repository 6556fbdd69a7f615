"""What all commands write to a terminal or a pipe.

How to think about it: much of it is a provider's text, such as an order's id, so nothing of it may
move the cursor or be taken for markup. A pipe gets tables whole, and JSON that any of them takes.
"""

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import rich.console
import rich.table

_COLUMNS_MIN = 120
"""Of a table: a narrow terminal, or a pipe, breaks its lines and not its cells."""


def printable(text: str, keep: str = "") -> str:
    """The text with what could move the cursor escaped, but for the characters in `keep`."""
    return "".join(
        each
        if each.isprintable() or each in keep
        else each.encode("unicode_escape", "surrogatepass").decode()
        for each in text
    )


def time_of(at: datetime, precision: str = "milliseconds") -> str:
    """In UTC; `precision` as `isoformat` has it."""
    return at.astimezone(UTC).isoformat(timespec=precision).replace("+00:00", "Z")


def as_json(document: Any) -> str:
    """All but ASCII is escaped, so that any terminal and any pipe takes it."""
    return json.dumps(msgspec.to_builtins(document), indent=2)


def print_table(table: rich.table.Table) -> None:
    console = rich.console.Console()
    rich.console.Console(width=max(console.width, _COLUMNS_MIN)).print(table)
