"""Builds the Rust programs that compare.sh and floor.py measure.

    python benches.py     builds them and prints a line "NAME COMMAND" for each
"""

import json
import subprocess

from machine import ROOT

# What follows the executable on a command line that measures; the case and its keys come next.
WORDS = {"kernels": [], "experiments": ["measure"]}


def build() -> dict[str, list[str]]:
    """Commands by name. They are called without cargo, whose start is no part of them."""
    command = ["cargo", "build", "--workspace", "--bench", "kernels", "--bin", "experiments", "--message-format=json"]
    text = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    messages = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    built = [message for message in messages if message.get("executable")]
    paths = {message["target"]["name"]: message["executable"] for message in built}
    return {name: [paths[name], *words] for name, words in WORDS.items()}


if __name__ == "__main__":
    for name, command in build().items():
        print(name, *command)
