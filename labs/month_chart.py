"""The chart of the labs about the reference month: how many pages a question looks at.

How to think about it: the figures lie three powers of ten apart, so the axis is one of powers. The
same figures give the same file, byte for byte: nothing in it is a date or a random id.
"""

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

OURS, THEIRS = "#2f6f9f", "#c05a1c"


def draw(path: Path, buffers: Mapping[str, int], reference: Mapping[str, int]) -> None:
    names = list(buffers)
    with mpl.rc_context({"svg.hashsalt": "month", "svg.fonttype": "none", "font.size": 11}):
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        axes = figure.subplots()
        axes.barh(names, list(buffers.values()), color=OURS, height=0.55)
        for name, value in buffers.items():
            axes.annotate(
                f"{value:,}", (value, name), (12, 0), textcoords="offset points", va="center"
            )
        axes.plot(
            list(reference.values()), list(reference), "D", color=THEIRS, markerfacecolor="white",
            label="the reference experiment",
        )  # fmt: skip
        axes.set_xscale("log")
        axes.set_xlim(100, 10 * max(buffers.values()))
        axes.invert_yaxis()
        axes.set_xlabel("buffers (pages of 8 KiB) that the five-day question looks at")
        axes.legend(loc="lower right", frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(path, format="svg", metadata={"Date": None})
