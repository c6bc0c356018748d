"""Consistency models: tiny ones in goldens/consistency/<case>/, and a published one of ONNX made into a directory, and measured.

    venv/bin/pip install diffusers
    venv/bin/python reference/consistency.py                                     # goldens/consistency
    pip download --no-deps adaptive-terrain-diffusion==0.4.2                     # and unpack it; needs onnx
    venv/bin/python reference/consistency.py convert MODEL.onnx FOLDER
    venv/bin/python reference/consistency.py measure MODEL.onnx FOLDER PROGRAM   # `sensorium`; needs onnxruntime

Each golden is a `ConsistencyModelPipeline` as `save_pretrained` writes it, of random weights:

    classes  pictures of three colours, told one of five classes, as OpenAI's of ImageNet
    amount   grey ones, told a number from 0 to 1, as the one of ONNX: `class_embed_type` says so in the words of
             diffusers' `UNet2DConditionModel`, as its `UNet2DModel` has none

`outputs.safetensors` has what diffusers makes of `expected.json`: the UNet at several times, the pictures after each
of one and of three steps of the noise that is in it, too; `picture.png` is what the pipeline draws in three.

`convert` reads the graph's initialisers and attributes and runs nothing. Norms have no names there: each is found
behind the convolution that reads it. `measure` compares what diffusers makes of the directory with what onnxruntime
makes of the graph, and the program's pictures with both, of the noise that the program draws from its seed.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from diffusers import CMStochasticIterativeScheduler, ConsistencyModelPipeline, UNet2DModel
from diffusers.models.embeddings import TimestepEmbedding
from golden import ROOT, normal, randomise, save
from PIL import Image
from safetensors.torch import load_file, save_file

FOLDER = ROOT / "consistency"
TIMES = [1095.5, 250.25, -10.0]
STEPS = [1, 3]
SIZE = 8


def unet_of(config):
    """diffusers' module; where it is told an amount, with what `UNet2DConditionModel` has for that."""
    amount = config.get("class_embed_type") == "projection"
    own = {key: value for key, value in config.items() if not key.startswith(("_", "projection_"))}
    unet = UNet2DModel(**own | ({"class_embed_type": "identity"} if amount else {}))
    if amount:
        unet.class_embedding = TimestepEmbedding(1, 4 * own["block_out_channels"][0])
    return unet


def settings(channels, attends, **more):
    kinds = lambda plain, other: [other if attend else plain for attend in attends]  # noqa: E731
    return {
        "act_fn": "silu", "add_attention": True, "attention_head_dim": 32, "attn_norm_num_groups": 32,
        "block_out_channels": channels, "center_input_sample": False, "class_embed_type": None,
        "down_block_types": kinds("ResnetDownsampleBlock2D", "AttnDownBlock2D"), "downsample_padding": 1,
        "downsample_type": "resnet", "flip_sin_to_cos": True, "freq_shift": 0, "layers_per_block": 1,
        "mid_block_scale_factor": 1, "norm_eps": 1e-5, "norm_num_groups": 32, "num_class_embeds": None,
        "resnet_time_scale_shift": "scale_shift", "time_embedding_type": "positional",
        "up_block_types": kinds("ResnetUpsampleBlock2D", "AttnUpBlock2D")[::-1], "upsample_type": "resnet", **more}


AMOUNT = {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 1}


def cases():
    tiny = {"attn_norm_num_groups": 2, "norm_num_groups": 2, "sample_size": SIZE}
    yield "classes", 3, settings([4, 8, 8], [False, True, True], attention_head_dim=4, in_channels=3, out_channels=3,
                                 num_class_embeds=5, **tiny)
    yield "amount", 0.75, settings([4, 4, 8], [False, False, True], attention_head_dim=8, in_channels=1, out_channels=1,
                                   **AMOUNT, **tiny)


def write(folder, unet, config, scheduler):
    """As `save_pretrained` does, with the settings that `unet` is of."""
    (folder / "unet").mkdir(parents=True)
    (folder / "scheduler").mkdir()
    state = {name: tensor.contiguous() for name, tensor in unet.state_dict().items()}
    save_file(state, folder / "unet" / "diffusion_pytorch_model.safetensors", {"format": "pt"})
    dump = lambda path, value: path.write_text(json.dumps(value, indent=1) + "\n")  # noqa: E731
    dump(folder / "unet" / "config.json", {"_class_name": "UNet2DModel", **config})
    dump(folder / "scheduler" / "scheduler_config.json", {
        "_class_name": "CMStochasticIterativeScheduler",
        **{key: value for key, value in scheduler.config.items() if not key.startswith("_")}})
    dump(folder / "model_index.json", {
        "_class_name": "ConsistencyModelPipeline", "scheduler": ["diffusers", "CMStochasticIterativeScheduler"],
        "unet": ["diffusers", "UNet2DModel"]})


def labels_of(unet, label):
    amount = isinstance(unet.class_embedding, TimestepEmbedding)
    return torch.tensor([[float(label)]]) if amount else torch.tensor([int(label)])


def denoised(unet, scheduler, label, noises):
    """Pictures after each step, as the pipeline takes them, of the noise that is given."""
    scheduler.set_timesteps(len(noises))
    x, later, seen = noises[0] * scheduler.init_noise_sigma, iter(noises[1:] + noises[:1]), []
    with patch("diffusers.schedulers.scheduling_consistency_models.randn_tensor", lambda *_, **__: next(later)):
        for i, at in enumerate(scheduler.timesteps):
            told = unet(scheduler.scale_model_input(x, at), at, class_labels=labels_of(unet, label)).sample
            # What is thought to be the picture, before noise is added for the next step.
            skip, out = scheduler.get_scalings_for_boundary_condition(scheduler.sigmas[i])
            seen.append((out * told + skip * x).clamp(-1, 1))
            x = scheduler.step(told, at, x)[0]
    # The least noise stays on the last one.
    assert torch.allclose(x, seen[-1], atol=1e-5)
    return torch.stack(seen)


def one(name, label, config):
    unet, scheduler = randomise(unet_of(config)), CMStochasticIterativeScheduler()
    # Else all of a picture is white or black.
    with torch.no_grad():
        unet.conv_out.weight *= 0.5
    folder = FOLDER / name
    write(folder, unet, config, scheduler)
    c = config["in_channels"]
    noises = [normal(f"{name}.noise.{i}", 1, c, SIZE, SIZE) for i in range(max(STEPS))]
    outputs = {f"noise.{i}": noise for i, noise in enumerate(noises)}
    with torch.no_grad():
        for at in TIMES:
            outputs[f"unet.{at}"] = unet(noises[0], torch.tensor(at), class_labels=labels_of(unet, label)).sample
        for steps in STEPS:
            outputs[f"steps.{steps}"] = denoised(unet, scheduler, label, noises[:steps])
    levels = ((outputs[f"steps.{max(STEPS)}"][-1, 0] / 2 + 0.5) * 255).round().to(torch.uint8)
    picture = levels[0] if c == 1 else levels.permute(1, 2, 0)
    Image.fromarray(picture.numpy()).save(folder / "picture.png", optimize=True)
    (folder / "expected.json").write_text(json.dumps({"label": label, "times": TIMES, "steps": STEPS}) + "\n")
    save(folder, "outputs.safetensors", outputs, ordered=True)
    print(f"consistency/{name}: {sum(f.stat().st_size for f in folder.rglob('*') if f.is_file()) / 1000:.0f} kB")


def whole_pipeline():
    """The loop above is the pipeline's, where there is one."""
    name, label, config = next(cases())
    folder = FOLDER / name
    pipe = ConsistencyModelPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    outputs = load_file(folder / "outputs.safetensors")
    noises = iter([outputs["noise.1"], outputs["noise.2"], outputs["noise.0"]])
    with patch("diffusers.schedulers.scheduling_consistency_models.randn_tensor", lambda *_, **__: next(noises)), \
            patch.object(pipe, "check_inputs", lambda *_: None):
        made = pipe(class_labels=label, num_inference_steps=3, latents=outputs["noise.0"], output_type="pt").images
    assert torch.allclose(made * 2 - 1, outputs["steps.3"][-1], atol=1e-5)


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    for case in cases():
        one(*case)
    whole_pipeline()


# From ONNX.


class Graph:
    """What makes what in a graph, and the values that stand in it."""

    def __init__(self, graph):
        from onnx import helper, numpy_helper

        self.arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self.makers = {output: node for node in graph.node for output in node.output}
        self.nodes = list(graph.node)
        self.attributes = lambda node: {a.name: helper.get_attribute_value(a) for a in node.attribute}

    def before(self, name):
        """The nodes that lead to a value, by the first input of each."""
        while name in self.makers:
            node = self.makers[name]
            yield node
            name = node.input[0]

    def reader(self, weight):
        return next(node for node in self.nodes if weight in node.input)


def norm_and_resize(graph, weight):
    """Scale and shift of the norm in front of a convolution, and whether sizes change between them."""
    resized = None
    for node in graph.before(graph.reader(weight).input[0]):
        if node.op_type in ("AveragePool", "Resize"):
            resized = node.op_type
        if node.op_type == "Add" and node.name.startswith("node_group_norm"):
            scale = graph.arrays[graph.makers[node.input[0]].input[1]]
            return scale.reshape(-1), graph.arrays[node.input[1]].reshape(-1), resized
    raise SystemExit(f"expected a norm in front of {weight}")


def residual(found, graph, ours, theirs):
    """One of guided-diffusion's residual blocks under diffusers' names."""
    for norm, conv, part in (("norm1", "conv1", "in_layers.2"), ("norm2", "conv2", "out_layers.3")):
        scale, shift, _ = norm_and_resize(graph, f"{theirs}.{part}.weight")
        found[f"{ours}.{norm}.weight"], found[f"{ours}.{norm}.bias"] = scale, shift
        for end in ("weight", "bias"):
            found[f"{ours}.{conv}.{end}"] = graph.arrays[f"{theirs}.{part}.{end}"]
    for end in ("weight", "bias"):
        found[f"{ours}.time_emb_proj.{end}"] = graph.arrays[f"{theirs}.emb_layers.1.{end}"]
        if f"{theirs}.skip_connection.{end}" in graph.arrays:
            found[f"{ours}.conv_shortcut.{end}"] = graph.arrays[f"{theirs}.skip_connection.{end}"]


def attention(found, graph, ours, theirs):
    scale, shift, _ = norm_and_resize(graph, f"{theirs}.qkv.weight")
    found[f"{ours}.group_norm.weight"], found[f"{ours}.group_norm.bias"] = scale, shift
    for end in ("weight", "bias"):
        parts = np.split(graph.arrays[f"{theirs}.qkv.{end}"], 3)
        for name, part in zip(("to_q", "to_k", "to_v"), parts):
            found[f"{ours}.{name}.{end}"] = part.reshape(part.shape[:2]) if end == "weight" else part
        out = graph.arrays[f"{theirs}.proj_out.{end}"]
        found[f"{ours}.to_out.0.{end}"] = out.reshape(out.shape[:2]) if end == "weight" else out


def blocks(found, graph, theirs, ours, count):
    """The blocks of one way under diffusers' names, level by level."""
    level = layer = 0
    for i in range(count):
        parts = sorted({name.split(".")[3] for name in graph.arrays if name.startswith(f"network.{theirs}.{i}.")})
        for part in parts:
            name = f"network.{theirs}.{i}.{part}"
            if f"{name}.qkv.weight" in graph.arrays:
                attention(found, graph, f"{ours}.{level}.attentions.{layer}", name)
            elif f"{name}.in_layers.2.weight" in graph.arrays:
                _, _, resized = norm_and_resize(graph, f"{name}.in_layers.2.weight")
                end = {None: f"resnets.{layer}", "AveragePool": "downsamplers.0", "Resize": "upsamplers.0"}[resized]
                residual(found, graph, f"{ours}.{level}.{end}", name)
                if resized:
                    level, layer = level + 1, -1
        # The first one of the way down is a convolution alone.
        layer += any(f"network.{theirs}.{i}.{part}.in_layers.2.weight" in graph.arrays for part in parts)


def renamed(graph):
    """diffusers' names to arrays."""
    found = {}
    plain = {"time_embed.0": "time_embedding.linear_1", "time_embed.2": "time_embedding.linear_2",
             "label_emb.0": "class_embedding.linear_1", "label_emb.2": "class_embedding.linear_2",
             "input_blocks.0.0": "conv_in", "out.2": "conv_out"}
    for theirs, ours in plain.items():
        for end in ("weight", "bias"):
            found[f"{ours}.{end}"] = graph.arrays[f"network.{theirs}.{end}"]
    scale, shift, _ = norm_and_resize(graph, "network.out.2.weight")
    found["conv_norm_out.weight"], found["conv_norm_out.bias"] = scale, shift
    count = lambda way: 1 + max(int(m[1]) for name in graph.arrays  # noqa: E731
                                if (m := re.match(rf"network\.{way}\.(\d+)\.", name)))
    blocks(found, graph, "input_blocks", "down_blocks", count("input_blocks"))
    blocks(found, graph, "output_blocks", "up_blocks", count("output_blocks"))
    for i, part in ((0, "resnets.0"), (2, "resnets.1")):
        residual(found, graph, f"mid_block.{part}", f"network.middle_block.{i}")
    attention(found, graph, "mid_block.attentions.0", "network.middle_block.1")
    return {name: torch.from_numpy(np.array(array, np.float32)) for name, array in found.items()}


def config_of(graph, weights):
    """The UNet's settings, by the weights and by what stands in the graph."""
    levels = 1 + max(int(m[1]) for name in weights if (m := re.match(r"down_blocks\.(\d+)\.", name)))
    channels = [weights[f"down_blocks.{i}.resnets.0.conv1.bias"].shape[0] for i in range(levels)]
    attends = [f"down_blocks.{i}.attentions.0.to_q.weight" in weights for i in range(levels)]
    layers = len({m[1] for name in weights if (m := re.match(r"down_blocks\.0\.resnets\.(\d+)\.", name))})
    norm = next(node for node in graph.nodes if node.op_type == "InstanceNormalization")
    groups = len(graph.arrays[norm.input[1]])
    # Queries and keys are each divided by the fourth root of a head's width.
    first = next(node for node in graph.nodes if node.op_type == "Softmax")
    query = graph.makers[graph.makers[graph.makers[first.input[0]].input[0]].input[0]]
    head = round(float(graph.arrays[query.input[1]]) ** -4)
    eps = graph.attributes(norm)["epsilon"]
    return settings(channels, attends, attention_head_dim=head, attn_norm_num_groups=groups, norm_num_groups=groups,
                    norm_eps=float(f"{eps:.3g}"), layers_per_block=layers, sample_size=128, in_channels=1, out_channels=1,
                    **AMOUNT)


def convert(source, folder):
    import onnx

    graph, folder = Graph(onnx.load(source).graph), Path(folder)
    weights = renamed(graph)
    config = config_of(graph, weights)
    unet = unet_of(config)
    unet.load_state_dict(weights)
    # One step from noise of 80, by the paper's other numbers, which the graph has, too.
    write(folder, unet, config, CMStochasticIterativeScheduler(num_train_timesteps=1))
    print(f"{folder}: {sum(p.numel() for p in unet.parameters()):,} parameters")


def measure(source, folder, program):
    import onnxruntime
    from piper import Rng

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(source, options, ["CPUExecutionProvider"])
    config = json.loads((Path(folder) / "unet" / "config.json").read_text())
    unet = unet_of(config).eval()
    unet.load_state_dict(load_file(Path(folder) / "unet" / "diffusion_pytorch_model.safetensors"))
    scheduler = CMStochasticIterativeScheduler()
    for seed, amount in enumerate((0.0, 0.25, 0.5, 1.0), 7):
        noise = Rng(seed).normal(128 * 128).reshape(1, 1, 128, 128)
        feeds = {"noisy": 80 * noise, "sigma": np.float32([80]), "difficulty": np.float32([amount])}
        begun = time.perf_counter()
        theirs = session.run(None, feeds)[0]
        peer = time.perf_counter() - begun
        with torch.no_grad():
            twin = denoised(unet, scheduler, amount, [torch.from_numpy(noise)])[-1].numpy()
        with tempfile.TemporaryDirectory() as temporary:
            out = Path(temporary) / "out.png"
            begun = time.perf_counter()
            subprocess.run([program, "--model", folder, "--seed", str(seed), "draw", str(amount), "--out", out], check=True)
            ours = time.perf_counter() - begun
            levels = np.asarray(Image.open(out).convert("L"), np.float32)
        off = np.abs(levels - (theirs[0, 0] + 1) * 127.5)
        print(f"amount {amount}, seed {seed}: diffusers differs by {np.abs(twin - theirs).max():.1e}, the picture by at most "
              f"{off.max():.3f} levels of 255 (rounded: 0.5); {ours:.2f} s with reading, onnxruntime {peer:.2f} s; mean "
              f"level {levels.mean():.1f}, spread {levels.std():.1f}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            main()
        case ["convert", *more]:
            convert(*more)
        case ["measure", *more]:
            measure(*more)
