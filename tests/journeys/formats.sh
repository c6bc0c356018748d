#!/usr/bin/env bash
# Data as others have it: Parquet files of the hub, and documents of pictures and texts, are checked, looked
# at and learned from, with pictures cropped at random; the run is watched, and ends when nothing gets better.
set -euo pipefail
sensorium=${SENSORIUM:-target/release/sensorium}
samples=crates/data/tests/samples
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$sensorium" data check "$samples/parquet-pictures"
"$sensorium" data check "$samples/parquet-messages/chats.parquet"
"$sensorium" data check "$samples/interleaved-mmc4/docs.jsonl"

cat > "$work/clip.toml" <<RECIPE
recipe = "clip"
seed = 1
epochs = 20
batch_size = 3
save_every = 5
eval_every = 2
patience = 3
loss = "info_nce"
schedule = { kind = "constant", learning_rate = 1e-3 }
[model]
from = "goldens/published_clip"
[data]
augment = { random_resized_crop = [0.9, 1.0], horizontal_flip = 0.5 }
[[data.train]]
kind = "parquet"
path = "$samples/parquet-pictures"
[[data.val]]
kind = "parquet"
path = "$samples/parquet-pictures/train-*.parquet"
RECIPE
"$sensorium" data preview "$work/clip.toml" --out "$work/sheet.png" --count 6
"$sensorium" train "$work/clip.toml" --out "$work/run"
"$sensorium" watch "$work/run"
"$sensorium" watch "$work/run" --json | grep -c '"running": *false'
