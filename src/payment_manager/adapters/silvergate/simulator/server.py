"""Runs the simulated provider on a real port, so that connections can really break.

How to think about it: uvicorn with two differences. Its protocol hands the connection to the app,
which may drop it; and inside another program it leaves the signals to that program.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from payment_manager.adapters.silvergate.simulator.app import (
    ABORT_EXTENSION,
    Simulator,
    create_app,
)

# A call that is being delayed by a fault may finish, but doesn't hold up the end for longer.
_STOP_SECONDS = 1

# Longer than the client keeps a connection idle, so that the simulator never closes it first.
_KEEP_ALIVE_SECONDS = 30


class _DroppableConnection(HttpToolsProtocol):
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {ABORT_EXTENSION: {"abort": self.transport.abort}}


class _GuestServer(uvicorn.Server):
    """A server inside another program: signals are the program's."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_up.set()


@dataclass(frozen=True, slots=True)
class RunningSimulator:
    """Where it listens, and the app itself: its `faults` and its `ledger`."""

    base_url: str
    app: Simulator


def serve(host: str, port: int, store_path: Path | None = None) -> None:
    """Blocks until SIGINT or SIGTERM."""
    uvicorn.Server(_config(create_app(store_path), host, port)).run()


@contextlib.asynccontextmanager
async def running_simulator(
    store_path: Path | None = None, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[RunningSimulator]:
    """In this event loop, for as long as the context lasts. Port 0: one that is free."""
    listening = socket.create_server((host, port))
    # asyncio does this only for sockets that it made; without, each answer waits 40 ms for an ACK.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    bound_port = listening.getsockname()[1]
    app = create_app(store_path)
    server = _GuestServer(_config(app, host, bound_port))
    serving = asyncio.create_task(server.serve([listening]))
    await server.is_up.wait()
    try:
        yield RunningSimulator(f"http://{host}:{bound_port}", app)
    finally:
        server.should_exit = True
        await serving


def _config(app: Simulator, host: str, port: int) -> uvicorn.Config:
    return uvicorn.Config(
        cast(Any, app),
        host=host,
        port=port,
        http=_DroppableConnection,
        ws="none",
        lifespan="on",
        log_level="warning",
        log_config=None,
        access_log=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
