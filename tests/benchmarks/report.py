"""The figures as tables: for the terminal and for docs/benchmarks.md, from the same rows.

How to think about it: a bar is a ratio or a property that must hold on any machine, and decides the
exit code; an aim is an absolute figure of the reference machine, and is only told.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table as RichTable

_BEGIN, _END = "<!-- figures: begin -->", "<!-- figures: end -->"


@dataclass(slots=True)
class Table:
    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    note: str = ""

    def add(self, *cells: object) -> None:
        self.rows.append([str(cell) for cell in cells])

    def show(self, console: Console) -> None:
        table = RichTable(title=self.title, title_justify="left", caption=self.note or None)
        for number, column in enumerate(self.columns):
            table.add_column(column, justify="left" if number == 0 else "right")
        for row in self.rows:
            table.add_row(*row)
        console.print(table)

    def markdown(self) -> str:
        lines = [f"### {self.title}", ""]
        lines.append(f"| {' | '.join(self.columns)} |")
        lines.append("| --- |" + " ---: |" * (len(self.columns) - 1))
        lines += [f"| {' | '.join(row)} |" for row in self.rows]
        if self.note:
            lines += ["", self.note]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Target:
    name: str
    wanted: str
    found: str
    met: bool
    is_bar: bool


def targets_table(targets: Sequence[Target]) -> Table:
    table = Table("Bars and aims", ("target", "wanted", "found", ""))
    for target in targets:
        verdict = "met" if target.met else "MISSED" if target.is_bar else "not met here"
        table.add(
            f"{'bar' if target.is_bar else 'aim'}: {target.name}",
            target.wanted,
            target.found,
            verdict,
        )
    return table


def write_page(page: Path, intro: str, tables: Sequence[Table]) -> None:
    """Between the page's markers; the words around them are written by people."""
    before, _, rest = page.read_text(encoding="utf-8").partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not end:
        raise ValueError(f"{page} has lost its markers {_BEGIN} and {_END}")
    figures = "\n\n".join([intro, *(table.markdown() for table in tables)])
    page.write_text(f"{before}{_BEGIN}\n{figures}\n{_END}{after}", encoding="utf-8")


def number(value: float) -> str:
    """Three figures are what a run can tell."""
    if value != value:
        return "–"
    if value >= 1000:
        return f"{round(value, -1 if value < 10_000 else -2):,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
