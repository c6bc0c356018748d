"""Flamingo around a GPT-2: resampler and gated blocks as OpenFlamingo has them. Writes goldens/flamingo/.

Awadalla et al. 2023, https://arxiv.org/abs/2308.01390 (open_flamingo/src/helpers.py, flamingo_lm.py), with
two rows for the new tokens that table and head share. Two rows of text: two pictures in the first, words
before the first of them; one picture in the second, and padding.

Weights have our names, queries, keys and values apart.
"""

import torch
import torch.nn.functional as F
from golden import curve, gradients, normal, randomise, write
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

V, D, E, N, LATENTS, DEPTH, HEADS, WIDTH, INTERVAL = 19, 24, 20, 5, 3, 2, 2, 6, 2
PICTURE, END = V, V + 1
IDS = [[1, PICTURE, 3, 4, END, PICTURE, 7, 8, END], [PICTURE, 5, 6, END, END, END, END, END, END]]
SEEN = [[None, 0, 0, 0, 0, 1, 1, 1, 1], [2] * 9]
LEARNED = [[0, 0, 1, 1, 1, 0, 1, 1, 1], [0, 1, 1, 1, 0, 0, 0, 0, 0]]
INNER = HEADS * WIDTH


def heads(x):
    return x.reshape(*x.shape[:-1], HEADS, WIDTH).transpose(-2, -3)


def attend(q, k, v):
    q, k, v = heads(q) * WIDTH**-0.5, heads(k), heads(v)
    y = (q @ k.transpose(-1, -2)).softmax(-1) @ v
    return y.transpose(-2, -3).flatten(-2)


class Resampler(nn.Module):
    def __init__(self):
        super().__init__()
        self.latents = nn.Parameter(normal("latents", LATENTS, E))
        line = lambda i, o: nn.Linear(i, o, bias=False)  # noqa: E731
        self.layers = nn.ModuleList(nn.ModuleDict(dict(
            context_norm=nn.LayerNorm(E), latents_norm=nn.LayerNorm(E), q=line(E, INNER), k=line(E, INNER),
            v=line(E, INNER), o=line(INNER, E), norm=nn.LayerNorm(E), fc1=line(E, 4 * E), fc2=line(4 * E, E)))
            for _ in range(DEPTH))
        self.norm = nn.LayerNorm(E)

    def forward(self, x):
        latents = self.latents.expand(len(x), -1, -1)
        for m in self.layers:
            asked = m["latents_norm"](latents)
            both = torch.cat([m["context_norm"](x), asked], 1)
            latents = latents + m["o"](attend(m["q"](asked), m["k"](both), m["v"](both)))
            latents = latents + m["fc2"](F.gelu(m["fc1"](m["norm"](latents))))
        return self.norm(latents)


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        line = lambda i, o: nn.Linear(i, o, bias=False)  # noqa: E731
        self.norm1, self.norm2 = nn.LayerNorm(D), nn.LayerNorm(D)
        self.q, self.k, self.v, self.o = line(D, INNER), line(E, INNER), line(E, INNER), line(INNER, D)
        self.fc1, self.fc2 = line(D, 4 * D), line(4 * D, D)
        self.cross_gate, self.mlp_gate = nn.Parameter(torch.tensor([0.4])), nn.Parameter(torch.tensor([-0.3]))

    def forward(self, x, media):
        y = self.norm1(x)
        rows = []
        for b, row in enumerate(SEEN):
            tokens = []
            for t, medium in enumerate(row):
                if medium is None:
                    tokens.append(torch.zeros(1, 1, INNER))
                else:
                    m = media[medium:medium + 1]
                    tokens.append(attend(self.q(y[b:b + 1, t:t + 1]), self.k(m), self.v(m)))
            rows.append(torch.cat(tokens, 1))
        x = x + self.cross_gate.tanh() * self.o(torch.cat(rows))
        return x + self.mlp_gate.tanh() * self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Flamingo(nn.Module):
    def __init__(self):
        super().__init__()
        self.lm = GPT2LMHeadModel(GPT2Config(vocab_size=V, n_positions=16, n_embd=D, n_layer=4, n_head=3,
                                             attn_implementation="eager"))
        self.resampler = Resampler()
        self.gated = nn.ModuleList(Gated() for _ in range(4 // INTERVAL))
        self.rows = nn.Parameter(0.5 * normal("rows", 2, D))

    def forward(self, positions):
        media = self.resampler(positions)
        body = self.lm.transformer
        table = torch.cat([body.wte.weight, self.rows])
        ids = torch.tensor(IDS)
        x = F.embedding(ids, table) + body.wpe.weight[:ids.shape[1]]
        causal = torch.full((ids.shape[1],) * 2, float("-inf")).triu(1)[None, None]
        for i, block in enumerate(body.h):
            if (i + 1) % INTERVAL == 0:
                x = self.gated[(i + 1) // INTERVAL - 1](x, media)
            y = block(x, attention_mask=causal)
            x = y[0] if isinstance(y, tuple) else y
        x = body.ln_f(x)
        return media, x @ table.T

    def loss(self, positions):
        logits = self(positions)[1]
        labels = torch.tensor(IDS).masked_fill(torch.tensor(LEARNED) == 0, -100)
        return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())


def named(tensors):
    """Our names; GPT-2's matrices turned, and in three."""
    out = {}
    for name, value in tensors.items():
        if name.startswith("lm.lm_head"):
            continue
        if name.startswith("resampler."):
            name = name.replace("resampler.", "projector.").replace(".fc", ".mlp.fc")
        elif name.startswith("gated."):
            name = f"language.{name}".replace(".fc", ".mlp.fc")
            name = ".".join(f"cross.{part}" if part in "qkvo" else part for part in name.split("."))
        elif name == "rows":
            name = "language.rows"
        else:
            name = name.removeprefix("lm.transformer.")
            for theirs, ours in (("wte.weight", "embedding.weight"), ("wpe.weight", "position"), ("h.", "layers."),
                                 ("ln_f.", "norm."), ("ln_1.", "norm1."), ("ln_2.", "norm2."),
                                 ("attn.c_proj", "attention.o"), ("attn.c_attn", "attention.qkv"),
                                 ("mlp.c_fc", "mlp.fc1"), ("mlp.c_proj", "mlp.fc2")):
                name = name.replace(theirs, ours)
            name = f"language.backbone.{name}"
            if value.dim() == 2 and ("attention" in name or "mlp" in name):
                value = value.T
            if ".qkv." in name:
                out.update({name.replace(".qkv.", f".{part}."): third for part, third in zip("qkv", value.chunk(3))})
                continue
        name = name.replace("norm.weight", "norm.weight")
        out[name] = value
    return out


def main():
    model = Flamingo()
    gates = [p.detach().clone() for b in model.gated for p in (b.cross_gate, b.mlp_gate)]
    randomise(model)
    with torch.no_grad():
        model.rows.copy_(0.5 * normal("rows", 2, D))
        model.resampler.latents.copy_(normal("latents", LATENTS, E))
        for gate, value in zip((p for b in model.gated for p in (b.cross_gate, b.mlp_gate)), gates):
            gate.copy_(value)
    positions = normal("positions", 3, N, E)
    trained = lambda name: not name.startswith("lm.")  # noqa: E731
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(trained(name))
    latents, logits = model(positions)
    found = gradients(model, model.loss(positions))
    losses = curve(model, lambda: model.loss(positions), trained)
    config = dict(vocab_size=V, hidden_size=D, features=E, latents=LATENTS, depth=DEPTH, n_heads=HEADS, head_dim=WIDTH,
                  interval=INTERVAL)
    write("flamingo", config=config,
          inputs={"positions": positions, "input_ids": torch.tensor(IDS), "learned": torch.tensor(LEARNED)},
          outputs={"latents": latents, "logits": logits, "loss": model.loss(positions)[None]},
          gradients=named(found), weights=named(dict(model.named_parameters())), losses={"loss": losses})


if __name__ == "__main__":
    main()
