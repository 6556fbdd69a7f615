"""A service of ours as a child process: its lines are shown, its end is told.

How to think about it: a program lives as long as its context. It has a session of its own, so that
a terminal's Ctrl-C reaches the launcher alone, which then stops one after the other; and a leash,
so that it stops by itself where the launcher is killed.
"""

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

import httpx

from infra.leash import Leash

READY_SECONDS_MAX = 120.0
"""The first start makes a database cluster and its schema; a quiet machine takes three."""

STOP_SECONDS_MAX = 100.0
"""SHUTDOWN_TIMEOUT for the requests, and as long as an embedded PostgreSQL may take to stop."""

_POLL_SECONDS = 0.1

Show = Callable[[Sequence[bytes]], None]


class ProgramFailed(Exception):
    """It didn't get ready, or ended when nobody had asked it to; the message says which and how."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Program:
    def __init__(self, name: str, process: Process) -> None:
        self.name = name
        self.is_stopping = False
        self._process = process

    async def wait_until_ready(self, url: str) -> None:
        """Until `url` answers 200. Raises ProgramFailed if that takes too long.

        Its end isn't looked for here: whoever runs it watches `ended` from the start on.
        """
        async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
            with suppress(TimeoutError):
                async with asyncio.timeout(READY_SECONDS_MAX):
                    while not await _is_ready(client, url):  # noqa: ASYNC110  # no event tells
                        await asyncio.sleep(_POLL_SECONDS)
                    return
        raise ProgramFailed(f"{self.name} was not ready after {READY_SECONDS_MAX:.0f} s")

    async def ended(self) -> None:
        """Returns when it was stopped. Raises ProgramFailed if it ends by itself."""
        exit_code = await self._process.wait()
        if not self.is_stopping:
            how = f"exit code {exit_code}" if exit_code >= 0 else signal.Signals(-exit_code).name
            raise ProgramFailed(f"{self.name} ended by itself ({how})", max(exit_code, 1))

    def signal_stop(self) -> None:
        """Ask it to stop; asked again, it doesn't wait for its callers any more."""
        self.is_stopping = True
        with suppress(ProcessLookupError):
            self._process.terminate()

    async def stop(self) -> None:
        if not self.is_stopping:
            self.signal_stop()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_SECONDS_MAX)
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()


@asynccontextmanager
async def running(
    name: str, command: Sequence[str], environment: Mapping[str, str], show: Show
) -> AsyncIterator[Program]:
    """The program, from its start to its end in good order; `show` gets its lines as they come."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, **environment},
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None
    showing = asyncio.create_task(_show_lines(process.stdout, show))
    program = Program(name, process)
    with Leash(process.pid, patience_seconds=STOP_SECONDS_MAX):
        try:
            yield program
        finally:
            await program.stop()
            await showing  # its last lines too


async def _is_ready(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(url)).status_code == 200
    except httpx.HTTPError:
        return False


async def _show_lines(output: asyncio.StreamReader, show: Show) -> None:
    rest = b""
    while chunk := await output.read(65_536):
        *lines, rest = (rest + chunk).split(b"\n")
        show(lines)
    if rest:
        show([rest])
