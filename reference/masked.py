"""Masked pre-training of pictures and spectrograms in one row. Writes goldens/masked and goldens/masked_features.

He et al. 2021 (MAE), https://arxiv.org/abs/2111.06377: the encoder sees a quarter of the patches, a light
decoder tells the normalised pixels of the others. Baevski et al. 2022 (data2vec), https://arxiv.org/abs/2202.03555:
it tells what a teacher, here the weights of the start, makes of them when it sees all. Both kinds of media
have patches, positions and a vector of their kind of their own, and share class token and blocks.

With pictures alone the loss of pixels is checked to be that of transformers' ViTMAEForPreTraining. `places.KIND`
holds each row's patches in random order, of which the first quarter is shown. A patch is one row of numbers
channel by channel. Weights have our names.
"""

import copy

import torch
import torch.nn.functional as F
from golden import curve, generator, gradients, normal, randomise, write
from torch import nn

CONFIG = {
    "kinds": {"image": {"channels": 3, "size": [24, 24]}, "audio": {"channels": 1, "size": [16, 32]}},
    "patch_size": 8,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "decoder_hidden_size": 16,
    "decoder_num_hidden_layers": 2,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 32,
    "layer_norm_eps": 1e-6,
    "batch": 3,
    "teacher_layers": 2,
    "beta": 0.5,
}
PATCH, EPS, BATCH = CONFIG["patch_size"], CONFIG["layer_norm_eps"], CONFIG["batch"]
KINDS = {
    kind: (c["channels"], (c["size"][0] // PATCH) * (c["size"][1] // PATCH)) for kind, c in CONFIG["kinds"].items()
}


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.heads = heads

    def forward(self, x):
        q, k, v = (layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        weights = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)
        return self.o((weights @ v).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self, width, inner):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, width, heads, inner):
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width, EPS), Attention(width, heads)
        self.norm2, self.mlp = nn.LayerNorm(width, EPS), Mlp(width, inner)

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


def blocks(prefix):
    width, heads, inner = (CONFIG[prefix + key] for key in ("hidden_size", "num_attention_heads", "intermediate_size"))
    return nn.ModuleList(Block(width, heads, inner) for _ in range(CONFIG[prefix + "num_hidden_layers"]))


class Stem(nn.Module):
    def __init__(self, channels, width):
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(channels, width, PATCH, PATCH)])


class Embedding(nn.Module):
    def __init__(self, channels, patches, width):
        super().__init__()
        self.stem = Stem(channels, width)
        self.position = nn.Parameter(torch.zeros(patches, width))
        self.modality = nn.Parameter(torch.zeros(width))

    def forward(self, patches, places):
        conv = self.stem.convs[0]
        return F.linear(patches, conv.weight.flatten(1), conv.bias) + self.position[places] + self.modality


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        width = CONFIG["hidden_size"]
        for kind, (channels, patches) in KINDS.items():
            setattr(self, kind, Embedding(channels, patches, width))
        setattr(self, "class", nn.Parameter(torch.zeros(width)))
        self.blocks, self.norm = blocks(""), nn.LayerNorm(width, EPS)

    def levels(self, tokens):
        x = torch.cat([getattr(self, "class").expand(len(tokens), 1, -1), tokens], 1)
        return [x := block(x) for block in self.blocks]

    def forward(self, tokens):
        return self.norm(self.levels(tokens)[-1])


class Target(nn.Module):
    def __init__(self, patches, width, numbers):
        super().__init__()
        self.position = nn.Parameter(torch.zeros(patches, width))
        self.modality = nn.Parameter(torch.zeros(width))
        self.head = nn.Linear(width, numbers)


class Decoder(nn.Module):
    def __init__(self, features):
        super().__init__()
        width = CONFIG["decoder_hidden_size"]
        self.embed = nn.Linear(CONFIG["hidden_size"], width)
        self.mask = nn.Parameter(torch.zeros(width))
        for kind, (channels, patches) in KINDS.items():
            numbers = CONFIG["hidden_size"] if features else channels * PATCH**2
            setattr(self, kind, Target(patches, width, numbers))
        self.blocks, self.norm = blocks("decoder_"), nn.LayerNorm(width, EPS)

    def forward(self, seen, places):
        """As the paper has it: every patch back at its place."""
        seen = self.embed(seen)
        rows, start = [seen[:, :1]], 1
        for kind, order in places.items():
            target, (b, n) = getattr(self, kind), order.shape
            shown = n // 4
            x = torch.cat([seen[:, start : start + shown], self.mask.expand(b, n - shown, -1)], 1)
            x = torch.gather(x, 1, order.argsort(1)[..., None].expand(-1, -1, x.shape[-1]))
            rows.append(x + target.position + target.modality)
            start += shown
        x = torch.cat(rows, 1)
        for block in self.blocks:
            x = block(x)
        x, told, start = self.norm(x), {}, 1
        for kind, order in places.items():
            n = order.shape[1]
            told[kind] = hidden(getattr(self, kind).head(x[:, start : start + n]), order)
            start += n
        return told


def ordered(rows, order):
    return torch.gather(rows, 1, order[..., None].expand(-1, -1, rows.shape[-1]))


def hidden(rows, order):
    return ordered(rows, order)[:, order.shape[1] // 4 :]


class Masked(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.encoder, self.decoder = Encoder(), Decoder(features)

    def forward(self, media, places):
        def shown(kind):
            order = places[kind][:, : places[kind].shape[1] // 4]
            return getattr(self.encoder, kind)(ordered(media[kind], order), order)

        seen = self.encoder(torch.cat([shown(kind) for kind in media], 1))
        return seen, self.decoder(seen, places)


def pixels(media, places):
    def normalised(x):
        return (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + 1e-6).sqrt()

    return {kind: hidden(normalised(media[kind]), order) for kind, order in places.items()}


def features(teacher, media, places):
    with torch.no_grad():
        every = {kind: torch.arange(x.shape[1]).expand(BATCH, -1) for kind, x in media.items()}
        levels = teacher.levels(torch.cat([getattr(teacher, kind)(x, every[kind]) for kind, x in media.items()], 1))
        levels = [F.layer_norm(x, x.shape[-1:]) for x in levels[-CONFIG["teacher_layers"] :]]
        mean, start, found = torch.stack(levels).mean(0), 1, {}
        for kind, order in places.items():
            n = order.shape[1]
            found[kind] = hidden(mean[:, start : start + n], order)
            start += n
        return found


def as_transformers(model, planes, order):
    """The loss of pixels of transformers' model with these weights, of pictures alone."""
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    theirs = ViTMAEForPreTraining(ViTMAEConfig(
        image_size=CONFIG["kinds"]["image"]["size"][0], norm_pix_loss=True, attn_implementation="eager",
        **{key: value for key, value in CONFIG.items() if key not in ("kinds", "batch", "teacher_layers", "beta")}))
    encoder, decoder = model.encoder, model.decoder
    found = dict(theirs.named_parameters())
    channels = torch.arange(3 * PATCH**2).reshape(3, PATCH, PATCH).permute(1, 2, 0).flatten()  # theirs come last

    def copy_blocks(ours, prefix):
        names = {"norm1": "layernorm_before", "norm2": "layernorm_after", "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}
        names |= {f"attention.{x}": f"attention.{x}_proj" for x in "qkvo"}
        for i, block in enumerate(ours):
            for name, value in block.named_parameters():
                layer, end = name.rsplit(".", 1)
                found[f"{prefix}.{i}.{names[layer]}.{end}"].copy_(value)

    with torch.no_grad():
        image, target = encoder.image, decoder.image
        found["vit.embeddings.cls_token"].copy_(getattr(encoder, "class"))
        found["vit.embeddings.position_embeddings"][0, 0] = 0
        found["vit.embeddings.position_embeddings"][0, 1:] = image.position + image.modality
        for end in ("weight", "bias"):
            found[f"vit.embeddings.patch_embeddings.projection.{end}"].copy_(getattr(image.stem.convs[0], end))
            found[f"vit.layernorm.{end}"].copy_(getattr(encoder.norm, end))
            found[f"decoder.decoder_norm.{end}"].copy_(getattr(decoder.norm, end))
            found[f"decoder.decoder_embed.{end}"].copy_(getattr(decoder.embed, end))
            found[f"decoder.decoder_pred.{end}"].copy_(getattr(target.head, end)[channels])
        copy_blocks(encoder.blocks, "vit.layers")
        copy_blocks(decoder.blocks, "decoder.decoder_layers")
        found["decoder.mask_token"].copy_(decoder.mask)
        found["decoder.decoder_pos_embed"][0, 0] = 0
        found["decoder.decoder_pos_embed"][0, 1:] = target.position + target.modality
        noise = order.argsort(1).float()  # the patch of rank r has noise r
        return theirs.eval()(planes, noise=noise).loss


def mean(losses):
    return torch.stack(losses).mean()


def main():
    planes = {kind: normal(f"masked.{kind}", BATCH, c["channels"], *c["size"])
              for kind, c in CONFIG["kinds"].items()}
    media = {kind: F.unfold(x, PATCH, stride=PATCH).transpose(1, 2) for kind, x in planes.items()}
    places = {kind: torch.stack([torch.randperm(n, generator=generator(f"masked.{kind}.{row}")) for row in range(BATCH)])
              for kind, (_, n) in KINDS.items()}
    inputs = {f"planes.{kind}": x for kind, x in planes.items()}
    inputs |= {f"places.{kind}": x for kind, x in places.items()}

    def golden(name, model, targets, distance):
        def run():
            seen, told = model(media, places)
            return seen, told, mean([distance(told[kind], targets[kind]) for kind in told])

        seen, told, loss = run()
        outputs = {"seen": seen} | {f"told.{kind}": x for kind, x in told.items()}
        outputs |= {f"target.{kind}": x for kind, x in targets.items()} | {"loss": loss.reshape(1)}
        write(name, config=CONFIG, weights=dict(model.named_parameters()), inputs=inputs, outputs=outputs,
              gradients=gradients(model, loss), losses={"losses": curve(model, lambda: run()[2])})

    model = randomise(Masked(features=False))
    golden("masked", model, pixels(media, places), F.mse_loss)
    alone = {"image": media["image"]}, {"image": places["image"]}
    ours = F.mse_loss(model(*alone)[1]["image"], pixels(*alone)["image"])
    theirs = as_transformers(model, planes["image"], places["image"])
    assert torch.isclose(ours, theirs, rtol=1e-5), f"expected transformers' {theirs}, got {ours}"
    print(f"pictures alone: {ours.item():.6f}, transformers: {theirs.item():.6f}")

    model = randomise(Masked(features=True))
    targets = features(copy.deepcopy(model.encoder), media, places)
    golden("masked_features", model, targets,
           lambda told, wanted: F.smooth_l1_loss(told, wanted, beta=CONFIG["beta"]))


if __name__ == "__main__":
    main()
