#!/usr/bin/env bash
# The tests, with the command that the README gives.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo test
