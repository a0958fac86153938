#!/usr/bin/env bash
# Goroutines that change threads, in the build in which the compiler sees everything at once: does
# gort find its thread-locals anew? And once more in a build that cannot unwind.
set -euo pipefail
cd "$(dirname "$0")/../.."

export CARGO_TARGET_DIR=target/lto CARGO_PROFILE_RELEASE_LTO=fat CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1
for panic in unwind abort; do
    echo "--- panic = $panic"
    CARGO_PROFILE_RELEASE_PANIC=$panic cargo build --release -p gort-tests --bin go_child
    for _ in 1 2 3; do
        timeout 100 "$CARGO_TARGET_DIR/release/go_child"
    done
    code=0
    timeout 100 "$CARGO_TARGET_DIR/release/go_child" scoped || code=$?
    [[ $panic-$code == unwind-0 || $panic-$code == abort-2 ]]
done
