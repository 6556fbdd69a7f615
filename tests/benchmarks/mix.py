"""Webhooks as a provider sends them: many orders' lives at once, each order's steps far apart.

How to think about it: each order is created, then updated, then succeeds (one in ten fails); one in
ten gets a chargeback; one webhook in fifty comes twice. Between two steps of one order lie those of
`LAG_ORDERS` others, so most webhooks of a batch are of different orders, as in real traffic. All of
them are answered 202, the second ones 200.
"""

import json
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count

LAG_ORDERS = 400
"""More than requests are usually under way, so that steps seldom overtake the ones before them."""

_START = datetime(2026, 1, 2, 10, tzinfo=UTC)
_CURRENCIES = ("USD", "EUR", "GBP", "BRL")


class MadeAhead(Iterator[bytes]):
    """Many are made before they are needed, so that making them is not measured."""

    def __init__(self, made: Iterator[bytes]) -> None:
        self._made = made
        self._ready: deque[bytes] = deque()

    def ahead(self, count: float) -> "MadeAhead":
        while len(self._ready) < count:
            self._ready.append(next(self._made))
        return self

    def __next__(self) -> bytes:
        return self._ready.popleft() if self._ready else next(self._made)


def webhook_requests(run: str, *, scattered: bool = False) -> Iterator[bytes]:
    """Without end, as HTTP requests; `run` makes its orders different from those of other runs.

    Ids count up, or are `scattered`: each lands elsewhere in every index of ids.
    """
    if scattered:
        return _webhooks(lambda n: f"ord-{n * 2654435761 % 2**32:08x}-{run}", run)
    return _webhooks(lambda n: f"ord-{run}-{n}", run)


def _webhooks(order_id: Callable[[int], str], run: str) -> Iterator[bytes]:
    for n in count():
        created = _order(order_id, run, n, "created", 0)
        yield created
        if n % 16 == 0:
            yield _order(order_id, run, max(0, n - LAG_ORDERS // 4), "created", 0)
        if n >= LAG_ORDERS:
            yield _order(order_id, run, n - LAG_ORDERS, "updated", 1)
        if n >= 2 * LAG_ORDERS:
            done = n - 2 * LAG_ORDERS
            yield _order(order_id, run, done, "failed" if done % 10 == 9 else "success", 2)
        if n >= 3 * LAG_ORDERS and n % 10 == 0:
            yield _chargeback(order_id, run, n - 3 * LAG_ORDERS)


def _order(order_id: Callable[[int], str], run: str, n: int, status: str, step: int) -> bytes:
    created = _START + timedelta(seconds=n)
    return post(
        "/webhooks/payments/orders",
        {
            "provider_event_id": f"evt-{run}-{n}-{step}",
            "order_id": order_id(n),
            "user_id": _user(n),
            "status": status,
            "created_at": _text(created),
            "updated_at": _text(created + timedelta(minutes=7 * step)),
            "meta": {
                "amount": f"{1 + n % 900}.{n % 100:02}",
                "currency": _CURRENCIES[n % len(_CURRENCIES)],
                "method": "card",
                "country": "DE",
            },
        },
    )


def _chargeback(order_id: Callable[[int], str], run: str, n: int) -> bytes:
    opened = _START + timedelta(days=7, seconds=n)
    return post(
        "/webhooks/payments/chargebacks",
        {
            "provider_event_id": f"cb-{run}-{n}",
            "order_id": order_id(n),
            "user_id": _user(n),
            "status": "opened",
            "reason": "fraud",
            "amount": 1 + n % 900,
            "currency": _CURRENCIES[n % len(_CURRENCIES)],
            "occurred_at": _text(opened),
            "evidence_due_at": _text(opened + timedelta(days=21)),
            "meta": {},
        },
    )


def post(path: str, document: object) -> bytes:
    body = json.dumps(document, separators=(",", ":")).encode()
    return (
        b"POST %b HTTP/1.1\r\nHost: localhost\r\nUser-Agent: provider/1.0\r\nAccept: */*\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
    ) % (path.encode(), len(body), body)


def get(target: str) -> bytes:
    return (
        b"GET %b HTTP/1.1\r\nHost: localhost\r\nUser-Agent: operator/1.0\r\nAccept: */*\r\n\r\n"
    ) % target.encode()


def _user(n: int) -> str:
    return f"00000000-0000-4000-8000-{n * 2654435761 % 50_000:012x}"


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
