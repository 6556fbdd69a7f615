"""Asks Silvergate over HTTP and says what its answer means.

How to think about it: money may have moved the moment the first byte left, so only an answer that
is beyond doubt is `Done` or `Refused`; everything else (a time-out, a broken connection, a 5xx, a
redirect, an answer that makes no sense) is `Unknown`, and the caller asks again with the same key.
One attempt a call: retries belong to whoever keeps the intent.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from http import HTTPStatus
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Annotated, Literal

import httpx
import msgspec

from payment_manager.domain.gateway import (
    Answer,
    CaptureQuestion,
    Done,
    Refused,
    RepresentmentQuestion,
    Unknown,
)
from payment_manager.domain.money import to_decimal

# A real answer has some hundred bytes. The limit is what one call may make us hold in memory.
ANSWER_BYTES_MAX = 64 * 1024

# What the provider says about a refusal is kept and shown: bounded, whatever it sends.
ERROR_TEXT_MAX = 300

# Shorter than the five seconds or more after which servers usually close an idle connection: a
# request that meets a closing connection is an unknown outcome, and costs a round of reconciling.
IDLE_CONNECTION_SECONDS = 2.0

# Each open question holds a connection for up to the time-out; more than this wait for their turn.
CONNECTIONS_MAX = 100

# "Not now" rather than no: the same question may well be answered later.
_NOT_NOW = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_EARLY,
    HTTPStatus.TOO_MANY_REQUESTS,
}

# The provider's ids are stored, logged and shown as they came: visible ASCII, or it makes no sense.
_Id = Annotated[str, msgspec.Meta(pattern=r"\A[!-~]{1,255}\Z")]


class _Capture(msgspec.Struct, frozen=True):
    order_id: str
    amount: Decimal
    currency: str
    idempotency_key: str


class _Representment(msgspec.Struct, frozen=True):
    order_id: str
    evidences_file_id: Sequence[str]
    fields: Mapping[str, str]


class _CaptureAnswer(msgspec.Struct, frozen=True):
    transaction_id: _Id
    status: Literal["success", "failed"]


class _RepresentmentAnswer(msgspec.Struct, frozen=True):
    id: _Id


class _Error(msgspec.Struct, frozen=True):
    code: str | int = ""
    message: str = ""


class _ErrorAnswer(msgspec.Struct, frozen=True):
    error: _Error


# As a JSON number, digit for digit: an amount never passes through a float.
_encoder = msgspec.json.Encoder(decimal_format="number")
_capture_decoder = msgspec.json.Decoder(_CaptureAnswer)
_representment_decoder = msgspec.json.Decoder(_RepresentmentAnswer)
_error_decoder = msgspec.json.Decoder(_ErrorAnswer)

# What reading hostile JSON can raise.
_NO_SENSE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class SilvergateClient:
    """Silvergate over HTTP: a pool of connections, closed by `close`.

    `timeout_seconds` is for a whole call, from waiting for a connection to the answer's last byte.
    """

    def __init__(
        self, base_url: str, capture_path: str, submit_path: str, timeout_seconds: float
    ) -> None:
        self._capture_url = base_url.rstrip("/") + capture_path
        self._submit_url = base_url.rstrip("/") + submit_path
        self._timeout_seconds = timeout_seconds
        self._http = httpx.AsyncClient(
            timeout=timeout_seconds,
            follow_redirects=False,  # the key and the money are meant for this address only
            trust_env=False,  # a proxy in the environment would see them, too
            # No cookie is kept: what one answer sets must not colour the next question.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            limits=httpx.Limits(
                max_connections=CONNECTIONS_MAX,
                max_keepalive_connections=CONNECTIONS_MAX,
                keepalive_expiry=IDLE_CONNECTION_SECONDS,
            ),
            headers={
                "Content-Type": "application/json",
                "Accept": "application/json",
                # Compressed, a few bytes on the wire could become gigabytes in memory.
                "Accept-Encoding": "identity",
                "User-Agent": "payment-manager",
            },
        )

    async def capture(self, question: CaptureQuestion, *, correlation_id: str) -> Answer:
        """Take the money. Never raises, except for cancellation."""

        def body() -> _Capture:
            return _Capture(
                order_id=question.order_id,
                amount=to_decimal(question.money),
                currency=question.money.currency,
                idempotency_key=question.provider_key,
            )

        return await self._ask(
            self._capture_url, body, question.provider_key, correlation_id, _read_capture
        )

    async def submit_representment(
        self, question: RepresentmentQuestion, *, correlation_id: str
    ) -> Answer:
        """Send the evidence. Never raises, except for cancellation."""

        def body() -> _Representment:
            return _Representment(
                order_id=question.order_id,
                evidences_file_id=question.file_ids,
                fields=question.fields,
            )

        return await self._ask(
            self._submit_url, body, question.provider_key, correlation_id, _read_representment
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def _ask(
        self,
        url: str,
        body: Callable[[], msgspec.Struct],
        key: str,
        correlation_id: str,
        read: Callable[[bytes], Answer],
    ) -> Answer:
        try:
            # httpx's own time-outs are for each read; an answer that drips would never end.
            async with (
                asyncio.timeout(self._timeout_seconds),
                self._http.stream(
                    "POST",
                    url,
                    content=_encoder.encode(body()),
                    headers={"Idempotency-Key": key, "X-Correlation-ID": correlation_id},
                ) as response,
            ):
                return await _interpret(response, read)
        except (TimeoutError, httpx.TimeoutException):
            return Unknown(f"no answer within {self._timeout_seconds:g} s")
        except httpx.ConnectError:
            return Unknown("can't connect")
        except httpx.TransportError as error:
            return Unknown(f"the connection broke ({type(error).__name__})")
        except Exception as error:
            # The intent is durable and must stay open: whatever this was, nobody knows the outcome.
            return Unknown(f"the call failed ({type(error).__name__})")


async def _interpret(response: httpx.Response, read: Callable[[bytes], Answer]) -> Answer:
    status = response.status_code
    if status == HTTPStatus.OK:
        body = await _bounded_body(response)
        return Unknown("the answer is too long") if body is None else read(body)
    if 400 <= status < 500 and status not in _NOT_NOW:
        return Refused(_error_text(status, await _bounded_body(response)))
    return Unknown(f"HTTP {status}")


async def _bounded_body(response: httpx.Response) -> bytes | None:
    """The body as it came over the wire; None if it is over the limit."""
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > ANSWER_BYTES_MAX:
            return None
    return bytes(body)


def _read_capture(body: bytes) -> Answer:
    try:
        answer = _capture_decoder.decode(body)
    except _NO_SENSE:
        return Unknown("the answer makes no sense")
    if answer.status == "success":
        return Done(answer.transaction_id)
    return Refused("declined by the provider", answer.transaction_id)


def _read_representment(body: bytes) -> Answer:
    try:
        return Done(_representment_decoder.decode(body).id)
    except _NO_SENSE:
        return Unknown("the answer makes no sense")


def _error_text(status: int, body: bytes | None) -> str:
    """`2.01: File not ready`, as far as the provider says something readable; else the status."""
    try:
        error = _error_decoder.decode(body or b"").error
    except _NO_SENSE:
        return f"HTTP {status}"
    said = ": ".join(part for part in map(_printable, (str(error.code), error.message)) if part)
    return said[:ERROR_TEXT_MAX] or f"HTTP {status}"


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text).strip()
