#!/usr/bin/env bash
# BLIP-2's two stages and a Flamingo on one's own pictures, and what both say afterwards. Models of random
# weights, and a folder of two pictures.
set -euo pipefail
sensorium=${SENSORIUM:-target/release/sensorium}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
folder='[{kind="folder",path="crates/data/tests/samples/folder-csv"}]'
picture=examples/pictures/scene.png

"$sensorium" train recipes/blip2/tiny.toml --out "$work/blip2" --set "data.train=$folder" \
    --set represent.steps=4 --set represent.batch_size=2 --set generate.steps=4 --set generate.batch_size=2
"$sensorium" score --image $picture --text "a red circle" --text "a dog" --model "$work/blip2/represent/final"
"$sensorium" caption $picture --model "$work/blip2/generate/final"

"$sensorium" train recipes/flamingo/tiny.toml --out "$work/flamingo" --set "pairs.data.train=$folder" \
    --set steps=4 --set pairs.batch_size=2 --set interleaved.batch_size=2
"$sensorium" caption $picture --model "$work/flamingo/final"
"$sensorium" ask "What is this?" --image $picture --model "$work/flamingo/final" --max-tokens 8

for recipe in blip2 flamingo; do "$sensorium" train recipes/$recipe/paper.toml --dry-run; done
