#!/usr/bin/env bash
# Measures the build from nothing that a fresh machine sees (downloads not counted) and writes
# results/cold_build.json, which every manifest repeats.
set -euo pipefail
cd "$(dirname "$0")/.."
# A folder given as the first argument keeps what was built; it must not exist yet.
target=${1:-$(mktemp -d)}
[ $# -gt 0 ] && [ -e "$1" ] && { echo "$1 exists: the build would not be cold" >&2; exit 1; }
[ $# -gt 0 ] || trap 'rm -rf "$target"' EXIT
cargo fetch --locked
start=$(date +%s)
CARGO_TARGET_DIR="$target" cargo build --locked -p experiments
seconds=$(($(date +%s) - start))
cpu=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo 2>/dev/null | head -n 1)
mkdir -p results
printf '{\n  "seconds": %d,\n  "cores": %d,\n  "cpu": "%s",\n  "rustc": "%s"\n}\n' \
    "$seconds" "$(getconf _NPROCESSORS_ONLN)" "${cpu:-unknown}" "$(rustc --version)" | tee results/cold_build.json
