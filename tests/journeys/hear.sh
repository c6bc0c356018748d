#!/usr/bin/env bash
# A published Whisper learns from one's own recordings and writes them down. The repository's has random
# weights and its folder two sounds, which it learns by heart.
set -euo pipefail
sensorium=${SENSORIUM:-target/release/sensorium}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
sounds=crates/data/tests/samples/folder-sounds

"$sensorium" train recipes/whisper/tiny.toml --out "$work/run"
"$sensorium" transcribe "$sounds/buzz.flac" --model "$work/run/final" --language en | grep -q "a low buzz"
"$sensorium" eval transcribe --data "$sounds" --model "$work/run/final" --language en --json | grep -q '"value"'
