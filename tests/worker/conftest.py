"""A topic with its dead letters on the shared broker, and a database, for one test."""

import pytest
from psycopg_pool import AsyncConnectionPool

from infra.kafka_server import KafkaServer
from payment_manager.adapters.kafka import consumer
from tests.worker.flow import SECONDS_MAX, Flow


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may take longer to leave a group than a service would wait for: the last
    commit, which a test looks for then, is on its way so long.
    """
    monkeypatch.setattr(consumer, "LEAVE_SECONDS", SECONDS_MAX / 2)


@pytest.fixture
def bare_flow(kafka_server: KafkaServer, topic_prefix: str, pool: AsyncConnectionPool) -> Flow:
    """Its topics are for the test to make."""
    return Flow(kafka_server.brokers, topic_prefix, pool)


@pytest.fixture
def flow(bare_flow: Flow) -> Flow:
    """Two partitions; dead letters in one."""
    bare_flow.make_topics()
    return bare_flow
