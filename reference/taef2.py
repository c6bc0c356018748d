"""TAEF2, a small stand-in for FLUX.2's autoencoder, as an `AutoencoderTiny` directory.

    venv/bin/python reference/taef2.py taef2_encoder.safetensors taef2_decoder.safetensors DIR [PICTURE...]

The files are those of https://github.com/madebyollin/taesd (MIT), whose tensors are called by their places in two
sequences; the decoder's first place is the limit of its latents, which diffusers has outside. DIR is then read by
`sensorium inspect` and stands as `vae/` of a pipeline whose latents it reads. Writes no golden: for each picture it
prints how far torch, with the same weights, brings it back, in dB, and leaves `PICTURE.torch.safetensors` beside DIR's
weights: the pixels, the latents, and what becomes of them.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

BLOCKS = {"num_encoder_blocks": [1, 3, 3, 3], "num_decoder_blocks": [3, 3, 3, 1]}
CONFIG = {"_class_name": "AutoencoderTiny", "act_fn": "relu", "in_channels": 3, "out_channels": 3,
          "latent_channels": 32, "encoder_block_out_channels": [64] * 4, "decoder_block_out_channels": [64] * 4,
          "scaling_factor": 1.0, "shift_factor": 0.0, "upsample_fn": "nearest", "upsampling_scaling_factor": 2,
          "use_midblock_gn": True, **BLOCKS}


def moved(name, by):
    place, _, rest = name.partition(".")
    return f"{int(place) - by}.{rest}"


class Residual(nn.Module):
    """relu(y + conv(y)), y = x + pool(x) where the file has a pool."""

    def __init__(self, pools):
        super().__init__()
        conv = lambda: nn.Conv2d(64, 64, 3, padding=1)  # noqa: E731
        self.conv = nn.Sequential(conv(), nn.ReLU(), conv(), nn.ReLU(), conv())
        if pools:
            self.pool = nn.Sequential(nn.Conv2d(64, 256, 1, bias=False), nn.GroupNorm(4, 256), nn.ReLU(),
                                      nn.Conv2d(256, 64, 1, bias=False))

    def forward(self, x):
        x = x + self.pool(x) if hasattr(self, "pool") else x
        return torch.relu(x + self.conv(x))


def sequence(weights, between):
    """A module for each place: by its tensors, or, where a place has none, by `between`."""
    places = {}
    for name, value in weights.items():
        place, _, rest = name.partition(".")
        places.setdefault(int(place), {})[rest] = value
    layers = []
    for place in range(max(places) + 1):
        of = places.get(place)
        if of is None:
            layers.append(between(place))
        elif "conv.0.weight" in of:
            layers.append(Residual("pool.0.weight" in of))
        else:
            out, into = of["weight"].shape[:2]
            halves = between is halving and place not in (0, max(places))
            layers.append(nn.Conv2d(into, out, 3, padding=1, stride=2 if halves else 1, bias="bias" in of))
    module = nn.Sequential(*layers)
    module.load_state_dict(weights)
    return module.float().eval()


def halving(_place):
    raise ValueError("an encoder has tensors at every place")


def doubling(place):
    return nn.ReLU() if place == 1 else nn.Upsample(scale_factor=2)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("encoder", "decoder", "folder"):
        parser.add_argument(name, type=Path)
    parser.add_argument("pictures", type=Path, nargs="*")
    options = parser.parse_args()
    encoder = load_file(options.encoder)
    decoder = {moved(name, 1): value for name, value in load_file(options.decoder).items()}
    named = {f"encoder.layers.{name}": value for name, value in encoder.items()}
    named |= {f"decoder.layers.{name}": value for name, value in decoder.items()}
    options.folder.mkdir(parents=True, exist_ok=True)
    (options.folder / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    save_file(named, options.folder / "diffusion_pytorch_model.safetensors", {"format": "pt"})
    there = sequence({name: value.float() for name, value in encoder.items()}, halving)
    back = sequence({name: value.float() for name, value in decoder.items()}, doubling)
    for path in options.pictures:
        pixels = torch.from_numpy(np.asarray(Image.open(path).convert("RGB")).copy()).permute(2, 0, 1)[None] / 255
        height, width = (side // 8 * 8 for side in pixels.shape[2:])
        pixels = pixels[..., :height, :width].contiguous()
        with torch.no_grad():
            latents = there(pixels)
            again = back(torch.tanh(latents / 3) * 3).clamp(0, 1)
        decibels = -10 * torch.log10((again - pixels).square().mean())
        print(f"{path.name}: {decibels:.2f} dB")
        save_file({"pixels": pixels, "latents": latents, "again": again},
                  options.folder / f"{path.stem}.torch.safetensors")


if __name__ == "__main__":
    main()
