"""A section of docs/benchmarks.md: what it is called, how it is measured, and who measures it.

How to think about it: a section is one `async` function that gets an `Asked`, measures, and tells
`asked.findings` its tables and bars. Its module says all about it in one `Section`, and
`sections.py` lists them: `--only NAME` runs it, a full run of it writes its part of the page.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from tests.benchmarks.report import Findings
from tests.benchmarks.scale import Scale


@dataclass(frozen=True, slots=True)
class Asked:
    """One run of a section. `folder` is its own, on the disk that the service's data would be on,
    and is deleted afterwards.
    """

    scale: Scale
    parts: set[str]
    folder: Path
    console: Console
    findings: Findings
    functions: bool = False
    """Profiles: the sampled functions too."""


def nothing_missing() -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class Section:
    """`name` stands in the page's markers and after `--only`, unless it has several `parts`."""

    name: str
    measure: Callable[[Asked], Coroutine[None, None, None]]
    parts: tuple[str, ...] = ()
    why_not: Callable[[], str | None] = nothing_missing
    """Why it can't be measured on this machine, in words."""
    title: str = ""
    method: str = ""
    """How it is measured, in Markdown: written above the figures. Where both are empty, people have
    written them into the page, around the markers.
    """

    @property
    def only(self) -> tuple[str, ...]:
        return self.parts or (self.name,)

    @property
    def words(self) -> str:
        return "\n\n".join(filter(None, [self.title and f"## {self.title}", self.method.strip()]))
