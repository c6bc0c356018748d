#!/usr/bin/env bash
# Many prompts from a file at once, a line of JSON for each. The repository's model has random weights.
set -euo pipefail
sensorium=${SENSORIUM:-target/release/sensorium}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

printf '{"id": "a", "prompt": "hello"}\n{"id": "b", "prompt": "there"}\n' > "$work/prompts.jsonl"
"$sensorium" run goldens/seeing_llava --prompts "$work/prompts.jsonl" --max-tokens 8 \
    --repetition-penalty 1.2 --stop "</s>" > "$work/answers.jsonl"
[ "$(grep -c '"finish_reason"' "$work/answers.jsonl")" = 2 ]
head -1 "$work/answers.jsonl" | grep -c '"id":"a"'
