#!/usr/bin/env bash
# The published crates compile with the oldest Rust they promise, if that is installed.
set -euo pipefail
cd "$(dirname "$0")/../.."

version=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
if ! cargo "+$version" --version 2>/dev/null; then
    echo "skipped: Rust $version is not installed (rustup toolchain install $version)"
    exit 0
fi
cargo "+$version" check -p gort -p gort-netpoll -p gort-macros
