"""open_clip's side of P9: training steps of its ViT-S-32 in f32.

    open_clip_step.py --batch 256 [--threads 2] [--eager]       (a step a line, see protocol.py)

A step is forward, the contrastive loss over the batch, backward, fused AdamW.
"""

import argparse

import open_clip
import torch

import protocol

PARAMETERS = 63_085_825


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--eager", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)

    model = open_clip.create_model("ViT-S-32")
    count = sum(p.numel() for p in model.parameters())
    assert count == PARAMETERS, f"expected {PARAMETERS} parameters, got {count}"
    forward = model if arguments.eager else protocol.compiled(model)
    loss_of = open_clip.ClipLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95),
                                  weight_decay=0.05, fused=True)
    pictures = torch.randn(arguments.batch, 3, 224, 224)
    texts = torch.randint(49407, (arguments.batch, 77))
    texts[:, -1] = 49407
    losses = []

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(*forward(pictures, texts)[:3])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    mode = "eager" if arguments.eager else "compiled"
    name = f"open_clip {open_clip.__version__}, torch {torch.__version__}, {mode}"
    protocol.serve(name, step, facts=lambda: {"losses": losses})


if __name__ == "__main__":
    main()
