#!/usr/bin/env bash
# No warnings, anywhere.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo clippy --workspace --all-targets -- -D warnings
