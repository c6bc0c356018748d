"""PyTorch's side of P7 and P8: training steps of a GPT in f32, or in bf16 with f32 weights.

    torch_step.py [--bf16] [--threads 2] [--eager]       (a step a line, see protocol.py)

The model is a GPT: token embedding, learned positions, six pre-norm blocks (LayerNorm, causal
attention, LayerNorm, exact-GELU MLP of four widths), a final LayerNorm, an untied head. Every
Linear has a bias, the head too. With width d = 384, vocabulary 1000, 64 positions:

    token embedding    1000 * 384                             384,000
    positions            64 * 384                              24,576
    a block    LayerNorms    2 * 2 * 384         =     1,536
               q, k, v, o    4 * (384^2 + 384)   =   591,360
               MLP           8 * 384^2 + 5 * 384 = 1,181,568
               together                            1,774,464
    six blocks                                             10,646,784
    final LayerNorm       2 * 384                                 768
    head            384 * 1000 + 1000                         385,000
                                                           ----------
                                                           11,441,128

A step is forward, cross-entropy over 32 x 64 tokens, backward, fused AdamW.
"""

import argparse

import torch
from torch import nn
from torch.nn.functional import cross_entropy, gelu, scaled_dot_product_attention

import protocol

LAYERS, WIDTH, HEADS, BATCH, TOKENS, VOCABULARY = 6, 384, 6, 32, 64, 1000
PARAMETERS = 11_441_128


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
        mixed = scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o(mixed.transpose(1, 2).flatten(2))

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.fc2(gelu(self.fc1(self.norm2(x))))


class Gpt(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.positions = nn.Parameter(torch.randn(TOKENS, WIDTH) * 0.02)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, VOCABULARY)

    def forward(self, ids):
        x = self.tokens(ids) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--eager", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)

    model = Gpt()
    count = sum(p.numel() for p in model.parameters())
    assert count == PARAMETERS, f"expected {PARAMETERS} parameters, got {count}"
    forward = model if arguments.eager else protocol.compiled(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95),
                                  weight_decay=0.05, fused=True)
    ids = torch.randint(VOCABULARY, (BATCH, TOKENS + 1))
    inputs, targets = ids[:, :-1], ids[:, 1:].reshape(-1)
    losses = []

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=arguments.bf16):
            loss = cross_entropy(forward(inputs).flatten(0, 1), targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    name = f"torch {torch.__version__}, {'eager' if arguments.eager else 'compiled'}"
    protocol.serve(name, step, facts=lambda: {"losses": losses})


if __name__ == "__main__":
    main()
