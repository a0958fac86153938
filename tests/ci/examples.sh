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

echo '--- mixed'
said=$(timeout 10 "$bin/mixed")
echo "$said"
[[ $said == *'the sum is 333833500'* ]] || fail 'mixed did not say the sum'

# Runs an example that ends by itself, and looks for words in what it says.
says() {
    local name=$1 words=$2 said
    shift 2
    echo "--- $name"
    said=$(timeout 60 "$bin/$name" "$@")
    echo "$said"
    [[ $said == *"$words"* ]] || fail "$name did not say '$words'"
}
says sieve 'prime number 200 is 1223' 200
says pipeline '6171 takes the most steps to 1: 261'
says select_timeout 'gave up: true'
says chat 'the guests have been heard'
trace=$(mktemp)
says trace ' events, ' "$trace"
rm "$trace"

for mode in async goroutine; do
    echo "--- tour --mode $mode"
    timeout 60 "$bin/tour" --seconds 3 --mode "$mode" || fail "the $mode tour failed"
done
status=0
timeout 10 "$bin/tour" --size none || status=$?
((status == 2)) || fail "the tour took a bad argument with status $status"

echo '--- never_stall --quick'
timeout 60 "$bin/never_stall" --quick || fail 'a request was not answered'
status=0
timeout 10 "$bin/never_stall" --only none || status=$?
((status == 2)) || fail "never_stall took a bad argument with status $status"

# Starts an echo server, asks it, and starts another one at the same port.
echo_server() {
    local name=$1 line port answer client
    echo "--- $name"
    coproc server { exec "$bin/$name" 127.0.0.1:0; }
    read -r -t 10 line <&"${server[0]}" || fail "$name did not start"
    echo "$line"
    port=$(sed 's/^listening at 127.0.0.1:\([0-9]*\);.*/\1/' <<<"$line")
    exec {client}<>"/dev/tcp/127.0.0.1/$port"
    echo 'hello there' >&"$client"
    read -r -t 10 answer <&"$client" || fail "$name did not answer"
    [[ $answer == 'hello there' ]] || fail "$name answered '$answer'"
    echo "answered: $answer"
    if timeout 10 "$bin/$name" "127.0.0.1:$port"; then
        fail 'two servers listen at one port'
    fi
    exec {client}>&-
    kill "$server_PID"
    wait "$server_PID" || true
}

trap 'kill "${server_PID:-}" 2>/dev/null || true' EXIT

echo '--- shutdown'
coproc server { exec "$bin/shutdown" 127.0.0.1:0; }
read -r -t 10 line <&"${server[0]}" || fail 'shutdown did not start'
echo "$line"
exec {client}<>"/dev/tcp/127.0.0.1/$(sed 's/^listening at 127.0.0.1:\([0-9]*\);.*/\1/' <<<"$line")"
echo 'hello there' >&"$client"
for expected in 'hello there' 'goodbye'; do
    read -r -t 10 answer <&"$client" || fail 'shutdown did not answer'
    [[ $answer == "$expected" ]] || fail "shutdown answered '$answer'"
    kill -TERM "$server_PID"
done
exec {client}>&-
wait "$server_PID" || fail 'shutdown did not end well'

echo_server echo_async
echo_server echo_goroutine
