#!/usr/bin/env bash
# Builds every test with the support for a device, runs them all on it, and prints what came out after the versions of all
# that took part. The whole preset smoke is one of the tests. Ends with an error if a test fails.
#
#   scripts/devices/test.sh wgpu > results/devices/tests-wgpu.txt
#
# DEVICE is a name that --device takes; the feature to build is the part before the colon. The settings of building are
# those of README.md here.
set -euo pipefail
cd "$(dirname "$0")/../.."

device=${1:?usage: test.sh DEVICE}
features=experiments/${device%%:*}

cargo test --workspace --features "$features" --no-run --quiet >&2
echo "commit $(git rev-parse --short HEAD)$(git diff --quiet HEAD || echo ', changed'); $(rustc --version)"
cargo run --features "$features" -p experiments --quiet -- devices --device "$device" --only 'gelu 1 x' | sed -n 1p

begun=$SECONDS code=0
DEVICE=$device cargo test --workspace --features "$features" --no-fail-fast 2>&1 |
    sed -u -n -e 's|^ *Running \(.*\) (.*|\n\1|p' -e 's|^ *Doc-tests|\nDoc-tests|p' -e '/^test /p' -e '/^error/p' -e '/panicked at/,/^$/p' || code=$?
echo
echo "all in $(((SECONDS - begun) / 60)) minutes, exit code $code"
exit "$code"
