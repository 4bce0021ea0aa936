"""Makes a table of the records of bench.py.

    python summarise.py FILE.jsonl     writes FILE.md

Milliseconds are those of one step: the median over the passes of each pass's median. A ratio is PyTorch's time over ours,
so above 1 where we are faster. Our f32 is not rounded, as PyTorch's f32 is not; its tf32
rounds the factors of products to 10 bits, for the tensor cores.
"""

import json
import statistics
import sys
from pathlib import Path

# Columns of times, with the precisions of both sides.
COLUMNS = {
    ("ours", "f32"): "ours",
    ("ours", "bf16"): "ours, bf16",
    ("torch", "f32"): "PyTorch, f32",
    ("torch", "tf32"): "PyTorch, tf32",
    ("torch", "bf16"): "PyTorch, bf16",
}
# Which of our columns is compared with which of theirs.
RATIOS = [
    (("ours", "f32"), ("torch", "f32")),
    (("ours", "f32"), ("torch", "tf32")),
    (("ours", "f32"), ("torch", "bf16")),
    (("ours", "bf16"), ("torch", "bf16")),
]
Key = tuple[str, str]


def three_digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    """A table in Markdown."""
    return ["", *(f"| {' | '.join(cells)} |" for cells in [header, ["-"] * len(header), *rows])]


def section(records: list[dict]) -> list[str]:
    """The table of one device, and what failed."""
    cases = list(dict.fromkeys(record["case"] for record in records))
    seconds: dict[tuple[str, Key], list[float]] = {}
    tokens: dict[str, set[int]] = {}
    problems: dict[str, None] = {}
    for record in records:
        key, result = (record["side"], record["precision"]), record["result"]
        if "error" in result:
            problems[f"- {record['case']}, {COLUMNS[key]}: {result['error']}"] = None
        else:
            seconds.setdefault((record["case"], key), []).append(result["seconds"])
            tokens.setdefault(record["case"], set()).add(result["tokens"])
    for case, counts in tokens.items():
        if len(counts) > 1:
            problems[f"- {case}: the sides counted {' and '.join(map(str, sorted(counts)))} tokens"] = None
    columns = [key for key in COLUMNS if any((case, key) in seconds for case in cases)]
    ratios = [pair for pair in RATIOS if all(key in columns for key in pair)]
    rows = []
    for case in cases:
        times = {key: statistics.median(seconds[case, key]) for key in columns if (case, key) in seconds}
        name, _, keys = case.partition(" ")
        cells = [three_digits(1000 * times[key]) if key in times else "" for key in columns]
        for ours, theirs in ratios:
            cells.append(f"{times[theirs] / times[ours]:.2f}" if ours in times and theirs in times else "")
        rows.append([name, keys, *cells])
    header = ["case", "keys", *(f"{COLUMNS[key]}, ms" for key in columns)]
    header += [f"{COLUMNS[theirs]}, over {COLUMNS[ours]}" for ours, theirs in ratios]
    lines = table(header, rows)
    if problems:
        lines += ["", "Without a result:", "", *(problem.replace("\n", " ") for problem in problems)]
    return lines


def write(path: Path) -> None:
    """Writes the tables of a file of records beside it, one for each device."""
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    devices: dict[tuple[str, str, str], list[dict]] = {}
    for record in records:
        about = (record["gpu"], record.get("driver", ""), record["device"])
        devices.setdefault(about, []).append(record)
    lines = ["# Speed on devices", "", "Written by `scripts/devices/summarise.py`.", *__doc__.splitlines()[4:]]
    for (gpu, driver, device), members in devices.items():
        about = f"{gpu}, driver {driver}" if driver else gpu
        lines += ["", f"## {about}, `device={device}`", *section(members)]
    path.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    write(Path(sys.argv[1]))
