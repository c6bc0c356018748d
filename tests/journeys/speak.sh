#!/usr/bin/env bash
# A talker of a few thousand parameters is trained on two recordings, and speaks. It has heard too little to be
# understood: what counts is the way from a text to a file that says what it is.
set -euo pipefail
sensorium=${SENSORIUM:-target/release/sensorium}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$sensorium" train recipes/talker/tiny.toml --out "$work/talker" --set steps=40
model=(--model "$work/talker/final")
test "$("$sensorium" speak --list-voices "${model[@]}" | tr '\n' ' ')" = "slt rms "
"$sensorium" speak "Hello world. That is 3.5 km." --out "$work/hello.wav" --voice rms --speed 1.2 --json "${model[@]}" \
    > "$work/hello.json"
grep -q '"text": "That is 3.5 km."' "$work/hello.json"
grep -q 'hh ax l ow w er l d' "$work/hello.json"
grep -aq 'rms, synthetic speech' "$work/hello.wav"
echo "two stars" | "$sensorium" speak - "${model[@]}" > "$work/stars.wav"
test "$(head -c 4 "$work/stars.wav")" = RIFF

# What cannot be spoken is an error that says what could.
refused() { ! "$sensorium" speak "$@" --out "$work/none.wav" "${model[@]}" 2> "$work/error"; test ! -e "$work/none.wav"; }
refused "hello" --voice nobody && grep -q 'slt, rms' "$work/error"
refused "hello" --speed 9 && grep -q '0.25 to 4' "$work/error"
refused "..." && grep -q 'with a word in it' "$work/error"
refused "привет" && grep -q 'привет' "$work/error"
