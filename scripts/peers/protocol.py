"""One measurement: a case with its keys in, one line of JSON out. The Rust crate `measure` is the same on our side."""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

WARM_UP = 2
MINIMUM_STEPS = 3
BUDGET_SECONDS = 6.0


def number(text: str) -> int | float | str:
    """The value of a key: an integer or a float if it reads as one, else the text itself."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def parse_keys(words: list[str]) -> dict[str, int | float | str]:
    """The keys of a case from its `key=value` words."""
    keys = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise SystemExit(f"found `{word}`, expected key=value")
        keys[key] = number(value)
    return keys


def time_steps(step: Callable[[], object], budget: float) -> tuple[float, int]:
    """Median seconds of one step and the number of timed steps, after the warm-up, within `budget` seconds."""
    for _ in range(WARM_UP):
        step()
    seconds = []
    begun = time.perf_counter()
    while len(seconds) < MINIMUM_STEPS or time.perf_counter() - begun < budget:
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return statistics.median_high(seconds), len(seconds)


def peak_mib() -> float | None:
    """Largest resident memory of this process so far, in MiB; None where /proc does not tell."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return int(fields["VmHWM"].split()[0]) / 1024 if "VmHWM" in fields else None


def report(side: str, case: str, keys: dict, **result: object) -> None:
    """Prints the line of a measurement."""
    line = {"side": side, "case": case, **keys, **result, "peak_mib": peak_mib()}
    print(json.dumps(line), flush=True)
