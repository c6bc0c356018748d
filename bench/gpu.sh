#!/usr/bin/env bash
# A graphics processor against the CPU, in a few minutes: the same answers, the same losses, and how fast.
#
#   cargo build --release --features cuda --example bench --bin sensorium      # or --features wgpu
#   bench/gpu.sh cuda > gpu.md
#
# Needs of the repository: bench/gpu.sh, recipes/, goldens/, examples/pictures, crates/data/tests/samples, and the two
# programs of target/release (or of $PROGRAMS). Its output is a section for bench/RESULTS.md.
set -euo pipefail
cd "$(dirname "$0")/.."
device=${1:?usage: bench/gpu.sh cuda|cuda:N|wgpu|wgpu:N}
programs=${PROGRAMS:-target/release}
sensorium=$programs/sensorium
bench=$programs/examples/bench
[ -x "$bench" ] || bench=$programs/bench
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

echo "## $device"
echo
echo '```text'
"$sensorium" info --machine
echo '```'
echo

# The same words from both.
echo "| the same answer | $device |"
echo "|---|---|"
same() {
    local name=$1 cpu gpu
    shift
    cpu=$("$sensorium" "$@" --device cpu)
    gpu=$("$sensorium" "$@" --device "$device") || gpu="failed"
    if [ "$cpu" = "$gpu" ]; then
        echo "| $name | yes |"
    else
        echo "| $name | **no** |"
        failed=1
    fi
}
picture=examples/pictures/scene.png
sound=$(find crates/data/tests/samples/folder-sounds -name '*.wav' | sort | head -n 1)
same "nano, a question" ask "what colour is the circle?" --image $picture
same "nano, a caption" caption $picture
for model in chatting seeing_llava seeing_smolvlm seeing_idefics3 idefics qwen2_vl qwen2_5_vl qwen3_vl qwen2_5_omni \
    tiles_next tiles_onevision tiles_internvl seeing_gemma3 seeing_paligemma2 blip2_opt blip2_t5 janus; do
    same "$model, 16 tokens" ask "What is in the picture?" --model goldens/$model --max-tokens 16 \
        $([ $model = chatting ] || echo --image $picture)
done
for model in qwen2_audio voxtral; do
    same "$model, 16 tokens" ask "What is heard?" --model goldens/$model --audio $sound --max-tokens 16
done
for model in wav2vec2 hubert whisper; do
    same "$model, a transcript" transcribe $sound --model goldens/$model
done
for model in llama qwen2 qwen3 mistral gemma phi3 opt gpt2; do
    [ -f goldens/$model/config.json ] && [ -f goldens/$model/tokenizer.json ] || continue
    same "$model, 16 tokens" run goldens/$model --prompt "a b" --max-tokens 16
done
echo

# Ten losses of the tiny recipes.
losses() {
    python3 - "$1" <<'READ' 2>/dev/null || sed 's/.*"loss":\([^,]*\),.*/\1/' "$1" | tr '\n' ' '
import json, sys
print(*("%.4f" % json.loads(line)["loss"] for line in open(sys.argv[1])))
READ
}
last() { sed -n '$s/.*"samples_per_second":\([^,]*\),.*/\1/p' "$1"; }
"$sensorium" train recipes/tokenizer/tiny.toml --set "tokenizer=\"$work/tokenizer.json\"" > "$work/log" 2>&1
echo "| recipe | device | ten losses | samples/s at the tenth step |"
echo "|---|---|---|---|"
for recipe in text clip; do
    for on in cpu "$device"; do
        out=$work/$recipe-$on
        if "$sensorium" train recipes/$recipe/tiny.toml --device "$on" --out "$out" --set steps=10 \
            --set "tokenizer=\"$work/tokenizer.json\"" > "$work/log" 2>&1; then
            echo "| $recipe | $on | $(losses "$out/metrics.jsonl") | $(last "$out/metrics.jsonl") |"
        else
            echo "| $recipe | $on | **failed**: $(tail -n 2 "$work/log" | tr '\n' ' ') | |"
            failed=1
        fi
    done
done
echo

# The encoder of P4 and the training steps of P7 and P8, medians of 10.
echo "| work | device | ms, median of 10 |"
echo "|---|---|---|"
for work_of in "vit f32 16" "step f32" "step bf16"; do
    for on in cpu "$device"; do
        # shellcheck disable=SC2086
        ms=$(yes | head -n 10 | SENSORIUM_DEVICE=$on "$bench" $work_of 2> "$work/log" \
            | sed -n 's/.*"ms":\([0-9.]*\).*/\1/p' | sort -n | sed -n 5p) || ms="**failed**"
        echo "| $work_of | $on | ${ms:-**failed**: $(tail -n 1 "$work/log")} |"
    done
done
exit $failed
