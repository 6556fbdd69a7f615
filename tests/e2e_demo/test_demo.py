"""The demo tells its story to a real service, and notices when the service tells another.

How to think about it: what people see is what is compared, but for ids and times: each step's
heading, its request and its answer's status, and the two logs at the end.
"""

import io
import re
import socket
from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import pytest
from rich.console import Console

from payment_manager.entrypoints.demo import WIDTH_MAX, DemoFailed, run_demo
from tests.e2e.service import Service

pytestmark = pytest.mark.e2e

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)

STORY = """\
The life of order ORDER
1 The provider tells of a new order
→ POST /webhooks/payments/orders
← 202 Accepted
2 It sends the same webhook once more
→ POST /webhooks/payments/orders
← 200 OK
3 The order is updated
→ POST /webhooks/payments/orders
← 202 Accepted
4 A webhook comes late
→ POST /webhooks/payments/orders
← 202 Accepted
5 An operator holds the order
→ POST /orders/ORDER/hold
← 200 OK
6 A capture is refused while it is held
→ POST /orders/ORDER/capture
← 409 Conflict
7 The hold is cleared
→ POST /orders/ORDER/hold
← 200 OK
8 The capture goes through
→ POST /orders/ORDER/capture
← 200 OK
9 The caller repeats the capture
→ POST /orders/ORDER/capture
← 200 OK Idempotent-Replayed: true
10 The provider reports success
→ POST /webhooks/payments/orders
← 202 Accepted
11 And then says the opposite
→ POST /webhooks/payments/orders
← 422 Unprocessable
12 So the order stands
→ GET /orders/ORDER
← 200 OK
The life of its dispute: a chargeback on ORDER
13 A cardholder disputes the payment
→ POST /webhooks/payments/chargebacks
← 202 Accepted
14 An operator adds evidence
→ POST /disputes/DISPUTE/evidence
← 200 OK
15 The representment is submitted
→ POST /disputes/DISPUTE/submit
← 202 Accepted
16 The provider decides
→ POST /webhooks/payments/chargebacks
← 202 Accepted
17 So the dispute stands
→ GET /disputes/DISPUTE
← 200 OK
1 webhook_received applied the order follows the provider
2 webhook_received applied the order follows the provider
3 webhook_received stale older than what stands: kept, nothing moved
4 hold_set an operator stops captures
5 hold_cleared captures may go on
6 capture_requested the intent, durable before the call
7 capture_completed the provider's answer: taken, once
8 webhook_received applied the order follows the provider
9 webhook_rejected rejected contradicts the first decision, which stays
1 webhook_opened applied the chargeback opens a dispute
2 evidence_added the case is under review
3 submission_requested the intent, durable before the call
4 evidence_submitted the provider has the representment
5 provider_decision applied the last word: the dispute is won
""".splitlines()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(tmp_path_factory.mktemp("demo"))
    try:
        yield service.start()
    finally:
        service.clean_up()


async def told(base_url: str, *, width: int = WIDTH_MAX, colour: bool = False) -> str:
    screen = io.StringIO()
    console = Console(file=screen, width=width, highlight=False, force_terminal=colour)
    await run_demo(base_url, ingest_url="http://127.0.0.1:9", now=NOW, console=console)
    return screen.getvalue()


def essence(output: str) -> list[str]:
    """Headings, requests and answers up to their JSON, rows of the logs; ids and times left out."""
    output = re.sub(r"demo-[0-9a-f]{8}", "ORDER", output)
    output = re.sub(r"/disputes/[0-9a-f-]{36}", "/disputes/DISPUTE", output)
    lines = []
    for line in output.splitlines():
        if line.startswith("│"):
            _number, _time, *cells = (cell.strip() for cell in line.strip("│").split("│"))
            lines.append(" ".join([_number, *filter(None, cells)]))
        elif re.match(r"[ 0-9]\d  |    [→←]|The life", line):
            before_json = line.partition("{")[0].replace("─", "")
            # The phrase is Python's, and newer ones say Content.
            before_json = re.sub("(?<=Unprocessable) (Entity|Content)", "", before_json)
            lines.append(" ".join(before_json.split()))
    return lines


async def test_the_story_comes_out_as_it_is_told(service: Service) -> None:
    assert essence(await told(service.url, width=2_000)) == STORY


async def test_every_run_is_a_new_order_and_fits_its_screen(service: Service) -> None:
    screens = [await told(service.url) for _ in range(2)]
    orders = [re.findall(r"demo-[0-9a-f]{8}", screen)[0] for screen in screens]
    assert orders[0] != orders[1]
    assert max(len(line) for screen in screens for line in screen.splitlines()) <= WIDTH_MAX


async def test_colours_are_for_terminals_only(service: Service) -> None:
    assert "\x1b[" in await told(service.url, colour=True)
    assert "\x1b[" not in await told(service.url)


async def test_amounts_are_shown_as_they_are_on_the_wire(service: Service) -> None:
    assert '"amount": 100.50, "currency": "USD"' in await told(service.url, width=2_000)


async def test_a_provider_that_fails_makes_the_demo_say_so(service: Service) -> None:
    with service.provider() as provider:
        provider.post("/faults", json={"fault": "decline", "times": 1}).raise_for_status()
    with pytest.raises(DemoFailed, match=r"The capture goes through.*'failed', not 'success'"):
        await told(service.url)


async def test_a_service_that_answers_otherwise_is_named_with_its_answer(service: Service) -> None:
    with pytest.raises(DemoFailed, match="is not ready"):
        await told(service.provider_url)


async def test_where_nobody_listens_the_demo_says_what_to_start() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # so that nobody else listens there
        port = deaf.getsockname()[1]
        with pytest.raises(DemoFailed, match=r"Nobody answers at .* `make run-dev`"):
            await told(str(httpx.URL(scheme="http", host="127.0.0.1", port=port)))
