#!/usr/bin/env bash
# A published Whisper learns from one's own recordings and writes them down, and so does a Conformer from nothing.
# The repository's Whisper has random weights and its folder two sounds, which both learn by heart.
set -euo pipefail
sensorium=${SENSORIUM:-target/release/sensorium}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
sounds=crates/data/tests/samples/folder-sounds

"$sensorium" train recipes/whisper/tiny.toml --out "$work/run"
"$sensorium" transcribe "$sounds/buzz.flac" --model "$work/run/final" --language en | grep -c "a low buzz"
"$sensorium" eval transcribe --data "$sounds" --model "$work/run/final" --language en --json | grep -c '"value"'

"$sensorium" train recipes/ctc/tiny.toml --out "$work/ctc"
"$sensorium" transcribe "$sounds/buzz.flac" --model "$work/ctc/final" | grep -c "^a buzz$"
"$sensorium" transcribe "$sounds/rising.wav" --model "$work/ctc/final" --json | grep -c '"word": "rises"'
"$sensorium" eval transcribe --data goldens/ctc/words.csv --set "images=$sounds" --model "$work/ctc/final" --json | grep -c '"value"'
"$sensorium" info --model "$work/ctc/final" | grep -c "trained on"
