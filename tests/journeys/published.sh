#!/usr/bin/env bash
# Published kinds of models, tiny and untrained, do what their families do: what they say is nonsense, that they say it is not.
set -euo pipefail
sensorium=${SENSORIUM:-target/release/sensorium}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
picture=examples/pictures/scene.png
film=goldens/video/$(ls goldens/video | grep -m1 '\.mp4$')
sound=goldens/sound/$(ls goldens/sound | grep -m1 '\.wav$')

# They see pictures of any shape, several of them, and films.
for model in qwen2_vl qwen2_5_vl qwen3_vl tiles_onevision tiles_internvl; do
    "$sensorium" ask "what is there?" --image "$picture" --model "goldens/$model" --max-tokens 4 --json > "$work/seen.json"
    grep -q '"slots"\|"tokens"' "$work/seen.json"
    "$sensorium" ask "what happens?" --video "$film" --model "goldens/$model" --max-tokens 4 > /dev/null
done
"$sensorium" ask "<image> and <image>: which?" --image "$picture" --image "$picture" --model goldens/qwen2_5_vl --max-tokens 2 > /dev/null
"$sensorium" inspect goldens/qwen3_vl | grep -c qwen3_vl
"$sensorium" caption "$picture" --model goldens/seeing_gemma3 --max-tokens 4 > /dev/null
"$sensorium" ask "answer en what is there?" --image "$picture" --model goldens/seeing_paligemma2 --max-tokens 4 > /dev/null

# They hear.
for model in qwen2_audio voxtral qwen2_5_omni; do
    "$sensorium" ask "what is heard?" --audio "$sound" --model "goldens/$model" --max-tokens 4 > /dev/null
done
"$sensorium" ask "<audio> or <image>?" --audio "$sound" --image "$picture" --model goldens/qwen2_5_omni --max-tokens 2 > /dev/null

# They see, read the whole text and answer; they give a picture as a vector.
"$sensorium" ask "translate: hello" --model goldens/t5 --max-tokens 4 > /dev/null
"$sensorium" ask "what is there?" --image "$picture" --model goldens/blip2_t5 --max-tokens 4 > /dev/null
"$sensorium" ask "what is there?" --image "$picture" --model goldens/janus --max-tokens 4 > /dev/null
"$sensorium" embed --image "$picture" --model goldens/published_dinov3 > /dev/null

# They write down speech, and tell which text fits a sound.
"$sensorium" transcribe "$sound" --model goldens/wav2vec2 > /dev/null
"$sensorium" transcribe "$sound" --model goldens/hubert --format srt > /dev/null
"$sensorium" transcribe "$sound" --model goldens/voxtral --language English > /dev/null
"$sensorium" score --audio "$sound" --text "a bell" --text "rain" --model goldens/clap | grep -c rain

# They speak, in letters that they know.
"$sensorium" speak "hello to a table" --model goldens/vits --seed 3 --out "$work/a.wav"
test "$(head -c 4 "$work/a.wav")" = RIFF

"$sensorium" speak "həlˈoʊ." --phonemes --model goldens/vits_piper --out "$work/b.wav"
"$sensorium" speak "lˈo." --phonemes --model goldens/kokoro --voice bert --out "$work/c.wav"
"$sensorium" speak "a bell" --model goldens/speecht5 --voice anna --out "$work/d.wav"
test "$(head -c 4 "$work/c.wav")" = RIFF

# They answer in a voice.
"$sensorium" ask "what is heard?" --audio "$sound" --model goldens/qwen2_5_omni_voice --max-tokens 6 --voice Ethan --out "$work/e.wav"
"$sensorium" ask "what is said?" --video goldens/video/reordered.mp4 --use-audio-in-video --model goldens/qwen2_5_omni_voice --max-tokens 4 > /dev/null
test "$(head -c 4 "$work/e.wav")" = RIFF

# They draw; the same seed draws the same, and a picture is drawn anew.
"$sensorium" draw "a red circle" --model goldens/stable_diffusion/v1 --steps 2 --seed 7 --out "$work/a.png"
"$sensorium" draw "a red circle" --model goldens/stable_diffusion/v1 --steps 2 --seed 7 --out "$work/b.png"
cmp "$work/a.png" "$work/b.png"
grep -q "Stable\|stable_diffusion" "$work/a.png"
"$sensorium" draw "a cat" --model goldens/stable_diffusion/v1 --image "$work/a.png" --strength 0.5 --steps 4 --out "$work/c.png"
! cmp -s "$work/a.png" "$work/c.png"
"$sensorium" draw "a cat" --model goldens/janus --out "$work/d.png"

# What they cannot do is an error that says what they do.
! "$sensorium" ask "what is there?" --image "$picture" --model goldens/wav2vec2 2> "$work/error"
grep -q "writes down" "$work/error"
