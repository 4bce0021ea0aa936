"""Where the time of our side goes, and how far it is from what the machine allows.

    python floor.py [PREFERENCES]

measures the machine's best rate of matrix products and of reading memory, runs each case below under Linux's `perf`, and
writes results/speed/MACHINE-profile.md. PREFERENCES is a preferences.jsonl for the case of PPO, which starts from
data/reference-lm; without it that case is left out.

The floor of a case is the larger of two times: its floating-point operations over the rate of matrix products, and the
bytes that must pass through memory at least once over the rate of reading. For the bytes, activations count as cached
and weights as not.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import benches
import machine
import records
import summarise
from gpt2 import Shape
from records import Row

MODEL = machine.ROOT / "data" / "reference-lm"
# A line of cases.txt each, without the peer's side.
STEPS = [
    "experiments train shape=4x128/4096 context=64 batch=32",
    "experiments train shape=4x192/4096 context=64 batch=32",
    "experiments train shape=6x256/8192 context=64 batch=32",
    "experiments train shape=12x768/50257 context=64 batch=4",
    "experiments dpo shape=4x192/4096 pairs=64 prompt=6 response=24",
    "experiments score shape=4x192/4096 context=64 batch=32",
    "experiments sample shape=4x128/4096 batch=64 prompt=8 new=48",
    "experiments sample shape=4x192/4096 batch=64 prompt=8 new=48",
]
# Mean tokens of its prompts.
PROMPT = 5
PPO = "experiments ppo-trainer steps=12 rollouts=128 minibatch=64 response=24"
# What functions do, by the first pattern that their symbol matches.
WORK = {
    "matrix products": r"microkernel",
    "packing for them": r"^gemm",
    "attention": r"kernels::(attention|decode)",
    "softmax over the vocabulary, drawing": r"kernels::(logprob|vocabulary|kl|sample)",
    "norms, GELU, embeddings": r"kernels::(norm|gelu|embedding|linear)",
    "optimiser": r"kernels::optimizer",
    "copying, allocating, clearing pages": r"memmove|memset|memcpy|^_?mi_|page|folio",
    "waiting for the other thread": r"rayon|crossbeam|sched|futex|yield",
}
REST = "the rest"
BUDGET_SECONDS = 8
# The first steps touch their memory for the first time; what comes after is what a run is made of.
SKIPPED_SECONDS = 3
BYTES = 4


def run(command: list[str], threads: int) -> dict:
    """The line of a measurement."""
    environment = {**os.environ, **{f"{name}_NUM_THREADS": str(threads) for name in ("RAYON", "OMP", "MKL")}}
    text = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
    return json.loads(text.splitlines()[-1])


def gemm_rate(kernels: list[str], threads: int) -> float:
    """Best FLOP/s of the product whose rate counts as the peak, on our side."""
    shape = [f"{key}={size}" for key, size in records.PEAK_SHAPE.items()]
    lines = [run([*kernels, "gemm", *shape, f"threads={threads}", "budget=2"], threads) for _ in range(3)]
    operations = 2 * records.PEAK_SHAPE["n"] * records.PEAK_SHAPE["k"]
    return max(line["tokens"] / line["seconds"] for line in lines) * operations


def reading_rate(threads: int) -> float:
    """Best bytes a second at which PyTorch adds up 512 MiB of numbers."""
    code = (
        "import json, time, torch\n"
        "x = torch.ones(1 << 27)\n"
        "def once():\n"
        "    start = time.perf_counter(); x.sum(); return time.perf_counter() - start\n"
        "print(json.dumps({'seconds': min(once() for _ in range(12))}))"
    )
    return BYTES * (1 << 27) / run([sys.executable, "-c", code], threads)["seconds"]


def profile(command: list[str], threads: int) -> tuple[dict, dict[str, float]]:
    """The measurement under `perf`, and the share of its samples by work."""
    with tempfile.TemporaryDirectory() as folder:
        data = str(Path(folder) / "perf.data")
        record = ["perf", "record", "-q", "-F", "499", "-D", str(1000 * SKIPPED_SECONDS), "-o", data, "--"]
        line = run([*record, *command], threads)
        report = ["perf", "report", "-i", data, "--no-children", "-F", "overhead,sym", "--stdio", "-q"]
        text = subprocess.run(report, capture_output=True, text=True, check=True).stdout
    shares = dict.fromkeys([*WORK, REST], 0.0)
    for share, symbol in re.findall(r"([\d.]+)%\s+\[.\]\s+(.+)", text):
        work = next((work for work, pattern in WORK.items() if re.search(pattern, symbol)), REST)
        shares[work] += float(share) / 100
    return line, shares


def floor_bytes(row: Row, shape: Shape) -> float:
    """Bytes that one step of a case must read or write at least."""
    weights = 12 * shape.layers * shape.width**2 + shape.vocab * shape.width
    # Read forward and backward; the gradient written and read; both moments and the weights read and written.
    trained = 10 * weights
    if row.ours in ("train", "dpo"):
        return BYTES * trained
    if row.ours == "score":
        return BYTES * weights
    keys = row.keys

    def sampling(batch: int, new: int) -> int:
        """Each token reads the weights once, and after the first the keys and values of all that was before it."""
        cached = sum(range(keys["prompt"] + 1, keys["prompt"] + new))
        return new * weights + 2 * shape.layers * shape.width * batch * cached

    if row.ours == "sample":
        return BYTES * sampling(keys["batch"], keys["new"])
    minibatches = keys["rollouts"] // keys["minibatch"]
    rollouts = sampling(keys["rollouts"], keys["response"])
    return BYTES * (rollouts + 4 * weights + 2 * minibatches * trained)


def ppo_flops_per_token(row: Row, shape: Shape) -> float:
    """Of a response's token in an iteration: generated, scored four times, and two models trained at three forward
    passes each. Logits are needed to generate, to score by policy and reference, and to train the policy."""
    length = row.keys["prompt"] + row.keys["response"]
    blocks = 24 * shape.layers * shape.width**2 + 2 * shape.layers * shape.width * (length + 1)
    head = 2 * shape.width * shape.vocab
    return 11 * blocks * length / row.keys["response"] + 6 * head


def cases(preferences: Path | None) -> Iterator[tuple[Row, Shape, list[str]]]:
    """What is profiled: a case, its model, and the words that our side is given."""
    for line in STEPS:
        bench, name, *words = line.split()
        row = Row.parse(f"{bench} {name} torch {name} {' '.join(words)}")
        yield row, Shape.parse(row.keys["shape"]), [name, *words, f"budget={BUDGET_SECONDS}"]
    if preferences:
        bench, name, *words = PPO.split()
        row = Row.parse(f"{bench} {name} trl ppo {' '.join(words)}")
        config = json.loads((MODEL / "config.json").read_text())
        shape = Shape.parse(f"{config['n_layer']}x{config['n_embd']}/{config['vocab_size']}")
        row.keys["prompt"] = PROMPT
        yield row, shape, [name, *words, f"model={MODEL}", f"pairs={preferences}"]


def main() -> None:
    preferences = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else None
    commands = benches.build()
    threads = sorted({1, machine.cores()})
    compute = {count: gemm_rate(commands["kernels"], count) for count in threads}
    memory = {count: reading_rate(count) for count in threads}
    distances, profiles = [], []
    for row, shape, words in cases(preferences):
        for count in threads:
            print(f"{row.name} {row.work}, {count} thread(s)", file=sys.stderr)
            line, shares = profile([*commands[row.bench], *words, f"threads={count}"], count)
            per_token = ppo_flops_per_token(row, shape) if row.ours == "ppo-trainer" else row.flops_per_token()
            steps = line["steps"] if row.whole_run else 1
            seconds, tokens = line["seconds"] / steps, line["tokens"] / steps
            operations, traffic = tokens * per_token, floor_bytes(row, shape)
            floors = [operations / compute[count], traffic / memory[count]]
            names = [row.name, row.work, str(count)]
            milliseconds = [f"{1000 * value:.1f}" for value in (seconds, *floors)]
            numbers = [f"{operations / 1e9:.2f}", f"{traffic / 1e6:.0f}", *milliseconds]
            distances.append([*names, *numbers, f"{seconds / max(floors):.2f}"])
            profiles.append([*names, *(f"{100 * share:.0f}%" for share in shares.values())])
    name = f"{machine.cpu_name()}, {machine.cores()} cores"
    rates = "; ".join(
        f"{count} thread(s): {compute[count] / 1e9:.0f} GFLOP/s, {memory[count] / 1e9:.1f} GB/s" for count in threads
    )
    lines = [
        f"# Distance to the floor on {name}",
        "",
        "Written by `scripts/peers/floor.py`. The floor of a step is the larger of two times: its operations over the "
        "best rate of a 1024 x 1024 x 1024 matrix product, and the bytes that must pass through memory over the best rate "
        f"of reading, both measured in the same minutes ({rates}). Operations are those of the matrix products that the "
        "mathematics needs, a backward pass as two forward passes. Bytes are those of weights, gradients, the optimiser's "
        "moments and the cache of keys and values; where the processor's own cache holds the weights, a step may be below "
        "this floor. Steps of PPO are whole iterations.",
        *summarise.table(
            ["case", "keys", "threads", "GFLOP", "MB", "ms a step", "ms, operations", "ms, bytes", "times the floor"],
            distances,
        ),
        "",
        "## Where the time goes",
        "",
        f"Samples of `perf`, the first {SKIPPED_SECONDS} seconds left out, by what the function does.",
        *summarise.table(["case", "keys", "threads", *WORK, REST], profiles),
    ]
    path = machine.ROOT / "results" / "speed" / f"{machine.slug()}-profile.md"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
