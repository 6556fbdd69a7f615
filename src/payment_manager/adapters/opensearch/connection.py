"""The client of the search server, and its errors in our words.

How to think about it: the server is somebody who may be away, slow or wrong, and no caller is to
know how. So whatever goes wrong is `IndexTrouble`, in words that name the trouble and repeat
nothing: no URL, since it may hold a password, and no content. Nothing is repeated here but what
another node, or a connection made anew, may take: everything that we write may be written twice.
"""

import logging
import re
import ssl
from base64 import b64encode
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import aiohttp
import msgspec
from opensearchpy import (
    AIOHttpConnection,
    AsyncOpenSearch,
    ConnectionError,
    ConnectionTimeout,
    JSONSerializer,
    OpenSearchException,
    SerializationError,
    TransportError,
)
from opensearchpy.exceptions import HTTP_EXCEPTIONS

from payment_manager.application.ports import IndexTrouble

READ_ONLY = "the index is read-only"
FULL = "the disk is full: the index is read-only"
GONE = "the index is gone"
BUSY = "too busy"
MALFORMED = "a malformed answer"

_ERROR_TYPE = re.compile(r"[a-z_]{1,80}")

# A node that failed is left alone for a second, then for two, four and at most eight: one that is
# back is soon found, one that is lost costs one request in a while.
_DEAD_SECONDS = 1
_DEAD_DOUBLINGS = 3


def search_client(urls: str, ca_file: Path | None, timeout_seconds: float) -> AsyncOpenSearch:
    """A client of one cluster, to be closed. `urls`: with commas between, user and password in
    them; without a port, that of http or https. `ca_file`: who signed its certificates, where it is
    nobody that this machine knows.

    Connects when it is asked for the first time. Raises `ValueError`, with words for people.
    """
    # The library logs each failure with its stack; whoever asked tells of it already.
    logging.getLogger("opensearch").setLevel(logging.ERROR)
    hosts = [_host(url, ca_file, timeout_seconds) for url in urls.split(",")]
    several = len(hosts) > 1
    return _Client(
        hosts,
        connection_class=_Connection,
        serializer=_Json(),
        # Of one node, a connection that it closed while it was idle.
        max_retries=max(1, len(hosts) - 1),
        # Where nothing is tried again, a node that hangs would be asked again and again.
        retry_on_timeout=several,
        retry_on_status=(502, 503, 504) if several else (),
        dead_timeout=_DEAD_SECONDS,
        timeout_cutoff=_DEAD_DOUBLINGS,
    )


@contextmanager
def translated() -> Iterator[None]:
    """Raises `IndexTrouble` for all that the client raises, and for an answer that is not of the
    form that it was converted to (`msgspec.convert`).
    """
    try:
        yield
    except (OpenSearchException, TimeoutError, msgspec.ValidationError, RecursionError) as error:
        raise IndexTrouble(_words(error)) from error


def words_of(status: int, error_type: str | None) -> str:
    """What an answer with an error says: a whole one, or of one document."""
    match status, error_type:
        case 429, "cluster_block_exception":
            return FULL
        case 403, "cluster_block_exception":
            return READ_ONLY
        case 404, "index_not_found_exception":
            return GONE
        case 429, _:
            return BUSY
        case 401 | 403, _:
            return "it does not let us in, or not do this"
        case _ if error_type is not None and _ERROR_TYPE.fullmatch(error_type):
            return f"it answered {status}, {error_type}"
        case _:
            return f"it answered {status}"


def _words(error: Exception) -> str:
    match error:
        case ConnectionTimeout() | TimeoutError():
            return "no answer in time"
        case ConnectionError(info=aiohttp.ClientSSLError() | ssl.SSLError()):
            return "no connection: its certificate is not accepted"
        case ConnectionError(info=aiohttp.ClientConnectorError()):
            return "no connection"
        case ConnectionError():
            return "the connection broke"
        case TransportError(status_code=int(status)):
            return words_of(status, error.error)
        case SerializationError() | msgspec.ValidationError() | RecursionError():
            return MALFORMED
        case _:
            return type(error).__name__


def _host(url: str, ca_file: Path | None, timeout_seconds: float) -> dict[str, Any]:
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        raise ValueError("OPENSEARCH_URLS: has a port or a host that can't be") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("OPENSEARCH_URLS: must be http or https URLs")
    secure = parts.scheme == "https"
    host: dict[str, Any] = {
        # The library builds URLs of it as it stands.
        "host": f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname,
        "port": port or (443 if secure else 80),
        "url_prefix": parts.path.rstrip("/"),
        "timeout": timeout_seconds,
    }
    if parts.username is not None:
        names = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        host["headers"] = {"authorization": f"Basic {b64encode(names.encode()).decode()}"}
    if secure:
        try:
            context = ssl.create_default_context(cafile=ca_file)
        except OSError as error:
            raise ValueError(f"OPENSEARCH_CA_FILE: {error.strerror or 'no certificate'}") from None
        host |= {"use_ssl": True, "ssl_context": context}
    return host


class _Client(AsyncOpenSearch):
    async def close(self) -> None:
        """All connections: the library forgets those to nodes that failed last."""
        seeds: Sequence[AIOHttpConnection] = getattr(self.transport, "seed_connections", ())
        await super().close()
        for connection in seeds:
            await connection.close()


class _Json(JSONSerializer):
    """Answers are read some times faster than by the library."""

    def loads(self, text: str) -> Any:
        try:
            return msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
            raise SerializationError("not JSON", error) from None


class _Connection(AIOHttpConnection):
    """Logs no request, and reads errors of every form."""

    async def perform_request(
        self,
        method: str,
        url: str,
        params: Mapping[str, Any] | None = None,
        body: bytes | None = None,
        timeout: float | None = None,
        ignore: Collection[int] = (),
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        # Sent in pieces, so that others have their turn while a large one goes out.
        pieces: Any = None if body is None else BytesIO(body)
        return await super().perform_request(method, url, params, pieces, timeout, ignore, headers)

    def log_request_success(self, *_: Any, **__: Any) -> None:
        pass

    def log_request_fail(self, *_: Any, **__: Any) -> None:
        pass

    def _raise_error(
        self, status_code: int, raw_data: str | bytes, content_type: str | None = None
    ) -> None:
        kind, info = "", None
        try:
            info = msgspec.json.decode(raw_data, type=_Error)
            kind = info.error if isinstance(info.error, str) else info.error.type
        except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
            pass  # a page of some proxy's
        raise HTTP_EXCEPTIONS.get(status_code, TransportError)(status_code, kind, info)


class _Why(msgspec.Struct):
    type: str
    reason: str | None = None


class _Error(msgspec.Struct):
    error: _Why | str
