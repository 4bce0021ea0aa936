"""One measurement: a case with its keys in, one line of JSON out. The Rust crate `measure` is the same on our side."""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

# Fewest steps before the clock starts; most steps and seconds where they have to settle.
WARM_UP = 2
LONGEST_WARM_UP = (10, 20.0)
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


def timed(step: Callable[[], object]) -> float:
    """Seconds of one step."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def warm_up(step: Callable[[], object], settle: bool) -> None:
    """Two steps; with `settle` more, until two in a row differ by less than 30% of the shorter one."""
    begun = time.perf_counter()
    last, settled = float("inf"), not settle
    for count in range(1, LONGEST_WARM_UP[0] + 1):
        seconds = timed(step)
        settled = settled or abs(seconds - last) < 0.3 * min(seconds, last)
        last = seconds
        out_of_time = time.perf_counter() - begun >= LONGEST_WARM_UP[1]
        if count >= WARM_UP and (settled or out_of_time):
            return


def time_steps(step: Callable[[], object], budget: float, settle: bool = False) -> tuple[float, int]:
    """Median seconds of one step and the number of timed steps, after the warm-up, within `budget` seconds."""
    warm_up(step, settle)
    seconds = []
    begun = time.perf_counter()
    while len(seconds) < MINIMUM_STEPS or time.perf_counter() - begun < budget:
        seconds.append(timed(step))
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
