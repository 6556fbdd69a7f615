"""What must be true in Kafka mode after any trouble."""

from collections.abc import Iterable

from tests.e2e.chaos import assert_nothing_lost, assert_same
from tests.e2e.load import Load, Sent
from tests.e2e.wire import CHARGEBACKS, ORDERS
from tests.e2e_kafka.deployment import Deployment
from tests.e2e_kafka.topics import payload_of

TAKEN = {202, 503}
"""What a `Load` is answered while nothing is wrong with Ingest and its broker: 503 where a busy
machine lets them stand still for longer than an answer may take; such a webhook is sent again.
"""


def in_topics(deployment: Deployment) -> Iterable[Sent]:
    """Each webhook where it lies for the first time."""
    topics = deployment.topics
    found: dict[Sent, None] = {}
    for path, topic in ((ORDERS, topics.orders), (CHARGEBACKS, topics.disputes)):
        for message in topics.messages(topic):
            payload = payload_of(message)
            found[path, payload["order_id"], payload["provider_event_id"]] = None
    return found


def assert_settles(deployment: Deployment, load: Load) -> None:
    """All that was acknowledged is in the log once (I1), in order; the counts balance (I2)."""
    deployment.settled()
    assert_nothing_lost(deployment.api, load)
    assert_same(in_topics(deployment), load.acknowledged, "the topics")
    [(known,)] = deployment.api.query("SELECT count(*) FROM webhook_ids")
    assert known == len(load.acknowledged)
    assert deployment.topics.dead_letters() == []
