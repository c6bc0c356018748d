#!/usr/bin/env bash
# A question about one's own video, and its vector beside a text's. The models of the repository have random
# weights, so the answer is only looked at for its form.
set -euo pipefail
sensorium=${SENSORIUM:-target/release/sensorium}

"$sensorium" ask "what happens?" --video goldens/video/reordered.mp4 --num-frames 4 \
    --model goldens/seeing_video --max-tokens 4 --json | grep -c '"finish_reason": "'

"$sensorium" embed --video goldens/video/even.gif --fps 2 --text "a ball rolls" --json |
    grep -q '"kind": "video"'

if told=$("$sensorium" ask "what happens?" --video README.md 2>&1); then
    echo "a text is no video, got: $told" >&2
    exit 1
fi
grep -q "MP4, MOV or Matroska" <<<"$told"
