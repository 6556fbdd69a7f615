"""A story told to the running service: the life of one order and of its dispute, step by step.

How to think about it: it is a client like any other, over HTTP, with ids that are new on each run.
Every step says what is sent and why, prints the answer, and checks it: where the service answers
otherwise than the story says, the demo ends with `DemoFailed`. The timelines at the end come from
the service's event log, not from what the demo remembers.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from http import HTTPStatus
from typing import Any
from uuid import uuid4

import httpx
import msgspec
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

WIDTH_MAX = 100
"""Columns: what fits half of a usual screen."""

TIMEOUT_SECONDS = 30.0
"""Longer than the service waits for the provider, so that its answer is heard."""

Json = Mapping[str, Any]

_encode = msgspec.json.Encoder(decimal_format="number").encode

_AMOUNT = Decimal("100.50")

# The fields that tell the story; the rest of a document is dimmed.
_TELLING = re.compile(
    r'"(status|updated_at|occurred_at|action|resolution|idempotency_key|outcome|on_hold|code|'
    r'provider_tx_id|submission_id|submitting_id)": ("[^"]*"|[a-z0-9]+)'
)

# What an event meant, by its kind and its outcome, for people who see one for the first time.
_MEANINGS = {
    ("webhook_received", "applied"): "the order follows the provider",
    ("webhook_received", "stale"): "older than what stands: kept, nothing moved",
    ("webhook_rejected", "rejected"): "contradicts the first decision, which stays",
    ("hold_set", ""): "an operator stops captures",
    ("hold_cleared", ""): "captures may go on",
    ("capture_requested", ""): "the intent, durable before the call",
    ("capture_completed", ""): "the provider's answer: taken, once",
    ("webhook_opened", "applied"): "the chargeback opens a dispute",
    ("evidence_added", ""): "the case is under review",
    ("submission_requested", ""): "the intent, durable before the call",
    ("evidence_submitted", ""): "the provider has the representment",
    ("provider_decision", "applied"): "the last word: the dispute is won",
}


# What a webhook is answered in sync mode, by what it comes to.
_SYNC_ANSWERS: Mapping[str, tuple[int, Json]] = {
    "applied": (202, {"outcome": "applied"}),
    "stale": (202, {"outcome": "stale"}),
    "duplicate": (200, {"outcome": "duplicate"}),
    "rejected": (422, {"code": "decision_contradicts"}),
}

# In Kafka mode it is applied some milliseconds after it was accepted.
_LOOK_SECONDS = 0.05
_LOOKS = 400


class DemoFailed(Exception):
    """The service isn't there, or the story went another way; told to people as it stands."""


async def run_demo(
    base_url: str, *, ingest_url: str, now: datetime, console: Console | None = None
) -> None:
    """Tell the story to the service at `base_url`. Raises `DemoFailed`.

    In Kafka mode the provider's part of it is told to `ingest_url`. `now` dates the provider's
    webhooks, which all lie shortly before it.
    """
    console = console or _console()
    async with httpx.AsyncClient(
        base_url=base_url, timeout=TIMEOUT_SECONDS, trust_env=False
    ) as client:
        story = _Story(client, ingest_url, console, now.replace(microsecond=0))
        await story.check_ready()
        await _life_of_an_order(story)
        dispute_id = await _life_of_a_dispute(story)
        await story.timeline("order", "/orders/events", {"order_ids": story.order_id})
        await story.timeline("dispute", "/disputes/events", {"dispute_ids": dispute_id})
        console.print(
            f"[bold green]Done.[/] {story.steps} requests, each answered as the story says. "
            "The whole API, to try by hand:"
        )
        console.print(f"{base_url}/docs", style="cyan")


async def _life_of_an_order(story: "_Story") -> None:
    story.chapter(f"The life of order {story.order_id}")
    order = f"/orders/{story.order_id}"
    created = story.order_webhook("created", minute=0)
    await story.webhook(
        "The provider tells of a new order",
        "Answered only once it is committed. Any webhook may be the first seen of an order.",
        "/webhooks/payments/orders", created, "applied",
    )  # fmt: skip
    await story.webhook(
        "It sends the same webhook once more",
        "Providers repeat what they are not sure of. Its id is known, so nothing happens again.",
        "/webhooks/payments/orders", created, "duplicate",
    )  # fmt: skip
    await story.webhook(
        "The order is updated",
        "A snapshot with a later time: the order follows.",
        "/webhooks/payments/orders", story.order_webhook("updated", minute=10), "applied",
    )  # fmt: skip
    await story.webhook(
        "A webhook comes late",
        "Its time lies before the last one's: kept in the log, and the order does not go back.",
        "/webhooks/payments/orders", story.order_webhook("updated", minute=5), "stale",
    )  # fmt: skip
    await story.post(
        "An operator holds the order",
        "Something looks wrong: no money shall move until somebody has looked.",
        f"{order}/hold", {"action": "set", "reason": "manual_review"},
        status=200, shows={"on_hold": True},
    )  # fmt: skip
    capture = {"amount": _AMOUNT, "currency": "USD", "idempotency_key": "demo-capture"}
    await story.post(
        "A capture is refused while it is held",
        "Checked in the transaction that would record the intent. The key is not used up.",
        f"{order}/capture", capture,
        status=409, shows={"code": "order_on_hold"},
    )  # fmt: skip
    await story.post(
        "The hold is cleared",
        "All is well.",
        f"{order}/hold", {"action": "clear"},
        status=200, shows={"on_hold": False},
    )  # fmt: skip
    first = await story.post(
        "The capture goes through",
        "The intent is committed, then the provider is asked, then its answer is committed.",
        f"{order}/capture", capture,
        status=200, shows={"status": "success"},
    )  # fmt: skip
    await story.post(
        "The caller repeats the capture",
        "Perhaps the answer got lost on the way. The same key, so no second transaction.",
        f"{order}/capture", capture,
        status=200, shows={"provider_tx_id": first["provider_tx_id"]},
        header=("Idempotent-Replayed", "true"),
    )  # fmt: skip
    await story.webhook(
        "The provider reports success",
        "A final status: nothing that comes later moves the order any more.",
        "/webhooks/payments/orders", story.order_webhook("success", minute=20), "applied",
    )  # fmt: skip
    await story.webhook(
        "And then says the opposite",
        "The first decision stays, whatever the times. Refused, but kept in the log.",
        "/webhooks/payments/orders", story.order_webhook("failed", minute=30), "rejected",
    )  # fmt: skip
    await story.get(
        "So the order stands", order,
        shows={"status": "success", "on_hold": False}, capture="success",
    )  # fmt: skip


async def _life_of_a_dispute(story: "_Story") -> str:
    """Its dispute's id."""
    story.chapter(f"The life of its dispute: a chargeback on {story.order_id}")
    opened = await story.webhook(
        "A cardholder disputes the payment",
        "The chargeback opens a dispute. Its id is derived from the order's: one dispute an order.",
        "/webhooks/payments/chargebacks", story.chargeback_webhook("opened", minute=60), "applied",
    )  # fmt: skip
    dispute_id = str(opened["dispute_id"])
    dispute = f"/disputes/{dispute_id}"
    await story.post(
        "An operator adds evidence",
        "Texts, and files that the provider holds already. It replaces all evidence there was.",
        f"{dispute}/evidence", {
            "fields": {"shipping_tracking": "1Z999AA10123456784"},
            "files": [{"file_id": "file-1", "name": "receipt.pdf",
                       "content_type": "application/pdf", "size": 48213}],
        },
        status=200, shows={"dispute_id": dispute_id},
    )  # fmt: skip
    submitted = await story.post(
        "The representment is submitted",
        "Like a capture: intent, call, outcome. A lost answer is asked for again.",
        f"{dispute}/submit", None,
        status=202, shows={"status": "submitted"},
    )  # fmt: skip
    await story.webhook(
        "The provider decides",
        "The dispute is closed as won. A webhook that contradicts it now would be refused.",
        "/webhooks/payments/chargebacks",
        story.chargeback_webhook("closed", minute=90, won=True), "applied",
    )  # fmt: skip
    await story.get(
        "So the dispute stands", dispute,
        shows={"status": "won", "submitting_id": submitted["submission_id"]},
    )  # fmt: skip
    return dispute_id


class _Story:
    """The client and the terminal; each step is one request, one answer, one check."""

    def __init__(
        self, client: httpx.AsyncClient, ingest_url: str, console: Console, now: datetime
    ) -> None:
        self._client = client
        self._ingest_url = ingest_url
        self._is_kafka_mode = False
        self._console = console
        self._run = uuid4().hex[:8]
        # All of it lies in the past, as what a provider tells does.
        self._began = now - timedelta(hours=2)
        self._sent = 0
        self.steps = 0
        self.order_id = f"demo-{self._run}"
        self._user_id = str(uuid4())

    async def check_ready(self) -> None:
        answer = await self._ask("GET", "/health/ready")
        if answer.status_code != HTTPStatus.OK:
            raise DemoFailed(f"The service at {self._client.base_url} is not ready: {answer.text}")
        # In Kafka mode it consumes, and Ingest takes the webhooks.
        self._is_kafka_mode = "order_consumer" in _object(answer).get("checks", {})

    def order_webhook(self, status: str, *, minute: int) -> Json:
        return {
            "provider_event_id": self._event_id(),
            "order_id": self.order_id,
            "user_id": self._user_id,
            "status": status,
            "created_at": self._at(0),
            "updated_at": self._at(minute),
            "meta": {"amount": str(_AMOUNT), "currency": "USD"},
        }

    def chargeback_webhook(self, status: str, *, minute: int, won: bool = False) -> Json:
        return {
            "provider_event_id": self._event_id(),
            "order_id": self.order_id,
            "user_id": self._user_id,
            "status": status,
            "reason": "fraud",
            "amount": _AMOUNT,
            "currency": "USD",
            "occurred_at": self._at(minute),
            "evidence_due_at": self._at(60 + 14 * 24 * 60),
            "meta": {"resolution": "won"} if won else {},
        }

    def chapter(self, title: str) -> None:
        self._console.rule(f"[bold]{title}", align="left")
        self._console.print()

    async def webhook(self, heading: str, why: str, path: str, body: Json, outcome: str) -> Json:
        """The provider sends it; it comes to `outcome`, in the answer or soon afterwards."""
        if not self._is_kafka_mode:
            status, shows = _SYNC_ANSWERS[outcome]
            return await self.post(heading, why, path, body, status=status, shows=shows)
        url = self._ingest_url + path
        told = await self.post(heading, why, url, body, status=202, shows={"outcome": "accepted"})
        if outcome != "duplicate":  # of which nothing is to be seen
            await self._applied(heading, told, body["provider_event_id"], outcome)
        return told

    async def _applied(self, heading: str, told: Json, id: str, outcome: str) -> None:
        """Kafka mode: wait until the webhook is in the log, under this outcome."""
        of_dispute, of_order = told["dispute_id"], told["order_id"]
        path = (
            f"/disputes/events?dispute_ids={of_dispute}"
            if of_dispute
            else f"/orders/events?order_ids={of_order}"
        )
        for _ in range(_LOOKS):
            for event in _object(await self._ask("GET", path)).get("items", []):
                if event["provider_event_id"] == id:
                    came_to = event["data"]["outcome"]
                    if came_to != outcome:
                        raise DemoFailed(f"'{heading}': it is {came_to!r}, not {outcome!r}")
                    return
            await asyncio.sleep(_LOOK_SECONDS)
        raise DemoFailed(f"'{heading}': it was accepted, and is not in the log")

    async def post(
        self,
        heading: str,
        why: str,
        path: str,
        body: Json | None,
        *,
        status: int,
        shows: Json,
        header: tuple[str, str] | None = None,
    ) -> Json:
        """Send it, print both ways, and check the answer's status, and the fields it shows."""
        content = b"" if body is None else _encode(body)
        return await self._step(heading, why, "POST", path, content, status, shows, header)

    async def get(self, heading: str, path: str, *, shows: Json, capture: str = "") -> None:
        answer = await self._step(heading, "", "GET", path, b"", 200, shows, None)
        if capture and (answer["capture"] or {}).get("status") != capture:
            raise DemoFailed(f"'{heading}': its capture should be {capture}")

    async def _step(
        self,
        heading: str,
        why: str,
        method: str,
        path: str,
        content: bytes,
        status: int,
        shows: Json,
        header: tuple[str, str] | None,
    ) -> Json:
        self.steps += 1
        self._console.print(f"[bold]{self.steps:>2}  {heading}[/]")
        if why:
            self._line(Text(why, style="italic"))
        self._line(Text.assemble(("→ ", "bold"), (f"{method} {path} ", "cyan"), _shown(content)))
        answer = await self._ask(method, path, content)
        replayed = f" {header[0]}: {answer.headers.get(header[0], 'missing')} " if header else " "
        self._line(
            Text.assemble(
                ("← ", "bold"),
                (f"{answer.status_code} {answer.reason_phrase}", _style(answer.status_code)),
                (replayed, "magenta"),
                _shown(answer.content),
            )
        )
        self._console.print()
        told = _object(answer)
        if answer.status_code != status:
            raise DemoFailed(f"'{heading}': {answer.status_code} came, and {status} should have")
        for name, value in shows.items():
            if told.get(name) != value:
                raise DemoFailed(f"'{heading}': {name} is {told.get(name)!r}, not {value!r}")
        if header is not None and answer.headers.get(header[0]) != header[1]:
            raise DemoFailed(f"'{heading}': the header {header[0]} is missing")
        return told

    async def timeline(self, name: str, path: str, of: Mapping[str, str]) -> None:
        """All events of one order or dispute, as the log has them."""
        answer = await self._ask("GET", f"{path}?{httpx.QueryParams({**of, 'sort_asc': 'true'})}")
        events: Sequence[Json] = _object(answer).get("items", [])
        sequence = [event["sequence"] for event in events]
        if sequence != list(range(1, len(events) + 1)) or not events:
            raise DemoFailed(f"the {name}'s log has a gap: its sequence is {sequence}")
        table = Table(title=f"The {name}'s log", title_justify="left", title_style="bold")
        for column in ("#", "recorded (UTC)", "kind", "outcome", "what it meant"):
            table.add_column(column, no_wrap=column != "what it meant")
        for event in events:
            outcome = str(event["data"].get("outcome", ""))
            table.add_row(
                str(event["sequence"]),
                event["created_at"][11:23],
                event["kind"],
                Text(outcome, style=_OUTCOME_STYLES.get(outcome, "")),
                _MEANINGS.get((event["kind"], outcome), ""),
            )
        self._console.print(table)
        self._console.print()

    async def _ask(self, method: str, path: str, content: bytes = b"") -> httpx.Response:
        headers = {"Content-Type": "application/json"} if content else {}
        try:
            return await self._client.request(method, path, content=content, headers=headers)
        except httpx.TransportError as error:
            raise DemoFailed(
                f"Nobody answers at {self._client.base_url.join(path)} ({type(error).__name__}): "
                "start the service with `make run-dev` or `make run-kafka`, in another terminal"
            ) from None

    def _line(self, text: Text) -> None:
        self._console.print(Padding(text, (0, 0, 0, 4), expand=False))

    def _event_id(self) -> str:
        self._sent += 1
        return f"evt-{self._run}-{self._sent}"

    def _at(self, minute: int) -> str:
        moment = self._began + timedelta(minutes=minute)
        return moment.isoformat().replace("+00:00", "Z")


_OUTCOME_STYLES = {"applied": "green", "stale": "yellow", "rejected": "red"}


def _style(status: int) -> str:
    return "bold green" if status < 400 else "bold red"


def _shown(json: bytes) -> Text:
    """As on the wire, digit for digit, with room to break lines at; what matters stands out."""
    try:
        text = msgspec.json.format(json, indent=0).decode() if json else ""
    except msgspec.DecodeError:
        text = json.decode(errors="replace")
    shown = Text(text, style="dim")
    shown.highlight_regex(_TELLING, "not dim bold")
    return shown


def _object(answer: httpx.Response) -> Json:
    try:
        told = msgspec.json.decode(answer.content)
    except msgspec.DecodeError:
        told = None
    if not isinstance(told, dict):
        raise DemoFailed(f"{answer.request.url} answered {answer.status_code} without JSON")
    return told


def _console() -> Console:
    console = Console(highlight=False)
    # Piped, there is no terminal to ask: a log or a file takes the same width as a screen.
    console.width = min(console.width, WIDTH_MAX) if console.is_terminal else WIDTH_MAX
    return console
