"""How much is measured: the full run, the quick one, the smallest that goes everywhere."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    name: str
    levels: tuple[int, ...]
    """Connections of the closed loop."""
    rounds: int
    seconds: float
    warm_up_seconds: float
    open_seconds: float
    """Long enough for a hundred answers above the 99th percentile at a thousand a second."""
    open_rounds: int
    calibration_seconds: float
    read_levels: tuple[int, ...]
    read_seconds: float
    events: int
    """In the log that is read."""
    kafka_levels: tuple[int, ...]
    """Connections of Ingest's closed loop."""
    turn_seconds: float
    """Of a consumer: about; a turn is a number of messages."""
    backlog: int


FULL = Scale(
    "full", (1, 16, 64, 256), 5, 3.0, 1.0, 8.0, 3, 3.0, (1, 64), 2.5, 1_000_000,
    (16, 64, 256), 2.5, 200_000,
)  # fmt: skip
QUICK = Scale("quick", (1, 64), 2, 2.5, 1.0, 5.0, 1, 1.0, (1, 64), 0.7, 200_000, (64,), 2.0, 30_000)
SMOKE = Scale("smoke", (1, 16), 1, 0.3, 0.1, 0.5, 1, 0.1, (2,), 0.05, 3_000, (4,), 0.2, 500)
SCALES = {scale.name: scale for scale in (FULL, QUICK, SMOKE)}
