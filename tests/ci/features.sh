#!/usr/bin/env bash
# The runtime compiles with each choice of features: none, each by itself, all.
set -euo pipefail
cd "$(dirname "$0")/../.."

check() {
    printf 'features: %s\n' "${*:-none}"
    cargo check --quiet -p gort --no-default-features "$@"
}

check
for feature in axum backtrace hyper macros net process quinn signal tokio-io; do
    check --features "$feature"
done
check --all-features
