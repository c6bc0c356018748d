#!/usr/bin/env bash
# A voice note as messengers record it, Opus in Ogg, becomes text. The repository's Whisper has random
# weights, so what it writes is none.
set -euo pipefail
sensorium=${SENSORIUM:-target/release/sensorium}

"$sensorium" transcribe goldens/sound/opus_mono.ogg --model goldens/whisper --language english --json \
    | grep -c '"text"'
