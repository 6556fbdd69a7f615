"""The least that an HTTP service can do: read the body, answer 202. What the service adds to it is
the service's own cost; what the generator reaches against it is the generator's ceiling.
"""

import socket
import sys
from typing import Any

import uvicorn

_START = {
    "type": "http.response.start",
    "status": 202,
    "headers": [(b"content-type", b"application/json"), (b"content-length", b"2")],
}
_BODY = {"type": "http.response.body", "body": b"{}"}


async def app(_scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    await send(_START)
    await send(_BODY)


def main() -> None:
    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    print(listening.getsockname()[1], flush=True)
    config = uvicorn.Config(
        app, loop="uvloop", http="httptools", ws="none", lifespan="off", log_level="error"
    )
    uvicorn.Server(config).run(sockets=[listening])
    sys.exit(0)


if __name__ == "__main__":
    main()
