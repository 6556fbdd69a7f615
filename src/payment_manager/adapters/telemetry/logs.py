"""Structured logs: for people on a console, as JSON for machines.

How to think about it: a log line is an event's name with key-value pairs, never a sentence, never a
body or a secret. What belongs to a request (`correlation_id`) is bound once at the edge and is on
every line that the request causes.
"""

import logging
import sys
from typing import Any, Literal

import msgspec
import structlog

_encode = msgspec.json.Encoder(enc_hook=str).encode


def configure(level: str, form: Literal["console", "json"]) -> None:
    """Set up logging for this process; libraries' own lines come the same way, from warnings up."""
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    last: list[Any]
    if form == "json":
        last = [structlog.processors.dict_tracebacks, _as_json]
    else:
        last = [structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty(), timestamp_key="time")]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stdout),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)


def _as_json(_logger: object, _method: str, event: dict[str, Any]) -> str:
    return _encode(event).decode()
