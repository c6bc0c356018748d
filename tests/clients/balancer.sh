#!/usr/bin/env bash
# Two servers behind haproxy with one file of keys: both answer; when one ends, nothing is lost. Needs haproxy and curl.
set -euo pipefail
sensorium=${SENSORIUM:-target/release/sensorium}
work=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; rm -rf "$work"' EXIT

echo "ann $(printf %s secret | sha256sum | cut -d' ' -f1)" > "$work/keys"
declare -A port
for name in one two; do
    "$sensorium" serve --port 0 --keys "$work/keys" --quiet > "$work/$name" &
    pids+=($!)
    for _ in $(seq 100); do [ -s "$work/$name" ] && break; sleep 0.1; done
    port[$name]=$(head -1 "$work/$name" | sed 's/.*://')
done
sed -e "s/one:8080/127.0.0.1:${port[one]}/" -e "s/two:8080/127.0.0.1:${port[two]}/" \
    -e 's/bind :8080/bind 127.0.0.1:18080/' -e 's/balance source/balance roundrobin/' -e '/hash-type/d' \
    deploy/haproxy.cfg > "$work/haproxy.cfg"
haproxy -f "$work/haproxy.cfg" -D -p "$work/pid"
for _ in $(seq 50); do [ -s "$work/pid" ] && break; sleep 0.1; done
pids+=("$(cat "$work/pid")")
url=http://127.0.0.1:18080
for _ in $(seq 100); do curl -sf "$url/health" > "$work/health" && break; sleep 0.1; done

test "$(curl -s -o "$work/none" -w '%{http_code}' "$url/v1/models")" = 401
ask() {
    curl -sf --retry 3 --retry-all-errors "$url/v1/chat/completions" -H 'authorization: Bearer secret' \
        -d '{"messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}' | grep -c '"finish_reason"'
}
for _ in $(seq 20); do ask; done
for name in one two; do
    curl -sf "http://127.0.0.1:${port[$name]}/metrics" -H 'x-api-key: secret' |
        grep -c '^http_requests_total{method="POST",route="/v1/chat/completions",status="200"}'
done
kill -TERM "${pids[0]}"
for _ in $(seq 20); do ask; done
echo "both answered, and one went on alone"
