"""Who used the processors: the service, PostgreSQL, the broker, the generator, everybody else.

How to think about it: throughput depends on what else the machine does, CPU seconds per request
hardly do. They are read from /proc before and after a run. The kernel counts in ticks of 10 ms, so
a run of some seconds is exact to a percent.
"""

import os
from dataclasses import astuple, dataclass
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """CPU seconds, user and system. `machine` is all that ran on any processor."""

    service: float
    postgres: float
    generator: float
    machine: float
    broker: float = 0.0

    def __sub__(self, before: "CpuTimes") -> "CpuTimes":
        return CpuTimes(*map(float.__sub__, astuple(self), astuple(before)))

    def __add__(self, other: "CpuTimes") -> "CpuTimes":
        return CpuTimes(*map(float.__add__, astuple(self), astuple(other)))

    @property
    def others(self) -> float:
        """Other programs, and the kernel's own work that it books to nobody."""
        known = self.service + self.postgres + self.generator + self.broker
        return max(0.0, self.machine - known)


@dataclass(frozen=True, slots=True)
class CpuMeter:
    """Of these processes. `postmaster` stands for all of PostgreSQL's."""

    service: int
    postmaster: int | None = None
    broker: int | None = None

    def read(self) -> CpuTimes:
        return CpuTimes(
            service=_own(_stat(self.service)),
            postgres=0.0 if self.postmaster is None else _family(self.postmaster),
            generator=_own(_stat(os.getpid())),
            machine=_machine(),
            broker=0.0 if self.broker is None else _own(_stat(self.broker)),
        )


def _stat(pid: int | str) -> list[str]:
    """The fields of proc_pid_stat(5) from the third on: the second may hold spaces."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _own(stat: list[str]) -> float:
    return (int(stat[11]) + int(stat[12])) / _TICKS_PER_SECOND


def _family(parent: int) -> float:
    """A process, its living children, and those that it has outlived."""
    stat = _stat(parent)
    seconds = _own(stat) + (int(stat[13]) + int(stat[14])) / _TICKS_PER_SECOND
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                child = _stat(entry)
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(child[1]) == parent:
                seconds += _own(child)
    return seconds


def _machine() -> float:
    user, nice, system, _idle, _iowait, irq, softirq = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:8]
    )
    return (user + nice + system + irq + softirq) / _TICKS_PER_SECOND
