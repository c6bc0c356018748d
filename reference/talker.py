"""A talker, in plain PyTorch: phonemes to durations and log-mel spectrograms. Writes goldens/talker.

The embedded model's at a fraction of its width: embeddings of phonemes and of the voice; blocks of attention with
rotary positions and of ConvNeXt over time (depthwise convolution, LayerNorm, MLP with exact GELU); ln(1 + frames) of
each phoneme; each phoneme repeated over its frames, with the place in it and its length; blocks; 80 bands in the real
one. Two sentences of different lengths by two voices; a phoneme of no frames. The loss is the mean distance of
spectrograms and the mean square of what is wrong with the logarithms of durations, over what is no padding.

Ren et al. 2020 (FastSpeech 2), https://arxiv.org/abs/2006.04558, without its pitch and energy.
"""

import torch
from golden import capture, curve, gradients, normal, randomise, write
from ops import attend, rotate
from torch import nn
from torch.nn.functional import gelu

CONFIG = {
    "hidden_size": 12,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 20,
    "kernel_size": 5,
    "bands": 7,
    "phonemes": 9,
    "voices": 2,
    "layer_norm_eps": 1e-5,
    "rope_theta": 1e4,
    "ids": [[0, 3, 8, 1, 0], [0, 5, 0]],
    "speakers": [1, 0],
    "frames": [[3, 1, 0, 6, 2], [2, 4, 1]],
}
D, HEADS, EPS = CONFIG["hidden_size"], CONFIG["num_attention_heads"], CONFIG["layer_norm_eps"]
LEVEL, SPREAD, USUAL = -5.0, 2.0, 8.0


def padded(rows, fill=0):
    most = max(len(row) for row in rows)
    return torch.tensor([[*row, *[fill] * (most - len(row))] for row in rows])


IDS, FRAMES = padded(CONFIG["ids"]), padded(CONFIG["frames"])
LENGTHS = torch.tensor([len(row) for row in CONFIG["ids"]])
HEARD = FRAMES.sum(1)


def counting(lengths, most):
    return (torch.arange(most) < lengths[:, None])[..., None].float()


def silence(x, lengths):
    return x * counting(lengths, x.shape[1])


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(D, D) for _ in range(4))

    def forward(self, x, lengths):
        heads = lambda y: y.unflatten(-1, (HEADS, -1)).transpose(1, 2)  # [B, H, T, K]
        q, k = (rotate(heads(m(x)), CONFIG["rope_theta"], 0) for m in (self.q, self.k))
        seen = counting(lengths, x.shape[1]).bool()[:, None, None, :, 0]
        return self.o(attend(q, k, heads(self.v(x)), seen).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(D, CONFIG["intermediate_size"]), nn.Linear(CONFIG["intermediate_size"], D)

    def forward(self, x):
        return self.fc2(gelu(self.fc1(x)))


class ConvNext(nn.Module):
    def __init__(self):
        super().__init__()
        kernel = CONFIG["kernel_size"]
        self.depthwise = nn.Conv1d(D, D, kernel, padding=kernel // 2, groups=D)
        self.norm, self.mlp = nn.LayerNorm(D, EPS), Mlp()

    def forward(self, x, lengths):
        y = self.depthwise(silence(x, lengths).transpose(1, 2)).transpose(1, 2)
        return x + self.mlp(self.norm(y))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.attention, self.convolution = nn.LayerNorm(D, EPS), Attention(), ConvNext()

    def forward(self, x, lengths):
        x = x + self.attention(self.norm(x), lengths)
        return silence(self.convolution(x, lengths), lengths)


class Embedding(nn.Module):
    def __init__(self, rows):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, D))

    def forward(self, ids):
        return self.weight[ids]


class Talker(nn.Module):
    def __init__(self):
        super().__init__()
        self.phonemes, self.voices = Embedding(CONFIG["phonemes"]), Embedding(CONFIG["voices"])
        self.encoder = nn.ModuleList(Block() for _ in range(CONFIG["encoder_layers"]))
        self.duration_block, self.duration_norm = ConvNext(), nn.LayerNorm(D, EPS)
        self.duration, self.places = nn.Linear(D, 1), nn.Linear(2, D)
        self.decoder = nn.ModuleList(Block() for _ in range(CONFIG["decoder_layers"]))
        self.norm, self.mel = nn.LayerNorm(D, EPS), nn.Linear(D, CONFIG["bands"])

    def read(self, ids, voices):
        x = self.phonemes(ids) + self.voices(voices)[:, None]
        for block in self.encoder:
            x = block(x, LENGTHS)
        return x, self.duration(self.duration_norm(self.duration_block(x, LENGTHS)))[..., 0]

    def speak(self, x):
        """Phonemes [B, P, D] over their frames: [B, F, bands]."""
        sentences, places = [], []
        for row, frames in zip(x, FRAMES):
            sentences.append(row.repeat_interleave(frames, 0))
            places.append(torch.tensor([[(k + 0.5) / n, n / USUAL] for n in frames.tolist() for k in range(n)]))
        pad = nn.utils.rnn.pad_sequence
        # What pads a sentence is its first row in the other implementation: it must not count.
        x, places = (pad(part, batch_first=True) for part in (sentences, places))
        x = x + self.places(places)
        for block in self.decoder:
            x = block(x, HEARD)
        return self.mel(self.norm(x)) * SPREAD + LEVEL


def loss_of(made, durations, mel):
    counts = counting(HEARD, made.shape[1])
    off = ((made - mel).abs() * counts).sum() / (HEARD.sum() * CONFIG["bands"])
    counts = counting(LENGTHS, IDS.shape[1])[..., 0]
    return off + ((durations - torch.log(1.0 + FRAMES)).square() * counts).sum() / LENGTHS.sum()


def main():
    model = randomise(Talker(), table=1.0)
    with torch.no_grad():  # tables, whatever they are called
        for table in (model.phonemes, model.voices):
            table.weight.copy_(normal(f"talker.{table.weight.shape[0]}", *table.weight.shape))
    mel = normal("talker.mel", 2, int(HEARD.max()), CONFIG["bands"]) + LEVEL

    def run():
        x, durations = model.read(IDS, torch.tensor(CONFIG["speakers"]))
        made = model.speak(x)
        return x, durations, made, loss_of(made, durations, mel)

    (x, durations, made, loss), seen = capture(model, {}, run)
    outputs = {"phonemes": x, "durations": durations, "mel": silence(made, HEARD), "loss": loss.reshape(1)}
    write("talker", config=CONFIG, weights=dict(model.named_parameters()), inputs={"mel": mel},
          outputs={**seen, **outputs}, gradients=gradients(model, loss), losses={"losses": curve(model, lambda: run()[3])})


if __name__ == "__main__":
    main()
