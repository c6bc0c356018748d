#!/usr/bin/env bash
# A server is started, asked in several dialects about a picture, and told to end.
set -euo pipefail
sensorium=$(realpath "${SENSORIUM:-target/release/sensorium}")
work=$(mktemp -d)
trap 'kill "$server" 2>/dev/null || true; rm -rf "$work"' EXIT
picture=$(base64 -w0 examples/pictures/scene.png)

# Options may stand in a file; `config show` says where each comes from.
printf '[serve]\nport = 0\nmax-waiting = 7\n' > "$work/sensorium.toml"
(cd "$work" && "$sensorium" config show serve) > "$work/config.txt"
grep -q -- '--max-waiting  *7  *sensorium.toml' "$work/config.txt"
(cd "$work" && SENSORIUM_HOST=127.0.0.1 "$sensorium" config show serve) | grep -c 'environment, SENSORIUM_HOST'

(cd "$work" && exec "$sensorium" serve --drain 5) > "$work/url" 2> "$work/log" &
server=$!
for _ in $(seq 100); do [ -s "$work/url" ] && break; sleep 0.1; done
url=$(head -1 "$work/url")

curl -sf "$url/health" | grep -c ok
curl -sf "$url/v1/models" | grep -c '"nano"'
printf '{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,%s"}}, {"type": "text", "text": "what colour is the circle?"}]}]}' \
    "$picture" > "$work/question.json"
curl -sf "$url/v1/chat/completions" -d "@$work/question.json" | grep -c '"content":"red'
curl -sf "$url/v1/embeddings" -d '{"input": "a red circle"}' | grep -c '"embedding"'
curl -sf "$url/v1/audio/speech" -d '{"input": "hello world", "voice": "slt"}' -o "$work/hello.wav"
test "$(head -c 4 "$work/hello.wav")" = RIFF
curl -s "$url/v1/chat/completions" -d '{"messages": 3}' | grep -c '"param":"messages"'
curl -s "$url/v1/chat/completions" -H 'host: evil.example' -d '{}' | grep -c host_not_allowed
curl -sf "$url/" | grep -c '<title>'
curl -sf "$url/metrics" | grep -c '^sensorium_requests_in_flight 0'

kill -TERM "$server"
wait "$server"
grep -q 'POST /v1/chat/completions 200' "$work/log"
