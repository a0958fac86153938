#!/usr/bin/env bash
# The benchmarks build; unoptimised, which takes less long. To run them: `cargo peers`.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo build -p gort-benches --all-targets
