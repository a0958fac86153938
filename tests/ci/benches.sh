#!/usr/bin/env bash
# The benchmarks build. To run them: `cargo peers`.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo build --release -p gort-benches --all-targets
