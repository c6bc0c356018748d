"""What every reference script shares: seeds, hooks, the ten steps, the files of one golden.

A golden is `goldens/<name>/`:

    config.json            the config in the spelling of a published checkpoint
    weights.safetensors    every parameter, under its published name
    inputs.safetensors     what the model is fed
    outputs.safetensors    named intermediates and outputs; the metadata key "order" lists
                           them as a JSON array in the order in which they are computed
    gradients.safetensors  the gradient of the loss with respect to every parameter
    losses.json            ten losses per curve: curve[i] is the loss before update i
"""

import json
import zlib
from pathlib import Path

import torch
from safetensors.torch import save_file

ROOT = Path(__file__).resolve().parent.parent / "goldens"
SEED = 20240
LIMIT = 500_000  # bytes of one golden
STEPS = 10

# One thread and no fused attention: the same sums in the same order on every run.
torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)


def generator(name, seed=SEED):
    """A generator of its own for every tensor, so that adding one moves no other."""
    return torch.Generator().manual_seed(seed * 1_000_003 + zlib.crc32(name.encode()))


def normal(name, *shape, std=1.0, seed=SEED):
    return torch.randn(*shape, generator=generator(name, seed)) * std


def integers(name, low, high, *shape, seed=SEED):
    return torch.randint(low, high, shape, generator=generator(name, seed))


# Looked up or added, not multiplied: their spread does not depend on a fan-in.
TABLES = ("embed_tokens", "embedding", "position", "probe", "wte", "wpe")


def randomise(model, table=0.5, seed=SEED):
    """Non-trivial values everywhere: a norm left out or a bias forgotten must show.

    `table` is the spread of embeddings and positions.
    """
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 0 or name in ("logit_scale", "logit_bias"):
                continue  # scalars keep the value that the class gives them
            noise = normal(name, *parameter.shape, seed=seed)
            if name.endswith("bias"):
                parameter.copy_(0.1 * noise)
            elif parameter.dim() == 1 and name.endswith("weight"):
                parameter.copy_(1 + 0.2 * noise)
            elif parameter.dim() < 4 and any(word in name for word in TABLES):
                parameter.copy_(table * noise)
            else:
                fan_in = parameter[0].numel()
                parameter.copy_(noise * fan_in**-0.5)
    return model.float().eval()


def capture(model, watched, run):
    """Runs `run()` and returns its result and the outputs of the `watched` modules, in order.

    `watched` maps a module path to the name to store; the first tensor of a tuple is taken.
    """
    seen, handles = {}, []

    def hook(name):
        def store(_module, _args, output):
            value = output[0] if isinstance(output, tuple) else output
            seen[name] = value.detach()

        return store

    for path, name in watched.items():
        handles.append(model.get_submodule(path).register_forward_hook(hook(name)))
    result = run()
    for handle in handles:
        handle.remove()
    return result, seen


def gradients(model, loss):
    """The gradient of every parameter; zeros where a parameter has no part in the loss."""
    model.zero_grad(set_to_none=True)
    loss.backward()
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in model.named_parameters()
    }


def curve(model, loss_of, trained=lambda name: True):
    """Ten losses under AdamW, all on the same batch; the model's weights are put back.

    lr 1e-3, betas 0.9 and 0.95, eps 1e-8, no clipping; weight decay 0.05 for parameters of
    two dimensions or more, none for the others.
    """
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    chosen = []
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(trained(name))
        if trained(name):
            chosen.append(parameter)
    groups = [
        {"params": [p for p in chosen if p.dim() >= 2], "weight_decay": 0.05},
        {"params": [p for p in chosen if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), eps=1e-8, foreach=False)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of()
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(before[name])
            parameter.requires_grad_(True)
    assert losses[-1] < losses[0], f"the loss must fall: {losses}"
    return losses


# Keys of a transformers config that say nothing about the architecture.
NOISE = {
    "transformers_version", "output_hidden_states", "output_attentions", "return_dict",
    "chunk_size_feed_forward", "is_encoder_decoder", "id2label", "label2id", "problem_type",
    "_name_or_path", "initializer_range", "initializer_factor", "use_cache", "pretraining_tp",
    "dtype", "layer_types", "max_window_layers", "use_sliding_window",
}


def published(config):
    """A transformers config as published checkpoints spell it (`rope_theta` at top level)."""
    if not isinstance(config, dict):
        config = config.to_dict()
    kept = {}
    for key, value in config.items():
        if key in NOISE or value is None:
            continue
        if key == "rope_parameters":
            kept["rope_theta"] = value["rope_theta"]
        else:
            kept[key] = published(value) if isinstance(value, dict) else value
    return kept


def write_json(folder, name, value):
    (folder / name).write_text(json.dumps(value, indent=2) + "\n")


def save(folder, name, tensors, ordered=False):
    """Writes `tensors`; a tied or sliced tensor is copied, so that each key owns its bytes."""
    tensors = {key: value.detach().clone().contiguous() for key, value in tensors.items()}
    # A single metadata key: the writer's map has no fixed order for more.
    metadata = {"order": json.dumps(list(tensors))} if ordered else None
    save_file(tensors, folder / name, metadata)
    (folder / name).chmod(0o644)


def write(name, *, config, inputs, outputs, gradients, weights=None, losses=None):
    """Writes `goldens/<name>/` and prints its size."""
    folder = ROOT / name
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder, "config.json", config)
    save(folder, "inputs.safetensors", inputs)
    save(folder, "outputs.safetensors", outputs, ordered=True)
    save(folder, "gradients.safetensors", gradients)
    if weights is not None:
        assert weights.keys() == gradients.keys(), "a gradient for every parameter"
        save(folder, "weights.safetensors", weights)
    if losses is not None:
        write_json(folder, "losses.json", losses)
    size = sum(f.stat().st_size for f in folder.iterdir())
    assert size <= LIMIT, f"goldens/{name} has {size} bytes, more than {LIMIT}"
    count = sum(w.numel() for w in weights.values()) if weights else 0
    print(f"goldens/{name}: {size / 1000:.0f} kB, {count} parameters")


def layers(prefix, count, parts=("self_attn", "mlp")):
    """Module paths of a stack: the parts of layer 0, and the output of every layer."""
    paths = [f"{prefix}.0.{part}" for part in parts]
    paths += [f"{prefix}.{i}" for i in range(count)]
    return paths
