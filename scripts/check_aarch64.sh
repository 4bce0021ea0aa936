#!/usr/bin/env bash
# Runs the tests of `fused`, the only crate with code for particular processors, built for aarch64, in an emulator. Linux
# on x86-64, with Debian's gcc-aarch64-linux-gnu and qemu-user.
#
#   scripts/check_aarch64.sh
#
# Builds burn once: about five minutes on two cores, and one for the tests.
set -euo pipefail
cd "$(dirname "$0")/.."

target=aarch64-unknown-linux-gnu
rustup target add "$target"
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu"
cargo test -p fused --lib --tests --target "$target"
