"""The whole service for each module of tests, and what must hold of its log after each test."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import httpx
import pytest

from tests.e2e.service import Service

_running: list[Service] = []
_numbers = count(1)

TEST_SECONDS_MAX = 300

StartService = Callable[..., Service]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.e2e)
            # Some start a service ten times, on a machine that others use too.
            item.add_marker(pytest.mark.timeout(TEST_SECONDS_MAX))


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Service]:
    """One for the module, where tests don't harm it; with the module's `SETTINGS`, if any."""
    settings: dict[str, str] = getattr(request.module, "SETTINGS", {})
    service = Service(tmp_path_factory.mktemp("service"), **settings)
    _running.append(service)
    try:
        service.start()
        yield service
        assert service.stop() == 0
        assert service.said == ""
    finally:
        service.clean_up()
        _running.remove(service)


@pytest.fixture
def start_service(tmp_path: Path) -> Iterator[StartService]:
    """Starts services of the test's own, to be stopped and killed; gone when the test ends."""
    started: list[Service] = []

    def start(command: str = "dev", **settings: str) -> Service:
        service = Service(tmp_path / f"service-{len(started)}", command, **settings)
        started.append(service)
        _running.append(service)
        return service.start()

    yield start
    for service in started:
        service.clean_up()
        service.check_log()
        _running.remove(service)


@pytest.fixture(autouse=True)
def logs_are_clean() -> Iterator[None]:
    """No stack, no unexpected error, no body and no secret in any service's log."""
    yield
    for service in _running:
        service.check_log()


@pytest.fixture
def api(service: Service) -> Iterator[httpx.Client]:
    with service.client() as client:
        yield client
    assert service.is_alive


@pytest.fixture
def provider(service: Service) -> Iterator[httpx.Client]:
    """The simulated provider, without faults before and after."""
    with service.provider() as client:
        client.delete("/faults")
        yield client
        client.delete("/faults")


@pytest.fixture
def order_id() -> str:
    """An order that nobody else knows."""
    return f"ord-{next(_numbers)}"
