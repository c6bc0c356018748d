#!/usr/bin/env bash
# An adapter for a published language model, learned from one's own conversations: run beside the model,
# and merged into it. The repository's model has random weights and its file two conversations.
set -euo pipefail
sensorium=${SENSORIUM:-target/release/sensorium}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat > "$work/lora.toml" <<'RECIPE'
recipe = "llava"
seed = 1
[model]
from = "goldens/chatting"
[lora]
r = 8
lora_alpha = 16
[instruct]
steps = 12
batch_size = 2
save_every = 12
schedule = { kind = "cosine", learning_rate = 1e-2, min = 1e-4, warmup_steps = 2 }
[[instruct.data.train]]
kind = "messages"
path = "crates/data/tests/samples/messages/chats.jsonl"
RECIPE
"$sensorium" train "$work/lora.toml" --out "$work/run"
adapter=$work/run/instruct/final

ask() { "$sensorium" run "$@" --chat --prompt "What is a square?" --max-tokens 8; }
adapted=$(ask goldens/chatting --adapter "$adapter")
"$sensorium" merge --model goldens/chatting --adapter "$adapter" --to "$work/merged"
[ "$adapted" = "$(ask "$work/merged")" ] || { echo "merged, it answers otherwise" >&2; exit 1; }
[ "$adapted" != "$(ask goldens/chatting)" ] || { echo "the adapter changes nothing" >&2; exit 1; }
