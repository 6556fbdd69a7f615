"""Unknown outcomes: the provider takes the money, and the connection breaks before it says so.

How to think about it: silence is neither yes nor no. Who takes it for a no records a lie, and who
asks again as if it were a new question pays twice. Only the same question under the same key, asked
until there is an answer, ends with one effect and a record that is true.

    make lab-unknown-outcome
"""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import httpx
import structlog
import uvloop

from labs.ground import show
from payment_manager import settings
from payment_manager.adapters.silvergate.simulator import (
    CAPTURE_PATH,
    Fault,
    RunningSimulator,
    running_simulator,
)
from payment_manager.bootstrap.api import api_service

ORDERS = 10
RECONCILE_INTERVAL = timedelta(milliseconds=500)
"""Ten seconds in service; here somebody is waiting."""

Capture = Callable[[str], Awaitable[str]]
"""Captures an order, and says what it would record: success, failed."""


async def run() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:
        async with (
            running_simulator() as provider,
            httpx.AsyncClient(base_url=provider.base_url) as straight,
            api_service(
                settings.load(
                    data_dir=Path(folder),
                    silvergate_base_url=provider.base_url,
                    reconcile_interval=RECONCILE_INTERVAL,
                )
            ) as service,
            httpx.AsyncClient(
                transport=httpx.ASGITransport(cast(Any, service)), base_url="http://lab"
            ) as api,
        ):
            rows = [
                await _tried("silence is a no", _silence_is_no(straight), provider),
                await _tried("ask again with a new key", _new_key(straight), provider),
                await _tried("intent, call, outcome, reconcile", _ours(api), provider),
            ]
    show(
        f"{ORDERS} captures; each first answer is lost after the provider took the money",
        ("", "taken once", "taken twice", "called failed", "untrue", "seconds"),
        rows,
    )


def _silence_is_no(provider: httpx.AsyncClient) -> Capture:
    async def capture(order_id: str) -> str:
        try:
            return await _asked(provider, order_id, key=f"{order_id}-capture")
        except httpx.TransportError:
            return "failed"

    return capture


def _new_key(provider: httpx.AsyncClient) -> Capture:
    async def capture(order_id: str) -> str:
        while True:
            try:
                return await _asked(provider, order_id, key=str(uuid4()))
            except httpx.TransportError:
                continue

    return capture


def _ours(api: httpx.AsyncClient) -> Capture:
    async def capture(order_id: str) -> str:
        at = "2026-01-02T10:00:00Z"
        webhook = {
            "provider_event_id": "evt-1", "order_id": order_id, "user_id": str(uuid4()),
            "status": "created", "created_at": at, "updated_at": at,
        }  # fmt: skip
        (await api.post("/webhooks/payments/orders", json=webhook)).raise_for_status()
        asked = {"amount": 100.50, "currency": "USD", "idempotency_key": "capture"}
        while True:
            # Repeating the request is safe too; while the outcome is unknown it answers "pending".
            answer = (await api.post(f"/orders/{order_id}/capture", json=asked)).json()
            if answer["status"] != "pending":
                return str(answer["status"])
            await asyncio.sleep(0.1)

    return capture


async def _asked(provider: httpx.AsyncClient, order_id: str, key: str) -> str:
    question = {"order_id": order_id, "amount": 100.50, "currency": "USD", "idempotency_key": key}
    answer = await provider.post(CAPTURE_PATH, json=question)
    return str(answer.raise_for_status().json()["status"])


async def _tried(name: str, capture: Capture, provider: RunningSimulator) -> tuple[object, ...]:
    order_ids = [f"lab-{uuid4().hex}" for _ in range(ORDERS)]
    began = time.perf_counter()
    recorded = []
    for order_id in order_ids:
        # One at a time, so that each order's first call is the one that is spoiled.
        provider.app.faults.add(Fault(fault="drop_after", times=1))
        recorded.append(await capture(order_id))
    seconds = time.perf_counter() - began
    effects = [len(provider.app.ledger.effects(order_id)) for order_id in order_ids]
    true = [
        (status, effect) in (("success", 1), ("failed", 0))
        for status, effect in zip(recorded, effects, strict=True)
    ]
    return (
        name,
        effects.count(1),
        sum(effect > 1 for effect in effects),
        recorded.count("failed"),
        true.count(False),
        f"{seconds:.1f}",
    )


if __name__ == "__main__":
    uvloop.run(run())
