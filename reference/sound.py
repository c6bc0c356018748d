"""Sounds as libsndfile and FFmpeg write and read them. Writes goldens/sound.

    venv/bin/pip install soundfile av
    venv/bin/python reference/sound.py

`cases.json` lists files: `{"file", "rate", "expected", "tolerance", "delay"}`. `expected` is a WAV of
32-bit floats with the mean of the channels; `delay` counts samples by which decoders may differ at
the start, because the formats with loss do not say where their sound begins.
"""

import json
from pathlib import Path

import av
import numpy as np
import soundfile

HERE = Path(__file__).resolve().parent.parent / "goldens" / "sound"
SECONDS = 0.15


def tones(rate, channels, seconds=SECONDS):
    t = np.arange(int(rate * seconds)) / rate
    rows = [np.sin(2 * np.pi * (300 + 200 * c) * t) * (0.5 + 0.1 * c) for c in range(channels)]
    return np.stack(rows, axis=1) * np.minimum(1, 20 * t)[:, None]


class Goldens:
    def __init__(self):
        self.cases = []
        HERE.mkdir(parents=True, exist_ok=True)
        for old in HERE.iterdir():
            old.unlink()

    def case(self, name, mono, rate, tolerance, delay=0):
        expected = name.replace(".", "_") + ".expected.wav"
        soundfile.write(HERE / expected, mono.astype(np.float32), rate, subtype="FLOAT")
        self.cases.append({"file": name, "rate": rate, "expected": expected,
                           "tolerance": tolerance, "delay": delay})

    def written(self, name, rate, channels, tolerance=0.0, **options):
        soundfile.write(HERE / name, tones(rate, channels), rate, **options)
        values, found = soundfile.read(HERE / name, dtype="float64", always_2d=True)
        assert found == rate
        self.case(name, values.mean(axis=1), rate, tolerance)

    def aac(self, name, container, rate, channels):
        """Encoded and decoded by FFmpeg."""
        values = tones(rate, channels)
        with av.open(str(HERE / name), "w", format=container) as out:
            layout = "mono" if channels == 1 else "stereo"
            stream = out.add_stream("aac", rate=rate, layout=layout)
            stream.bit_rate = 96_000
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(values.T.astype(np.float32)), format="fltp", layout=layout)
            frame.sample_rate = rate
            for packet in [*stream.encode(frame), *stream.encode(None)]:
                out.mux(packet)
        with av.open(str(HERE / name)) as file:
            decoded = [frame.to_ndarray().mean(axis=0) for frame in file.decode(audio=0)]
        self.case(name, np.concatenate(decoded), rate, tolerance=1e-3, delay=2 * 1024 + 64)


def main():
    goldens = Goldens()
    for subtype in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT"):
        goldens.written(f"{subtype.lower()}.wav", 16_000, 1, 1e-7, subtype=subtype)
    goldens.written("stereo.wav", 22_050, 2, 1e-7, subtype="PCM_16")
    goldens.written("extensible.wav", 8_000, 3, 1e-7, subtype="PCM_24", format="WAVEX")
    goldens.written("ulaw.wav", 8_000, 1, 1e-7, subtype="ULAW")
    goldens.written("mono.flac", 16_000, 1, 1e-7)
    goldens.written("stereo.flac", 44_100, 2, 1e-7, subtype="PCM_24")
    goldens.written("mono.ogg", 16_000, 1, 1e-3, format="OGG", subtype="VORBIS")
    goldens.written("stereo.ogg", 44_100, 2, 1e-3, format="OGG", subtype="VORBIS")
    goldens.written("mono.mp3", 16_000, 1, 1e-3, format="MP3")
    goldens.written("stereo.mp3", 44_100, 2, 1e-3, format="MP3")
    goldens.aac("mono.aac", "adts", 16_000, 1)
    goldens.aac("stereo.m4a", "mp4", 44_100, 2)
    lines = ",\n".join(json.dumps(case) for case in goldens.cases)
    (HERE / "cases.json").write_text(f"[\n{lines}\n]\n")
    # A kind that is known and not decoded.
    soundfile.write(HERE / "opus.ogg", tones(48_000, 1), 48_000, format="OGG", subtype="OPUS")


if __name__ == "__main__":
    main()
