#!/usr/bin/env bash
# Two models are measured on one's own pictures, and it is told whether the second is better. The pictures
# are few and one model knows nothing, so the figures are only looked for.
set -euo pipefail
sensorium=${SENSORIUM:-target/release/sensorium}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
data=crates/data/tests/samples

"$sensorium" eval zero-shot --data $data/folder-classes --templates imagenet | grep -c "top-1 of 2"
for model in embedded goldens/published_clip; do
    "$sensorium" eval retrieval --data $data/folder-csv --model $model --out "$work/$(basename $model).json" \
        --failures 3 > /dev/null
done
"$sensorium" eval --compare "$work/published_clip.json" "$work/embedded.json" | grep -c "B - A"
"$sensorium" eval caption --data $data/captions-lavis/karpathy_train.json | grep -c "CIDEr-D"
