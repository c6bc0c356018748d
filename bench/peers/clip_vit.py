"""CLIP's ViT-B/32 image encoder in plain PyTorch, randomly initialised; used by the scripts beside."""

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

LAYERS, WIDTH, HEADS, IMAGE, PATCH, EMBED = 12, 768, 12, 224, 32, 512
PARAMETERS = 87_849_216


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.o = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.fc1, self.fc2 = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def attention(self, x):
        q, k, v = (
            part.unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for part in self.qkv(x).chunk(3, -1)
        )
        return self.o(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        hidden = self.fc1(self.norm2(x))
        return x + self.fc2(hidden * torch.sigmoid(1.702 * hidden))


class Vit(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, PATCH, PATCH, bias=False)
        self.first = nn.Parameter(torch.randn(WIDTH) * 0.02)
        self.positions = nn.Parameter(torch.randn((IMAGE // PATCH) ** 2 + 1, WIDTH) * 0.02)
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.head = nn.Linear(WIDTH, EMBED, bias=False)

    def forward(self, pictures):
        x = self.patches(pictures).flatten(2).transpose(1, 2)
        x = torch.cat([self.first.expand(x.shape[0], 1, WIDTH), x], 1) + self.positions
        x = self.norm1(x)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm2(x[:, 0]))


def build():
    torch.manual_seed(0)
    model = Vit().eval()
    count = sum(p.numel() for p in model.parameters())
    assert count == PARAMETERS, f"expected {PARAMETERS} parameters, got {count}"
    return model
