#!/usr/bin/env bash
# The runtime compiles without a warning with each choice of features: none, each by itself, all.
set -euo pipefail
cd "$(dirname "$0")/../.."

check() {
    printf 'features: %s\n' "${*:-none}"
    cargo clippy --quiet -p gort --no-default-features "$@" -- -D warnings
}

check
for feature in axum backtrace hyper macros metrics net process quinn signal tokio-io tracing; do
    check --features "$feature"
done
check --all-features
