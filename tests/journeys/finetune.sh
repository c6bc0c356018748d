#!/usr/bin/env bash
# A published model learns from one's own pictures, and is used like any other. The repository's has
# random weights and its folder two pictures, so this is over in a second.
set -euo pipefail
sensorium=${SENSORIUM:-target/release/sensorium}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat > "$work/recipe.toml" <<'RECIPE'
recipe = "clip"
seed = 1
steps = 12
batch_size = 2
save_every = 4
eval_every = 4
loss = "info_nce"
schedule = { kind = "cosine", learning_rate = 1e-3, min = 1e-5, warmup_steps = 2 }
[model]
from = "goldens/published_clip"
[[data.train]]
kind = "folder"
path = "crates/data/tests/samples/folder-csv"
[[data.val]]
kind = "folder"
path = "crates/data/tests/samples/folder-csv"
RECIPE
"$sensorium" train "$work/recipe.toml" --out "$work/run"
"$sensorium" score --model "$work/run/final" --image crates/data/tests/samples/folder-csv/red.png \
    --text "a red square, nothing else" --text "a blue square"
"$sensorium" info --model "$work/run/final" | grep -c "trained on"
