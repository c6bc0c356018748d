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

    def case(self, name, mono, rate, tolerance, delay=0, subtype="FLOAT"):
        expected = name.replace(".", "_") + ".expected.wav"
        soundfile.write(HERE / expected, mono.astype(np.float32), rate, subtype=subtype)
        self.cases.append({"file": name, "rate": rate, "expected": expected,
                           "tolerance": tolerance, "delay": delay})

    def written(self, name, rate, channels, tolerance=0.0, expected="FLOAT", seconds=SECONDS,
                **options):
        soundfile.write(HERE / name, tones(rate, channels, seconds), rate, **options)
        values, found = soundfile.read(HERE / name, dtype="float64", always_2d=True)
        assert found == rate
        self.case(name, values.mean(axis=1), rate, tolerance, subtype=expected)

    def encoded(self, name, container, codec, rate, channels, tolerance=1e-3, delay=0,
                subtype="FLOAT", seconds=SECONDS, options=None, **stream_options):
        """Encoded and decoded by FFmpeg."""
        layout = {1: "mono", 2: "stereo", 6: "5.1"}[channels]
        values = np.ascontiguousarray(tones(rate, channels, seconds).T)
        with av.open(str(HERE / name), "w", format=container, options=options or {}) as out:
            stream = out.add_stream(codec, rate=rate, layout=layout, **stream_options)
            if codec in ("aac", "libopus"):
                stream.bit_rate = 96_000
            frame = av.AudioFrame.from_ndarray(values.astype(np.float32), "fltp", layout)
            frame.sample_rate = rate
            resampler = av.AudioResampler(stream.codec_context.format, layout, rate,
                                          stream.codec_context.frame_size or 1024)
            for part in [*resampler.resample(frame), *resampler.resample(None), None]:
                for packet in stream.encode(part):
                    out.mux(packet)
        mono = decoded(HERE / name)
        if codec == "libopus":
            # What FFmpeg leaves behind the end in an MP4.
            mono = mono[:values.shape[1]]
        self.case(name, mono, rate, tolerance, delay, subtype)

    def remuxed(self, name, container, source):
        """The very packets of another file."""
        with av.open(str(HERE / source)) as file, \
                av.open(str(HERE / name), "w", format=container) as out:
            rate = file.streams.audio[0].rate
            stream = out.add_stream_from_template(file.streams.audio[0])
            for packet in file.demux(audio=0):
                if packet.dts is not None:
                    packet.stream = stream
                    out.mux(packet)
        self.case(name, decoded(HERE / name), rate, 1e-3, subtype="PCM_16")


def decoded(path):
    """The mean of the channels, as FFmpeg decodes it, and libopus."""
    with av.open(str(path)) as file:
        stream = file.streams.audio[0]
        decoder = stream.codec_context
        if decoder.name == "opus":
            # FFmpeg's own decoder of Opus is not exact.
            decoder = av.CodecContext.create("libopus", "r")
            decoder.extradata = stream.codec_context.extradata
            decoder.layout = stream.codec_context.layout
            decoder.sample_rate = 48_000
        to_floats = av.AudioResampler("fltp")
        frames = [part for packet in file.demux(stream) for frame in decoder.decode(packet)
                  for part in to_floats.resample(frame)]
        return np.concatenate([frame.to_ndarray().mean(axis=0) for frame in frames])


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
    goldens.encoded("mono.aac", "adts", "aac", 16_000, 1, delay=2 * 1024 + 64)
    goldens.encoded("stereo.m4a", "mp4", "aac", 44_100, 2, delay=2 * 1024 + 64)
    written = lambda *args, **options: goldens.written(*args, 1e-4, "PCM_16", 0.06, **options)
    written("rf64.wav", 16_000, 1, format="RF64", subtype="PCM_16")
    written("pcm_16.aiff", 16_000, 1, format="AIFF", subtype="PCM_16")
    written("pcm_24.aiff", 8_000, 2, format="AIFF", subtype="PCM_24")
    written("sowt.aifc", 8_000, 1, format="AIFF", subtype="PCM_16", endian="LITTLE")
    written("float.aifc", 8_000, 1, format="AIFF", subtype="FLOAT")
    written("ulaw.aifc", 8_000, 1, format="AIFF", subtype="ULAW")
    written("pcm_16.caf", 8_000, 2, format="CAF", subtype="PCM_16")
    written("float.caf", 8_000, 1, format="CAF", subtype="FLOAT")
    encoded = lambda *args, **options: goldens.encoded(
        *args, subtype="PCM_16", seconds=0.06, **options)
    encoded("opus_mono.ogg", "ogg", "libopus", 48_000, 1)
    encoded("opus_surround.ogg", "ogg", "libopus", 48_000, 6)
    encoded("opus.webm", "webm", "libopus", 48_000, 2)
    encoded("opus.mp4", "mp4", "libopus", 48_000, 1)
    goldens.remuxed("vorbis.webm", "webm", "mono.ogg")
    encoded("flac.ogg", "ogg", "flac", 16_000, 1)
    encoded("flac.mkv", "matroska", "flac", 16_000, 1)
    encoded("pcm.mkv", "matroska", "pcm_s16le", 8_000, 1)
    encoded("mp3.mkv", "matroska", "libmp3lame", 16_000, 1, delay=1105 + 1152)
    encoded("aac.mkv", "matroska", "aac", 16_000, 1, delay=2 * 1024 + 64)
    encoded("alac.m4a", "ipod", "alac", 16_000, 1)
    encoded("alac.caf", "caf", "alac", 16_000, 2)
    encoded("fragments.m4a", "mp4", "aac", 16_000, 1, delay=2 * 1024 + 64,
            options={"movflags": "frag_keyframe+empty_moov"})
    written("pcm_16.au", 16_000, 1, format="AU", subtype="PCM_16")
    written("pcm_24.au", 8_000, 2, format="AU", subtype="PCM_24")
    written("float.au", 8_000, 1, format="AU", subtype="FLOAT")
    written("ulaw.au", 8_000, 1, format="AU", subtype="ULAW")
    written("alaw.au", 8_000, 1, format="AU", subtype="ALAW")
    written("alaw.wav", 8_000, 1, subtype="ALAW")
    written("double.wav", 8_000, 1, subtype="DOUBLE")
    # Decoders sum a step's parts, or multiply them at once, and round otherwise.
    goldens.written("ima.wav", 8_000, 1, 1e-3, "PCM_16", 0.06, subtype="IMA_ADPCM")
    written("ms.wav", 8_000, 1, subtype="MS_ADPCM")
    written("alaw.caf", 8_000, 1, format="CAF", subtype="ALAW")
    written("ulaw.caf", 8_000, 2, format="CAF", subtype="ULAW")
    encoded("pcm.mov", "mov", "pcm_s16be", 8_000, 2)
    lines = ",\n".join(json.dumps(case) for case in goldens.cases)
    (HERE / "cases.json").write_text(f"[\n{lines}\n]\n")
    # As libsndfile writes it: messengers' recordings look like this.
    soundfile.write(HERE / "opus.ogg", tones(48_000, 1), 48_000, format="OGG", subtype="OPUS")


if __name__ == "__main__":
    main()
