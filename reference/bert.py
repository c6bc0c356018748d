"""A tiny BERT checkpoint. Writes goldens/bert.

Devlin et al. 2019, https://arxiv.org/abs/1810.04805. Two texts of different lengths, the second
padded; `hidden.0` after the embedding, `hidden.N` after block N, `mean` and `first` pooled, `unit`
the mean of unit length. Values where a text is padded are zeros.
"""

import json
import shutil

import torch
from decoder import VOCABULARY
from golden import ROOT, integers, randomise, save
from transformers import BertConfig, BertModel

LENGTHS = (11, 7)


def main():
    config = BertConfig(vocab_size=VOCABULARY, hidden_size=30, num_hidden_layers=2,
                        num_attention_heads=3, intermediate_size=44, max_position_embeddings=16,
                        type_vocab_size=2, layer_norm_eps=1e-12)
    config._attn_implementation = "eager"
    model = randomise(BertModel(config))
    folder = ROOT / "bert"
    if folder.exists():
        shutil.rmtree(folder)
    model.save_pretrained(folder)
    for file in folder.iterdir():
        file.chmod(0o644)
    written = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(written, indent=1) + "\n")

    ids = integers("bert.input_ids", 1, VOCABULARY, len(LENGTHS), max(LENGTHS))
    mask = torch.tensor([[1.0] * n + [0.0] * (max(LENGTHS) - n) for n in LENGTHS])
    ids = ids * mask.long()
    with torch.no_grad():
        result = model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
    outputs = {f"hidden.{i}": x * mask[..., None] for i, x in enumerate(result.hidden_states)}
    last = outputs[f"hidden.{config.num_hidden_layers}"]
    outputs["mean"] = last.sum(1) / mask.sum(1, keepdim=True)
    outputs["first"] = last[:, 0]
    outputs["unit"] = torch.nn.functional.normalize(outputs["mean"], dim=-1)
    save(folder, "inputs.safetensors", {"input_ids": ids, "attention_mask": mask})
    save(folder, "outputs.safetensors", outputs, ordered=True)
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"goldens/bert: {size / 1000:.0f} kB, {model.num_parameters()} parameters")


if __name__ == "__main__":
    main()
