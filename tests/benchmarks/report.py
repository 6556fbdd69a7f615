"""The figures as tables: for the terminal and for docs/benchmarks.md, from the same rows.

How to think about it: a bar is a ratio or a property that must hold on any machine, and decides the
exit code; an aim is an absolute figure of the reference machine, and is only told.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table as RichTable


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


class Findings:
    """What one section of the page found: shown as it comes, written down at the end."""

    def __init__(self, section: str, console: Console) -> None:
        self.section = section
        self.tables: list[Table] = []
        self.targets: list[Target] = []
        self._console = console

    def keep(self, table: Table) -> None:
        self.tables.append(table)
        table.show(self._console)

    def bar(self, name: str, wanted: str, met: bool, found: str) -> None:
        self.targets.append(Target(name, wanted, found, met, is_bar=True))

    def aim(self, name: str, wanted: str, met: bool, found: float) -> None:
        self.targets.append(Target(name, wanted, number(found), met, is_bar=False))

    @property
    def missed(self) -> bool:
        return any(target.is_bar and not target.met for target in self.targets)

    def verdicts(self) -> Table:
        table = Table("Bars and aims", ("target", "wanted", "found", ""))
        for target in self.targets:
            verdict = "met" if target.met else "MISSED" if target.is_bar else "not met here"
            table.add(
                f"{'bar' if target.is_bar else 'aim'}: {target.name}",
                target.wanted,
                target.found,
                verdict,
            )
        return table

    def write(self, page: Path, words: Sequence[str]) -> None:
        """Between the section's markers, which a new section gets at the end of the page."""
        begin, end = f"<!-- {self.section}: begin -->", f"<!-- {self.section}: end -->"
        text = page.read_text(encoding="utf-8")
        if begin not in text:
            text = f"{text}\n{begin}\n{end}\n"
        before, _, rest = text.partition(begin)
        _, found, after = rest.partition(end)
        if not found:
            raise ValueError(f"{page} has lost its marker {end}")
        tables = (table.markdown() for table in (self.verdicts(), *self.tables))
        figures = "\n\n".join([*filter(None, words), *tables])
        page.write_text(f"{before}{begin}\n{figures}\n{end}{after}", encoding="utf-8")


def number(value: float) -> str:
    """Three figures are what a run can tell."""
    if value != value:
        return "–"
    if value >= 1000:
        return f"{round(value, -1 if value < 10_000 else -2):,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
