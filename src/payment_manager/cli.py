"""The command line: `payment-manager COMMAND`.

How to think about it: a command reads the settings, wires what it needs through `bootstrap` and
prints for people. A wrong setting, a port or a data folder in use is told in plain words with exit
code 2, never as a stack.
"""

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from errno import EADDRINUSE
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import rich.console
import rich.filesize
import rich.progress
import rich.table
import structlog
import typer
import uvloop
from litestar.types import ASGIApp

from payment_manager import settings as settings_module
from payment_manager.adapters.clock import SystemClock
from payment_manager.adapters.telemetry import logs
from payment_manager.entrypoints.archive.commands import archive_commands
from payment_manager.entrypoints.dlq.commands import dlq_commands
from payment_manager.entrypoints.maintenance.commands import maintenance_commands
from payment_manager.entrypoints.partitions.commands import Tools, partitions_commands
from payment_manager.entrypoints.search.commands import search_commands
from payment_manager.entrypoints.search.tools import Tools as SearchTools
from payment_manager.entrypoints.terminal import print_table
from payment_manager.settings import (
    ApiSettings,
    IngestSettings,
    ProjectorSettings,
    Settings,
    SettingsError,
    WorkerSettings,
)

if TYPE_CHECKING:
    # A command imports what it needs itself: Ingest runs without use cases and database.
    from payment_manager.application.dead_letters import DeadLetterTriage
    from payment_manager.application.maintain import Round
    from payment_manager.application.ports import Archive, Retirement
    from payment_manager.application.verify import Progress, Report

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A payment provider's webhooks, orders and chargebacks, event-sourced in PostgreSQL.",
)

log = structlog.get_logger()


class CommandFailed(Exception):
    """Told to the person at the terminal as it stands."""


@app.command()
def api() -> None:
    """Run the API service, as the settings say."""
    settings = _load(ApiSettings)
    _run(lambda: _serve_api(settings))


@app.command()
def worker() -> None:
    """Run Kafka mode's consumers alone, beside others of the same groups."""
    settings = _load(WorkerSettings)

    async def run() -> None:
        from payment_manager.bootstrap.worker import worker_service

        async with worker_service(settings) as application:
            await _serve(application, "worker", settings)

    _run(run)


@app.command()
def project() -> None:
    """Run a projector alone, which keeps OpenSearch up to date."""
    settings = _load(ProjectorSettings)

    async def run() -> None:
        from payment_manager.bootstrap.projector import projector_service

        async with projector_service(settings) as application:
            await _serve(application, "project", settings)

    _run(run)


@app.command()
def ingest() -> None:
    """Run the Ingest service: Kafka mode's webhook routes, without a database."""
    settings = _load(IngestSettings)

    async def run() -> None:
        from payment_manager.bootstrap.ingest import ingest_service

        async with ingest_service(settings) as application:
            await _serve(application, "ingest", settings)

    _run(run)


@app.command()
def dev() -> None:
    """Run everything on this machine: the API, an embedded PostgreSQL, a simulated provider."""
    settings = _load()
    _run(lambda: _serve_dev(settings))


@app.command()
def simulator() -> None:
    """Run the simulated provider alone."""
    from payment_manager.adapters.silvergate.simulator import serve

    settings = _load()
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    print(f"Silvergate simulator on http://{settings.bind_address}:{settings.simulator_port}")
    serve(settings.bind_address, settings.simulator_port, _simulator_store(settings))


@app.command()
def migrate(
    name: Annotated[str | None, typer.Option(help="Write the next migration's files.")] = None,
    down: Annotated[str | None, typer.Option(help="Go back to this version, or base.")] = None,
) -> None:
    """Bring the database's schema to this code's version; with --name, write the next version's
    files.
    """
    from payment_manager.adapters.postgres import migrate as migrations

    if name is not None:
        for path in migrations.new_version(name):
            print(path)
        return
    settings = _load()

    async def run() -> None:
        from payment_manager.bootstrap.database import any_database

        async with any_database(settings) as url:
            if down is not None:
                await asyncio.to_thread(migrations.downgrade, url, down)
            print(f"schema at version {migrations.current(url) or 'none'}")

    _run(run)


@app.command()
def demo(
    url: Annotated[
        str | None, typer.Option(help="The running service; else this machine's.")
    ] = None,
    ingest: Annotated[
        str, typer.Option(help="In Kafka mode: the running Ingest.")
    ] = "http://127.0.0.1:3002",
) -> None:
    """Tell the life of one order and one dispute to the running service."""
    from payment_manager.entrypoints.demo import DemoFailed, run_demo

    settings = _load()

    async def run() -> None:
        base_url = url or f"http://{settings.bind_address}:{settings.port}"
        try:
            await run_demo(base_url, ingest_url=ingest, now=SystemClock().now())
        except DemoFailed as failed:
            raise CommandFailed(str(failed)) from None

    _run(run)


@app.command()
def verify() -> None:
    """Fold the log and prove every row; exits with 1 where something is wrong."""
    from payment_manager.application.verify import verify as prove

    _audit(prove, "proved", lambda report: report.is_clean)


@app.command()
def rebuild() -> None:
    """Restore every row from the log; exits with 1 where something can't be repaired."""
    from payment_manager.application.verify import rebuild as restore

    _audit(restore, "restored", lambda report: report.is_whole)


def _audit(
    walk: "Callable[..., Coroutine[Any, Any, Report]]",
    done: str,
    is_well: "Callable[[Report], bool]",
) -> None:
    settings = _load()

    async def run() -> None:
        from payment_manager.adapters.postgres.audit import PostgresAudit
        from payment_manager.bootstrap.archive import archive_of, ids_known_since
        from payment_manager.bootstrap.database import command_pool
        from payment_manager.entrypoints.archive.screen import unprovable

        archive = archive_of(settings)
        async with command_pool(settings) as pool:
            with _progress_bar("orders") as on_progress:
                since = ids_known_since(settings, SystemClock().now())
                audit = PostgresAudit(pool, archive)
                report = await walk(audit, on_progress, ids_known_since=since)
        for finding in report.findings:
            print(f"{finding.kind}: {finding.space} {finding.stream}: {finding.detail}")
        for line in unprovable(report):
            print(line)
        print(
            f"{done}: {report.orders} orders, {report.disputes} disputes, {report.events} events,"
            f" {report.webhook_ids} webhook ids, {report.parked} parked;"
            f" {report.found.total()} findings"
        )
        if done == "restored" and report.repairable and settings.opensearch_urls is not None:
            # A repair is no event, so whoever follows the logs doesn't hear of it.
            print("to bring what was restored into search: payment-manager search reindex")
        if not is_well(report):
            raise typer.Exit(1)

    _run(run)


@contextmanager
def _progress_bar(what: str) -> "Iterator[Progress]":
    with rich.progress.Progress(
        *rich.progress.Progress.get_default_columns(),
        rich.progress.MofNCompleteColumn(),
        console=rich.console.Console(stderr=True),
    ) as bar:
        task = bar.add_task(what, total=None)
        yield lambda now, total: bar.update(task, completed=now, total=total)


@app.command()
def seed_db(
    orders: Annotated[int, typer.Option(min=1)] = 50_000,
    disputes: Annotated[int | None, typer.Option(help="Else a tenth of the orders.")] = None,
    days: Annotated[int, typer.Option(min=1, max=3650)] = 60,
    seed: Annotated[int, typer.Option(help="The same seed gives the same history.")] = 1,
) -> None:
    """Fill the database with a believable history; what is there stays."""
    settings = _load()

    async def run() -> None:
        from payment_manager.adapters.postgres.seed import seed as write
        from payment_manager.bootstrap.database import command_pool

        async with command_pool(settings) as pool:
            with _progress_bar("orders") as on_progress:
                try:
                    written = await write(
                        pool,
                        orders=orders,
                        disputes=orders // 10 if disputes is None else disputes,
                        days=days,
                        now=SystemClock().now(),
                        rng_seed=seed,
                        on_progress=on_progress,
                    )
                except ValueError as wrong:
                    raise CommandFailed(str(wrong)) from None
        print(
            f"wrote {written.orders} orders and {written.disputes} disputes,"
            f" {written.events} events over {days} days; their ids begin with {written.prefix}"
        )

    _run(run)


@app.command()
def clean_db(
    yes: Annotated[bool, typer.Option("--yes", help="Needed for a server of your own.")] = False,
) -> None:
    """Empty the database: all orders, disputes and events; the schema stays."""
    settings = _load()
    if settings.pg_url is not None and not yes:
        print("PG_URL names a server of your own: say --yes to empty it", file=sys.stderr)
        raise typer.Exit(2)

    async def run() -> None:
        from payment_manager.adapters.postgres.sizes import clean
        from payment_manager.bootstrap.database import command_pool

        async with command_pool(settings) as pool:
            await clean(pool)
        print("the database is empty")

    _run(run)


@app.command()
def print_db_size(
    days: Annotated[bool, typer.Option("--days", help="Also of each day of the logs.")] = False,
) -> None:
    """Rows and bytes of each table."""
    settings = _load()

    async def run() -> None:
        from payment_manager.adapters.postgres.sizes import partition_sizes, table_sizes
        from payment_manager.bootstrap.database import command_pool

        async with command_pool(settings) as pool:
            sizes = await table_sizes(pool)
            sizes += await partition_sizes(pool) if days else []
        table = rich.table.Table()
        table.add_column("table", no_wrap=True)
        for heading in ("partitions", "rows, about", "heap", "indexes", "toast", "total"):
            table.add_column(heading, justify="right")
        for size in sizes:
            parts = (size.heap_bytes, size.index_bytes, size.toast_bytes, size.total_bytes)
            table.add_row(
                size.table,
                str(size.partitions or ""),
                f"{size.rows_estimated:,}",
                *(rich.filesize.decimal(part) for part in parts),
            )
        print_table(table)

    _run(run)


def _work_through_dead_letters(
    work: "Callable[[DeadLetterTriage], Coroutine[Any, Any, None]]",
) -> None:
    settings = _load(WorkerSettings)
    # What is printed is the answer, for machines too; what goes wrong ends the command.
    logs.configure("error", settings.log_format)

    async def run() -> None:
        from payment_manager.bootstrap.dead_letters import dead_letter_triage

        async with dead_letter_triage(settings) as triage:
            await work(triage)

    _run(run)


app.add_typer(dlq_commands(_work_through_dead_letters), name="dlq")


def _maintain(tell: "Callable[[Round], Coroutine[Any, Any, None]]") -> None:
    settings = _load()

    async def run() -> None:
        from payment_manager.bootstrap.maintenance import maintain_once

        await tell(await maintain_once(settings, SystemClock()))

    _run(run)


app.add_typer(maintenance_commands(_maintain))


def _work_on_partitions(work: Callable[[Tools], Coroutine[Any, Any, None]]) -> None:
    settings = _load()
    # What is printed is the answer, for machines too; what goes wrong ends the command.
    logs.configure("error", settings.log_format)

    async def run() -> None:
        from payment_manager.adapters.postgres.partitions.default_rows import PostgresDefaultRows
        from payment_manager.adapters.postgres.partitions.overview import PostgresOverview
        from payment_manager.bootstrap.database import command_pool

        async with command_pool(settings) as pool:
            today = SystemClock().now().date()
            await work(Tools(PostgresOverview(pool), PostgresDefaultRows(pool), today))

    _run(run)


app.add_typer(partitions_commands(_work_on_partitions), name="partitions")


def _ask_archive(work: "Callable[[Archive], Coroutine[Any, Any, None]]") -> None:
    settings = _load()
    logs.configure("error", settings.log_format)

    async def run() -> None:
        from payment_manager.bootstrap.archive import archive_of

        if (archive := archive_of(settings)) is None:
            raise CommandFailed("EVENTS_ARCHIVE_DIR: is not set, so there is no archive to ask")
        await work(archive)

    _run(run)


def _compare_archive(
    work: "Callable[[Archive | None, Retirement], Coroutine[Any, Any, None]]",
) -> None:
    settings = _load()
    logs.configure("error", settings.log_format)

    async def run() -> None:
        from payment_manager.adapters.postgres.partitions.retirement import PostgresRetirement
        from payment_manager.bootstrap.archive import archive_of
        from payment_manager.bootstrap.database import command_pool

        archive = archive_of(settings)
        async with command_pool(settings) as pool:
            await work(archive, PostgresRetirement(pool))

    _run(run)


app.add_typer(archive_commands(_ask_archive, _compare_archive), name="archive")


def _work_on_search(work: Callable[[SearchTools], Coroutine[Any, Any, None]]) -> None:
    settings = _load()
    # What is printed is the answer, for machines too; what goes wrong ends the command.
    logs.configure("error", settings.log_format)

    async def run() -> None:
        from payment_manager.bootstrap.search import search_tools

        async with search_tools(settings) as tools:
            await work(tools)

    _run(run)


app.add_typer(search_commands(_work_on_search), name="search")


async def _serve_api(settings: Settings) -> None:
    from payment_manager.bootstrap.api import api_service

    async with api_service(settings) as application:
        await _serve(application, "api", settings)


async def _serve(application: ASGIApp, name: str, settings: Settings) -> None:
    from payment_manager.entrypoints.http.problems import unreadable
    from payment_manager.entrypoints.http.serving import serve

    await serve(
        application,
        name=name,
        host=settings.bind_address,
        port=settings.port,
        receive_seconds=settings.body_timeout.total_seconds(),
        stop_seconds=settings.shutdown_timeout.total_seconds(),
        refuse=unreadable,
    )


async def _serve_dev(settings: Settings) -> None:
    from payment_manager.adapters.silvergate.simulator import running_simulator

    async with AsyncExitStack() as stack:
        if settings.silvergate_base_url is None:
            settings.data_dir.mkdir(parents=True, exist_ok=True)
            provider = await stack.enter_async_context(
                running_simulator(_simulator_store(settings), port=settings.simulator_port)
            )
            log.info("listening", service="silvergate simulator", url=provider.base_url)
            settings = settings.model_copy(update={"silvergate_base_url": provider.base_url})
        await _serve_api(settings)


def _simulator_store(settings: Settings) -> Path:
    return settings.data_dir / "simulator.sqlite"


def _load(kind: type[Settings] = Settings) -> Settings:
    try:
        settings = settings_module.load(kind)
    except SettingsError as wrong:
        print(wrong, file=sys.stderr)
        raise typer.Exit(2) from None
    logs.configure(settings.log_level, settings.log_format)
    return settings


def _run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    try:
        uvloop.run(_until_told(main()))
    except OSError as error:
        hint = "; is another payment-manager running?" if error.errno == EADDRINUSE else ""
        where = f"{error.filename}: " if error.filename else ""
        print(f"{where}{error.strerror or error}{hint}", file=sys.stderr)
        raise SystemExit(2) from None
    except Exception as error:
        if not isinstance(error, _told_as_they_stand()):
            raise
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(128 + signal.SIGINT) from None
    except asyncio.CancelledError:
        raise SystemExit(128 + signal.SIGTERM) from None


def _told_as_they_stand() -> tuple[type[Exception], ...]:
    from payment_manager.adapters.kafka.connection import KafkaSetUpError
    from payment_manager.adapters.postgres.embedded import DataDirInUse, EmbeddedPostgresError
    from payment_manager.application.ports import PortError

    of_postgres = (DataDirInUse, EmbeddedPostgresError)
    return (SettingsError, CommandFailed, PortError, KafkaSetUpError, *of_postgres)


async def _until_told(work: Coroutine[Any, Any, None]) -> None:
    """SIGTERM unwinds it, as Ctrl-C does, so that nothing that it started is left running.

    A service that serves takes the signal over.
    """
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await work


def main() -> None:
    app()
