#!/usr/bin/env bash
# A server through the official Python and JavaScript clients, in a browser, and behind a balancer:
#
#     tests/clients/run.sh [CLIENTS]...        # of python, javascript, page, balancer; all by default
#
# What a check needs and this machine lacks (a venv with the clients, Node.js and Chromium, haproxy) skips it with a
# message, unless REQUIRED=1. Nothing is installed into the system or the repository.
set -euo pipefail
cd "$(dirname "$0")/../.."
export SENSORIUM=${SENSORIUM:-$PWD/target/release/sensorium}
checks=("$@")
[ $# -gt 0 ] || checks=(python javascript page balancer)
work=$(mktemp -d)
server=
trap 'kill $server 2>/dev/null || true; rm -rf "$work"' EXIT

lacks() {
    [ -z "${REQUIRED:-}" ] || { echo "error: $1 needs $2" >&2; exit 1; }
    echo "skipped: $1 needs $2"
}
have() { command -v "$1" > /dev/null 2>&1; }

"$SENSORIUM" serve --port 0 --quiet > "$work/url" &
server=$!
for _ in $(seq 100); do [ -s "$work/url" ] && break; sleep 0.1; done
url=$(head -1 "$work/url")

for check in "${checks[@]}"; do
    case $check in
    python)
        if python3 -m venv "$work/venv" && "$work/venv/bin/pip" install --quiet openai==3.57.0 ollama==0.6.3; then
            "$work/venv/bin/python" tests/clients/clients.py "$url"
        else
            lacks python "Python 3 with venv, and pip's registry"
        fi
        ;;
    javascript)
        if have node && have npm; then
            cp -r tests/clients/javascript "$work/javascript"
            (cd "$work/javascript" && npm install --silent --no-fund --no-audit)
            node "$work/javascript/clients.mjs" "$url" examples/pictures/scene.png
        else
            lacks javascript "Node.js 20 with npm"
        fi
        ;;
    page)
        if have node && have npm && have "${CHROMIUM:-chromium}"; then
            cp -r tests/page "$work/page"
            (cd "$work/page" && npm install --silent --no-fund --no-audit &&
                CHROMIUM=$(command -v "${CHROMIUM:-chromium}") node page.mjs "$url" "$work/screenshots")
        else
            lacks page "Node.js 20 with npm, and Chromium"
        fi
        ;;
    balancer)
        if have haproxy; then tests/clients/balancer.sh; else lacks balancer haproxy; fi
        ;;
    *)
        echo "expected python, javascript, page or balancer, got $check" >&2
        exit 2
        ;;
    esac
done
