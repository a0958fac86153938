#!/usr/bin/env bash
# Well-known libraries on gort: what they bring along, their tests, the examples in docs, and each
# example in the form that talks to itself and ends.
set -euo pipefail
cd "$(dirname "$0")/../.."

fail() {
    printf 'ecosystem: %s\n' "$*" >&2
    exit 1
}

# Nobody may bring in tokio's runtime, whose features are these ...
echo '--- the features of tokio in gort-ecosystem'
features=$(cargo tree -p gort-ecosystem -e normal,dev -i tokio --depth 0 -f '{f}')
echo "$features"
for feature in fs net process rt rt-multi-thread signal test-util time; do
    [[ ",$features," != *",$feature,"* ]] || fail "tokio's feature $feature is on"
done
# ... nor a second reactor: of those that poll, only mio is there, and for gort alone.
tree=$(cargo tree -p gort-ecosystem -e normal,dev --prefix none -f '{p}')
for reactor in async-io polling async-std smol async-global-executor compio monoio glommio; do
    ! grep -q "^$reactor v" <<<"$tree" || fail "$reactor is in the graph"
done
users=$(cargo tree -p gort-ecosystem -e normal,dev -i mio --depth 1 --prefix depth -f '{p}' |
    sed -n 's/^1\([^ ]*\).*/\1/p' | sort -u | tr '\n' ' ')
[[ $users == 'gort gort-netpoll ' ]] || fail "mio is used by $users"

# One by one: together, the features of the second would be those of the first.
for package in gort-ecosystem gort-ecosystem-tokio; do
    cargo test -p "$package"
done
cargo test -p gort --doc --all-features compat

for example in examples/ecosystem{,-tokio}/examples/*; do
    package=gort-$(basename "$(dirname "$(dirname "$example")")")
    name=$(basename "$example" .rs)
    echo "--- $name"
    cargo build --quiet -p "$package" --example "$name"
    timeout 60 "${CARGO_TARGET_DIR:-target}/debug/examples/$name" --once || fail "$name failed"
done
