#!/usr/bin/env bash
# The models of the protocols between threads, in bounded form: every interleaving with at most two
# preemptions. LOOM_MAX_PREEMPTIONS=3 looks deeper and takes longer.
set -euo pipefail
cd "$(dirname "$0")/../.."
LOOM_MAX_PREEMPTIONS="${LOOM_MAX_PREEMPTIONS:-2}" cargo loom
