#!/usr/bin/env bash
# Packs all that a GPU machine without a network needs for gpu.sh into one folder of at most 62 MB.
#
#   scripts/devices/pack.sh OUT_DIR
#
# Settings, from the environment:
#   BINARY    the program [target/debug/experiments]
#   REVIEWS   an aclImdb .tar.gz, or reviews.tar.xz of an earlier pack; without it the study takes the embedded route:
#             r* as shipped, and prompts that the reference model writes itself
#   LEVEL     of xz: 6 takes three minutes of a core, lower ones less time and more room [6]
#   LIMIT     most megabytes of the folder [62]
#
# The folder may hold reviews: it is for one's own machines, and is never committed or passed on.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
repository=$(cd "$here/../.." && pwd)

out=${1:?usage: pack.sh OUT_DIR}
binary=${BINARY:-$repository/target/debug/experiments}
limit=${LIMIT:-62}
if [ ! -x "$binary" ]; then
    echo "no program at $binary: cargo build -p experiments --features cuda, or BINARY=PATH" >&2
    exit 2
fi
if [ -e "$out" ]; then
    echo "$out is there already" >&2
    exit 2
fi
mkdir -p "$out"
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT

strip -o "$temporary/experiments" "$binary"
xz "-${LEVEL:-6}" -T2 -c "$temporary/experiments" > "$out/experiments.xz"

# The same folders as in the repository, where the program looks for them.
(cd "$repository" && tar -c --exclude=__pycache__ data/README.md data/reference-lm data/ground-truth \
    experiments/presets scripts/devices scripts/peers) | tar -x -C "$out"

if [[ ${REVIEWS:-} == *.tar.xz ]]; then
    cp "$REVIEWS" "$out/reviews.tar.xz"
elif [ -n "${REVIEWS:-}" ]; then
    python3 - "$REVIEWS" <<'END' | xz -6 -T2 -c > "$out/reviews.tar.xz"
"""Labelled reviews of an aclImdb archive as a tar on standard output, those without a label left out."""
import re
import sys
import tarfile

wanted = re.compile(r"(\./)?aclImdb/(train|test)/(pos|neg)/[^/]+\.txt")
with tarfile.open(sys.argv[1]) as source, tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as target:
    for entry in source:
        if entry.isfile() and wanted.fullmatch(entry.name):
            target.addfile(entry, source.extractfile(entry))
END
else
    echo "no REVIEWS: the study will take the embedded route (prompts that the reference model writes itself)" >&2
fi

du -b --apparent-size -a --max-depth=1 "$out" | sort -n >&2
bytes=$(du -sb "$out" | cut -f1)
if [ "$bytes" -gt $((limit * 1000000)) ]; then
    echo "$out has $bytes bytes, more than $limit MB" >&2
    exit 1
fi
