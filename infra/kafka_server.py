"""A real Apache Kafka broker of our own: one KRaft node, on loopback, as durable as its defaults.

How to think about it: an object is a broker with one address for life. `start` and `stop` (or
`kill`) may follow one another as often as a test wants, and what was written is still there; the
broker is up when it answers as the cluster that its own folder names, so that a stranger on the
port can't be taken for it. It ends with the process that started it, whatever ends that one.

    RuntimeError
    └── KafkaServerError    it did not start (with its log's end), or its port is taken
"""

import base64
import os
import random
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from infra.java import Java, JavaServer
from infra.leash import Leash

KAFKA = JavaServer(Path(__file__).parent / "kafka" / "pom.xml", java_version_min=17)
LOGGING = Path(__file__).parent / "kafka" / "log4j2.properties"

HOST = "127.0.0.1"

START_SECONDS_MAX = 90.0
"""Of a broker that recovers its logs on a busy machine; a quiet one takes one to three."""

STOP_SECONDS_MAX = 20.0
"""The first stop also writes the archive of classes. After that it is killed, and loses nothing."""

LOG_BYTES_MAX = 10 * 1024 * 1024
"""A longer log is put aside as `kafka.log.1` at the next start."""

_POLL_SECONDS = 0.02

_BROKER = "kafka.Kafka"
_FORMATTER = "kafka.tools.StorageTool"

# Below the range that systems take outgoing connections' ports from: while a broker is down, no
# client's own connection may end up with its port.
_PORTS = range(20_000, 32_000)

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

# Collected by one thread: such a broker shares few cores with its clients.
_JAVA_FLAGS = ("-XX:+UseSerialGC", "-Xms64m")

# Compiled quickly rather than best. Measured on two cores: up in 1.0 s instead of 1.5, and a third
# less processor time over the first 50,000 messages; from then on a fifth more, and slower answers.
_QUICK_FLAGS = ("-XX:TieredStopAtLevel=1",)


class KafkaServerError(RuntimeError):
    """The broker did not start; the message says why, with the end of its log."""


def why_not() -> str | None:
    """Why no broker can run on this machine, in words; None where one can."""
    return KAFKA.why_not()


class KafkaServer:
    """A broker in `data_dir`, on `port` or a free one. `settings` (Kafka's own) go over SETTINGS.

    `long_running` is for benchmarks and service: slower to start, faster once it is warm.
    Its log is `data_dir`/kafka.log. Not for several threads at once.
    """

    def __init__(
        self,
        data_dir: Path,
        port: int | None = None,
        heap: str = "512m",
        *,
        long_running: bool = False,
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._data_dir = data_dir.resolve()
        self._storage = self._data_dir / "log"
        self._heap = heap
        self._long_running = long_running
        self._settings = {**SETTINGS, **settings}
        self._process: subprocess.Popen[bytes] | None = None
        self._leash: Leash | None = None
        self.port = port or free_port()
        self.log = self._data_dir / "kafka.log"

    @property
    def brokers(self) -> str:
        """For `bootstrap.servers`; the same at every start."""
        return f"{HOST}:{self.port}"

    @property
    def is_alive(self) -> bool:
        """Whether the process runs; a paused one does."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def start(self) -> Self:
        """Start the broker; it answers when this returns. Starting a live one changes nothing.

        Raises KafkaServerError, infra.java.JarsMissing.
        """
        if self.is_alive:
            return self
        self.kill()  # what is left of one that ended by itself
        java = KAFKA.java()
        if java is None:
            raise KafkaServerError(why_not())
        classes = KAFKA.jars()
        if not is_free(self.port):
            raise KafkaServerError(f"port {self.port} is taken by another program")
        self._data_dir.mkdir(parents=True, exist_ok=True)
        _put_aside_if_long(self.log)
        properties = self._write_properties()
        if not (self._storage / "meta.properties").exists():
            self._format(java, classes, properties)
        log_start = self._launch(self._command(java, classes, _BROKER, str(properties)))
        try:
            self._wait_until_up(log_start)
        except BaseException:
            self.kill()
            raise
        return self

    def stop(self) -> None:
        """End it in good order. Stopping a stopped one changes nothing."""
        process = self._process
        if process is None:
            return
        process.terminate()
        self.resume()  # a paused one would never see it
        try:
            process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
        self._reap()

    def kill(self) -> None:
        """End it as a crash does (kill -9)."""
        if self._process is not None:
            self._process.kill()
            self._reap()

    def pause(self) -> None:
        """Let it be away without a word: its connections stay open, and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)
        # The signal stops one thread after the other; only then nothing is answered any more.
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """End a pause."""
        if self.is_alive:
            os.kill(self.pid, signal.SIGCONT)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

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

    def _format(self, java: Java, classes: Path, properties: Path) -> None:
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        command = self._command(java, classes, _FORMATTER, "format")
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

    def _command(self, java: Java, classes: Path, program: str, *arguments: str) -> list[str]:
        lasts = self._long_running and program == _BROKER
        name = f"{classes.name}-{program.rpartition('.')[2].lower()}{'-long' if lasts else ''}"
        return [
            str(java.program),
            *_JAVA_FLAGS,
            *(() if lasts else _QUICK_FLAGS),
            f"-Xmx{self._heap}",
            *java.class_archive(classes.parent, name),
            f"-Dlog4j2.configurationFile={LOGGING.as_uri()}",
            *("-cp", f"{classes}/*", program),
            *arguments,
        ]

    def _launch(self, command: list[str]) -> int:
        """Start the process; answers where in the log it begins."""
        with self.log.open("ab") as log:
            log_start = log.tell()
            # In a session of its own: a terminal's Ctrl-C is for its owner, which stops it last.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._leash = Leash(self._process.pid)
        return log_start

    def _wait_until_up(self, log_start: int) -> None:
        cluster_id = _cluster_id(self._storage)
        admin = AdminClient(
            {
                "bootstrap.servers": self.brokers,
                "log_level": 0,  # it can't connect at first, which is no news
                "reconnect.backoff.ms": 20,
                "reconnect.backoff.max.ms": 100,
            }
        )
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline:
            if not self.is_alive:
                raise KafkaServerError(
                    f"Kafka ended at its start (exit code {self._exit_code()}); the end of "
                    f"{self.log}:\n{_tail(self.log, log_start)}"
                )
            try:
                answer = admin.list_topics(timeout=1)
            except KafkaException:
                time.sleep(_POLL_SECONDS)
                continue
            # A broker without itself among the brokers isn't let in by its controller yet.
            if answer.cluster_id == cluster_id and answer.brokers:
                return
            time.sleep(_POLL_SECONDS)
        raise KafkaServerError(
            f"Kafka was not up after {START_SECONDS_MAX:.0f} s; the end of {self.log}:\n"
            f"{_tail(self.log, log_start)}"
        )

    def _exit_code(self) -> int | None:
        return self._process.returncode if self._process else None

    def _reap(self) -> None:
        assert self._process is not None
        self._process.wait()
        if self._leash is not None:
            self._leash.drop()
        self._process = self._leash = None


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    while True:
        port = random.choice(_PORTS)
        if is_free(port):
            return port


def is_free(port: int) -> bool:
    """Whether a server could take this port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections of a dead predecessor that still linger don't count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _put_aside_if_long(log: Path) -> None:
    if log.exists() and log.stat().st_size > LOG_BYTES_MAX:
        log.replace(log.with_name(f"{log.name}.1"))


def _tail(log: Path, start: int) -> str:
    with log.open("rb") as file:
        file.seek(start)
        return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-20:])


def _cluster_id(storage: Path) -> str:
    lines = (storage / "meta.properties").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)["cluster.id"]
