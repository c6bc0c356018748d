"""Our encoder of videos, in plain PyTorch. Writes goldens/video_encoder.

Each frame goes through a small ViT of 4x4 patches (one block, positions after its last norm); squares of 2x2
positions are averaged; a learned vector for each frame and a linear map of the change since the frame before
are added; three latents ask all of it in two layers of a Perceiver resampler, as `flamingo.py` has it, and are
normed. Two videos of three frames, of the four that the encoder knows. The loss is the mean square of
(latents - target).
"""

import torch
from golden import curve, gradients, normal, randomise, write
from ops import attend
from table_encoder import E, EPS, HEADS, Block
from torch import nn
from torch.nn.functional import avg_pool2d, gelu

CONFIG = {
    "image_size": 16,
    "patch_size": 4,
    "hidden_size": E,
    "num_attention_heads": HEADS,
    "intermediate_size": 20,
    "layer_norm_eps": EPS,
    "num_hidden_layers": 1,
    "max_frames": 4,
    "pool": 2,
    "latents": 3,
    "resampler_layers": 2,
}
SIDE = CONFIG["image_size"] // CONFIG["patch_size"]


class Vit(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Module()
        self.stem.convs = nn.ModuleList([nn.Conv2d(3, E, CONFIG["patch_size"], CONFIG["patch_size"])])
        self.position = nn.Parameter(torch.zeros(SIDE**2, E))
        self.blocks = nn.ModuleList(Block() for _ in range(CONFIG["num_hidden_layers"]))
        self.norm = nn.LayerNorm(E, EPS)

    def forward(self, image):
        x = self.stem.convs[0](image).flatten(2).transpose(1, 2) + self.position
        for block in self.blocks:
            x = block(x, torch.ones(SIDE**2, SIDE**2).bool())
        return self.norm(x)


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        inner = CONFIG["intermediate_size"]
        self.fc1, self.fc2 = nn.Linear(E, inner, bias=False), nn.Linear(inner, E, bias=False)

    def forward(self, x):
        return self.fc2(gelu(self.fc1(x)))


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.context_norm, self.latents_norm, self.norm = (nn.LayerNorm(E, EPS) for _ in range(3))
        self.q, self.k, self.v, self.o = (nn.Linear(E, E, bias=False) for _ in range(4))
        self.mlp = Mlp()

    def forward(self, x, context):
        latents = self.latents_norm(x)
        both = torch.cat([self.context_norm(context), latents], 1)
        q, k, v = (m(y).unflatten(-1, (HEADS, -1)).transpose(1, 2)
                   for m, y in ((self.q, latents), (self.k, both), (self.v, both)))
        mixed = attend(q, k, v, torch.ones(q.shape[2], k.shape[2]).bool())
        x = x + self.o(mixed.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm(x))


class VideoEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.image = Vit()
        self.frame = nn.Parameter(torch.zeros(CONFIG["max_frames"], E))
        self.change = nn.Linear(E, E, bias=False)
        self.latents = nn.Parameter(torch.zeros(CONFIG["latents"], E))
        self.layers = nn.ModuleList(Layer() for _ in range(CONFIG["resampler_layers"]))
        self.norm = nn.LayerNorm(E, EPS)

    def see(self, video):
        """[B, F, 3, h, w] -> [B, F, N, E]"""
        x = self.image(video.flatten(0, 1)).transpose(1, 2).unflatten(2, (SIDE, SIDE))
        return avg_pool2d(x, CONFIG["pool"]).flatten(2).transpose(1, 2).unflatten(0, video.shape[:2])

    def forward(self, video):
        seen = self.see(video)
        change = torch.cat([torch.zeros_like(seen[:, :1]), seen[:, 1:] - seen[:, :-1]], 1)
        x = seen + self.change(change) + self.frame[:seen.shape[1], None]
        y = self.latents.expand(len(video), -1, -1)
        for layer in self.layers:
            y = layer(y, x.flatten(1, 2))
        return seen, self.norm(y)


def main():
    model = randomise(VideoEncoder())
    side = CONFIG["image_size"]
    inputs = {"pixel_values": normal("video_encoder.pixel_values", 2, 3, 3, side, side),
              "target": normal("video_encoder.target", 2, CONFIG["latents"], E)}

    def run():
        seen, x = model(inputs["pixel_values"])
        return seen, x, (x - inputs["target"]).square().mean()

    seen, x, loss = run()
    write("video_encoder", config=CONFIG, weights=dict(model.named_parameters()), inputs=inputs,
          outputs={"frames": seen, "last_hidden_state": x, "loss": loss.reshape(1)},
          gradients=gradients(model, loss), losses={"losses": curve(model, lambda: run()[2])})


if __name__ == "__main__":
    main()
