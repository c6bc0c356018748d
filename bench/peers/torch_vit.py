"""PyTorch's side of P3: CLIP's ViT-B/32 image encoder in bf16 (or f32), a batch a line.

    torch_vit.py [--precision bf16] [--batch 16] [--threads 2] [--eager]
"""

import argparse

import torch

import clip_vit
import protocol


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--precision", choices=["f32", "bf16"], default="bf16")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--eager", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    model = clip_vit.build()
    pictures = torch.randn(arguments.batch, 3, clip_vit.IMAGE, clip_vit.IMAGE)
    with torch.inference_mode():
        exact = model(pictures)
        if arguments.precision == "bf16":
            model, pictures = model.bfloat16(), pictures.bfloat16()
        forward = model if arguments.eager else protocol.compiled(model)
        cosine = torch.cosine_similarity(exact, forward(pictures).float()).min().item()
        name = f"torch {torch.__version__}, {'eager' if arguments.eager else 'compiled'}"
        protocol.serve(name, lambda: forward(pictures).float(), facts=lambda: {"cosine": cosine})


if __name__ == "__main__":
    main()
