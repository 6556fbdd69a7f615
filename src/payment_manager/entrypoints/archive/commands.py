"""`payment-manager archive list | query | drop-kept`.

How to think about it: what left the logs is still the operator's to ask and to answer for. `query`
needs the files alone, no database; `list` holds both against each other; `drop-kept` is the only
way to lose events, so it is rehearsed unless `--yes` stands there. Exit codes: 0 done, 1 something
is missing or damaged, 2 wrong usage or settings, or somebody needed is away.
"""

from collections.abc import Callable, Coroutine
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeAlias
from uuid import UUID

import typer

from payment_manager.contracts.wire import instant

if TYPE_CHECKING:
    from payment_manager.application.ports import Archive, Retirement

Asking: TypeAlias = "Callable[[Callable[[Archive], Coroutine[Any, Any, None]]], None]"
Comparing: TypeAlias = (
    "Callable[[Callable[[Archive | None, Retirement], Coroutine[Any, Any, None]]], None]"
)

AsJson = Annotated[bool, typer.Option("--json", help="For machines.")]
Log = Annotated[str, typer.Option(metavar="orders|disputes")]


def archive_commands(ask: Asking, compare: Comparing) -> typer.Typer:
    """`ask` gives a command the archive, `compare` also the database."""
    app = typer.Typer(no_args_is_help=True, help="Days that left the event logs.")

    @app.command("list")
    def list_(
        check: Annotated[bool, typer.Option("--check", help="Read each file whole.")] = False,
        as_json: AsJson = False,
    ) -> None:
        """The archive's files, held against what the database says of them."""
        from payment_manager.entrypoints.archive import work

        compare(lambda archive, days: work.list_files(archive, days, check, as_json))

    @app.command()
    def query(
        log: Log = "orders",
        order_ids: Annotated[list[str] | None, typer.Option(help="Repeat, or with commas.")] = None,
        dispute_ids: Annotated[list[str] | None, typer.Option(help="Of the disputes' log.")] = None,
        kinds: Annotated[list[str] | None, typer.Option(help="Repeat, or with commas.")] = None,
        time_from: Annotated[str | None, typer.Option(help="Such as 2026-11-01T00:00:00Z.")] = None,
        time_to: Annotated[str | None, typer.Option(help="Excluded.")] = None,
        sort_asc: Annotated[bool, typer.Option("--sort-asc", help="The oldest first.")] = False,
        limit: Annotated[int, typer.Option(min=1, max=100_000)] = 100,
        as_json: AsJson = False,
    ) -> None:
        """Archived events, newest first, as the API lists those that are in the log."""
        from payment_manager.application.ports import EventsAsked
        from payment_manager.entrypoints.archive import work

        space = _space(log)
        if (order_ids and log != "orders") or (dispute_ids and log != "disputes"):
            raise typer.BadParameter(
                "--order-ids go with --log orders, --dispute-ids with disputes"
            )
        asked = EventsAsked(
            space=space,
            streams=_many(order_ids) or [_uuid(each) for each in _many(dispute_ids)],
            kinds=_kinds(log, _many(kinds)),
            time_from=_time(time_from),
            time_to=_time(time_to),
            ascending=sort_asc,
        )
        ask(lambda archive: work.query(archive, asked, limit, as_json))

    @app.command()
    def drop_kept(
        day: Annotated[datetime, typer.Argument(formats=["%Y-%m-%d"])],
        log: Log,
        yes: Annotated[bool, typer.Option("--yes", help="Do it; it can't be undone.")] = False,
    ) -> None:
        """Drop a day that retention detached and kept, since there was no archive."""
        from payment_manager.application.ports import LogDay
        from payment_manager.entrypoints.archive import work

        kept = LogDay(_space(log), date(day.year, day.month, day.day))
        compare(lambda _, days: work.drop_kept(days, kept, yes))

    return app


def _space(log: str) -> Any:
    from payment_manager.application.ports import Space

    if log not in ("orders", "disputes"):
        _wrong("--log", "say orders or disputes")
    return Space(log.removesuffix("s"))


def _many(values: list[str] | None) -> list[str]:
    return [part for value in values or () for part in value.split(",") if part]


def _kinds(log: str, kinds: list[str]) -> list[str]:
    from payment_manager.contracts.events import DISPUTE_KINDS, ORDER_KINDS

    known = ORDER_KINDS if log == "orders" else DISPUTE_KINDS
    for kind in kinds:
        if kind not in known:
            _wrong("--kinds", f"{kind} is none of {', '.join(known)}")
    return kinds


def _uuid(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        _wrong("--dispute-ids", f"{text} is no id of a dispute")


def _time(text: str | None) -> datetime | None:
    try:
        return None if text is None else instant(text).astimezone(UTC)
    except ValueError as wrong:
        _wrong("--time-from, --time-to", str(wrong))


def _wrong(option: str, why: str) -> NoReturn:
    raise typer.BadParameter(f"{option}: {why}")
