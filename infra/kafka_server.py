"""A real Apache Kafka broker of our own: one KRaft node, on loopback, as durable as its defaults.

How to think about it: a LocalServer whose folder is formatted as a cluster of its own at the first
start; the broker is up when it answers as that cluster. What was written is still there after each
`start`, whether a `stop` or a `kill` came before it.

    RuntimeError
    └── KafkaServerError    it did not start (with its log's end), or its port is taken
"""

import base64
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from infra.java import JavaServer
from infra.local_server import HOST, LocalServer, free_port

KAFKA = JavaServer(Path(__file__).parent / "kafka" / "pom.xml", java_version_min=17)
LOGGING = Path(__file__).parent / "kafka" / "log4j2.properties"

_BROKER = "kafka.Kafka"
_FORMATTER = "kafka.tools.StorageTool"

# One node, so every internal topic has one replica and, for a quick start, one partition. What
# makes writes durable is left as Kafka has it; `acks` is the client's to say.
SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "auto.create.topics.enable": "false",  # a wrong topic's name must be seen, not made
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "share.coordinator.state.topic.num.partitions": "1",
        "group.initial.rebalance.delay.ms": "0",  # no others to wait for
        "group.min.session.timeout.ms": "1000",  # a test of a killed consumer waits for its end
        # The controller lets a killed broker back in only when its last session has ended: nine
        # seconds otherwise.
        "broker.session.timeout.ms": "2000",
        "broker.heartbeat.interval.ms": "500",
        "log.cleaner.dedupe.buffer.size": "8388608",  # 128 MiB of the heap otherwise
        "num.network.threads": "2",
        "num.io.threads": "4",
    }
)


class KafkaServerError(RuntimeError):
    """The broker did not start; the message says why, with the end of its log."""


def why_not() -> str | None:
    """Why no broker can run on this machine, in words; None where one can."""
    return KAFKA.why_not()


class KafkaServer(LocalServer):
    """A broker in `data_dir`, on `port` or a free one. `settings` (Kafka's own) go over SETTINGS.

    `long_running` is for benchmarks and service: slower to start, faster once it is warm.
    Its log is `data_dir`/kafka.log. Not for several threads at once.
    """

    name = "Kafka"
    error = KafkaServerError
    start_seconds_max = (
        90.0  # recovering its logs on a busy machine; a quiet one takes one to three
    )
    stop_seconds_max = 20.0  # the first stop also writes the archive of classes

    def __init__(
        self,
        data_dir: Path,
        port: int | None = None,
        heap: str = "512m",
        *,
        long_running: bool = False,
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(data_dir, port)
        self._storage = self._data_dir / "log"
        self._heap = heap
        self._long_running = long_running
        self._settings = {**SETTINGS, **settings}
        self._asking: AdminClient | None = None

    @property
    def brokers(self) -> str:
        """For `bootstrap.servers`; the same at every start."""
        return f"{HOST}:{self.port}"

    def _prepare(self) -> list[str]:
        if KAFKA.java() is None:
            raise KafkaServerError(why_not())
        properties = self._write_properties()
        if not (self._storage / "meta.properties").exists():
            self._format(properties)
        self._asking = AdminClient(
            {
                "bootstrap.servers": self.brokers,
                "log_level": 0,  # it can't connect at first, which is no news
                "reconnect.backoff.ms": 20,
                "reconnect.backoff.max.ms": 100,
            }
        )
        return self._command(_BROKER, str(properties))

    def _is_up(self) -> bool:
        assert self._asking is not None
        try:
            answer = self._asking.list_topics(timeout=1)
        except KafkaException:
            return False
        # A broker without itself among the brokers isn't let in by its controller yet.
        if answer.cluster_id != _cluster_id(self._storage) or not answer.brokers:
            return False
        self._asking = None  # it would go on, and complain at the broker's next end
        return True

    def _write_properties(self) -> Path:
        # Of no interest to clients, and a new one at each start: only the node asks itself there.
        controller = free_port()
        settings = {
            **self._settings,
            "listeners": f"PLAINTEXT://{self.brokers},CONTROLLER://{HOST}:{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.brokers}",
            "controller.quorum.voters": f"1@{HOST}:{controller}",
            "log.dirs": str(self._storage),
        }
        properties = self._data_dir / "server.properties"
        properties.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        return properties

    def _format(self, properties: Path) -> None:
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        command = self._command(_FORMATTER, "format")
        formatting = subprocess.run(
            # In one word: one in 64 of these ids begins with a dash.
            [*command, f"--config={properties}", f"--cluster-id={cluster_id}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if formatting.returncode != 0:
            raise KafkaServerError(f"formatting {self._storage} failed:\n{formatting.stdout}")

    def _command(self, main: str, *arguments: str) -> list[str]:
        return KAFKA.command(
            main,
            *arguments,
            heap=self._heap,
            long_running=self._long_running and main == _BROKER,
            flags=("-Xms64m", f"-Dlog4j2.configurationFile={LOGGING.as_uri()}"),
        )


def _cluster_id(storage: Path) -> str:
    lines = (storage / "meta.properties").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)["cluster.id"]
