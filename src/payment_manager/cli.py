"""The command line: `payment-manager COMMAND`.

How to think about it: a command reads the settings, wires what it needs through `bootstrap` and
prints for people. A wrong setting, a port or a data folder in use is told in plain words with exit
code 2, never as a stack.
"""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer
import uvloop

from payment_manager import settings as settings_module
from payment_manager.adapters.telemetry import logs
from payment_manager.settings import Settings, SettingsError

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
    settings = _load()
    _run(lambda: _serve_api(settings))


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
        from payment_manager import bootstrap

        async with bootstrap.any_database(settings) as url:
            if down is not None:
                await asyncio.to_thread(migrations.downgrade, url, down)
            print(f"schema at version {migrations.current(url) or 'none'}")

    _run(run)


async def _serve_api(settings: Settings) -> None:
    from payment_manager import bootstrap
    from payment_manager.entrypoints.serving import serve

    async with bootstrap.api_service(settings) as application:
        await serve(
            application,
            name="api",
            host=settings.bind_address,
            port=settings.port,
            stop_seconds=settings.shutdown_timeout.total_seconds(),
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


def _load() -> Settings:
    try:
        settings = settings_module.load()
    except SettingsError as wrong:
        print(wrong, file=sys.stderr)
        raise typer.Exit(2) from None
    logs.configure(settings.log_level, settings.log_format)
    return settings


def _run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    from payment_manager.adapters.postgres.embedded import DataDirInUse, EmbeddedPostgresError
    from payment_manager.application.ports import PortError

    try:
        uvloop.run(main())
    except (SettingsError, CommandFailed, DataDirInUse, EmbeddedPostgresError, PortError) as told:
        print(told, file=sys.stderr)
        raise SystemExit(2) from None
    except OSError as error:
        print(f"{error.strerror or error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def main() -> None:
    app()
