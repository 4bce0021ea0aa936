"""Measures the cases of cases.txt on one device, on our side and in PyTorch by turns, within a few minutes.

    python bench.py BINARY DEVICE [--python PYTHON] [--out FILE] ...

BINARY is `experiments`, built for DEVICE: cuda, cuda:1, wgpu, cpu, as its --device takes them. PYTHON has PyTorch; this
script itself needs Python alone. Each side is one process that is told case after case (`experiments measure -`,
`bench_torch.py -`), so that it opens the device and compiles kernels once. A case that fails or takes too long has its
message for a result, and the side goes on in a new process. The list is gone through `--passes` times, the sides in the
other order each time, until `--total` seconds are over. Whatever is in the environment (RAYON_NUM_THREADS, CUDA_PATH)
reaches both sides.

A record is a line of JSON as soon as it is there; summarise.py makes the table, as this script does at its end.
"""

import argparse
import json
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import summarise

HERE = Path(__file__).resolve().parent
BENCH_TORCH = HERE.parent / "peers" / "bench_torch.py"
# Seconds that a process has for its start, beside those of the case.
START_SECONDS = 40


class Side:
    """A program that answers a case on its standard input with a line of JSON."""

    def __init__(self, name: str, command: list[str], variants: dict[str, str]):
        self.name, self.command, self.variants = name, command, variants
        self.process: subprocess.Popen | None = None
        self.lines: queue.Queue[str | None] = queue.Queue()
        self.errors = tempfile.TemporaryFile()

    def start(self) -> None:
        self.lines = queue.Queue()
        self.errors.truncate(0)
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True, bufsize=1
        )
        threading.Thread(target=self.listen, args=(self.process, self.lines), daemon=True).start()

    @staticmethod
    def listen(process: subprocess.Popen, lines: queue.Queue) -> None:
        for line in process.stdout:
            if line.startswith("{"):
                lines.put(line)
        lines.put(None)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def last_words(self) -> str:
        """What the program has said on standard error: from where it panicked, or else the end."""
        self.errors.seek(0)
        text = self.errors.read().decode(errors="replace").strip()
        panic = text.find("panicked at")
        return (text[-400:] if panic < 0 else text[panic : panic + 400]) or "no message"

    def measure(self, case: str, seconds: float, left: float) -> dict:
        """The program's answer within `seconds`, of which `left` there are at most, or {"error": message}."""
        try:
            if self.process is None:
                self.start()
                seconds += START_SECONDS
            seconds = min(seconds, left)
            self.process.stdin.write(case + "\n")
            self.process.stdin.flush()
            line = self.lines.get(timeout=seconds)
            if line is not None:
                return json.loads(line)
            message = f"ended: {self.last_words()}"
        except queue.Empty:
            message = f"no answer within {seconds:.0f} s"
        except (OSError, ValueError) as error:
            message = f"{error}: {self.last_words() if self.process else self.command[0]}"
        self.stop()
        return {"error": message}


def output(*command: str) -> str:
    """What a command says, or nothing if it cannot be run."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def machine(device: str) -> dict[str, str]:
    """The device by its name, and its driver."""
    if device != "cpu":
        line = output("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader").splitlines()[:1]
        if line:
            name, _, driver = line[0].partition(", ")
            return {"gpu": name, "driver": driver}
    return {"gpu": device}


def read_cases(path: Path, only: str) -> list[str]:
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line and not line.startswith("#") and only in line]


def plan(cases: list[str], sides: list[Side], passes: int) -> Iterator[tuple[int, str, Side, str]]:
    """What is measured, in order: pass, case, side and precision."""
    for number in range(1, passes + 1):
        for case in cases:
            for side in sides if number % 2 else sides[::-1]:
                for precision in side.variants:
                    yield number, case, side, precision


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=Path, help="the program `experiments`")
    parser.add_argument("device", help="as its --device takes it")
    parser.add_argument("--python", default=sys.executable, help="an interpreter with PyTorch (this one)")
    parser.add_argument("--out", type=Path, default=Path("devices.jsonl"), help="where records are added (%(default)s)")
    parser.add_argument("--cases", type=Path, default=HERE / "cases.txt", help="the list (cases.txt beside this script)")
    parser.add_argument("--only", default="", help="only cases that contain this text")
    parser.add_argument("--budget", type=float, default=1.5, help="seconds of timed steps of a case (%(default)s)")
    parser.add_argument("--timeout", type=float, default=45, help="most seconds of a case (%(default)s)")
    parser.add_argument("--passes", type=int, default=2, help="times the list is gone through (%(default)s)")
    parser.add_argument("--total", type=float, default=240, help="most seconds in all (%(default)s)")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    on_cpu = args.device == "cpu"
    theirs = {name: f"dtype={name}" for name in (("f32", "bf16") if on_cpu else ("f32", "tf32", "bf16"))}
    binary = str(args.binary.resolve())
    ours = Side("ours", [binary, "measure", "-"], {name: f"precision={name}" for name in ("f32", "bf16")})
    torch = Side("torch", [args.python, str(BENCH_TORCH), "-"], theirs)
    devices = {"ours": args.device, "torch": "cpu" if on_cpu else "cuda"}
    begun = time.monotonic()
    about = machine(args.device)
    refused: set[tuple[str, str]] = set()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with args.out.open("a", encoding="utf-8") as file:
        for number, case, side, precision in plan(read_cases(args.cases, args.only), [ours, torch], args.passes):
            left = args.total - (time.monotonic() - begun)
            if left < 2 * args.budget + 1:
                print(f"{args.total:.0f} s are over in pass {number}, before: {case}", file=sys.stderr)
                break
            if (side.name, f"{case} {precision}") in refused:
                continue
            words = f"{case} device={devices[side.name]} {side.variants[precision]} budget={args.budget}"
            result = side.measure(words, args.timeout, left)
            if "error" in result:
                # What failed once is not tried again.
                refused.add((side.name, f"{case} {precision}"))
            said = " ".join(result["error"].split()) if "error" in result else f"{1000 * result['seconds']:.2f} ms"
            print(f"{number}  {side.name:5} {precision:4} {case}: {said}", file=sys.stderr, flush=True)
            record = {**about, "device": args.device, "pass": number, "case": case, "side": side.name}
            print(json.dumps({**record, "precision": precision, "result": result}), file=file, flush=True)
    for side in (ours, torch):
        side.stop()
    summarise.write(args.out)


if __name__ == "__main__":
    main()
