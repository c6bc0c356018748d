#!/usr/bin/env bash
# A new LLaVA of a published encoder, a new projector and a published language model: told first, trained in
# LLaVA's two stages, and asked. The repository's models have random weights, and its folder two pictures.
set -euo pipefail
sensorium=${SENSORIUM:-target/release/sensorium}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat > "$work/parts.toml" <<'RECIPE'
recipe = "llava"
seed = 1
[model]
encoder = "goldens/published_clip"
projector = "mlp"
backbone = "goldens/parts/chat_qwen2"
[align]
steps = 6
batch_size = 2
save_every = 6
schedule = { kind = "constant", learning_rate = 1e-2 }
[instruct]
steps = 12
batch_size = 2
save_every = 12
schedule = { kind = "constant", learning_rate = 1e-2 }
[[data.train]]
kind = "folder"
path = "crates/data/tests/samples/folder-csv"
RECIPE
"$sensorium" train "$work/parts.toml" --dry-run | tee "$work/told"
grep -q "towers.0.projector" "$work/told" || { echo "the projector is not told of" >&2; exit 1; }
[ ! -e "$work/run" ] || { echo "a dry run leaves files" >&2; exit 1; }
"$sensorium" train "$work/parts.toml" --out "$work/run"
"$sensorium" ask "What is this?" --image examples/pictures/scene.png --model "$work/run/instruct/final" --max-tokens 8
"$sensorium" inspect "$work/run/instruct/final"
