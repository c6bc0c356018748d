"""A Conformer with rotary positions and a CTC head, in plain PyTorch. Writes goldens/conformer.

The embedded model's sound encoder at a sixteenth of its width: two convolutions over time (kernel 3,
stride 2, padding 1, exact GELU behind both); blocks of half a feed-forward part, attention, a gated
depthwise convolution and the other half, with LayerNorm in the convolution; a linear head. Three sounds of
different lengths, padded with noise that must not count; one has equal labels side by side, one none.
The loss is torch's `ctc_loss` (mean), the blank class 0.

`long` is one sound of 300 frames of logits alone, for the loss and its gradient.

Gulati et al. 2020, https://arxiv.org/abs/2005.08100
"""

import torch
from golden import capture, curve, gradients, normal, randomise, write
from ops import attend, rotate
from torch import nn
from torch.nn.functional import ctc_loss, gelu, glu, silu

CONFIG = {
    "bands": 8,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 20,
    "kernel_size": 5,
    "vocab_size": 6,
    "layer_norm_eps": 1e-5,
    "rope_theta": 1e4,
    "frames": [46, 29, 21],
    "labels": [[3, 3, 1, 5], [2], []],
    "long_labels": [1 + i * 7 % 5 for i in range(80)],
}
E, HEADS, EPS = CONFIG["hidden_size"], CONFIG["num_attention_heads"], CONFIG["layer_norm_eps"]
FRAMES = torch.tensor(CONFIG["frames"])


def silence(x, lengths):
    """x [B, T, E] with zeros behind each sound's end."""
    return x * (torch.arange(x.shape[1]) < lengths[:, None])[..., None]


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(E, E) for _ in range(4))

    def forward(self, x, lengths):
        heads = lambda y: y.unflatten(-1, (HEADS, -1)).transpose(1, 2)  # [B, H, T, K]
        q, k = (rotate(heads(m(x)), CONFIG["rope_theta"], 0) for m in (self.q, self.k))
        seen = (torch.arange(x.shape[1]) < lengths[:, None])[:, None, None]
        return self.o(attend(q, k, heads(self.v(x)), seen).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(E, CONFIG["intermediate_size"]), nn.Linear(CONFIG["intermediate_size"], E)

    def forward(self, x):
        return self.fc2(silu(self.fc1(x)))


class Convolution(nn.Module):
    def __init__(self):
        super().__init__()
        kernel = CONFIG["kernel_size"]
        self.norm, self.gate = nn.LayerNorm(E, EPS), nn.Linear(E, 2 * E)
        self.depthwise = nn.Conv1d(E, E, kernel, padding=kernel // 2, groups=E)
        self.depthwise_norm, self.out = nn.LayerNorm(E, EPS), nn.Linear(E, E)

    def forward(self, x, lengths):
        x = silence(glu(self.gate(self.norm(x))), lengths)
        x = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        return self.out(silu(self.depthwise_norm(x)))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.mlp1_norm, self.mlp1 = nn.LayerNorm(E, EPS), Mlp()
        self.attention_norm, self.attention = nn.LayerNorm(E, EPS), Attention()
        self.convolution = Convolution()
        self.mlp2_norm, self.mlp2 = nn.LayerNorm(E, EPS), Mlp()
        self.norm = nn.LayerNorm(E, EPS)

    def forward(self, x, lengths):
        x = x + self.mlp1(self.mlp1_norm(x)) / 2
        x = x + self.attention(self.attention_norm(x), lengths)
        x = x + self.convolution(x, lengths)
        x = x + self.mlp2(self.mlp2_norm(x)) / 2
        return self.norm(x)


class Conformer(nn.Module):
    def __init__(self, classes=CONFIG["vocab_size"]):
        super().__init__()
        conv = lambda channels: nn.Conv1d(channels, E, 3, stride=2, padding=1)
        self.conv1, self.conv2 = conv(CONFIG["bands"]), conv(E)
        self.blocks = nn.ModuleList(Block() for _ in range(CONFIG["num_hidden_layers"]))
        self.head = nn.Linear(E, classes)

    def forward(self, mel, frames):
        """mel [B, bands, F] -> positions [B, N, E], logits [B, N, V] and how many of N count."""
        x, lengths = silence(mel.transpose(1, 2), frames), frames
        for conv in (self.conv1, self.conv2):
            lengths = (lengths + 1) // 2
            x = silence(gelu(conv(x.transpose(1, 2))).transpose(1, 2), lengths)
        for block in self.blocks:
            x = block(x, lengths)
        x = silence(x, lengths)
        return x, self.head(x), lengths


def loss_of(logits, lengths, labels):
    """torch's loss of logits [B, N, V]."""
    labels = [torch.tensor(row, dtype=torch.long) for row in labels]
    return ctc_loss(logits.log_softmax(-1).transpose(0, 1), torch.cat(labels), lengths,
                    torch.tensor([len(row) for row in labels]))


def main():
    model = randomise(Conformer())
    inputs = {"input_features": normal("conformer.input_features", 3, CONFIG["bands"], 46),
              "long.logits": normal("conformer.long", 1, 300, CONFIG["vocab_size"], std=3.0)}

    def run():
        x, logits, lengths = model(inputs["input_features"], FRAMES)
        return x, logits, loss_of(logits, lengths, CONFIG["labels"])

    (x, logits, loss), seen = capture(model, {f"blocks.{i}": f"blocks.{i}" for i in range(2)}, run)
    long = inputs["long.logits"].clone().requires_grad_()
    long_loss = loss_of(long, torch.tensor([300]), [CONFIG["long_labels"]])
    long_loss.backward()
    write("conformer", config=CONFIG, weights=dict(model.named_parameters()), inputs=inputs,
          outputs={**seen, "last_hidden_state": x, "logits": logits, "loss": loss.reshape(1),
                   "long.loss": long_loss.detach().reshape(1), "long.gradient": long.grad},
          gradients=gradients(model, loss), losses={"losses": curve(model, lambda: run()[2])})


if __name__ == "__main__":
    main()
