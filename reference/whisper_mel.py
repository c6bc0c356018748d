"""Whisper's log-mel features. Writes goldens/whisper_mel.

Radford et al. 2022, https://arxiv.org/abs/2212.04356, section 2.2

`short` is half a second, padded to 30 s by the extractor; `long` is 31.3 s, whose samples follow
from their numbers (see `wave`) and are not stored. Of the features only some frames are: the first
64 of `short`; the first 8, 8 in the middle and the last 8 of `long`. Computed in double precision
by the extractor's NumPy code; its single-precision torch code differs by up to 1e-4 where a band is
80 dB below the loudest.
"""

import numpy as np
import torch
from golden import normal, write
from transformers import WhisperFeatureExtractor

RATE = 16_000
LONG = 500_811  # samples: no multiple of a hop, nor of a second


def wave(count):
    """A sample for every number, the same in every language: whole numbers up to the last line."""
    i = np.arange(count, dtype=np.int64)
    noise = (i * i * 7919 + i * 104_729) % 65_536 - 32_768
    loudness = 1 + (i // 4000) % 9
    return (noise * loudness / (32_768 * 10)).astype(np.float32)


def features(samples, bands):
    extractor = WhisperFeatureExtractor(feature_size=bands)
    count = max(len(samples), extractor.n_samples)
    padded = np.zeros(count, dtype=np.float32)
    padded[: len(samples)] = samples
    exact = extractor._np_extract_fbank_features(padded[None], "cpu")[0]
    short = len(samples) <= extractor.n_samples
    whole = extractor(samples, sampling_rate=RATE, truncation=False, return_tensors="np",
                      padding="max_length" if short else "longest").input_features[0]
    assert whole.shape == exact.shape and np.abs(whole - exact).max() < 2e-3
    return torch.from_numpy(exact.astype(np.float32))


def main():
    seconds = torch.arange(RATE // 2) / RATE
    tone = torch.sin(2 * torch.pi * (200 + 3000 * seconds) * seconds)
    short = 0.3 * tone * torch.exp(-4 * seconds) + 0.01 * normal("whisper_mel.short", RATE // 2)
    outputs = {}
    for bands in (80, 128):
        outputs[f"short.{bands}"] = features(short.numpy(), bands)[:, :64]
        whole = features(wave(LONG), bands)
        frames = whole.shape[1]
        outputs[f"long.{bands}.first"] = whole[:, :8]
        outputs[f"long.{bands}.middle"] = whole[:, 1500:1508]
        outputs[f"long.{bands}.last"] = whole[:, frames - 8 :]
    write("whisper_mel", config={"rate": RATE, "long": LONG, "frames": frames}, weights=None,
          inputs={"short": short}, outputs=outputs, gradients={})


if __name__ == "__main__":
    main()
