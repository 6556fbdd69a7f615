"""One connection of a client: uvicorn's, with limits for what comes before and beside a body.

How to think about it: the application counts a body's bytes and seconds, but it is not called
before a request's head is complete, and sees neither chunk frames nor trailers. So those are
bounded here, and whatever is not HTTP is answered as every other error is. A request that was read
whole gets its own answer, whatever comes behind it.
"""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

HEAD_BYTES_MAX = 64 * 1024
"""Of a request's line and headers, or of its trailers: what servers usually take. Reads are not
split for it, so one more read may pass."""

_FRAME_BYTES = 6
"""A chunk of one byte costs so many with its frame: a body pays for its frames, however small."""

_ANSWER_SECONDS = 5.0
"""After the time for a body: the application, which is told of it, answers first."""

Refuse = Callable[[int, str], tuple[list[tuple[bytes, bytes]], bytes]]
"""Headers and body of an answer with this status, that says this."""


class BoundedConnection(HttpToolsProtocol):
    """`receive_seconds`: for a head, and once more for its body."""

    def __init__(
        self, *arguments: Any, refuse: Refuse, receive_seconds: float, **named: Any
    ) -> None:
        super().__init__(*arguments, **named)
        self._refuse = refuse
        self._receive_seconds = receive_seconds
        self._head_is_complete = False
        self._beside_body = 0
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast(asyncio.Transport, _OneWriteATurn(transport, self.loop)))
        self._due_in(self._receive_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._in_time()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._beside_body += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._beside_body > HEAD_BYTES_MAX:
            self._end(431, "The request's head is too large.")
        elif self._deadline is None and not self._is_working:
            # Only now, since nearly every request comes whole, in one read.
            self._due_in(self._receive_seconds + _ANSWER_SECONDS)

    def send_400_response(self, msg: str) -> None:
        if not self.transport.is_closing():
            self._end(400, "This is not HTTP, or its parts contradict each other.")

    # ── What the parser finds ─────────────────────────────────────────────────────────────────────

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_is_complete = False
        self._beside_body = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        # A trailer is no header (RFC 9110, 6.5): it must not become one behind the checks.
        if not self._head_is_complete:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._head_is_complete = True
        if self._deadline is not None:
            self._due_in(self._receive_seconds + _ANSWER_SECONDS)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._beside_body -= _FRAME_BYTES * len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_time()
        super().on_message_complete()

    # ── Ends ──────────────────────────────────────────────────────────────────────────────────────

    @property
    def _is_working(self) -> bool:
        """A request was read whole, and is not answered yet."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is not None and not cycle.more_body and not cycle.response_complete

    def _due_in(self, seconds: float) -> None:
        self._in_time()
        self._deadline = self.loop.call_later(seconds, self._too_slow)

    def _in_time(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if self.transport.is_closing():
            return
        if self._is_working:
            self._due_in(self._receive_seconds)  # what comes behind it isn't even read
        else:
            self._end(408, "The request came too slowly.")

    def _end(self, status: int, detail: str) -> None:
        """Say why, if nothing was said yet, and close."""
        if self._is_working:
            # Its answer comes first, and is the last: what stands behind it is lost.
            self.cycle.keep_alive = False
            self.transport.pause_reading()
            return
        cycle = cast("RequestResponseCycle | None", self.cycle)
        idle = cycle is None or cycle.response_complete or not cycle.response_started
        if idle and not self.pipeline:
            headers, body = self._refuse(status, detail)
            head = [*self.server_state.default_headers, *headers, (b"connection", b"close")]
            lines = b"".join(b"%b: %b\r\n" % line for line in head)
            self.transport.write(STATUS_LINE[status] + lines + b"\r\n" + body)
        self.transport.close()


class _OneWriteATurn:
    """A transport that sends what is written in one turn of the event loop together.

    The server writes an answer's head and its body one after the other, and a system call for each
    is a tenth of what a webhook costs. Everything else is the transport's own.
    """

    def __init__(self, transport: asyncio.BaseTransport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._loop = loop
        self._written: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        self._written.append(data)
        if len(self._written) == 1:
            self._loop.call_soon(self._send)

    def close(self) -> None:
        self._send()
        self._transport.close()

    def _send(self) -> None:
        written, self._written = self._written, []
        if written and not self._transport.is_closing():
            self._transport.write(b"".join(written))
