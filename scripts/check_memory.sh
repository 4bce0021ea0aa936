#!/usr/bin/env bash
# Runs the tests of `fused`, the only crate with `unsafe`, under AddressSanitizer (accesses out of bounds and after
# release) and under valgrind (values that nobody wrote). Linux on x86-64; valgrind must be installed.
#
#   scripts/check_memory.sh
#
# Builds burn twice, in target/memory: about ten minutes on two cores, and as many for valgrind.
set -euo pipefail
cd "$(dirname "$0")/.."

target=x86_64-unknown-linux-gnu
test=(cargo test -p fused --lib --tests --target "$target")

echo "== AddressSanitizer"
# The sanitizer is an unstable option, which the pinned stable compiler takes when told so.
RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address" CARGO_TARGET_DIR=target/memory/asan "${test[@]}"

echo "== valgrind, which knows no AVX-512: the kernels for AVX2"
CARGO_TARGET_DIR=target/memory/valgrind \
    CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="valgrind --quiet --error-exitcode=9" \
    "${test[@]}" -- --test-threads=1
