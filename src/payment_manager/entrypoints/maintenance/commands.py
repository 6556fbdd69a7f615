"""`payment-manager maintain`: one round, told to the person or the cron job that asked for it."""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeAlias

import typer

if TYPE_CHECKING:
    from payment_manager.application.maintain import Round

Run: TypeAlias = "Callable[[Callable[[Round], Coroutine[Any, Any, None]]], None]"

_TOLD = {
    "days_ahead": "days made ahead: {}",
    "days_sealed": "days sealed: {}",
    "ids_forgotten": "webhook ids forgotten: {}",
    "days_retired": "days past their retention: {} left the logs",
}


def maintenance_commands(run: Run) -> typer.Typer:
    """`run` does the round and hands over what came of it."""
    app = typer.Typer()

    @app.command()
    def maintain() -> None:
        """Do one round of upkeep: days ahead, sealing, retention. For cron, too."""
        run(_tell)

    return app


async def _tell(round_: "Round") -> None:
    for step, words in _TOLD.items():
        if step in round_.done:
            print(words.format(round_.done[step]))
    if round_.health is not None and round_.health.default_rows:
        print(f"events outside of every day: {round_.health.default_rows} (at most counted)")
    if not round_.leads and "leading" not in round_.failed:
        print("another process leads: it does the rest")
    for step, reason in round_.failed.items():
        print(f"failed: {step}: {reason}")
    if round_.failed:
        raise typer.Exit(1)
