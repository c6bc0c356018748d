"""Generators and what tells them, in plain PyTorch. Writes goldens/vae, flow, gan, conditional_vae and mapper.

`vae`: an autoencoder of plain convolutions: pixels as squares, blocks of two convolutions with ReLU, half the size
and back; the loss is the mean distance of what comes back, half that of neighbours' differences, and the divergence.
`flow`: a U-ViT (Bao et al. 2022, https://arxiv.org/abs/2209.12152) that learns the velocity from noise to latents
(Liu et al. 2022, https://arxiv.org/abs/2209.03003), one of three samples without its conditions; and what four steps
of Euler and of Heun with guidance make of noise.
`gan`: U-ViTs that make latents of noise at once and judge them, with hinge losses and R1 by differences.
`conditional_vae`: a U-ViT that tells a normal distribution of latents, and one that makes them of what it draws.
`mapper`: GILL's (Koh et al. 2023, https://arxiv.org/abs/2305.17216), which must be what `nn.Transformer` is.
"""

import math

import torch
from golden import curve, gradients, normal, randomise, write
from torch import nn
from torch.nn.functional import gelu, pixel_shuffle, pixel_unshuffle, relu, silu

EPS = 1e-5
VAE = {"patch": 2, "channels": [4, 6], "n_blocks": 1, "latent_channels": 3, "side": 8, "kl_weight": 0.1}
FLOW = {"hidden_size": 12, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 20, "latents": 4,
        "size": 5, "conditions": 2, "width": 7, "times": [0.1, 0.5, 0.85], "dropped": [False, True, False],
        "guidance": 2.5, "steps": 4}
MAPPER = {"input": 10, "hidden_size": 12, "queries": 3, "encoder_layers": 2, "decoder_layers": 2,
          "num_attention_heads": 2, "intermediate_size": 20, "width": 7, "lengths": [5, 3]}


class ConvBlock(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(c, c, 3, padding=1), nn.Conv2d(c, c, 3, padding=1)

    def forward(self, x):
        return relu(x + self.conv2(relu(self.conv1(x))))


class Level(nn.Module):
    def __init__(self, c, resize):
        super().__init__()
        if resize is not None:
            self.resize = resize
        self.blocks = nn.ModuleList(ConvBlock(c) for _ in range(VAE["n_blocks"]))


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        sizes = VAE["channels"]
        self.conv_in = nn.Conv2d(3 * VAE["patch"] ** 2, sizes[0], 3, padding=1)
        down = lambda i: nn.Conv2d(sizes[i - 1], sizes[i], 3, stride=2, padding=1) if i else None
        self.levels = nn.ModuleList(Level(c, down(i)) for i, c in enumerate(sizes))
        self.conv_out = nn.Conv2d(sizes[-1], 2 * VAE["latent_channels"], 3, padding=1)

    def forward(self, x):
        x = self.conv_in(pixel_unshuffle(x, VAE["patch"]))
        for level in self.levels:
            x = level.resize(x) if hasattr(level, "resize") else x
            for block in level.blocks:
                x = block(x)
        mean, log_variance = self.conv_out(x).chunk(2, 1)
        return mean, log_variance.clamp(-30, 20)


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        sizes = VAE["channels"][::-1]
        self.conv_in = nn.Conv2d(VAE["latent_channels"], sizes[0], 3, padding=1)
        up = lambda i: nn.Conv2d(sizes[i - 1], 4 * sizes[i], 3, padding=1) if i else None
        self.levels = nn.ModuleList(Level(c, up(i)) for i, c in enumerate(sizes))
        self.conv_out = nn.Conv2d(sizes[-1], 3 * VAE["patch"] ** 2, 3, padding=1)

    def forward(self, x):
        x = self.conv_in(x)
        for level in self.levels:
            x = pixel_shuffle(level.resize(x), 2) if hasattr(level, "resize") else x
            for block in level.blocks:
                x = block(x)
        return pixel_shuffle(self.conv_out(x), VAE["patch"])


class Autoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = Encoder(), Decoder()


def vae():
    model = randomise(Autoencoder())
    side = VAE["side"]
    pictures = normal("vae.pictures", 2, 3, side, side)
    noise = normal("vae.noise", 2, VAE["latent_channels"], side // 4, side // 4)

    def run():
        mean, log_variance = model.encoder(pictures)
        made = model.decoder(mean + (0.5 * log_variance).exp() * noise)
        divergence = 0.5 * (mean**2 + log_variance.exp() - log_variance - 1).mean()
        edges = sum((made.diff(dim=d) - pictures.diff(dim=d)).abs().mean() for d in (2, 3)) / 2
        loss = (made - pictures).abs().mean() + 0.5 * edges + VAE["kl_weight"] * divergence
        return mean, log_variance, made, divergence, loss

    mean, log_variance, made, divergence, loss = run()
    outputs = {"mean": mean, "log_variance": log_variance, "made": made, "divergence": divergence.reshape(1),
               "loss": loss.reshape(1)}
    write("vae", config=VAE, weights=dict(model.named_parameters()), inputs={"pictures": pictures, "noise": noise},
          outputs=outputs, gradients=gradients(model, loss), losses={"losses": curve(model, lambda: run()[4])})


class Attention(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(d, d) for _ in range(4))

    def forward(self, x, context, seen=None):
        split = lambda y: y.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, H, T, K]
        q, k, v = split(self.q(x)), split(self.k(context)), split(self.v(context))
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        if seen is not None:
            scores = scores.masked_fill(~seen[:, None, None], -torch.inf)
        return self.o((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self, d, hidden, out, activation):
        super().__init__()
        self.fc1, self.fc2, self.activation = nn.Linear(d, hidden), nn.Linear(hidden, out), activation

    def forward(self, x):
        return self.fc2(self.activation(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, d, heads, hidden, activation):
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(d, EPS), Attention(d, heads)
        self.norm2, self.mlp = nn.LayerNorm(d, EPS), Mlp(d, hidden, d, activation)

    def forward(self, x, seen=None):
        y = self.norm1(x)
        x = x + self.attention(y, y, seen)
        return x + self.mlp(self.norm2(x))


class DeepBlock(nn.Module):
    def __init__(self, d, block):
        super().__init__()
        self.skip, self.block = nn.Linear(2 * d, d), block

    def forward(self, x, kept):
        return self.block(self.skip(torch.cat([x, kept], -1)))


class Uvit(nn.Module):
    def __init__(self, out=None):
        super().__init__()
        d, half = FLOW["hidden_size"], FLOW["num_hidden_layers"] // 2
        tanh = lambda x: gelu(x, approximate="tanh")
        block = lambda: Block(d, FLOW["num_attention_heads"], FLOW["intermediate_size"], tanh)
        self.latents_in, self.conditions_in = nn.Linear(FLOW["size"], d), nn.Linear(FLOW["width"], d)
        self.time = Mlp(d, d, d, silu)
        self.places = nn.Parameter(torch.empty(1 + FLOW["conditions"] + FLOW["latents"], d))
        self.shallow, self.middle = nn.ModuleList(block() for _ in range(half)), block()
        self.deep = nn.ModuleList(DeepBlock(d, block()) for _ in range(half))
        self.norm, self.out = nn.LayerNorm(d, EPS), nn.Linear(d, out or FLOW["size"])

    def forward(self, x, conditions, times):
        half = FLOW["hidden_size"] // 2
        # In double precision: a thousand radians have few digits left in single.
        angles = 1000 * times[:, None].double() * 10_000 ** -(torch.arange(half).double() / half)
        time = self.time(torch.cat([angles.cos(), angles.sin()], -1).float())[:, None]
        tokens = torch.cat([time, self.conditions_in(conditions), self.latents_in(x)], 1) + self.places
        kept = []
        for block in self.shallow:
            tokens = block(tokens)
            kept.append(tokens)
        tokens = self.middle(tokens)
        for block in self.deep:
            tokens = block(tokens, kept.pop())
        return self.out(self.norm(tokens[:, 1 + FLOW["conditions"]:]))


class Flow(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk, self.null = Uvit(), nn.Parameter(torch.empty(FLOW["conditions"], FLOW["width"]))

    def sample(self, x, conditions, solver):
        null = self.null.expand_as(conditions)

        def velocity(x, time):
            told, untold = (self.trunk(x, c, torch.full((len(x),), time)) for c in (conditions, null))
            return untold + FLOW["guidance"] * (told - untold)

        h = 1 / FLOW["steps"]
        for step in range(FLOW["steps"]):
            first = velocity(x, step * h)
            if solver == "euler":
                x = x + h * first
            else:
                x = x + h / 2 * (first + velocity(x + h * first, (step + 1) * h))
        return x


def flow():
    model = randomise(Flow())
    latents, noise = (normal(f"flow.{name}", 3, FLOW["latents"], FLOW["size"]) for name in ("latents", "noise"))
    conditions = normal("flow.conditions", 3, FLOW["conditions"], FLOW["width"])
    times, dropped = torch.tensor(FLOW["times"]), torch.tensor(FLOW["dropped"])

    def run():
        t = times[:, None, None]
        x = (1 - t) * noise + t * latents
        told = torch.where(dropped[:, None, None], model.null, conditions)
        velocity = model.trunk(x, told, times)
        return velocity, ((velocity - (latents - noise)) ** 2).mean()

    velocity, loss = run()
    with torch.no_grad():
        made = {solver: model.sample(noise, conditions, solver) for solver in ("euler", "heun")}
    outputs = {"velocity": velocity, "loss": loss.reshape(1), **made}
    inputs = {"latents": latents, "noise": noise, "conditions": conditions}
    write("flow", config=FLOW, weights=dict(model.named_parameters()), inputs=inputs, outputs=outputs,
          gradients=gradients(model, loss), losses={"losses": curve(model, lambda: run()[1])})


def told():
    latents, noise, near = (normal(f"gan.{name}", 3, FLOW["latents"], FLOW["size"]) for name in ("latents", "noise", "near"))
    return latents, noise, near, normal("gan.conditions", 3, FLOW["conditions"], FLOW["width"])


AT_ONCE = torch.zeros(3)
GAN = {**FLOW, "penalty": 0.5, "sigma": 0.1}


class Opponents(nn.Module):
    def __init__(self):
        super().__init__()
        self.generator, self.discriminator = nn.Module(), nn.Module()
        self.generator.trunk, self.discriminator.trunk = Uvit(), Uvit(1)


def gan():
    model = randomise(Opponents())
    latents, noise, near, conditions = told()

    def judge(x, weights=None):
        trunk = model.discriminator.trunk
        run = trunk if weights is None else lambda *a: torch.func.functional_call(trunk, weights, a)
        return run(x, conditions, AT_ONCE).mean((1, 2))

    def run():
        made = model.generator.trunk(noise, conditions, AT_ONCE)
        still = {name: p.detach() for name, p in model.discriminator.trunk.named_parameters()}
        fooled = -judge(made, still).mean()
        real, fake = judge(latents), judge(made.detach())
        change = ((judge(latents + GAN["sigma"] * near) - real) / GAN["sigma"]).square().mean()
        loss = relu(1 - real).mean() + relu(1 + fake).mean() + GAN["penalty"] * change
        return made, real, fooled, loss

    made, real, fooled, loss = run()
    outputs = {"made": made, "real": real, "fooled": fooled.reshape(1), "loss": loss.reshape(1)}
    inputs = {"latents": latents, "noise": noise, "near": near, "conditions": conditions}
    write("gan", config=GAN, weights=dict(model.named_parameters()), inputs=inputs, outputs=outputs,
          gradients=gradients(model, loss + fooled))


class ConditionalVae(nn.Module):
    def __init__(self):
        super().__init__()
        self.posterior, self.decoder = Uvit(2 * FLOW["size"]), Uvit()


def conditional_vae():
    model = randomise(ConditionalVae())
    latents, noise, _, conditions = told()

    def run():
        mean, log_variance = model.posterior(latents, conditions, AT_ONCE).chunk(2, -1)
        made = model.decoder(mean + (0.5 * log_variance).exp() * noise, conditions, AT_ONCE)
        divergence = 0.5 * (mean**2 + log_variance.exp() - log_variance - 1).mean()
        return ((made - latents) ** 2).mean(), divergence

    off, divergence = run()
    outputs = {"off": off.reshape(1), "divergence": divergence.reshape(1)}
    inputs = {"latents": latents, "noise": noise, "conditions": conditions}
    write("conditional_vae", config=FLOW, weights=dict(model.named_parameters()), inputs=inputs, outputs=outputs,
          gradients=gradients(model, sum(run())), losses={"losses": curve(model, lambda: sum(run()))})


class DecoderLayer(nn.Module):
    def __init__(self, d, heads, hidden):
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(d, EPS), Attention(d, heads)
        self.norm2, self.cross_attention = nn.LayerNorm(d, EPS), Attention(d, heads)
        self.norm3, self.mlp = nn.LayerNorm(d, EPS), Mlp(d, hidden, d, relu)

    def forward(self, x, memory, seen):
        y = self.norm1(x)
        x = x + self.attention(y, y)
        x = x + self.cross_attention(self.norm2(x), memory, seen)
        return x + self.mlp(self.norm3(x))


class Mapper(nn.Module):
    def __init__(self):
        super().__init__()
        d, heads, hidden = (MAPPER[key] for key in ("hidden_size", "num_attention_heads", "intermediate_size"))
        self.fc = nn.Linear(MAPPER["input"], d)
        self.encoder = nn.ModuleList(Block(d, heads, hidden, relu) for _ in range(MAPPER["encoder_layers"]))
        self.encoder_norm = nn.LayerNorm(d, EPS)
        self.queries = nn.Parameter(torch.empty(MAPPER["queries"], d))
        self.decoder = nn.ModuleList(DecoderLayer(d, heads, hidden) for _ in range(MAPPER["decoder_layers"]))
        self.decoder_norm, self.out = nn.LayerNorm(d, EPS), nn.Linear(d, MAPPER["width"])

    def forward(self, x, seen):
        x = self.fc(x)
        for block in self.encoder:
            x = block(x, seen)
        memory, x = self.encoder_norm(x), self.queries.expand(len(x), -1, -1)
        for layer in self.decoder:
            x = layer(x, memory, seen)
        return self.out(self.decoder_norm(x))


def transformer(model):
    """PyTorch's own, with the same weights."""
    d, heads, hidden = (MAPPER[key] for key in ("hidden_size", "num_attention_heads", "intermediate_size"))
    own = nn.Transformer(d, heads, MAPPER["encoder_layers"], MAPPER["decoder_layers"], hidden, dropout=0.0,
                         norm_first=True, batch_first=True).eval()
    names = {"self_attn": "attention", "multihead_attn": "cross_attention", "linear1": "mlp.fc1", "linear2": "mlp.fc2"}

    def ours(name):
        side, rest = name.split(".", 1)
        if rest.startswith("norm."):
            return f"{side}_{rest}"
        number, rest = rest.removeprefix("layers.").split(".", 1)
        for theirs, mine in names.items():
            rest = rest.replace(theirs, mine)
        return f"{side}.{number}.{rest}"

    known, state = dict(model.named_parameters()), {}
    for name in own.state_dict():
        mine = ours(name)
        if "in_proj" in mine:
            kind = mine.rsplit("_", 1)[1]
            base = mine.split(".in_proj")[0]
            state[name] = torch.cat([known[f"{base}.{part}.{kind}"] for part in "qkv"]).detach()
        else:
            state[name] = known[mine.replace("out_proj", "o")].detach()
    own.load_state_dict(state)
    return own


def mapper():
    model = randomise(Mapper())
    hidden = normal("mapper.hidden", 2, 5, MAPPER["input"])
    wanted = normal("mapper.wanted", 2, MAPPER["queries"], MAPPER["width"])
    seen = torch.arange(5) < torch.tensor(MAPPER["lengths"])[:, None]

    def run():
        told = model(hidden, seen)
        return told, ((told - wanted) ** 2).mean()

    told, loss = run()
    with torch.no_grad():
        queries = model.queries.expand(2, -1, -1)
        theirs = transformer(model)(model.fc(hidden), queries, src_key_padding_mask=~seen,
                                    memory_key_padding_mask=~seen)
        assert torch.allclose(model.out(theirs), told, atol=1e-5)
    write("mapper", config=MAPPER, weights=dict(model.named_parameters()), inputs={"hidden": hidden, "wanted": wanted},
          outputs={"conditions": told, "loss": loss.reshape(1)}, gradients=gradients(model, loss),
          losses={"losses": curve(model, lambda: run()[1])})


def main():
    vae()
    flow()
    gan()
    conditional_vae()
    mapper()


if __name__ == "__main__":
    main()
