#!/usr/bin/env bash
# An autoencoder, a generator and output projectors of a few thousand parameters are trained one after the other beside
# the embedded model, which then draws, and answers a request with a picture. They have seen too little to be looked at:
# what counts is the way from a text to a file that says what it is.
set -euo pipefail
sensorium=${SENSORIUM:-target/release/sensorium}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$sensorium" train recipes/vae/tiny.toml --out "$work/vae" --set steps=30
"$sensorium" train recipes/flow/tiny.toml --out "$work/flow" --set steps=20 --set "vae=\"$work/vae/final\""
"$sensorium" train recipes/gill/tiny.toml --out "$work/gill" --set steps=10 --set "model.from=\"$work/flow/final\""
model=(--model "$work/gill/final")

"$sensorium" draw "a red circle" --out "$work/one.png" --steps 4 "${model[@]}" --seed 3
"$sensorium" draw "a red circle" --out "$work/two.png" --steps 4 --best-of 3 --json "${model[@]}" --seed 3 | grep -c '"similarity"'
grep -aq 'synthetic' "$work/one.png"
"$sensorium" draw "a red circle" --out "$work/same.png" --steps 4 "${model[@]}" --seed 3
cmp "$work/one.png" "$work/same.png"
"$sensorium" draw "a red circle" --out "$work/found.png" --gallery examples/pictures --steps 4 --json "${model[@]}" | grep -c '"retrieved": "examples/pictures'
"$sensorium" ask "draw a red circle" --modalities image --out "$work/asked.png" --steps 4 "${model[@]}"
test -s "$work/asked.png"
"$sensorium" ask "draw a red circle" --modalities text "${model[@]}" > /dev/null
"$sensorium" train recipes/next_gpt/tiny.toml --out "$work/next" --set encode.steps=2 --set decode.steps=8 --set instruct.steps=2 --set "model.from=\"$work/flow/final\""
"$sensorium" draw "a red circle" --out "$work/next.png" --steps 4 --model "$work/next/instruct/final"
test -s "$work/next.png"
"$sensorium" eval draw --kind scenes --set objects=2 --samples 8 --steps 2 "${model[@]}" | grep -c relation

# What cannot be made is an error that says what could, and nothing is left behind.
refused() { ! "$sensorium" "$@" "${model[@]}" 2> "$work/error"; }
refused draw "a red circle" --out "$work/none.jpg" && grep -q '\.png' "$work/error"
refused draw "a red circle" --out "$work/no/none.png" && grep -q 'no folder' "$work/error"
refused draw " " --out "$work/none.png" && grep -q 'expected words' "$work/error"
refused animate "a red circle" --out "$work/none.gif" && grep -q '(image)' "$work/error"
refused sound "a bell" --out "$work/none.wav" && grep -q '(image)' "$work/error"
test -z "$(ls "$work" | grep none || true)"
