#!/usr/bin/env bash
# All code is as rustfmt would have it.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo fmt --all --check
