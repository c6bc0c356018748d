#!/usr/bin/env bash
# A Flamingo learns from pictures and short films, is measured after exemplars in the prompt, and is asked about
# a film. The repository's parts have random weights and its folders two files each, so this is over in seconds.
set -euo pipefail
sensorium=${SENSORIUM:-target/release/sensorium}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
data=crates/data/tests/samples

cat > "$work/flamingo.toml" <<'RECIPE'
recipe = "flamingo"
seed = 1
steps = 8
save_every = 8
schedule = { kind = "constant", learning_rate = 1e-2 }
[model]
encoder = "goldens/published_clip"
backbone = "goldens/parts/chat_gpt2"
[flamingo]
latents = 4
depth = 1
n_heads = 2
head_dim = 8
interval = 1
frames = 4
[pairs]
batch_size = 2
weight = 0.2
tokens = 96
[[pairs.data.train]]
kind = "folder"
path = "crates/data/tests/samples/folder-csv"
[videos]
batch_size = 2
weight = 0.03
tokens = 96
[[videos.data.train]]
kind = "folder"
path = "crates/data/tests/samples/folder-videos"
frames = 4
RECIPE
"$sensorium" train "$work/flamingo.toml" --out "$work/run"
"$sensorium" watch "$work/run" > "$work/curves"
grep -q cross_gate "$work/curves" || { echo "the gates are not drawn" >&2; exit 1; }

model="$work/run/final"
"$sensorium" eval caption --data $data/folder-csv --model "$model" --shots 0,2 --exemplars $data/folder-jsonl \
    --max-tokens 4 --json > "$work/report.json"
for shots in 0 2; do
    grep -q "captions, $shots-shot" "$work/report.json" || { echo "no figures of $shots-shot" >&2; exit 1; }
done
"$sensorium" eval caption --data $data/folder-csv --model goldens/idefics --shots 2 --exemplars $data/folder-jsonl \
    --choose rices --max-tokens 4 | grep -c "the nearest last"
# nano was made for one picture in a prompt.
"$sensorium" eval caption --data $data/folder-csv --shots 1 --exemplars $data/folder-jsonl 2> "$work/refused" &&
    { echo "nano is not refused" >&2; exit 1; }
grep -q "several pictures" "$work/refused"

"$sensorium" ask "what happens?" --video $data/folder-videos/forth.gif --model "$model" --max-tokens 4
