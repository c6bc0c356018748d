#!/usr/bin/env bash
# How well texts fit one's own picture: by the model inside the binary, and by a directory of CLIP as the
# hub lays it out. That of the repository has random weights, so its figures are only counted.
set -euo pipefail
sensorium=${SENSORIUM:-target/release/sensorium}

best() { tail -n +2 | sort -rn | sed -n 1p; }
found=$("$sensorium" score --image examples/pictures/scene.png --text "a red circle" --text "a blue star" | best)
case $found in *"a red circle"*) ;; *) echo "expected a red circle, got: $found" >&2; exit 1 ;; esac

pairs=$("$sensorium" score --model goldens/published_clip --image examples/pictures/scene.png \
    --image examples/pictures/three.png --text "a cat" --text "a dog" --json | grep -c '"similarity"')
[ "$pairs" = 4 ] || { echo "expected 4 pairs, got $pairs" >&2; exit 1; }
