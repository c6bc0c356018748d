"""CLIP with a modified ResNet, in training. Writes goldens/clip_resnet.

Radford et al. 2021, https://arxiv.org/abs/2103.00020, by open_clip, which it needs. Batch norms go by the
batch while they learn and by their running statistics when they run: outputs and gradients are of both, the
curve is of training, and `after.*` are the statistics that its ten steps leave. `before.*` of the inputs are
those that it begins with. A picture is of squares of one colour, which the inputs hold once.

Computed in f64: gradients through so many norms over so few pictures are off by 1e-4 in torch's f32.

Matrices of queries, keys and values are taken apart, and the text's projection is transposed.
"""

from golden import curve, gradients, integers, normal, randomise, write
from open_clip import ClipLoss
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

NAME = "clip_resnet"
BATCH, SIDE, SQUARE, EMBED, CONTEXT, VOCABULARY = 4, 64, 4, 12, 8, 24
VISION = dict(image_size=SIDE, layers=[1, 2, 1, 1], width=2, head_width=16, patch_size=None)
TEXT = dict(context_length=CONTEXT, vocab_size=VOCABULARY, width=12, heads=2, layers=1)


def statistics(model):
    """Running means and variances: what a norm counts is no number of a model's."""
    return {name: buffer for name, buffer in model.named_buffers() if "running" in name}


def begin(model):
    """Statistics far from those that a norm is born with."""
    for name, buffer in statistics(model).items():
        noise = normal(f"{NAME}.{name}", *buffer.shape)
        buffer.copy_(0.6 + noise.abs() if name.endswith("var") else 0.2 * noise)


def apart(tensors):
    """As ours are: f32, and three matrices where torch has one."""
    parted = {}
    for name, tensor in tensors.items():
        tensor = tensor.float()
        if "in_proj_" in name:
            front, end = name.split("in_proj_")
            parted.update({f"{front}in_proj.{part}.{end}": x for part, x in zip("qkv", tensor.chunk(3))})
        else:
            parted[name] = tensor.t() if name == "text_projection" else tensor
    return parted


def main():
    model = randomise(CLIP(EMBED, CLIPVisionCfg(**VISION), CLIPTextCfg(**TEXT), quick_gelu=True)).double()
    begin(model)
    ids = integers(f"{NAME}.ids", 1, VOCABULARY - 1, BATCH, CONTEXT)
    for row, length in enumerate((8, 6, 4, 3)):
        ids[row, length - 1], ids[row, length:] = VOCABULARY - 1, 0
    # With these no value of the first step lies within 5e-5 of a ReLU's corner, where rounding would decide.
    squares = normal(f"{NAME}.pixels.94", BATCH, 3, SIDE // SQUARE, SIDE // SQUARE)
    pixels = squares.double().repeat_interleave(SQUARE, 2).repeat_interleave(SQUARE, 3)
    inputs = {"squares": squares, "input_ids": ids}
    inputs.update({f"before.{name}": buffer.float() for name, buffer in statistics(model).items()})

    def loss():
        return ClipLoss()(*model(pixels, ids))

    outputs, slopes = {}, {}
    for mode, train in (("eval", False), ("train", True)):
        model.train(train)
        value = loss()
        slopes = apart(gradients(model, value))
        begin(model)
        images, texts, _ = model(pixels, ids)
        begin(model)
        outputs.update({f"{mode}.images": images, f"{mode}.texts": texts, f"{mode}.loss": value.reshape(1)})
        outputs[f"{mode}.conv1"] = slopes["visual.conv1.weight"]
    losses = curve(model, loss)
    outputs.update({f"after.{name}": buffer for name, buffer in statistics(model).items()})
    write(
        NAME,
        config={"embed_dim": EMBED, "quick_gelu": True, "vision_cfg": VISION, "text_cfg": TEXT},
        weights=apart(dict(model.named_parameters())),
        inputs=inputs,
        outputs={name: output.float() for name, output in outputs.items()},
        gradients=slopes,
        losses={"losses": losses},
    )


if __name__ == "__main__":
    main()
