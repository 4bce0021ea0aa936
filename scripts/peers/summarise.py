"""Writes the tables and the figure of compare.sh's records beside them.

    python summarise.py results/speed/MACHINE.jsonl

writes MACHINE.csv, MACHINE.md and MACHINE.svg, and ratios.md, which puts the machines of the folder side by side. Ratios
are ours over theirs, in tokens a second, taken pair by pair; the median of the pairs is given, with the smallest and the
largest.
"""

import csv
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path

import figure
import machine
import records
from records import Row

COLUMNS = [
    "bench", "case", "peer", "peer_case", "keys", "threads", "jobs", "pairs", "ours_tokens_per_second",
    "peer_tokens_per_second", "ratio_median", "ratio_min", "ratio_max", "ours_share_of_gemm_peak",
    "peer_share_of_gemm_peak", "ours_peak_mib", "peer_peak_mib",
]  # fmt: skip
SECTIONS = {
    "Matrix products and other operations": lambda row: row.bench == "kernels",
    "Steps": lambda row: row.bench != "kernels" and row.ours in ("train", "dpo", "score"),
    "Sampling": lambda row: row.ours == "sample",
    "Whole runs": lambda row: row.whole_run,
}
# What is varied in each table of scaling, all else being equal.
SCALING = {
    "threads": "threads of one process",
    "jobs": "processes of one thread side by side",
    "context": "length of the sequences",
    "time": "length of the sequences, attention alone",
    "batch": "batch",
    "shape": "size of the model",
}


def figures(value: float | None) -> str:
    """Three significant digits, large numbers in full; NaN as such, and nothing for None."""
    if value is None:
        return ""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.0f}%"


def table(header: list[str], rows: Iterable[list[str]]) -> list[str]:
    """A table in Markdown."""
    return ["", *(f"| {' | '.join(cells)} |" for cells in [header, ["-"] * len(header), *rows])]


def write_csv(rows: list[Row], peaks: dict[int, float], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in rows:
            if not row.pairs:
                continue
            ratios = row.ratios
            numbers = [row.median(0), row.median(1), statistics.median(ratios), min(ratios), max(ratios)]
            numbers += [records.share_of_peak(row, side, peaks) for side in (0, 1)]
            numbers += [row.median(side, "peak_mib") for side in (0, 1)]
            cells = ["" if number is None else f"{number:.6g}" for number in numbers]
            names = [row.bench, row.ours, row.peer_name, row.theirs, row.work]
            writer.writerow([*names, row.threads, row.jobs, len(row.pairs), *cells])


def machine_of(records: Path) -> str:
    """The machine that a file of records is named by."""
    return records.name.removesuffix(".gz").removesuffix(".jsonl")


def write_overview(folder: Path) -> None:
    """The median ratios of all machines that have records in the folder."""
    # Those of this machine are not packed yet.
    paths = sorted(folder.glob("*.jsonl*"))
    ratios: dict[tuple[str, ...], dict[Path, str]] = {}
    for path in paths:
        for row in records.read(path):
            if row.pairs:
                case = (row.name, row.work, row.processes, row.peer_name)
                ratios.setdefault(case, {})[path] = f"{statistics.median(row.ratios):.2f}"
    lines = ["# Our speed over theirs, machine by machine", ""]
    lines.append("Medians of `MACHINE.md`, written by `scripts/peers/compare.sh`; `2 x 1` is two processes of one thread.")
    header = ["case", "keys", "threads", "against", *(f"[{name}]({name}.md)" for name in map(machine_of, paths))]
    lines += table(header, ([*case, *(cells.get(path, "") for path in paths)] for case, cells in ratios.items()))
    (folder / "ratios.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def ratio_table(rows: list[Row], peaks: dict[int, float]) -> list[str]:
    """One line a case."""
    header = ["case", "keys", "threads", "against", "ours, tokens/s", "theirs", "ratio", "from", "to"]
    header += ["pairs", "share of GEMM peak, ours", "theirs", "peak MiB, ours", "theirs"]
    lines = []
    for row in rows:
        ratios = row.ratios
        numbers = [row.median(0), row.median(1), statistics.median(ratios), min(ratios), max(ratios)]
        shares = [percent(records.share_of_peak(row, side, peaks)) for side in (0, 1)]
        memory = [figures(row.median(side, "peak_mib")) for side in (0, 1)]
        cells = [row.name, row.work, row.processes, row.peer_name, *map(figures, numbers)]
        lines.append([*cells, str(len(row.pairs)), *shares, *memory])
    return table(header, lines)


def scaling_table(rows: list[Row], factor: str) -> list[str]:
    """Rates of cases that differ in one key only, over the rate at its first value."""
    groups: dict[tuple, list] = {}
    for row in rows:
        keys = {"jobs": row.jobs, **row.keys}
        if factor in keys:
            rest = tuple(sorted((key, str(value)) for key, value in keys.items() if key != factor))
            groups.setdefault((row.name, row.peer_name, rest), []).append((keys[factor], row))
    lines = []
    for (name, peer, rest), members in groups.items():
        if len(members) < 2:
            continue
        shown = " ".join(f"{key}={value}" for key, value in rest if (key, value) != ("jobs", "1") and value[0] != "@")
        values = ", ".join(str(value) for value, _ in members)
        columns = []
        for side in (0, 1):
            rates = [row.median(side) for _, row in members]
            columns.append(", ".join(figures(rate) for rate in rates))
            columns.append(", ".join(f"{rate / rates[0]:.2f}" for rate in rates))
        lines.append([name, shown, values, columns[0], columns[1], peer, columns[2], columns[3]])
    if not lines:
        return []
    header = ["case", "keys", factor, "ours, tokens/s", "relative", "against", "theirs, tokens/s", "relative"]
    return ["", f"### By {SCALING[factor]}", *table(header, lines)]


def write_markdown(rows: list[Row], peaks: dict[int, float], path: Path) -> None:
    measured = [row for row in rows if row.pairs]
    description = machine.description()
    lines = [f"# Speed on {machine.cpu_name()}, {machine.cores()} cores"]
    lines += table(["", ""], [list(entry) for entry in description])
    lines += [
        "",
        "Written by `scripts/peers/compare.sh` from the measurements in the `.jsonl.gz` file of the same name. Both sides "
        "run the same case by turns (ours, theirs, theirs, ours, ...), one process a measurement, in fp32; a "
        "measurement is the median step after two for warming up. A ratio is our tokens a second over theirs within a "
        "pair: the median of the pairs, then the smallest and the largest. Tokens are those of a step (rows of an "
        "operation), prompts included; those drawn, when sampling. Operations are timed forward and backward, but "
        "for `gemm`. Memory is the process's largest resident set, libraries included, all processes added up.",
        "",
        f"![Ratios]({path.with_suffix('.svg').name})",
    ]
    for title, belongs in SECTIONS.items():
        section = [row for row in measured if belongs(row)]
        if section:
            lines += ["", f"## {title}", *ratio_table(section, peaks)]
    if peaks:
        rates = [f"{peak / 1e9:.0f} GFLOP/s with {threads} thread(s)" for threads, peak in sorted(peaks.items())]
        lines += [
            "",
            f"The GEMM peak is the best rate of either side at 1024 x 1024 x 1024: {', '.join(rates)}. Shares of it "
            "count the operations of the matrix products that the mathematics needs, a backward pass as two forward "
            "passes, nothing shared and nothing recomputed, so they may exceed what a profile shows.",
        ]
    scaling = [line for factor in SCALING for line in scaling_table(measured, factor)]
    if scaling:
        lines += ["", "## Scaling", *scaling]
    problems = [f"- {row.name} {row.work}, against {row.peer_name}: {text}" for row in rows for text in row.problems]
    if problems:
        lines += ["", "## Without a result", "", *problems]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    path = Path(sys.argv[1])
    rows = records.read(path)
    peaks = records.peaks(rows)
    write_csv(rows, peaks, path.with_suffix(".csv"))
    write_markdown(rows, peaks, path.with_suffix(".md"))
    write_overview(path.parent)
    figure.write(rows, f"{machine.cpu_name()}, {machine.cores()} cores", path.with_suffix(".svg"))
    for row in rows:
        for problem in row.problems:
            print(f"{row.name} {row.work}, against {row.peer_name}: {problem}", file=sys.stderr)


if __name__ == "__main__":
    main()
