"""What the scripts of published decoders share: a checkpoint as `save_pretrained` writes it, what
the model computes from it, and 16 greedy tokens.

A golden is a directory that a loader opens: config.json, generation_config.json,
model.safetensors; beside them inputs.safetensors (`input_ids [B, T]`, `prompt [1, n]`) and
outputs.safetensors (`hidden.0` after the embedding, `hidden.N` after block N, the last after the
final norm, `logits`, `greedy`).
"""

import json
import shutil

import torch
from golden import LIMIT, ROOT, integers, randomise, save
from llama import prompt_and_greedy

VOCABULARY, BATCH = 101, 2  # above that of the prompts which `llama` draws


def golden(name, model, length, prompt_length, table=0.5):
    """Writes `goldens/<name>/` and prints its size."""
    model.config._attn_implementation = "eager"
    model = randomise(model, table=table)
    folder = ROOT / name
    if folder.exists():
        shutil.rmtree(folder)
    model.save_pretrained(folder)
    for file in folder.iterdir():
        file.chmod(0o644)
    (folder / "config.json").write_text(
        json.dumps(json.loads((folder / "config.json").read_text()), indent=1) + "\n")

    ids = integers(f"{name}.input_ids", 0, VOCABULARY, BATCH, length)
    with torch.no_grad():
        result = model(input_ids=ids, use_cache=False, output_hidden_states=True)
    outputs = {f"hidden.{i}": x for i, x in enumerate(result.hidden_states)}
    outputs["logits"] = result.logits
    prompt, outputs["greedy"] = prompt_and_greedy(model, name, prompt_length)
    save(folder, "inputs.safetensors", {"input_ids": ids, "prompt": prompt})
    save(folder, "outputs.safetensors", outputs, ordered=True)
    size = sum(file.stat().st_size for file in folder.iterdir())
    assert size <= LIMIT, f"goldens/{name} has {size} bytes, more than {LIMIT}"
    print(f"goldens/{name}: {size / 1000:.0f} kB, {model.num_parameters()} parameters")
