"""Builds the Rust benchmarks that compare.sh and floor.py measure.

    python benches.py     builds them and prints a line "NAME PATH" for each
"""

import json
import subprocess

from machine import ROOT

NAMES = ("kernels", "language_model", "dpo", "ppo")


def build() -> dict[str, str]:
    """Executables by name, called without cargo, whose start is no part of them."""
    command = ["cargo", "bench", "--profile", "dev", "--workspace", "--no-run", "--message-format=json"]
    command += [word for name in NAMES for word in ("--bench", name)]
    text = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    messages = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    built = [message for message in messages if message.get("executable") and message["target"]["kind"] == ["bench"]]
    return {message["target"]["name"]: message["executable"] for message in built}


if __name__ == "__main__":
    for name, path in build().items():
        print(name, path)
