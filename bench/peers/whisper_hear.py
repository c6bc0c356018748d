"""Peers of the rows of Whisper: a recording to its text, greedily, in f32.

    whisper_hear.py DIRECTORY SOUND [--engine faster-whisper|transformers] [--threads 2]

faster-whisper reads CTranslate2's files, which `cargo xtask data` leaves beside those of the hub's
layout. Timed are reading the file, spectrogram, encoder and decoder, as on our side.
"""

import argparse
import pathlib
import wave

import numpy

import protocol


def faster_whisper(arguments):
    import faster_whisper

    folder = arguments.directory / "ctranslate2"
    model = faster_whisper.WhisperModel(str(folder), device="cpu", compute_type="float32",
                                        cpu_threads=arguments.threads)

    def work():
        segments, _ = model.transcribe(arguments.sound, language="en", beam_size=1, temperature=0.0,
                                       without_timestamps=True, condition_on_previous_text=False)
        return "".join(segment.text for segment in segments)

    return f"faster-whisper {faster_whisper.__version__}", work


def transformers(arguments):
    import torch
    import transformers

    torch.set_num_threads(arguments.threads)
    model = transformers.WhisperForConditionalGeneration.from_pretrained(
        arguments.directory, dtype=torch.float32).eval()
    features = transformers.WhisperFeatureExtractor.from_pretrained(arguments.directory)
    several = {"language": "en", "task": "transcribe"} if model.generation_config.is_multilingual else {}

    @torch.inference_mode()
    def work():
        with wave.open(arguments.sound) as sound:
            samples = numpy.frombuffer(sound.readframes(sound.getnframes()), "<i2") / 32768.0
        mel = features(samples, sampling_rate=16000, return_tensors="pt").input_features
        return model.generate(mel.float(), do_sample=False, num_beams=1, **several)

    return f"transformers {transformers.__version__}", work


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("sound")
    parser.add_argument("--engine", choices=["faster-whisper", "transformers"], default="faster-whisper")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    engine = faster_whisper if arguments.engine == "faster-whisper" else transformers
    protocol.serve(*engine(arguments))


if __name__ == "__main__":
    main()
