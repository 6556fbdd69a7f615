"""`payment-manager partitions` and `partitions move-default-rows`: the days of the event logs.

How to think about it: the first only looks, at the catalogue alone, so it may be asked at any time.
The second repairs what days that were not made in time leave behind; it may run beside the service
and be run again.
"""

from collections.abc import Callable, Coroutine
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeAlias

import typer

if TYPE_CHECKING:
    from payment_manager.application.ports import DefaultRows, Overview

DAYS = 14
"""Two weeks back: what sealing and retention did lately."""


class Tools(NamedTuple):
    """What these commands work with; `today` is in UTC, as the days are."""

    overview: "Overview"
    default_rows: "DefaultRows"
    today: date


Run: TypeAlias = Callable[[Callable[[Tools], Coroutine[Any, Any, None]]], None]


def partitions_commands(run: Run) -> typer.Typer:
    """`run` gives a command what it works with, and tells of what goes wrong."""
    app = typer.Typer(help="The days of the event logs: a table of them, or a repair.")

    @app.callback(invoke_without_command=True)
    def partitions(
        context: typer.Context,
        days: Annotated[
            int, typer.Option(min=1, help="How many days back; those ahead are always shown.")
        ] = DAYS,
        everything: Annotated[bool, typer.Option("--all", help="All days.")] = False,
        as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    ) -> None:
        """Without a command: a table of the days, newest first."""
        if context.invoked_subcommand is not None:
            return
        from payment_manager.entrypoints.partitions import screen

        async def show(tools: Tools) -> None:
            found = await tools.overview.days(tools.today)
            shown = found if everything else screen.newest(found, tools.today, days)
            if as_json:
                print(screen.days_as_json(shown))
            else:
                screen.print_days(found, shown)

        run(show)

    @app.command("move-default-rows")
    def move_default_rows() -> None:
        """Move events outside of every day into days of their own."""

        async def move(tools: Tools) -> None:
            from payment_manager.entrypoints.partitions import screen

            screen.print_moved(await tools.default_rows.move())

        run(move)

    return app
