"""One caller with a connection of its own, who reads what is answered.

How to think about it: the generator reads no more than a status; who wants to know what was
answered, and by whom, asks here, one request after the other.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.benchmarks.generator import Address

ANSWER_SECONDS_MAX = 60.0


class Caller:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Status and body. Raises `OSError`, `IncompleteReadError` where the connection ends."""
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            self._writer.write(request)
            head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
            return int(head.split(b" ", 2)[1]), await self._reader.readexactly(length)

    async def json(self, method: str, target: str, document: object = None) -> Any:
        """What is answered with 2xx; anything else raises `AssertionError`."""
        body = b"" if document is None else json.dumps(document).encode()
        head = (
            f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        )
        status, answer = await self.ask(
            head.encode() + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        assert 200 <= status < 300, f"{method} {target}: {status} {answer[:500]!r}"
        return json.loads(answer)


@asynccontextmanager
async def calling(address: Address) -> AsyncIterator[Caller]:
    # A page of a hundred events is longer than the default limit of a line, not than this.
    reader, writer = await asyncio.open_connection(address.host, address.port, limit=2**20)
    try:
        yield Caller(reader, writer)
    finally:
        writer.close()
