"""The machine and the versions that measurements belong to.

    python machine.py     prints the name of this machine's files in results/speed
"""

import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# The instruction sets that matrix products and vector code choose between.
VECTOR_FLAGS = re.compile(r"sse4_[12]|avx\w*|fma|f16c|amx\w*|neon|asimd\w*|sve\w*|i8mm|bf16")


def cpu_fields() -> dict[str, str]:
    """The first processor of /proc/cpuinfo; empty where there is none."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in text.split("\n\n")[0].splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def output(*command: str) -> str:
    """What a command says, or nothing if it cannot be run."""
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def cpu_name() -> str:
    return (
        cpu_fields().get("model name")
        or output("sysctl", "-n", "machdep.cpu.brand_string")
        or platform.processor()
        or platform.machine()
    )


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def vector_width() -> str:
    """The widest vectors that the processor has instructions for, in the flags' own words."""
    fields = cpu_fields()
    flags = (fields.get("flags") or fields.get("Features") or "").split()
    widths = {"avx512f": "avx512", "avx2": "avx2", "avx": "avx", "sse4_2": "sse4", "sve": "sve", "asimd": "neon"}
    return next((name for flag, name in widths.items() if flag in flags), "")


def slug() -> str:
    """A file name for the machine, for example amd-epyc-25-1-avx2-2-cores: clouds shorten names, so that processors of
    one name differ in family, model and vector width."""
    name = re.sub(r"\((r|tm)\)|\b(cpu|processor)\b", " ", cpu_name().lower())
    fields = cpu_fields()
    generation = " ".join(fields[key] for key in ("cpu family", "model") if key in fields)
    words = f"{name} {generation} {vector_width()} {cores()} core{'s' if cores() > 1 else ''}"
    return "-".join(re.findall(r"[a-z0-9.]+", words))


def locked_version(crate: str) -> str:
    """The version of a crate in Cargo.lock."""
    match = re.search(rf'name = "{crate}"\nversion = "([^"]+)"', (ROOT / "Cargo.lock").read_text())
    return match.group(1) if match else "?"


def description() -> list[tuple[str, str]]:
    """What the results name beside the numbers, in order."""
    import torch

    fields = cpu_fields()
    flags = fields.get("flags") or fields.get("Features") or ""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    ours = ", ".join(f"{crate} {locked_version(crate)}" for crate in ("burn", "gemm", "rayon", "mimalloc"))
    theirs = ", ".join(
        f"{package} {importlib.metadata.version(package)}" for package in ("torch", "transformers", "trl", "numpy")
    )
    libraries = re.findall(r"(?:Math Kernel Library Version [\w.]+|MKL-DNN v[\d.]+)", torch.__config__.show())
    # Clouds shorten names; family and model tell the generation.
    generation = ", ".join(f"{key} {fields[key]}" for key in ("cpu family", "model") if key in fields)
    return [
        ("CPU", f"{cpu_name()} ({generation})" if generation else cpu_name()),
        ("cores", str(cores())),
        ("vector instructions", " ".join(flag for flag in flags.split() if VECTOR_FLAGS.fullmatch(flag)) or "?"),
        ("cache", fields.get("cache size", "?")),
        ("memory", f"{memory:.0f} GiB"),
        ("system", f"{platform.system()} {platform.release()} {platform.machine()}"),
        ("ours", f"{output('git', 'describe', '--always', '--dirty') or '?'}, {output('rustc', '--version')}, {ours}"),
        ("theirs", f"Python {sys.version.split()[0]}, {theirs}"),
        ("their libraries", "; ".join([*libraries, torch.backends.cpu.get_cpu_capability()])),
    ]


if __name__ == "__main__":
    print(slug())
