"""An ASGI application behind a socket, from the first request to a graceful stop.

How to think about it: the first signal stops taking work: the listening socket closes, what is
under way is answered, then this returns and its caller closes what it opened, the other way round.
A second signal does not wait for answers any more. The server never re-raises the signal: a stop
that was asked for ends with exit code 0.
"""

import asyncio
import gc
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import structlog
import uvicorn
from litestar.types import ASGIApp

from payment_manager.entrypoints.http.connection import BoundedConnection, Refuse

log = structlog.get_logger()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, *, name: str, url: str) -> None:
        super().__init__(config)
        self._name, self._url = name, url

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # To the process's end: a signal more must not tear the database from those who close it.
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal, number)
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # Only now: whoever reads it may connect, and may also ask for the stop.
        log.info("listening", service=self._name, url=self._url)

    def _on_signal(self, number: signal.Signals) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True
        log.info("stopping", signal=number.name, forced=self.force_exit)


async def serve(
    app: ASGIApp,
    *,
    name: str,
    host: str,
    port: int,
    receive_seconds: float,
    stop_seconds: float,
    refuse: Refuse,
) -> None:
    """Serve until a signal. `port` 0 takes any free one; the log line `listening` tells which.

    `refuse` words what is refused before the application sees it; `receive_seconds` are for a
    request's head, and once more for its body.
    """
    listening = _listen(host, port)
    address = listening.getsockname()
    connection = partial(BoundedConnection, refuse=refuse, receive_seconds=receive_seconds)
    config = uvicorn.Config(
        app,
        loop="none",
        http=cast(Any, connection),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing here asks for the client's address
        # Longer than the idle time of usual proxies' and clients' pools, so that they close first.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=int(stop_seconds) or 1,
        # Above this, who connects waits in the kernel's queue.
        backlog=1024,
    )
    # What was made so far lives as long as the process: the collector need not look at it again,
    # and with a higher threshold it looks a tenth as often at requests, which die young.
    gc.collect()
    gc.freeze()
    gc.set_threshold(7_000, 20, 50)
    url = f"http://{_host(address[0])}:{address[1]}"
    await _Server(config, name=name, url=url).serve(sockets=[listening])
    log.info("stopped", service=name)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family, backlog=1024)
    # Inherited by each connection: an answer in two writes must not wait for the peer's delayed
    # acknowledgement.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address
