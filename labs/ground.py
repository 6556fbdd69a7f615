"""The ground that labs stand on: a durable database of their own, webhooks, and a table at the end.

How to think about it: everything is real and thrown away afterwards: a PostgreSQL with fsync on in
a temporary folder, the project's own schema and code. Nothing here is part of a pattern.
"""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import structlog
from psycopg_pool import AsyncConnectionPool
from rich.console import Console
from rich.table import Table

from payment_manager.adapters.postgres import migrate
from payment_manager.adapters.postgres.embedded import EmbeddedPostgres
from payment_manager.adapters.postgres.pool import connection_pool
from payment_manager.application.apply_webhooks import Webhook
from payment_manager.contracts.commands import read_notice
from payment_manager.contracts.envelope import Kind

CONNECTIONS = 10
"""The service's own default."""


@asynccontextmanager
async def database() -> AsyncIterator[AsyncConnectionPool]:
    """Connections to a new PostgreSQL with the project's schema; gone at the end."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:
        server = EmbeddedPostgres(Path(folder))
        url = await server.start()
        try:
            await asyncio.to_thread(migrate.upgrade, url)
            async with connection_pool(url, size_max=CONNECTIONS) as pool:
                await pool.wait()
                yield pool
        finally:
            await server.stop()


def new_order() -> Webhook:
    """The first webhook of an order that nobody knows."""
    body = {
        "provider_event_id": f"evt-{uuid4().hex}",
        "order_id": f"lab-{uuid4().hex}",
        "user_id": str(uuid4()),
        "status": "created",
        "created_at": "2026-01-02T10:00:00Z",
        "updated_at": "2026-01-02T10:00:00Z",
        "meta": {"amount": "100.50", "currency": "USD"},
    }
    return Webhook(*read_notice(Kind.ORDER, json.dumps(body).encode()), correlation_id="lab")


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """The first column is words, the others are figures."""
    table = Table()
    for at, column in enumerate(columns):
        table.add_column(column, justify="right" if at else "left", no_wrap=not at)
    for row in rows:
        table.add_row(*map(str, row))
    console = Console(highlight=False)
    console.width = 100
    console.print(f"\n[bold]{title}[/]")
    console.print(table)
