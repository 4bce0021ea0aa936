"""Reads the records of compare.sh into rows: one case, measured in alternating pairs on both sides."""

import gzip
import json
import statistics
from dataclasses import dataclass, field
from pathlib import Path

import protocol
from gpt2 import Shape

CASES = Path(__file__).with_name("cases.txt")
PEER_NAMES = {"torch": "PyTorch", "malloc": "PyTorch with tuned malloc", "compile": "torch.compile", "trl": "TRL"}
# The matrix product whose rate is the machine's peak.
PEAK_SHAPE = {"m": 1024, "n": 1024, "k": 1024}


@dataclass(frozen=True)
class Measurement:
    """One side of a pair, all its processes together: tokens a second, and MiB."""

    rate: float
    peak_mib: float
    tokens: int

    @classmethod
    def of(cls, jobs: list[dict]) -> "Measurement":
        return cls(
            rate=sum(job["tokens"] / job["seconds"] for job in jobs),
            peak_mib=sum(job.get("peak_mib") or float("nan") for job in jobs),
            tokens=sum(job["tokens"] for job in jobs),
        )


@dataclass
class Row:
    """A line of cases.txt with its pairs of measurements."""

    bench: str
    ours: str
    peer: str
    theirs: str
    keys: dict[str, int | float | str]
    pairs: list[tuple[Measurement, Measurement]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @classmethod
    def parse(cls, line: str) -> "Row":
        bench, ours, peer, theirs, *words = line.split()
        return cls(bench, ours, peer, theirs, protocol.parse_keys(words))

    @property
    def threads(self) -> int:
        return self.keys.get("threads", 1)

    @property
    def jobs(self) -> int:
        return self.keys.get("jobs", 1)

    @property
    def processes(self) -> str:
        """Threads of one process, or `2 x 1` for two processes of one thread."""
        return f"{self.jobs} x {self.threads}" if self.jobs > 1 else str(self.threads)

    @property
    def name(self) -> str:
        """The case as the tables call it."""
        return self.ours.replace("-", " ")

    @property
    def whole_run(self) -> bool:
        """Whether the case is a run from files, which reports all its steps together."""
        return self.ours.endswith("-trainer")

    @property
    def peer_name(self) -> str:
        return "transformers" if self.theirs == "sample_hf" else PEER_NAMES[self.peer]

    @property
    def work(self) -> str:
        """The keys that say what is computed, not by how many threads and processes nor on which files."""
        hidden = ("threads", "jobs", "model", "pairs") if self.whole_run else ("threads", "jobs")
        return " ".join(f"{key}={value}" for key, value in self.keys.items() if key not in hidden)

    @property
    def ratios(self) -> list[float]:
        """Our rate over theirs, pair by pair."""
        return [ours.rate / theirs.rate for ours, theirs in self.pairs]

    def median(self, side: int, quantity: str = "rate") -> float:
        """Median of a quantity over the pairs; side 0 is ours, side 1 theirs."""
        return statistics.median(getattr(pair[side], quantity) for pair in self.pairs)

    def flops_per_token(self) -> float | None:
        """Floating-point operations that the case's mathematics needs for one of its tokens; None if not counted.

        Matrix products only, attention over the causal half, a backward pass as two forward passes, nothing shared
        between sequences and nothing recomputed: the same count for both sides.
        """
        keys = self.keys
        if self.ours == "gemm":
            return 2 * keys["n"] * keys["k"]
        if self.ours == "linear":
            return 6 * keys["inputs"] * keys["outputs"]
        if self.ours == "attention":
            return 6 * keys["heads"] * keys["head_dim"] * (keys["time"] + 1)
        if self.ours == "target_logprobs":
            return 6 * keys["d"] * keys["vocab"]
        if "shape" not in keys:
            return None
        shape = Shape.parse(keys["shape"])
        blocks, head = 24 * shape.layers * shape.width**2, 2 * shape.width * shape.vocab

        def forward(length: int, predicted: float) -> float:
            """Of one token in a sequence of `length`, of which the share `predicted` needs logits."""
            return blocks + 2 * shape.layers * shape.width * (length + 1) + predicted * head

        if self.ours in ("train", "score"):
            return (3 if self.ours == "train" else 1) * forward(keys["context"], 1)
        if self.ours == "dpo":
            length = keys["prompt"] + keys["response"]
            return 3 * forward(length, keys["response"] / length)
        if self.ours == "sample":
            length = keys["prompt"] + keys["new"] - 1
            return forward(length, keys["new"] / length) * length / keys["new"]
        return None


def read(path: Path) -> list[Row]:
    """The rows of cases.txt that have been measured, in its order; of each case its last run."""
    runs: dict[str, list[dict]] = {}
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as lines:
        written = [json.loads(line) for line in lines]
    for record in written:
        known = runs.setdefault(record["case"], [])
        if known and known[-1]["run"] != record["run"]:
            known.clear()
        known.append(record)
    lines = [line.strip() for line in CASES.read_text(encoding="utf-8").splitlines()]
    return [row_of(line, runs[line]) for line in lines if line in runs]


def row_of(line: str, records: list[dict]) -> Row:
    """A case's row; a failed measurement, or two sides that did not do the same work, is a problem and no pair."""
    row = Row.parse(line)
    pairs: dict[int, dict[str, Measurement]] = {}
    for record in records:
        errors = [job["error"] if job else "no result" for job in record["jobs"] if not job or "error" in job]
        if errors:
            row.problems.append(f"{record['side']}, pair {record['pair']}: {errors[0]}")
        else:
            pairs.setdefault(record["pair"], {})[record["side"]] = Measurement.of(record["jobs"])
    for number, sides in sorted(pairs.items()):
        if len(sides) < 2:
            continue
        ours, theirs = sides["ours"], sides["peer"]
        if ours.tokens != theirs.tokens:
            row.problems.append(f"pair {number}: {ours.tokens} tokens on our side, {theirs.tokens} on theirs")
        else:
            row.pairs.append((ours, theirs))
    return row


def peaks(rows: list[Row]) -> dict[int, float]:
    """The best rate of the peak's matrix product on either side, in FLOP/s, for each number of threads."""
    best: dict[int, float] = {}
    for row in rows:
        if row.ours == "gemm" and all(row.keys[key] == size for key, size in PEAK_SHAPE.items()):
            rates = [side.rate * row.flops_per_token() for pair in row.pairs for side in pair]
            best[row.threads] = max([best.get(row.threads, 0.0), *rates])
    return best


def share_of_peak(row: Row, side: int, peaks: dict[int, float]) -> float | None:
    """The case's FLOP/s over the peak of as many threads, times the processes; None if either is unknown."""
    flops, peak = row.flops_per_token(), peaks.get(row.threads)
    if flops is None or not peak or not row.pairs:
        return None
    return row.median(side) * flops / (peak * row.jobs)
