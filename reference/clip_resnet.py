"""CLIP with a modified ResNet, in open_clip's files. Writes goldens/published_clip_resnet.

Radford et al. 2021, https://arxiv.org/abs/2103.00020, section 2.4: the ResNet-D of He et al. 2019
(a stem of three convolutions, an average pool before every step of two, on the shortcut too) with
the antialiasing of Zhang 2019 (blur, then step), and attention in place of the last average.

    pixels -> 3 x (convolution, norm, relu) -> average 2 -> 4 stages of bottlenecks -> [E, h/32, w/32]
    -> mean and all places, plus their positions -> what the mean's query finds -> [C]

The text tower and its outputs are those of `published_open_clip`. `--check` compares the picture
encoder with that of open_clip, if it is installed.
"""

import json
import shutil
import sys

import torch
import torch.nn.functional as F
from golden import ROOT, normal
from PIL import Image
from published import IMAGES, finish, fresh, two_passes
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import CLIPImageProcessorPil

NAME = "published_clip_resnet"
LAYERS, WIDTH, HEAD, SIDE, EMBED = [2, 1, 2, 1], 4, 32, 64, 20
TEXT = ("token_embedding.", "positional_embedding", "transformer.", "ln_final.", "text_projection")


class Bottleneck(nn.Module):
    """1x1, 3x3, average over the step, 1x1 to four times the channels; added to the shortcut."""

    def __init__(self, channels, planes, step):
        super().__init__()
        self.step = step
        for i, (c_in, c_out, side) in enumerate(
                [(channels, planes, 1), (planes, planes, 3), (planes, 4 * planes, 1)], 1):
            setattr(self, f"conv{i}", nn.Conv2d(c_in, c_out, side, padding=side // 2, bias=False))
            setattr(self, f"bn{i}", nn.BatchNorm2d(c_out))
        self.downsample = None
        if step > 1 or channels != 4 * planes:
            shortcut = nn.Conv2d(channels, 4 * planes, 1, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(4 * planes))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.avg_pool2d(F.relu(self.bn2(self.conv2(y))), self.step)
        y = self.bn3(self.conv3(y))
        if self.downsample is not None:
            x = self.downsample(F.avg_pool2d(x, self.step))
        return F.relu(x + y)


class AttentionPool(nn.Module):
    """One query, the mean's, over the mean and all places."""

    def __init__(self, places, width, heads, out):
        super().__init__()
        self.heads = heads
        self.positional_embedding = nn.Parameter(torch.empty(places + 1, width))
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, width) for _ in range(3))
        self.c_proj = nn.Linear(width, out)

    def forward(self, x):
        x = x.flatten(2).transpose(1, 2)
        x = torch.cat([x.mean(1, keepdim=True), x], 1) + self.positional_embedding
        split = lambda y: y.unflatten(2, (self.heads, -1)).transpose(1, 2)  # noqa: E731
        q, k, v = split(self.q_proj(x[:, :1])), split(self.k_proj(x)), split(self.v_proj(x))
        weights = (q @ k.transpose(2, 3) / q.shape[3] ** 0.5).softmax(3)
        return self.c_proj((weights @ v).transpose(1, 2).flatten(2)[:, 0])


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        half = WIDTH // 2
        for i, (c_in, c_out) in enumerate([(3, half), (half, half), (half, WIDTH)], 1):
            step = 2 if i == 1 else 1
            setattr(self, f"conv{i}", nn.Conv2d(c_in, c_out, 3, step, padding=1, bias=False))
            setattr(self, f"bn{i}", nn.BatchNorm2d(c_out))
        channels = WIDTH
        for i, count in enumerate(LAYERS):
            planes, stage = WIDTH << i, []
            for j in range(count):
                stage.append(Bottleneck(channels, planes, 2 if i > 0 and j == 0 else 1))
                channels = 4 * planes
            setattr(self, f"layer{i + 1}", nn.Sequential(*stage))
        self.attnpool = AttentionPool((SIDE // 32) ** 2, channels, channels // HEAD, EMBED)

    def forward(self, x):
        for i in (1, 2, 3):
            x = F.relu(getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(x)))
        x = F.avg_pool2d(x, 2)
        for i in (1, 2, 3, 4):
            x = getattr(self, f"layer{i}")(x)
        return self.attnpool(x)


def randomised(model):
    """Values that are halves; statistics far from those at the start."""
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith("num_batches_tracked"):
                tensor.fill_(7)
                continue
            noise = normal(f"{NAME}.{name}", *tensor.shape)
            if name.endswith("running_var"):
                noise = 0.6 + noise.abs()
            elif name.endswith("running_mean") or name.endswith("bias"):
                noise = 0.2 * noise
            elif name.endswith("positional_embedding"):
                noise = 0.5 * noise
            elif tensor.dim() == 1:
                noise = 1 + 0.2 * noise
            else:
                gain = 2.0 if tensor.dim() == 4 else 1.0
                noise = noise * (gain / tensor[0].numel()) ** 0.5
            tensor.copy_(noise.half().float())
    return model.eval()


def check(model, text, config):
    """That open_clip computes the same from the same file."""
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    theirs = CLIP(EMBED, CLIPVisionCfg(**config["vision_cfg"]), CLIPTextCfg(**config["text_cfg"]), quick_gelu=True)
    weights = {f"visual.{key}": value for key, value in model.state_dict().items()}
    theirs.load_state_dict({**weights, **text, "logit_scale": torch.tensor(2.0)}, strict=False)
    missing = set(theirs.state_dict()) - set(weights) - set(text) - {"logit_scale", "attn_mask"}
    assert not missing, missing
    pixels = normal("check", 2, 3, SIDE, SIDE)
    with torch.no_grad():
        apart = (theirs.eval().visual(pixels) - model(pixels)).abs().max().item()
    assert apart < 1e-5, apart
    print(f"open_clip differs by {apart:.1e}")


def main():
    two_passes()
    source = ROOT / "published_open_clip"
    config = json.loads((source / "open_clip_config.json").read_text())
    config["model_cfg"]["vision_cfg"] = {
        "image_size": SIDE, "layers": LAYERS, "width": WIDTH, "head_width": HEAD, "patch_size": None}
    weights = load_file(source / "open_clip_model.safetensors")
    text = {key: value for key, value in weights.items() if key.startswith(TEXT)}
    model = randomised(ResNet())
    if "--check" in sys.argv:
        check(model, text, config["model_cfg"])

    folder = fresh(NAME)
    halves = {f"visual.{key}": value.half() if value.is_floating_point() else value
              for key, value in model.state_dict().items()}
    save_file({**halves, **text, "logit_scale": weights["logit_scale"]}, folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")
    shutil.copy(source / "tokenizer.json", folder / "tokenizer.json")

    expected = json.loads((source / "expected.json").read_text())
    made = [Image.open(IMAGES / name) for name in expected["pictures"]]
    processor = CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    pixels = processor(made, return_tensors="pt")["pixel_values"]
    texts = load_file(source / "outputs.safetensors")["text_embeds"]
    with torch.no_grad():
        images = F.normalize(model(pixels), dim=1)
    logits = weights["logit_scale"].exp() * images @ texts.T
    finish(folder, expected, {"image_embeds": images, "text_embeds": texts, "logits_per_image": logits})


if __name__ == "__main__":
    main()
