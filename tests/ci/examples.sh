#!/usr/bin/env bash
# The examples do what they say.
set -euo pipefail
cd "$(dirname "$0")/../.."

cargo test --release -p gort-examples
cargo build --release -p gort-examples --examples
bin=${CARGO_TARGET_DIR:-target}/release/examples

fail() {
    printf 'examples: %s\n' "$*" >&2
    exit 1
}

echo '--- hello'
said=$(timeout 10 "$bin/hello")
echo "$said"
[[ $said == *42* ]] || fail 'hello did not say 42'

echo '--- tour'
timeout 60 "$bin/tour" --seconds 3 || fail 'the tour failed'
status=0
timeout 10 "$bin/tour" --size none || status=$?
((status == 2)) || fail "the tour took a bad argument with status $status"

echo '--- echo_async'
coproc server { exec "$bin/echo_async" 127.0.0.1:0; }
trap 'kill "$server_PID" 2>/dev/null || true' EXIT
read -r -t 10 line <&"${server[0]}" || fail 'echo_async did not start'
echo "$line"
port=$(sed 's/^listening at 127.0.0.1:\([0-9]*\);.*/\1/' <<<"$line")
exec {client}<>"/dev/tcp/127.0.0.1/$port"
echo 'hello there' >&"$client"
read -r -t 10 answer <&"$client" || fail 'echo_async did not answer'
[[ $answer == 'hello there' ]] || fail "echo_async answered '$answer'"
echo "answered: $answer"
if timeout 10 "$bin/echo_async" "127.0.0.1:$port"; then
    fail 'two servers listen at one port'
fi
