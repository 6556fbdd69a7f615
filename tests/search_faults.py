"""A search server with faults: an HTTP proxy before a real one.

How to think about it: whoever is tested is given the proxy's URL and meets the real server through
it, until the test sets a fault. A fault sees a request before the server does and either answers
in its place or lets it through; so what is written behind a fault is what the server really has.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from io import BytesIO
from types import TracebackType

import aiohttp
from aiohttp import web

Passing = Callable[[], Awaitable[web.Response]]
Fault = Callable[[web.Request, bytes, Passing], Awaitable[web.StreamResponse]]
"""Given the request, its body, and what asks the server."""

_READ_ONLY = (
    b'{"error":{"root_cause":[],"type":"cluster_block_exception","reason":"index [x] blocked by:'
    b' [FORBIDDEN/5/index read-only (api)];"},"status":403}'
)
_BUSY = (
    b'{"error":{"root_cause":[],"type":"rejected_execution_exception","reason":"rejected execution'
    b' of coordinating operation"},"status":429}'
)

# What is the connection's own, and what aiohttp says itself.
_NOT_PASSED = {
    "connection",
    "keep-alive",
    "transfer-encoding",
    "content-length",
    "content-encoding",
}


class FaultyProxy:
    """An HTTP server on a free port of loopback, as an async context manager.

    `fault`: None passes everything. `requests` counts all, `bulk_bytes` has the size of each bulk
    that came, whatever became of it.
    """

    def __init__(self, target_url: str, tls: ssl.SSLContext | None = None) -> None:
        self._target_url = target_url
        self._tls = tls
        self.url = ""
        self.fault: Fault | None = None
        self.requests = 0
        self.bulk_bytes: list[int] = []
        self._came = asyncio.Condition()
        self._closing = asyncio.Event()

    async def __aenter__(self) -> "FaultyProxy":
        self._session = aiohttp.ClientSession(
            auto_decompress=False, skip_auto_headers=("accept-encoding",)
        )
        application = web.Application(client_max_size=2**30)
        application.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls)
        await site.start()
        scheme = "http" if self._tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _: TracebackType | None,
    ) -> None:
        self._closing.set()
        await self._runner.cleanup()
        await self._session.close()

    async def bulks(self, number: int) -> None:
        """Returns when so many bulks have come in all."""
        async with self._came:
            await self._came.wait_for(lambda: len(self.bulk_bytes) >= number)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        async with self._came:
            self.requests += 1
            if is_bulk(request):
                self.bulk_bytes.append(len(body))
            self._came.notify_all()

        async def passing() -> web.Response:
            return await self._ask(request, body)

        if self.fault is None:
            return await passing()
        return await self.fault(request, body, passing)

    async def _ask(self, request: web.Request, body: bytes) -> web.Response:
        headers = {
            name: value
            for name, value in request.headers.items()
            if name.lower() not in _NOT_PASSED | {"host"}
        }
        url = f"{self._target_url}{request.raw_path}"
        try:
            async with self._session.request(
                request.method, url, data=BytesIO(body), headers=headers
            ) as answer:
                passed = {
                    name: value
                    for name, value in answer.headers.items()
                    if name.lower() not in _NOT_PASSED
                }
                return web.Response(status=answer.status, headers=passed, body=await answer.read())
        except aiohttp.ClientError:
            return await _reset(request)

    # ── Faults ────────────────────────────────────────────────────────────────────────────────────

    async def hangs(self, _request: web.Request, _body: bytes, _: Passing) -> web.StreamResponse:
        """No answer, until the proxy ends."""
        await self._closing.wait()
        return web.Response(status=503)


def is_bulk(request: web.Request) -> bool:
    return request.path.endswith("/_bulk")


def answers(status: int, body: bytes = b"", kind: str = "application/json") -> Fault:
    async def fault(_request: web.Request, _body: bytes, _: Passing) -> web.StreamResponse:
        return web.Response(status=status, body=body, content_type=kind)

    return fault


def malformed() -> Fault:
    """An answer that ends in the middle of its JSON, as if it were whole."""
    return answers(200, b'{"took":3,"errors":false,"items":[{"ind')


def read_only() -> Fault:
    return bulks_only(answers(403, _READ_ONLY))


def busy(times: int | None = None) -> Fault:
    """Too busy for this many bulks; for all, unless told."""
    return bulks_only(first(times, answers(429, _BUSY)))


def too_large_above(size_bytes: int) -> Fault:
    """Refuses larger requests, as proxies and servers do."""

    async def fault(request: web.Request, body: bytes, passing: Passing) -> web.StreamResponse:
        if len(body) > size_bytes:
            return web.Response(status=413, text="Request Entity Too Large")
        return await passing()

    return fault


async def resets(request: web.Request, _body: bytes, _: Passing) -> web.StreamResponse:
    """The connection breaks instead of an answer."""
    return await _reset(request)


async def loses_the_answer(
    request: web.Request, _body: bytes, passing: Passing
) -> web.StreamResponse:
    """The server does what it is asked, and nobody hears of it."""
    await passing()
    return await _reset(request)


async def truncates(request: web.Request, _body: bytes, passing: Passing) -> web.StreamResponse:
    """The server's answer, and the connection breaks in its middle."""
    answer = await passing()
    assert isinstance(answer.body, bytes)
    cut = web.StreamResponse(status=answer.status, headers=answer.headers)
    cut.content_length = len(answer.body)
    await cut.prepare(request)
    await cut.write(answer.body[: len(answer.body) // 2])
    return await _reset(request)


def first(times: int | None, fault: Fault) -> Fault:
    """The fault for this many requests; all others pass. None: for all."""
    left = times

    async def some(request: web.Request, body: bytes, passing: Passing) -> web.StreamResponse:
        nonlocal left
        if left == 0:
            return await passing()
        left = None if left is None else left - 1
        return await fault(request, body, passing)

    return some


def bulks_only(fault: Fault) -> Fault:
    async def some(request: web.Request, body: bytes, passing: Passing) -> web.StreamResponse:
        return await (fault(request, body, passing) if is_bulk(request) else passing())

    return some


async def _reset(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)
