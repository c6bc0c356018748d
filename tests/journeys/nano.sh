#!/usr/bin/env bash
# The model inside the binary is asked about a picture, a sound, a clip and a table, alone and together. What it answers
# of the latter three is only looked at for its form: docs/nano.md says how often it is right.
set -euo pipefail
sensorium=${SENSORIUM:-target/release/sensorium}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf 'colour,shape,size,x,y\nred,circle,large,20,30\nblue,star,small,70,60\n' > "$work/table.csv"
sound=crates/data/tests/samples/folder-sounds/rising.wav

"$sensorium" ask "what do you hear?" --audio $sound | grep -c .
"$sensorium" ask "what happens?" --video goldens/video/even.gif | grep -c .
"$sensorium" ask "what colour is the circle?" --table "$work/table.csv" | grep -c .
"$sensorium" ask "<audio> <image> <video> <table> what colour is the circle?" --image examples/pictures/scene.png \
    --audio $sound --video goldens/video/even.gif --table "$work/table.csv" --json > "$work/told.json"
for kind in audio image video table; do grep -q "\"modality\": \"$kind\"" "$work/told.json"; done
"$sensorium" ask "is it ill?" --image examples/pictures/scene.png --table "$work/table.csv" --choices yes,no | grep -c " %  yes"
"$sensorium" embed --audio $sound --table "$work/table.csv" --video goldens/video/even.gif --text "a bell" | cut -f1 | sort -u | wc -l | grep -cx 4
"$sensorium" caption --audio $sound | grep -c .
