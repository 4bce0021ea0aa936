"""The figure of the ratios: a dot for the median of the pairs, a bar from the smallest to the largest."""

import statistics
from pathlib import Path

import matplotlib
from records import Row

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

# Told apart by shape and by fill, so in grey as well as in colour.
MARKERS = [("o", "white"), ("o", "black"), ("s", "0.6"), ("D", "white"), ("D", "black"), ("^", "0.6")]
TICKS = [0.125, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64]


def manner(row: Row) -> str:
    """By how many threads and processes a case ran."""
    threads = f"{row.threads} thread{'s' if row.threads > 1 else ''}"
    return f"{row.jobs} processes of {threads}" if row.jobs > 1 else threads


def label(row: Row) -> str:
    """The case in few words; the keys of a whole run are left to the table."""
    name = row.name if row.peer_name == "PyTorch" else f"{row.name} ({row.peer_name})"
    if row.whole_run:
        return name
    keys = [key for key in row.keys if key not in ("threads", "jobs")]
    return f"{name} " + ", ".join(f"{row.keys[key]}" if key == "shape" else f"{key} {row.keys[key]}" for key in keys)


def draw(axes: plt.Axes, rows: list[Row], manners: list[str]) -> None:
    """One panel: a line for each case, a mark for each number of threads and processes."""
    labels = list(dict.fromkeys(label(row) for row in rows))
    for row in rows:
        index = manners.index(manner(row))
        marker, fill = MARKERS[index % len(MARKERS)]
        height = labels.index(label(row)) + 0.24 * (index - (len(manners) - 1) / 2)
        ratios = row.ratios
        axes.hlines(height, min(ratios), max(ratios), color="black", linewidth=1)
        axes.plot(
            statistics.median(ratios), height, marker, color="black", markerfacecolor=fill, markersize=4.5, linestyle=""
        )
    axes.axvline(1, color="black", linewidth=0.8, linestyle="--")
    axes.set_xscale("log")
    low = min([0.9, *(min(row.ratios) for row in rows)])
    high = max([1.1, *(max(row.ratios) for row in rows)])
    axes.set_xlim(0.9 * low, 1.1 * high)
    ticks = [tick for tick in TICKS if 0.9 * low <= tick <= 1.1 * high]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_yticks(range(len(labels)), labels, fontsize=7)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(axis="y", color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)


def write(rows: list[Row], machine: str, path: Path) -> None:
    """Writes the figure as SVG: single operations above, steps and whole runs below."""
    rows = [row for row in rows if row.pairs]
    if not rows:
        return
    manners = sorted({manner(row) for row in rows}, key=lambda text: ("processes" in text, text))
    sides = [[row for row in rows if (row.bench == "kernels") == kernels] for kernels in (True, False)]
    panels = [(title, side) for title, side in zip(("operations", "steps and runs"), sides, strict=True) if side]
    heights = [len({label(row) for row in side}) for _, side in panels]
    style = {"font.size": 8, "svg.hashsalt": "speed", "svg.fonttype": "path"}
    with plt.rc_context(style):
        # As wide as a printed page, so that the letters keep their size.
        figure, axes = plt.subplots(
            len(panels),
            figsize=(7.2, 1 + 0.45 * len(panels) + 0.23 * sum(heights)),
            height_ratios=heights,
            layout="constrained",
            squeeze=False,
        )
        for panel, (title, side) in zip(axes[:, 0], panels, strict=True):
            draw(panel, side, manners)
            panel.set_title(title, fontsize=9)
        axes[-1, 0].set_xlabel("our tokens/s over theirs")
        handles = [
            plt.Line2D([], [], marker=marker, color="black", markerfacecolor=fill, linestyle="", label=text)
            for text, (marker, fill) in zip(manners, MARKERS, strict=False)
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
        figure.suptitle(machine, fontsize=10)
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)
