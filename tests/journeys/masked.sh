#!/usr/bin/env bash
# An encoder of pictures learns from a folder that nobody has described, and a linear probe tells what it is
# worth; then one of sounds and pictures in rows of both. A few steps, on the repository's files.
set -euo pipefail
sensorium=${SENSORIUM:-target/release/sensorium}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Of two classes five pictures each, so that there is one to measure on.
for class in red blue; do
    mkdir -p "$work/classes/$class"
    source=crates/data/tests/samples/folder-classes/${class}_square/1.png
    for i in 1 2 3 4 5; do cp "$source" "$work/classes/$class/$i.png"; done
done
mkdir "$work/pictures"
cp "$work/classes/red/1.png" "$work/pictures/a.png"
cp "$work/classes/blue/1.png" "$work/pictures/b.png"

folder="[{kind=\"folder\",path=\"$work/pictures\"}]"
"$sensorium" train recipes/masked/tiny.toml --out "$work/masked" --set "data.train=$folder" \
    --set steps=8 --set batch_size=2 --set target=features
"$sensorium" eval probe --data "$work/classes" --model "$work/masked/final" --labels 4,8 | tee "$work/figures"
grep -q "top-1 of 2, 8 labels" "$work/figures"
"$sensorium" eval probe --data "$work/classes" --model embedded > /dev/null
"$sensorium" embed --image "$work/pictures/a.png" --model "$work/masked/final" > /dev/null

mkdir "$work/pairs"
cp "$work/pictures/a.png" goldens/sound/mono.flac "$work/pairs"
printf 'file_name,audio_file_name\na.png,mono.flac\n' > "$work/pairs/metadata.csv"
"$sensorium" train recipes/masked/tiny.toml --out "$work/both" --set "data.train=[{kind=\"folder\",path=\"$work/pairs\"}]" \
    --set steps=4 --set batch_size=2 --set "encoder.audio={bands=32,frames=64,patch=8}"
for class in low high; do mkdir -p "$work/sounds/$class"; done
for i in 1 2 3 4 5; do
    cp goldens/sound/mono.flac "$work/sounds/low/$i.flac"
    cp goldens/sound/pcm_16.wav "$work/sounds/high/$i.wav"
done
"$sensorium" eval probe --data "$work/sounds" --model "$work/both/audio" | grep -c "top-1 of 2"
"$sensorium" train recipes/masked/paper.toml --dry-run
