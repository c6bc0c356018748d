#!/usr/bin/env bash
# Sounds join the space of the embedded model's pictures and texts, and then its prompts; what its pictures are like
# is looked at. A few steps, on the repository's files.
set -euo pipefail
sensorium=${SENSORIUM:-target/release/sensorium}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
sounds=crates/data/tests/samples/folder-sounds

"$sensorium" train recipes/imagebind/tiny.toml --out "$work/bound"
best=$("$sensorium" classify --audio $sounds/buzz.flac --labels "a tone that rises,a low buzz" --template "{}" \
    --model "$work/bound/final" | sed -n 1p)
[[ $best == *"a low buzz" ]] || { echo "expected a low buzz, got: $best" >&2; exit 1; }
"$sensorium" score --audio $sounds/rising.wav --text "a low buzz" --model "$work/bound/final" --json | grep -c '"audio"'
"$sensorium" eval retrieval --data $sounds --model "$work/bound/final" > /dev/null

cat > "$work/llava.toml" <<END
recipe = "llava"
seed = 1
[model]
from = "$work/bound/final"
train = ["towers.1.projector", "backbone"]
[[media]]
kind = "audio"
size = "tiny"
[instruct]
steps = 40
batch_size = 2
save_every = 40
schedule = { kind = "constant", learning_rate = 2e-3 }
[[data.train]]
kind = "folder"
path = "$sounds"
request = "what do you hear?"
END
"$sensorium" train "$work/llava.toml" --out "$work/heard"
heard=$("$sensorium" ask "what do you hear?" --audio $sounds/buzz.flac --model "$work/heard/instruct/final")
[ "$heard" = "a low buzz" ] || { echo "expected a low buzz, got: $heard" >&2; exit 1; }
"$sensorium" ask "<image> and <audio>: what is it?" --image examples/pictures/scene.png --audio $sounds/rising.wav \
    --model "$work/heard/instruct/final" --json | grep -c '"media_tokens"'
"$sensorium" ask "what do you hear?" --audio $sounds/rising.wav --choices "a tone that rises,a low buzz" \
    --model "$work/heard/instruct/final" | sed -n 1p | grep -c "a tone that rises"

"$sensorium" train recipes/domain/tiny.toml --out "$work/domain"
"$sensorium" eval domain --data crates/data/tests/samples/folder-classes --model "$work/domain/final" > /dev/null
