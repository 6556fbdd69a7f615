"""Kafka mode as a whole: real services, a real broker, and logs that stay clean."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from infra.kafka_server import KafkaServer
from tests.e2e_kafka.deployment import Deployment
from tests.e2e_kafka.topics import Topics
from tests.kafka import broker_at

Deploy = Callable[..., Deployment]

_numbers = count(1)


TIMEOUT_SECONDS = 600
"""The longest take two minutes: killed brokers and members are waited for, ten seconds each. A busy
machine takes several times as long.
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent != Path(__file__).parent:
            continue
        item.add_marker(pytest.mark.timeout(TIMEOUT_SECONDS))
        # What is marked `chaos` takes longer, and is run by that name.
        if not item.get_closest_marker("chaos"):
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.integration)


@pytest.fixture
def deploy(kafka_server: KafkaServer, topic_prefix: str, tmp_path: Path) -> Iterator[Deploy]:
    """Makes deployments on the broker that all tests share, not started yet; gone at the end."""
    made: list[Deployment] = []

    def make(**how: object) -> Deployment:
        topics = Topics(kafka_server.brokers, f"{topic_prefix}-{len(made)}")
        made.append(Deployment(tmp_path / f"deployment-{len(made)}", topics, **how))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for deployment in made:
        deployment.clean_up()


@pytest.fixture
def own_kafka(tmp_path: Path) -> Iterator[KafkaServer]:
    """A broker that this test may kill."""
    with broker_at(tmp_path / "kafka") as server:
        yield server


@pytest.fixture
def order_id() -> str:
    """An order that nobody else knows."""
    return f"ord-{next(_numbers)}"
