#!/usr/bin/env bash
# A question about one's own picture: to the model inside the binary, and to a directory as the hub lays
# it out. That of the repository has random weights, so its answer is only looked at for its form.
set -euo pipefail
sensorium=${SENSORIUM:-target/release/sensorium}

answer=$("$sensorium" ask "what colour is the circle?" --image examples/pictures/scene.png)
[ "$answer" = "red" ] || { echo "expected red, got: $answer" >&2; exit 1; }

"$sensorium" ask "What is in the picture?" --image examples/pictures/scene.png \
    --model goldens/seeing_smolvlm --max-tokens 4 --json | grep -c '"finish_reason": "'
