"""Tiny checkpoints of DINOv3 as they lie in a directory. Writes goldens/published_dinov3{,_gated,_convnext}, of the
pictures of goldens/published_images: after `published.py`.

    published_dinov3         plain MLP, registers, keys without bias, positions of 30 pixels read at 30 x 20
    published_dinov3_gated   gated MLP without biases, no registers, blocks under the names of older files
    published_dinov3_convnext   ConvNeXt of three stages, whose last one halves an odd number of places
"""

import torch
from golden import normal, randomise
from PIL import Image
from published import IMAGES, finish, fresh
from safetensors.torch import load_file, save_file
from transformers import (AutoModel, DINOv3ConvNextConfig, DINOv3ConvNextModel, DINOv3ViTConfig, DINOv3ViTImageProcessor,
                          DINOv3ViTModel)

PICTURES = ("noise", "smooth", "rings")


def first_patches(states, registers):
    """Registers last, as ours stand."""
    return torch.cat([states[:, :1], states[:, 1 + registers:], states[:, 1:1 + registers]], 1)


def checkpoint(name, side, older, **other):
    config = DINOv3ViTConfig(**{**dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=3, image_size=30,
                                       intermediate_size=44, patch_size=5, layerscale_value=0.5), **other})
    model = randomise(DINOv3ViTModel(config))
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if key.endswith("lambda1"):
                parameter.copy_(0.5 + 0.3 * normal(key, *parameter.shape))
    folder = fresh(name)
    model.save_pretrained(folder)
    weights = {key.removeprefix("model.") if older else key: value for key, value in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    DINOv3ViTImageProcessor(size=side).save_pretrained(folder)
    return folder, config


def read(folder):
    """What `from_pretrained` makes of the pictures."""
    model = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    images = DINOv3ViTImageProcessor.from_pretrained(folder)
    made = [Image.open(IMAGES / f"{picture}.png") for picture in PICTURES]
    pixels = images(made, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        return pixels, model(pixels)


def ended(folder, pixels, result, states):
    outputs = {"pixel_values": pixels, "last_hidden_state": states, "pooler_output": result.pooler_output}
    finish(folder, {"pictures": [f"{picture}.png" for picture in PICTURES]}, outputs)


def convnext():
    config = DINOv3ConvNextConfig(hidden_sizes=[8, 12, 16], depths=[1, 2, 1], layer_scale_init_value=0.5)
    model = randomise(DINOv3ConvNextModel(config))
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if key.endswith("gamma"):
                parameter.copy_(0.5 + 0.3 * normal(key, *parameter.shape))
    folder = fresh("published_dinov3_convnext")
    model.save_pretrained(folder)
    DINOv3ViTImageProcessor(size={"height": 40, "width": 40}).save_pretrained(folder)
    pixels, result = read(folder)
    ended(folder, pixels, result, result.last_hidden_state.contiguous())


def main():
    convnext()
    for name, side, older, other in (
        ("published_dinov3", {"height": 30, "width": 30}, False, dict(num_register_tokens=3)),
        ("published_dinov3_gated", {"height": 20, "width": 20}, True,
         dict(use_gated_mlp=True, hidden_act="silu", mlp_bias=False, proj_bias=False, key_bias=True)),
    ):
        folder, config = checkpoint(name, side, older, **other)
        pixels, result = read(folder)
        states, registers = first_patches(result.last_hidden_state, config.num_register_tokens), config.num_register_tokens
        ended(folder, pixels, result, states[:, :states.shape[1] - registers].contiguous())


if __name__ == "__main__":
    main()
