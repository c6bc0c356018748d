"""onnxruntime's side of P1, P2 and P4: CLIP's ViT-B/32 image encoder, a batch a line.

    onnx_vit.py [--precision int8] [--batch 16] [--threads 2]

The models are exported from PyTorch into runs/peers/models the first time: f32, and int8 by
`quantize_dynamic` (weights per column, activations per tensor at run time; the patch embedding
stays f32, onnxruntime's integer convolution being slower). Attention is exported as onnxruntime's
own fused operation: 4 to 7 % faster than the primitives that the exporter writes.
"""

import argparse

import numpy
import onnxruntime

import protocol

MODELS = protocol.PEERS / "models"
IMAGE = 224


def model(precision):
    path = MODELS / f"vit-{precision}.onnx"
    if not path.is_file():
        MODELS.mkdir(parents=True, exist_ok=True)
        (export if precision == "f32" else quantise)(path)
    return path


def export(path):
    import torch

    import clip_vit

    def attention(block, x):
        mixed = torch.onnx.ops.symbolic("com.microsoft::MultiHeadAttention",
                                        block.qkv(x).chunk(3, -1), {"num_heads": clip_vit.HEADS},
                                        dtype=x.dtype, shape=x.shape, version=1)
        return block.o(mixed)

    clip_vit.Block.attention = attention
    pictures = torch.randn(2, 3, IMAGE, IMAGE)
    torch.onnx.export(clip_vit.build(), (pictures,), path, input_names=["pictures"],
                      dynamic_shapes=({0: torch.export.Dim("batch")},), external_data=False,
                      verbose=False)


def quantise(path):
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = MODELS / "prepared.onnx"
    quant_pre_process(model("f32"), prepared, skip_symbolic_shape=True)
    quantize_dynamic(prepared, path, op_types_to_quantize=["MatMul", "Gemm"], per_channel=True,
                     weight_type=QuantType.QInt8)
    prepared.unlink()


def session(precision, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return onnxruntime.InferenceSession(model(precision), options, ["CPUExecutionProvider"])


def smallest_cosine(a, b):
    return float(((a * b).sum(1) / numpy.sqrt((a * a).sum(1) * (b * b).sum(1))).min())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--precision", choices=["f32", "int8"], default="int8")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()

    shape = (arguments.batch, 3, IMAGE, IMAGE)
    feed = {"pictures": numpy.random.default_rng(0).standard_normal(shape, numpy.float32)}
    exact = session("f32", arguments.threads).run(None, feed)[0]
    ours = session(arguments.precision, arguments.threads)
    cosine = smallest_cosine(exact, ours.run(None, feed)[0])
    protocol.serve(f"onnxruntime {onnxruntime.__version__}", lambda: ours.run(None, feed),
                   facts=lambda: {"cosine": cosine})


if __name__ == "__main__":
    main()
