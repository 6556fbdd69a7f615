"""Runs everything on this one machine: Kafka, the provider, OpenSearch where it is asked for, the
API and Ingest, in this order.

How to think about it: where Docker is, `compose.yaml` does it. Else the same parts run as processes
of this machine: each is started when the one before it is ready, and stopped in the reverse order,
by Ctrl-C or by the end of any of them. What the settings name elsewhere is used and not started.

    python -m infra.launcher             everything, with the services' logs (make run-kafka)
    python -m infra.launcher start       only what the services need, in the background
    python -m infra.launcher stop        … and its end
    python -m infra.launcher search      OpenSearch and `payment-manager dev` (make run-search)

`--search` adds OpenSearch to the first two.
"""

import argparse
import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path

from infra import background, docker, kafka_server, opensearch_server
from infra.background import BackgroundFailed, Keeper
from infra.java import JarsMissing
from infra.kafka_server import KafkaServer, KafkaServerError
from infra.local_server import HOST, LocalServer, free_port, give, is_free
from infra.opensearch_server import OpenSearchServer, OpenSearchServerError
from infra.program import Program, ProgramFailed, running
from payment_manager.adapters.silvergate.simulator import running_simulator
from payment_manager.settings import Port, Settings, SettingsError, load

_COLOURS = {"api": 36, "dev": 36, "ingest": 35}
_LOOK_SECONDS = 0.5

COMMANDS = ("up", "start", "stop", "keep", "search")

# What a service needs to find the others.
Addresses = Mapping[str, str]


class LocalSettings(Settings):
    """The services' settings, and the ports of what runs beside them."""

    ingest_port: Port = 3002
    kafka_port: Port = 9092
    opensearch_port: Port = 9200
    postgres_port: Port = 5432
    """Docker's alone: without it, PostgreSQL is embedded and has no port."""
    dashboards_port: Port = 5601
    """Docker's alone: it runs nowhere else."""


class CannotRun(Exception):
    """Told to the person at the terminal as it stands."""


_TOLD = (
    *(BackgroundFailed, CannotRun, JarsMissing, KafkaServerError, OpenSearchServerError),
    *(ProgramFailed, SettingsError, subprocess.CalledProcessError),
)


class Console:
    """Lines under the name of who says them; coloured on a terminal."""

    def __init__(self) -> None:
        self._out = sys.stdout.buffer
        self._coloured = sys.stdout.isatty() and "NO_COLOR" not in os.environ

    def say(self, text: str) -> None:
        self._write([text.encode()])

    def under(self, name: str) -> Callable[[Sequence[bytes]], None]:
        prefix = f"{name:<6} | "
        if self._coloured and name in _COLOURS:
            prefix = f"\x1b[{_COLOURS[name]}m{prefix}\x1b[0m"
        start = prefix.encode()
        return lambda lines: self._write([start + line for line in lines])

    def _write(self, lines: Sequence[bytes]) -> None:
        try:
            self._out.write(b"".join(line + b"\n" for line in lines))
            self._out.flush()
        except BrokenPipeError:
            # Nobody reads any more: the same as Ctrl-C. What is said while stopping is lost.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._out.fileno())
            signal.raise_signal(signal.SIGTERM)


class Launch:
    """One run: all that was started, watched, until one that is needed ends or a signal comes."""

    def __init__(self, settings: LocalSettings, console: Console) -> None:
        self._settings = settings
        self._console = console
        self._stack = AsyncExitStack()
        self._watch = asyncio.TaskGroup()
        self._watchers: list[asyncio.Task[None]] = []
        self._programs: list[Program] = []
        self._is_ending = False

    async def run(self, start: Callable[["Launch"], Awaitable[None]]) -> None:
        """Start what `start` says; returns when a signal has ended it.

        Raises a group of ProgramFailed and the like where something ended by itself.
        """
        task = asyncio.create_task(self._run(start))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._on_signal, task)
        with suppress(asyncio.CancelledError):
            await task

    async def infrastructure(self, *, search: bool) -> Addresses:
        """Kafka, the provider and, if so, OpenSearch, but for those that the settings name
        elsewhere. What can't start is told before anything does.
        """
        settings = self._settings
        brokers, provider = f"{HOST}:{settings.kafka_port}", _url(settings.simulator_port)
        starts_kafka = settings.kafka_brokers in (None, brokers)
        starts_provider = settings.silvergate_base_url in (None, provider)
        if starts_kafka:
            _check_port("Kafka", "KAFKA_PORT", settings.kafka_port)
            if reason := kafka_server.why_not():
                raise CannotRun(
                    f"Kafka can't run on this machine: {reason}.\n"
                    "Install it, or set KAFKA_BROKERS to a Kafka that runs elsewhere."
                )
        if starts_provider:
            _check_port("the simulated provider", "SIMULATOR_PORT", settings.simulator_port)
        if search:
            self._check_search()
        if starts_kafka:
            await self._run_server(
                KafkaServer(settings.data_dir / "kafka", settings.kafka_port, long_running=True)
            )
        if starts_provider:
            settings.data_dir.mkdir(parents=True, exist_ok=True)
            store = settings.data_dir / "simulator.sqlite"
            await self._stack.enter_async_context(
                running_simulator(store, host=HOST, port=settings.simulator_port)
            )
        return {
            "KAFKA_BROKERS": settings.kafka_brokers or brokers,
            "SILVERGATE_BASE_URL": settings.silvergate_base_url or provider,
            **(await self.search() if search else {}),
        }

    async def search(self) -> Addresses:
        """OpenSearch, but for one that the settings name elsewhere."""
        settings = self._settings
        self._check_search()
        if self._starts_search:
            folder = settings.data_dir / "opensearch"
            await self._run_server(
                OpenSearchServer(folder, settings.opensearch_port, long_running=True),
                is_needed=False,
            )
        return {"OPENSEARCH_URLS": settings.opensearch_urls or _url(settings.opensearch_port)}

    @property
    def _starts_search(self) -> bool:
        settings = self._settings
        return settings.opensearch_urls in (None, _url(settings.opensearch_port))

    def _check_search(self) -> None:
        if not self._starts_search:
            return
        _check_port("OpenSearch", "OPENSEARCH_PORT", self._settings.opensearch_port)
        if reason := opensearch_server.why_not():
            raise CannotRun(
                f"OpenSearch can't run on this machine: {reason}.\n"
                "Install it, set OPENSEARCH_URLS to one that runs elsewhere, or do without: "
                "PostgreSQL answers then."
            )

    async def service(self, name: str, port: int, environment: Mapping[str, str]) -> None:
        """`payment-manager NAME`, until it says that it is ready."""
        command = [str(Path(sys.executable).with_name("payment-manager")), name]
        program = await self._stack.enter_async_context(
            running(name, command, environment, self._console.under(name))
        )
        self._programs.append(program)
        self._watchers.append(self._watch.create_task(program.ended()))
        await program.wait_until_ready(f"{_url(port, self._settings.bind_address)}/health/ready")

    async def _run(self, start: Callable[["Launch"], Awaitable[None]]) -> None:
        async with self._watch, self._stack:
            try:
                await start(self)
                await asyncio.Event().wait()
            finally:
                # From here on no end is news.
                self._is_ending = True
                for watcher in self._watchers:
                    watcher.cancel()

    def _on_signal(self, task: asyncio.Task[None]) -> None:
        if not self._is_ending:
            self._console.say("stopping (once more: without waiting for requests under way)")
            task.cancel()
            return
        for program in self._programs:
            program.signal_stop()

    async def _run_server(self, server: LocalServer, *, is_needed: bool = True) -> None:
        self._console.say(f"starting {server.name} (the first time, its jars are fetched)")
        await self._stack.enter_async_context(self._running(server, is_needed))

    @asynccontextmanager
    async def _running(self, server: LocalServer, is_needed: bool) -> AsyncIterator[None]:
        starting = asyncio.create_task(asyncio.to_thread(server.start))
        try:
            await asyncio.shield(starting)
            self._watchers.append(self._watch.create_task(self._until_ended(server, is_needed)))
            yield
        finally:
            with suppress(server.error, JarsMissing):
                await starting  # nothing can stop a thread that has begun to start it
            await asyncio.to_thread(server.stop)

    async def _until_ended(self, server: LocalServer, is_needed: bool) -> None:
        while server.is_alive:  # noqa: ASYNC110  # no event tells
            await asyncio.sleep(_LOOK_SECONDS)
        ended = f"{server.name} ended by itself; see {server.log}"
        if is_needed:
            raise ProgramFailed(ended)
        self._console.say(f"{ended}; all else goes on without it")


async def _everything(
    launch: Launch, settings: LocalSettings, console: Console, *, search: bool
) -> None:
    _check_port("the API", "PORT", settings.port)
    _check_port("Ingest", "INGEST_PORT", settings.ingest_port)
    # Those of `start`, where they run.
    addresses = background.settings_of_running(settings.data_dir)
    if addresses is None:
        addresses = await launch.infrastructure(search=search)
    elif search and "OPENSEARCH_URLS" not in addresses:
        addresses = {**addresses, **await launch.search()}
    environment = {
        **addresses,
        "WEBHOOK_MODE": "kafka",
        "PORT": str(settings.port),
        "INGEST_PORT": str(settings.ingest_port),
    }
    await launch.service("api", settings.port, environment)
    await launch.service("ingest", settings.ingest_port, environment)
    api = _url(settings.port, settings.bind_address)
    ingest = _url(settings.ingest_port, settings.bind_address)
    console.say(
        f"everything is up; Ctrl-C stops it\n"
        f"  webhooks   POST {ingest}/webhooks/payments/orders and …/chargebacks\n"
        f"  operators  {api}/docs\n"
        f"  Kafka      {addresses['KAFKA_BROKERS']}\n"
        f"  provider   {addresses['SILVERGATE_BASE_URL']}\n"
        f"{_search_line(addresses)}"
        f"  data       {settings.data_dir.resolve()}"
    )


async def _dev_with_search(launch: Launch, settings: LocalSettings, console: Console) -> None:
    _check_port("the API", "PORT", settings.port)
    kept = background.settings_of_running(settings.data_dir) or {}
    kept = {name: url for name, url in kept.items() if name == "OPENSEARCH_URLS"}
    addresses = kept or await launch.search()
    await launch.service("dev", settings.port, {**addresses, "PORT": str(settings.port)})
    console.say(
        f"everything is up; Ctrl-C stops it\n"
        f"  API        {_url(settings.port, settings.bind_address)}/docs\n"
        f"{_search_line(addresses)}"
        f"  data       {settings.data_dir.resolve()}"
    )


def _search_line(addresses: Addresses) -> str:
    urls = addresses.get("OPENSEARCH_URLS")
    return f"  search     {urls}\n" if urls else ""


def _run(
    settings: LocalSettings,
    start: Callable[[Launch, LocalSettings, Console], Awaitable[None]],
) -> None:
    console = Console()

    async def started(launch: Launch) -> None:
        await start(launch, settings, console)

    asyncio.run(Launch(settings, console).run(started))


def _keep(settings: LocalSettings, *, search: bool) -> None:
    """What `start` leaves in the background."""
    keeper = Keeper(settings.data_dir)

    async def infrastructure(launch: Launch, *_: object) -> None:
        keeper.announce(await launch.infrastructure(search=search))

    _run(settings, infrastructure)


def _start(settings: LocalSettings, *, local: bool, search: bool) -> None:
    if docker.is_there() and not local:
        docker.start(search=search)
        addresses = docker.addresses(
            settings.postgres_port,
            settings.kafka_port,
            settings.simulator_port,
            settings.opensearch_port if search else None,
        )
    else:
        keeper = [sys.executable, "-m", "infra.launcher", "keep"]
        keeper += ["--search"] if search else []
        addresses = background.start(settings.data_dir, keeper)
        if search and "OPENSEARCH_URLS" not in addresses:
            raise CannotRun(
                "What runs in the background has no OpenSearch: `make stop_containers` first."
            )
    print("These run in the background until `make stop_containers`:")
    for name, value in addresses.items():
        print(f"export {name}={value}")
    if "PG_URL" not in addresses:
        print("# PostgreSQL needs no server: the API embeds one, unless PG_URL names yours.")
    print("# With these set: WEBHOOK_MODE=kafka make run-api, and make run-ingest")


def _stop(settings: LocalSettings) -> None:
    stopped = background.stop(settings.data_dir)
    if docker.is_there():
        docker.stop()
        stopped = True
    print("stopped" if stopped else "nothing was running")


def _check_port(what: str, setting: str, port: int) -> None:
    if not is_free(port):
        raise CannotRun(
            f"port {port} for {what} is taken: end the program that listens there, "
            f"or set {setting} to another"
        )


def _url(port: int, host: str = HOST) -> str:
    """Where this machine reaches a server that listens at `host`."""
    everywhere = {"0.0.0.0": HOST, "::": "[::1]"}  # noqa: S104
    return f"http://{everywhere.get(host, f'[{host}]' if ':' in host else host)}:{port}"


def _load() -> LocalSettings:
    # Which mode `.env` names doesn't matter here: it must not ask for brokers that we start.
    settings = load(LocalSettings, webhook_mode="sync")
    assert isinstance(settings, LocalSettings)
    names = ("port", "ingest_port", "kafka_port", "simulator_port", "opensearch_port")
    give(*(getattr(settings, name) for name in names))
    ports = {name: getattr(settings, name) or free_port() for name in names}
    return settings.model_copy(update=ports)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m infra.launcher")
    parser.add_argument("command", nargs="?", default="up", choices=COMMANDS)
    parser.add_argument("--local", action="store_true", help="without Docker, even where it is")
    parser.add_argument("--search", action="store_true", help="with OpenSearch")
    arguments = parser.parse_args()
    search: bool = arguments.search
    failed: BaseException | None = None
    try:
        settings = _load()
        match arguments.command:
            case "up" if docker.is_there() and not arguments.local:
                return docker.up(search=search)
            case "up":
                _run(settings, partial(_everything, search=search))
            case "search":
                _run(settings, _dev_with_search)
            case "keep":
                _keep(settings, search=search)
            case "start":
                _start(settings, local=arguments.local, search=search)
            case "stop":
                _stop(settings)
    except* _TOLD as group:
        failed = group
    while isinstance(failed, BaseExceptionGroup):
        failed = failed.exceptions[0]  # what came after it only followed from it
    if failed is None:
        return 0
    print(failed, file=sys.stderr)
    return failed.exit_code if isinstance(failed, ProgramFailed) else 2


if __name__ == "__main__":
    sys.exit(main())
