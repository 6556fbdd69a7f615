"""One frozen object out of the environment, validated before anything starts.

How to think about it: this is the only module that reads the environment (and `.env`). A setting
that is wrong stops the start, and all wrong ones are named at once, so that nobody fixes them one
start at a time. Names and defaults are the contract's; `.env.example` lists them all.
"""

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AliasChoices,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h|d)")


def _duration(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if (parts := _DURATION.fullmatch(value.strip())) is None:
        raise ValueError("must be a duration such as 500ms, 20s, 5m, 1h or 90d")
    return timedelta(seconds=float(parts[1]) * _UNITS[parts[2]])


Duration = Annotated[timedelta, BeforeValidator(_duration), Field(gt=timedelta(0))]
Days = Annotated[timedelta, BeforeValidator(_duration), Field(ge=timedelta(days=1))]
Path_ = Annotated[str, Field(pattern=r"^/\S*$")]
Port = Annotated[int, Field(ge=0, le=65535)]
IndexName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,99}$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,200}$")]


class SettingsError(Exception):
    """The settings are wrong; the text names each of them, a line each."""


class Settings(BaseSettings):
    """Each field is an environment variable of the same name in capitals."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    bind_address: str = "127.0.0.1"
    """Only this machine, unless told: without operator keys everybody who can reach the port is an
    operator.
    """
    port: Port = 3000
    max_body_bytes: Annotated[int, Field(ge=1024)] = 262_144
    body_timeout: Duration = timedelta(seconds=10)
    """A whole body must be in by then; a slower sender holds memory for nothing."""
    shutdown_timeout: Duration = timedelta(seconds=30)
    """More than the provider's time-out, so that a capture under way is answered before the stop.
    """

    data_dir: Path = Path(".data")
    pg_url: str | None = None
    pg_pool_max: Annotated[int, Field(ge=2, le=90)] = 10

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["console", "json"] = "console"

    webhook_mode: Literal["sync", "kafka"] = "sync"
    webhook_batch_max: Annotated[int, Field(ge=1, le=5000)] = 500
    """A batch holds its orders' locks: larger ones gain little (half of the cost is gone at 16) and
    block longer.
    """
    webhook_queue_max: Annotated[int, Field(ge=1)] = 5000
    """About a second's work: who comes later would lose patience anyway, and is told so at once."""

    kafka_brokers: Annotated[str | None, Field(validate_default=True)] = None
    kafka_orders_topic: Name = "webhooks.orders"
    kafka_disputes_topic: Name = "webhooks.disputes"
    kafka_orders_consumer_group: Name = "payment-app-orders"
    kafka_disputes_consumer_group: Name = "payment-app-disputes"
    kafka_partitions: Annotated[int, Field(ge=1, le=1000)] = 6
    """As many workers a topic can share the work. More cost each poll and each broker something;
    raised later, keys move to other partitions.
    """
    kafka_replication: Annotated[int, Field(ge=1, le=32767)] = 1
    kafka_min_insync_replicas: Annotated[int, Field(ge=1, le=32767)] = 1
    dead_letters_max_percent: Annotated[int, Field(ge=1, le=100)] = 10

    partitions: Literal["auto", "native", "pg_partman"] = "auto"
    partition_days_ahead: Annotated[int, Field(ge=1, le=365)] = 7
    maintenance: Literal["service", "off"] = "service"
    maintenance_interval: Duration = timedelta(minutes=10)
    seal_after: Duration = timedelta(hours=1)
    events_retention: Days | None = None
    events_archive_dir: Path | None = None
    webhook_ids_retention: Annotated[
        timedelta, BeforeValidator(_duration), Field(ge=timedelta(days=35))
    ] = timedelta(days=90)
    """Longer than the provider's redelivery and than what Kafka's topics keep (30 days): what is
    read from them once more must still be known.
    """

    opensearch_urls: str | None = None
    """Unset: search is answered from PostgreSQL."""
    opensearch_index_orders: IndexName = "events-orders"
    opensearch_index_disputes: IndexName = "events-disputes"
    opensearch_index_order_states: IndexName = "orders"
    opensearch_index_dispute_states: IndexName = "disputes"
    opensearch_ca_file: Path | None = None
    search_projection: Literal["service", "off"] = "service"
    """Whether the API keeps search up to date, or `payment-manager project` alone."""

    silvergate_base_url: str | None = None
    silvergate_capture_path: Path_ = "/api/v1/capture"
    silvergate_submit_representment_path: Path_ = "/api/v1/dispute-representments/create"
    http_silvergate_client_timeout: Duration = timedelta(seconds=20)
    reconcile_interval: Duration = timedelta(seconds=10)
    simulator_port: Port = 3001

    @field_validator(
        *("log_level", "log_format", "webhook_mode", "partitions", "maintenance"),
        "search_projection",
        mode="before",
    )
    @classmethod
    def _any_case(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @field_validator("silvergate_base_url")
    @classmethod
    def _http(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", value):
            raise ValueError("must be an http or https URL without a query")
        return value.rstrip("/") if value else value

    @field_validator("kafka_brokers")
    @classmethod
    def _brokers(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None:
            if info.data.get("webhook_mode") == "kafka":
                raise ValueError("is needed where WEBHOOK_MODE is kafka")
            return None
        brokers = [broker.strip() for broker in value.split(",")]
        if not all(
            re.fullmatch(r"[A-Za-z0-9._-]+:[0-9]{1,5}|\[[0-9A-Fa-f:]+\]:[0-9]{1,5}", broker)
            for broker in brokers
        ):
            raise ValueError("must be host:port, or several of them with commas between")
        return ",".join(brokers)

    @field_validator("opensearch_urls")
    @classmethod
    def _search_urls(cls, value: str | None) -> str | None:
        urls = [url.strip().rstrip("/") for url in value.split(",")] if value else []
        if not all(re.fullmatch(r"https?://[^\s/?#,]+(/[^\s?#,]*)?", url) for url in urls):
            raise ValueError("must be an http or https URL, or several with commas between")
        return ",".join(urls) or None

    @field_validator(
        *("opensearch_index_disputes", "opensearch_index_order_states"),
        "opensearch_index_dispute_states",
    )
    @classmethod
    def _own_index(cls, value: str, info: ValidationInfo) -> str:
        for name in info.data:
            other = info.data[name]
            if not name.startswith("opensearch_index_") or not isinstance(other, str):
                continue
            # The names of an index's copies begin with its own.
            if value == other or value.startswith(f"{other}-") or other.startswith(f"{value}-"):
                raise ValueError(f"must not be or begin like {name.upper()}: each has its own")
        return value

    @field_validator("kafka_disputes_topic", "kafka_disputes_consumer_group")
    @classmethod
    def _two_streams(cls, value: str, info: ValidationInfo) -> str:
        other = str(info.field_name).replace("disputes", "orders")
        if value == info.data.get(other):
            raise ValueError(f"must not be {other.upper()} too: each carries one kind of webhook")
        return value

    @field_validator("kafka_min_insync_replicas")
    @classmethod
    def _writable(cls, value: int, info: ValidationInfo) -> int:
        if value > info.data.get("kafka_replication", value):
            raise ValueError("must not be more than KAFKA_REPLICATION: nothing could be written")
        return value

    @field_validator("pg_url")
    @classmethod
    def _postgres(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("postgresql://", "postgres://")):
            raise ValueError("must be a postgresql:// URL")
        return value


class ApiSettings(Settings):
    """Of a service that brings no provider of its own along: it must be told of one."""

    silvergate_base_url: str


class IngestSettings(Settings):
    """Of Ingest, which may share a machine and a `.env` with the API."""

    kafka_brokers: str
    port: Port = Field(3002, validation_alias=AliasChoices("ingest_port", "port"))


class WorkerSettings(Settings):
    """Of a worker: consumers alone, with a port for its probes and metrics."""

    kafka_brokers: str
    port: Port = Field(3003, validation_alias=AliasChoices("worker_port", "port"))


class ProjectorSettings(Settings):
    """Of a projector alone, with a port for its probes and metrics."""

    opensearch_urls: str
    port: Port = Field(3004, validation_alias=AliasChoices("projector_port", "port"))


def load(kind: type[Settings] = Settings, **given: Any) -> Settings:
    """This process's settings; `given` ones win over the environment. Raises `SettingsError`."""
    try:
        return kind(**given)
    except ValidationError as invalid:
        lines = [
            f"  {str(error['loc'][0]).upper()}: {_words(error)}"
            for error in invalid.errors(include_url=False, include_input=False)
        ]
        raise SettingsError("\n".join(["These settings are wrong:", *lines])) from None


def _words(error: ErrorDetails) -> str:
    if error["type"] == "missing":
        return "is needed here"
    return error["msg"].removeprefix("Value error, ")
