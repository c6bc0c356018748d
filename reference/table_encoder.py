"""Our encoder of tables' rows, in plain PyTorch. Writes goldens/table_encoder.

The embedded model's at a sixteenth of its width: a linear map of each column's name, and one of what stands
in its cell: a category's vector, the sines and cosines of a number at learned rates beside the number, or a
learned vector where nothing stands; pre-norm blocks without positions; a norm. Three rows of five, three and
one columns, padded with noise that is no key of the others. The loss is the mean square of (positions -
target).
"""

import torch
from golden import capture, curve, gradients, normal, randomise, write
from ops import attend
from torch import nn
from torch.nn.functional import gelu

NUMBER, CATEGORY, MISSING = range(3)
CONFIG = {
    "embed": 7,
    "rates": 3,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 20,
    "layer_norm_eps": 1e-5,
    "columns": [5, 3, 1],
    # 0 a number, 1 a category, 2 nothing.
    "cells": [[0, 1, 2, 0, 1], [1, 0, 2, 2, 0], [0, 1, 0, 1, 2]],
}
E, HEADS, EPS = CONFIG["hidden_size"], CONFIG["num_attention_heads"], CONFIG["layer_norm_eps"]
CELLS, COLUMNS = torch.tensor(CONFIG["cells"]), torch.tensor(CONFIG["columns"])


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(E, E) for _ in range(4))

    def forward(self, x, seen):
        heads = lambda y: y.unflatten(-1, (HEADS, -1)).transpose(1, 2)  # [B, H, N, K]
        mixed = attend(heads(self.q(x)), heads(self.k(x)), heads(self.v(x)), seen)
        return self.o(mixed.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(E, CONFIG["intermediate_size"]), nn.Linear(CONFIG["intermediate_size"], E)

    def forward(self, x):
        return self.fc2(gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(E, EPS), Attention()
        self.norm2, self.mlp = nn.LayerNorm(E, EPS), Mlp()

    def forward(self, x, seen):
        x = x + self.attention(self.norm1(x), seen)
        return x + self.mlp(self.norm2(x))


class TableEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.name, self.category = nn.Linear(CONFIG["embed"], E), nn.Linear(CONFIG["embed"], E)
        self.rates = nn.Parameter(torch.zeros(CONFIG["rates"]))
        self.number = nn.Linear(2 * CONFIG["rates"] + 1, E)
        self.missing = nn.Parameter(torch.zeros(E))
        self.blocks = nn.ModuleList(Block() for _ in range(CONFIG["num_hidden_layers"]))
        self.norm = nn.LayerNorm(E, EPS)

    def forward(self, names, categories, numbers):
        angles = numbers[..., None] * self.rates
        number = self.number(torch.cat([numbers[..., None], angles.sin(), angles.cos()], -1))
        cells = CELLS[..., None]
        value = torch.where(cells == NUMBER, number, torch.where(cells == CATEGORY, self.category(categories), self.missing))
        x = self.name(names) + value
        seen = (torch.arange(x.shape[1]) < COLUMNS[:, None])[:, None, None]
        for block in self.blocks:
            x = block(x, seen)
        return self.norm(x)


def main():
    model = randomise(TableEncoder())
    texts = (*CELLS.shape, CONFIG["embed"])
    inputs = {"names": normal("table.names", *texts), "categories": normal("table.categories", *texts),
              "numbers": normal("table.numbers", *CELLS.shape), "target": normal("table.target", *CELLS.shape, E)}

    def run():
        x = model(inputs["names"], inputs["categories"], inputs["numbers"])
        return x, (x - inputs["target"]).square().mean()

    (x, loss), seen = capture(model, {f"blocks.{i}": f"blocks.{i}" for i in range(2)}, run)
    write("table_encoder", config=CONFIG, weights=dict(model.named_parameters()), inputs=inputs,
          outputs={**seen, "last_hidden_state": x, "loss": loss.reshape(1)},
          gradients=gradients(model, loss), losses={"losses": curve(model, lambda: run()[1])})


if __name__ == "__main__":
    main()
