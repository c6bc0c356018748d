"""Our convolution-stem ViT with attention pooling, in plain PyTorch. Writes goldens/nano_vit.

The shipped encoder's shape at an eighth of its width: four convolutions (kernel 3, strides
2, 2, 1, 3, padding 1, 1, 1, 0, exact GELU between them) turn 48x48 pixels into 4x4 tokens;
a LayerNorm; learned positions; pre-norm blocks; a final LayerNorm; one learned probe attends to all tokens,
and beside it two matrices read the whole grid;
a projection without bias. The loss is the mean square of (embedding - target).

Stem: Xiao et al. 2021, https://arxiv.org/abs/2106.14881
Attention pooling: Lee et al. 2019, https://arxiv.org/abs/1810.00825
"""

import torch
from golden import capture, curve, gradients, normal, randomise, write
from torch import nn
from torch.nn.functional import gelu

CONFIG = {
    "image_size": 48,
    "channels": [3, 4, 8, 8, 24],
    "kernels": [3, 3, 3, 3],
    "strides": [2, 2, 1, 3],
    "paddings": [1, 1, 1, 0],
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "mlp_ratio": 4,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
    "embed_dim": 16,
}
WIDTH, HEADS, EPS = CONFIG["hidden_size"], CONFIG["num_attention_heads"], CONFIG["layer_norm_eps"]
TOKENS, NUMBERS = 16, 16


def attend(module, queries, memory):
    """Multi-head attention of `queries` [B, Q, E] to `memory` [B, N, E]."""

    def heads(x):
        return x.unflatten(-1, (HEADS, -1)).transpose(1, 2)  # [B, H, N, K]

    q, k, v = heads(module.q(queries)), heads(module.k(memory)), heads(module.v(memory))
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    mixed = scores.softmax(-1) @ v
    return module.o(mixed.transpose(1, 2).flatten(2))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x):
        return attend(self, x, x)


class Grid(nn.Module):
    def __init__(self):
        super().__init__()
        self.squeeze = nn.Linear(WIDTH, NUMBERS, bias=False)
        self.spread = nn.Linear(TOKENS * NUMBERS, WIDTH, bias=False)

    def forward(self, x):
        return self.spread(self.squeeze(x).flatten(1))


class Pool(Attention):
    def __init__(self):
        super().__init__()
        self.probe = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.grid = Grid()

    def forward(self, x):
        return attend(self, self.probe.expand(len(x), -1, -1), x)[:, 0] + self.grid(x)


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        inner = WIDTH * CONFIG["mlp_ratio"]
        self.fc1, self.fc2 = nn.Linear(WIDTH, inner), nn.Linear(inner, WIDTH)

    def forward(self, x):
        return self.fc2(gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(WIDTH, EPS), Attention()
        self.norm2, self.mlp = nn.LayerNorm(WIDTH, EPS), Mlp()

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Stem(nn.Module):
    def __init__(self):
        super().__init__()
        c = CONFIG["channels"]
        self.convs = nn.ModuleList(
            nn.Conv2d(c[i], c[i + 1], CONFIG["kernels"][i], CONFIG["strides"][i], CONFIG["paddings"][i])
            for i in range(4)
        )

    def forward(self, x):
        for i, conv in enumerate(self.convs):
            x = conv(gelu(x) if i else x)  # between convolutions, not after the last
        return x.flatten(2).transpose(1, 2)  # [B, N, E], row by row


class NanoVit(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = Stem()
        self.stem_norm = nn.LayerNorm(WIDTH, EPS)
        self.position = nn.Parameter(torch.zeros(1, TOKENS, WIDTH))
        self.blocks = nn.ModuleList(Block() for _ in range(CONFIG["num_hidden_layers"]))
        self.norm = nn.LayerNorm(WIDTH, EPS)
        self.pool = Pool()
        self.proj = nn.Linear(WIDTH, CONFIG["embed_dim"], bias=False)

    def forward(self, x):
        x = self.stem_norm(self.stem(x)) + self.position
        for block in self.blocks:
            x = block(x)
        return self.proj(self.pool(self.norm(x)))


def main():
    model = randomise(NanoVit())
    inputs = {"pixel_values": normal("nano_vit.pixel_values", 3, 3, 48, 48),
              "target": normal("nano_vit.target", 3, CONFIG["embed_dim"])}
    watched = [f"stem.convs.{i}" for i in range(4)]
    watched += ["stem", "stem_norm", "blocks.0.attention", "blocks.0.mlp", "blocks.0", "blocks.1", "norm", "pool"]

    def run():
        embedding = model(inputs["pixel_values"])
        return embedding, (embedding - inputs["target"]).square().mean()

    (embedding, loss), seen = capture(model, {p: p for p in watched}, run)
    write("nano_vit", config=CONFIG, weights=dict(model.named_parameters()), inputs=inputs,
          outputs=dict(seen, embedding=embedding, loss=loss.reshape(1)),
          gradients=gradients(model, loss), losses={"losses": curve(model, lambda: run()[1])})


if __name__ == "__main__":
    main()
