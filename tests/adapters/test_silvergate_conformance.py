"""What any Silvergate must answer: the simulator, and any other server of the same routes.

SILVERGATE_CONFORMANCE_URL adds another one to the same tests: a WireMock with these routes, say.
"""

import json
import os
import uuid
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from payment_manager.adapters.silvergate.client import SilvergateClient
from payment_manager.adapters.silvergate.simulator import (
    CAPTURE_PATH,
    SUBMIT_REPRESENTMENT_PATH,
    running_simulator,
)
from payment_manager.domain.gateway import CaptureQuestion, Done, Refused, RepresentmentQuestion
from payment_manager.domain.money import Money

OTHER_PROVIDER = os.environ.get("SILVERGATE_CONFORMANCE_URL")
PROVIDERS = ["simulator", *([OTHER_PROVIDER] if OTHER_PROVIDER else [])]

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=PROVIDERS)
async def base_url(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    if request.param == "simulator":
        async with running_simulator() as simulator:
            yield simulator.base_url
    else:
        yield request.param


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def silvergate(base_url: str) -> AsyncIterator[SilvergateClient]:
    client = SilvergateClient(base_url, CAPTURE_PATH, SUBMIT_REPRESENTMENT_PATH, 5)
    yield client
    await client.close()


def a_capture(**changes: object) -> CaptureQuestion:
    new = {"order_id": f"ord-{uuid.uuid4()}", "provider_key": str(uuid.uuid4())}
    return CaptureQuestion(**{"money": Money(10050, "USD"), **new, **changes})  # type: ignore[arg-type]


def a_representment(**changes: object) -> RepresentmentQuestion:
    new = {"order_id": f"ord-{uuid.uuid4()}", "provider_key": str(uuid.uuid4())}
    given = {"file_ids": ["file-1"], "fields": {"note": "It was delivered."}}
    return RepresentmentQuestion(**{**given, **new, **changes})  # type: ignore[arg-type]


async def test_a_capture_is_done_under_the_providers_own_id(silvergate: SilvergateClient) -> None:
    answer = await silvergate.capture(a_capture(), correlation_id="c-1")
    assert isinstance(answer, Done)
    assert answer.reference


async def test_the_same_key_gives_the_same_capture(silvergate: SilvergateClient) -> None:
    question = a_capture()
    first = await silvergate.capture(question, correlation_id="c-1")
    assert isinstance(first, Done)
    assert await silvergate.capture(question, correlation_id="c-2") == first


async def test_another_key_gives_another_capture(silvergate: SilvergateClient) -> None:
    first = await silvergate.capture(a_capture(), correlation_id="c-1")
    assert await silvergate.capture(a_capture(), correlation_id="c-1") != first


@pytest.mark.parametrize("money", [Money(100, "JPY"), Money(1234, "KWD"), Money(1, "USD")])
async def test_any_currency_can_be_captured(silvergate: SilvergateClient, money: Money) -> None:
    assert isinstance(await silvergate.capture(a_capture(money=money), correlation_id="c"), Done)


async def test_a_representment_is_done_under_the_providers_own_id(
    silvergate: SilvergateClient,
) -> None:
    question = a_representment()
    first = await silvergate.submit_representment(question, correlation_id="c-1")
    assert isinstance(first, Done)
    assert await silvergate.submit_representment(question, correlation_id="c-2") == first


async def test_a_representment_without_files_is_refused_as_invalid(
    silvergate: SilvergateClient,
) -> None:
    question = a_representment(file_ids=[])
    answer = await silvergate.submit_representment(question, correlation_id="c-1")
    assert answer == Refused("2.01: Validation error")


async def test_an_invalid_call_is_answered_with_what_is_wrong(base_url: str) -> None:
    body = {"evidences_file_id": [], "fields": {}, "order_id": "ord-1"}
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.post(
            base_url + SUBMIT_REPRESENTMENT_PATH,
            content=json.dumps(body),
            headers={"Content-Type": "application/json", "Idempotency-Key": str(uuid.uuid4())},
        )
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["message"]) == ("2.01", "Validation error")
    assert "evidences_file_id" in error["constraints"]
