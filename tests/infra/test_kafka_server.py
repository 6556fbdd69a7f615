"""The broker of tests and local runs: durable over crashes, one address for life, no orphan."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from infra.kafka_server import KafkaServer, KafkaServerError, why_not

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(why_not() is not None, reason=f"no Kafka on this machine: {why_not()}"),
]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[KafkaServer]:
    """A broker that this test may kill."""
    with KafkaServer(tmp_path / "kafka") as server:
        yield server


def write(brokers: str, topic: str, *values: bytes) -> None:
    producer = Producer({"bootstrap.servers": brokers, "acks": "all"})
    for value in values:
        producer.produce(topic, value)
    assert producer.flush(60) == 0


def read(brokers: str, topic: str, count: int) -> list[bytes | None]:
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "unused"})
    consumer.assign([TopicPartition(topic, 0, 0)])
    found = consumer.consume(count, timeout=60)
    consumer.close()
    return [message.value() for message in found]


def make_topic(brokers: str, name: str) -> None:
    admin = AdminClient({"bootstrap.servers": brokers})
    admin.create_topics([NewTopic(name, 1, 1)])[name].result(60)


def test_what_was_acknowledged_is_still_there_after_kill_9_on_the_same_port(
    server: KafkaServer,
) -> None:
    brokers = server.brokers
    make_topic(brokers, "kept")
    write(brokers, "kept", b"one", b"two")

    server.kill()
    assert not server.is_alive
    server.start()

    assert server.brokers == brokers
    assert read(brokers, "kept", 2) == [b"one", b"two"]


def test_stopping_and_starting_again_changes_nothing_when_done_twice(server: KafkaServer) -> None:
    pid = server.pid
    assert server.start().pid == pid
    make_topic(server.brokers, "kept")
    write(server.brokers, "kept", b"one")

    server.stop()
    server.stop()
    assert not server.is_alive

    server.start()
    assert read(server.brokers, "kept", 1) == [b"one"]


def test_a_paused_broker_is_alive_and_silent_and_goes_on_where_it_was(server: KafkaServer) -> None:
    make_topic(server.brokers, "paused")
    server.pause()
    assert server.is_alive
    silent = Producer({"bootstrap.servers": server.brokers, "log_level": 0})
    silent.produce("paused", b"one")
    assert silent.flush(0.5) == 1, "nothing is acknowledged while the broker is away"

    server.resume()

    assert silent.flush(60) == 0
    assert read(server.brokers, "paused", 1) == [b"one"]


def test_a_paused_broker_can_be_stopped(server: KafkaServer) -> None:
    server.pause()
    server.stop()
    assert not server.is_alive


def test_a_taken_port_is_told_and_nothing_is_started(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        server = KafkaServer(tmp_path, port)
        with pytest.raises(KafkaServerError, match=f"port {port} is taken"):
            server.start()
    assert not server.is_alive


def test_a_start_that_fails_tells_the_end_of_its_log(tmp_path: Path) -> None:
    # Two brokers can't own one folder: Kafka itself locks it.
    with KafkaServer(tmp_path) as first:
        second = KafkaServer(tmp_path)
        with pytest.raises(KafkaServerError, match=r"(?s)exit code 1.*lock"):
            second.start()
        assert not second.is_alive
        assert first.is_alive


OWNER = """
import sys, time
from pathlib import Path
from infra.kafka_server import KafkaServer
print(KafkaServer(Path(sys.argv[1])).start().pid, flush=True)
time.sleep(600)
"""


def test_a_broker_goes_when_its_owner_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        broker = int(owner.stdout.readline())
        owner.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 60
    while runs(broker) and time.monotonic() < deadline:
        time.sleep(0.02)  # it isn't our child: no event tells of its end
    assert not runs(broker)


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # An orphan that ended may stay a zombie where nobody reaps: that is an end too.
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):  # gone meanwhile, or there is no /proc
        return not Path("/proc/self").exists()
    return stat.rpartition(")")[2].split()[0] != "Z"
