"""The simulated provider's rules, as a bare ASGI app.

How to think about it: a call is read, spoiled by a fault or not, answered under its key, written to
the ledger, and only then answered on the wire. Between looking into the ledger and writing to it
nothing waits, so two calls with one key can't both have an effect. What isn't remembered (a
refusal, an error) doesn't use up its key.

    POST <capture path>, <representment path>      what Silvergate serves
    POST /faults, GET /faults, DELETE /faults      what shall go wrong
    GET /calls?order_id=, GET /effects?order_id=   what came in, and what it moved
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeGuard
from urllib.parse import parse_qs

import msgspec

from payment_manager.adapters.silvergate.simulator.faults import Fault, Faults, Route
from payment_manager.adapters.silvergate.simulator.ledger import Call, Ledger, Remembered
from payment_manager.domain import money

CAPTURE_PATH = "/api/v1/capture"
SUBMIT_REPRESENTMENT_PATH = "/api/v1/dispute-representments/create"

# An extension of the ASGI scope: its `abort` closes the connection without an answer.
ABORT_EXTENSION = "payment_manager.abort"

# Room for the evidence of a representment; nothing that a provider is asked is larger.
_BODY_BYTES_MAX = 1024 * 1024

_ID_LENGTH_MAX = 255
_ID_RULE = f"must be a text of 1 to {_ID_LENGTH_MAX} characters"

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_decoder = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)
_fault_decoder = msgspec.json.Decoder(Fault)

# What reading hostile JSON can raise; ArithmeticError: an exponent beyond any decimal.
_NO_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ArithmeticError)


@dataclass(frozen=True, slots=True)
class Question:
    """A call as it was understood; one with `constraints` is invalid, and they say why.

    `parameters` are comparable: the same question gives the same text.
    """

    route: Route
    order_id: str | None = None
    key: str = ""
    parameters: str = ""
    constraints: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back. Status None: nothing, the connection breaks. `new` is to be remembered."""

    status: int | None
    body: str = ""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    new: Remembered | None = None


class _BodyTooLarge(Exception):
    pass


class _ClientGone(Exception):
    pass


def create_app(store_path: Path | None = None) -> "Simulator":
    """A provider that keeps what it knows in the file at `store_path`, or in memory without one."""
    return Simulator(Ledger(store_path))


class Simulator:
    """The ASGI app. It closes its ledger when the server shuts down."""

    def __init__(self, ledger: Ledger) -> None:
        self.faults = Faults()
        self.ledger = ledger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        try:
            await self._route(scope, receive, send)
        except _BodyTooLarge:
            await _send_reply(send, _error(413, "Body too large"))
        except _ClientGone:
            return

    async def _live(self, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        self.ledger.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _read_body(receive)
        query = parse_qs(scope["query_string"].decode("latin-1"))
        order_id = query.get("order_id", [None])[0]
        match scope["method"], scope["path"]:
            case "POST", path if path == CAPTURE_PATH:
                await self._provide("capture", body, scope, receive, send)
            case "POST", path if path == SUBMIT_REPRESENTMENT_PATH:
                await self._provide("representment", body, scope, receive, send)
            case "POST", "/faults":
                await _send_reply(send, self._add_fault(body))
            case "GET", "/faults":
                await _send_reply(send, _list(self.faults.active()))
            case "DELETE", "/faults":
                self.faults.clear()
                await _send_reply(send, _list([]))
            case "GET", "/calls":
                await _send_reply(send, _list(_readable(self.ledger.calls(order_id))))
            case "GET", "/effects":
                await _send_reply(send, _list(_readable(self.ledger.effects(order_id))))
            case _:
                await _send_reply(send, _error(404, "No such route"))

    def _add_fault(self, body: bytes) -> Reply:
        try:
            self.faults.add(_fault_decoder.decode(body))
        except _NO_JSON as error:
            return _error(400, f"Not a fault: {error}")
        return replace(_list(self.faults.active()), status=201)

    async def _provide(
        self, route: Route, body: bytes, scope: Scope, receive: Receive, send: Send
    ) -> None:
        headers = dict(scope["headers"])
        fault = self.faults.take(route)
        question = _understand(route, body, headers.get(b"idempotency-key", b"").decode("latin-1"))
        reply = self._reply(question, fault)
        self.ledger.write(
            Call(
                route=route,
                order_id=question.order_id,
                key=question.key or None,
                status=reply.status,
                answer=reply.body or None,
                effect=reply.new is not None and reply.new.effect,
                fault=fault.fault if fault is not None else None,
                correlation_id=headers.get(b"x-correlation-id", b"").decode("latin-1") or None,
            ),
            reply.new,
        )
        if fault is not None and fault.delay_ms:
            await asyncio.sleep(fault.delay_ms / 1_000)
        if reply.status is None:
            await _drop_connection(scope, receive)
        else:
            await _send_reply(send, reply)

    def _reply(self, question: Question, fault: Fault | None) -> Reply:
        match fault.fault if fault is not None else None:
            case "error_500":
                return _error(500, "Internal error")
            case "rate_limited":
                too_many = _error(429, "Too many requests")
                return replace(too_many, headers=((b"retry-after", b"1"),))
            case "drop_before":
                return Reply(None)
            case "drop_after":
                return replace(self._answer(question, None), status=None, body="")
            case "garbage":
                page = "<!doctype html><title>Maintenance</title>"
                return replace(self._answer(question, None), status=200, body=page)
            case "decline" | "file_not_ready" as verdict:
                return self._answer(question, verdict)
            case _:
                return self._answer(question, None)

    def _answer(self, question: Question, verdict: str | None) -> Reply:
        """What the provider answers: what it answered before, or a new answer under this key."""
        if question.constraints:
            return _error(400, "Validation error", code="2.01", constraints=question.constraints)
        before = self.ledger.remembered(question.key)
        if before is not None:
            if (before.route, before.parameters) != (question.route, question.parameters):
                return _error(422, "Idempotency key was used with other parameters", code="2.02")
            return Reply(200, before.answer)
        if verdict == "file_not_ready":
            return _error(422, "File not ready", code="2.01")
        answer = (
            {
                "transaction_id": f"txn-{secrets.token_hex(8)}",
                "status": "failed" if verdict == "decline" else "success",
            }
            if question.route == "capture"
            else {"id": f"sg-subm-{secrets.token_hex(8)}"}
        )
        new = Remembered(
            key=question.key,
            route=question.route,
            order_id=question.order_id or "",
            parameters=question.parameters,
            answer=_json(answer),
            effect=verdict != "decline",
        )
        return Reply(200, new.answer, new=new)


def _understand(route: Route, body: bytes, header: str) -> Question:
    """The question in a request's body and `Idempotency-Key` header, or what is wrong with it."""
    header_key = header[1:-1] if header[:1] == header[-1:] == '"' else header
    try:
        asked = _decoder.decode(body)
    except _NO_JSON:
        return Question(route, key=header_key, constraints={"body": "must be a JSON object"})
    constraints: dict[str, str] = {}
    order_id, key = asked.get("order_id"), asked.get("idempotency_key")
    if not _is_id(order_id):
        constraints["order_id"] = _ID_RULE
        order_id = None
    if route == "capture":
        if header_key and key != header_key:
            constraints["idempotency_key"] = "must agree with the header Idempotency-Key"
        parameters: tuple[object, ...] = _capture_parameters(asked, constraints)
    else:
        key = header_key  # a representment's body has no room for one
        parameters = _representment_parameters(asked, constraints)
    if not _is_id(key):
        constraints.setdefault("idempotency_key", _ID_RULE)
        key = header_key
    return Question(route, order_id, key, _json([order_id, *parameters]), constraints)


def _capture_parameters(
    asked: Mapping[str, Any], constraints: dict[str, str]
) -> tuple[object, ...]:
    amount, currency = asked.get("amount"), asked.get("currency")
    if not isinstance(currency, str):
        currency = ""
    faults = money.faults(amount, currency)  # type: ignore[arg-type]  # any JSON value: it looks
    constraints.update({fault.field: str(fault) for fault in faults})
    if faults or not isinstance(amount, Decimal | int):
        return ()
    return money.from_decimal(amount, currency).minor, currency


def _representment_parameters(
    asked: Mapping[str, Any], constraints: dict[str, str]
) -> tuple[object, ...]:
    file_ids, fields = asked.get("evidences_file_id"), asked.get("fields")
    if not isinstance(file_ids, list) or not file_ids or not all(map(_is_id, file_ids)):
        constraints["evidences_file_id"] = "must be a list of at least one file id"
    if not isinstance(fields, dict) or not all(isinstance(text, str) for text in fields.values()):
        constraints["fields"] = "must be an object of texts"
    elif not constraints:
        return file_ids, dict(sorted(fields.items()))
    return ()


def _is_id(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= _ID_LENGTH_MAX


def _error(
    status: int, message: str, *, code: str = "1.01", constraints: Mapping[str, str] | None = None
) -> Reply:
    error: dict[str, object] = {"code": code, "message": message}
    if constraints is not None:
        error["constraints"] = constraints
    return Reply(status, _json({"error": error}))


def _list(items: list[Any]) -> Reply:
    return Reply(200, _json({"items": items}))


def _readable(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With the stored JSON as JSON; an answer that isn't (garbage) as text."""
    return [
        {
            name: _parsed(text) if name in {"answer", "parameters"} and text is not None else text
            for name, text in row.items()
        }
        for row in rows
    ]


def _parsed(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


async def _read_body(receive: Receive) -> bytes:
    body = bytearray()
    size_bytes = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _ClientGone
        chunk = message.get("body", b"")
        size_bytes += len(chunk)
        if size_bytes <= _BODY_BYTES_MAX:
            body += chunk
        more = message.get("more_body", False)
    # Only now, so that the caller is listening: it may see a broken connection else.
    if size_bytes > _BODY_BYTES_MAX:
        raise _BodyTooLarge
    return bytes(body)


async def _send_reply(send: Send, reply: Reply) -> None:
    body = reply.body.encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *reply.headers,
    ]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _drop_connection(scope: Scope, receive: Receive) -> None:
    scope["extensions"][ABORT_EXTENSION]["abort"]()
    # Not before the server has seen it: it would answer 500 for an app that ends without an answer.
    while (await receive())["type"] != "http.disconnect":
        pass
