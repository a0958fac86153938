#!/usr/bin/env bash
# Well-known libraries on gort: their tests, and the examples in the form that ends by itself.
set -euo pipefail
cd "$(dirname "$0")/../.."

cargo test -p gort-ecosystem -p gort-ecosystem-tokio
