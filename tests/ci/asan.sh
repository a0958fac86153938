#!/usr/bin/env bash
# The tests under the address sanitizer. Takes a nightly toolchain, so it is run by hand.
# The ui tests are left out: they start compilers, which are not ours to check.
set -euo pipefail
cd "$(dirname "$0")/../.."

host=$(rustc +nightly --print host-tuple)
export RUSTFLAGS="-Zsanitizer=address" CARGO_TARGET_DIR=target/asan
# With --target, build scripts and macros are not instrumented.
test=(cargo +nightly test --target "$host")
"${test[@]}" -p gort -p gort-netpoll --lib --tests
"${test[@]}" -p gort-tests --tests -- --skip ui
