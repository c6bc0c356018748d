#!/usr/bin/env bash
# Answers that follow a schema, and a table as the answer. The repository's models have random weights or know
# little, so it is the form that is looked at: it holds whatever a model says.
set -euo pipefail
sensorium=${SENSORIUM:-target/release/sensorium}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cat > "$work/schema.json" <<'JSON'
{"type": "object", "required": ["colour", "round"], "additionalProperties": false, "properties": {
    "colour": {"enum": ["red", "green", "blue"]}, "round": {"type": "boolean"}}}
JSON
for model in "" "--model goldens/seeing_llava" "--model goldens/seeing_smolvlm"; do
    # shellcheck disable=SC2086 # The option and its value are two words.
    "$sensorium" ask "what is in the picture?" --image examples/pictures/scene.png $model \
        --schema "$work/schema.json" --max-tokens 200 --json > "$work/answer.json"
    grep -q '"colour": "\(red\|green\|blue\)"' "$work/answer.json"
    grep -q '"round": \(true\|false\)' "$work/answer.json"
done

"$sensorium" ask "what is in the picture?" --image examples/pictures/scene.png --temperature 1 --max-tokens 500 \
    --columns "round:boolean,red:boolean" --max-rows 8 --out "$work/things.csv"
head -1 "$work/things.csv" | grep -cx "round,red"
sed -n 2p "$work/things.csv" | grep -cx "\(true\|false\),\(true\|false\)"

# What has no room is an error, and nothing is left behind.
if "$sensorium" ask "what?" --columns "round:boolean" --max-tokens 2 --out "$work/none.csv" 2> "$work/error"; then
    exit 1
fi
grep -q "max_new_tokens" "$work/error"
[ ! -e "$work/none.csv" ]
