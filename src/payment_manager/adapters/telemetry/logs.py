"""Structured logs: for people on a console, as JSON for machines.

How to think about it: a log line is an event's name with key-value pairs, never a sentence, never a
body or a secret. What belongs to a request (`correlation_id`) is bound once at the edge and is on
every line that the request causes.
"""

import asyncio
import logging
import sys
from typing import Any, Literal, TextIO

import msgspec
import structlog
import structlog.tracebacks

_encode = msgspec.json.Encoder(enc_hook=str).encode

# A stack says where, not with what: among a frame's variables are bodies, keys and secrets.
_WITHOUT_VALUES = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)


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
        last = [structlog.processors.ExceptionRenderer(_WITHOUT_VALUES), _as_json]
    else:
        last = [
            structlog.dev.ConsoleRenderer(
                colors=sys.stdout.isatty(),
                timestamp_key="time",
                exception_formatter=structlog.dev.plain_traceback,
            )
        ]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: _OneWriteATurn(sys.stdout),
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


class _OneWriteATurn:
    """A logger that writes the lines of one turn of the event loop together.

    A shared batch answers many requests in one turn, and a write for each of their lines would cost
    more than the lines. Without a loop, each line is written at once.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._lines: list[str] = []

    def msg(self, line: str) -> None:
        self._lines.append(line)
        if len(self._lines) > 1:
            return  # the first of the turn has asked for the write
        try:
            asyncio.get_running_loop().call_soon(self._write)
        except RuntimeError:
            self._write()

    debug = info = warning = error = critical = exception = msg

    def _write(self) -> None:
        lines, self._lines = self._lines, []
        self._file.write("\n".join([*lines, ""]))
        self._file.flush()
