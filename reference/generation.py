"""Greedy tokens of transformers under penalties and prohibitions. Writes goldens/generation/cases.json.

The model is `goldens/seeing_llava`, asked without a picture. A case has the settings of `generate`, and
32 tokens; cases whose choice hangs on a last bit are left out.
"""

import json
from pathlib import Path

import torch
from transformers import AutoModelForImageTextToText

ROOT = Path(__file__).parent.parent
LEAD = 0.01
SETTINGS = [
    {}, {"repetition_penalty": 1.3}, {"repetition_penalty": 2.5}, {"repetition_penalty": 0.7},
    {"no_repeat_ngram_size": 1}, {"no_repeat_ngram_size": 2}, {"no_repeat_ngram_size": 3},
    {"repetition_penalty": 1.2, "no_repeat_ngram_size": 2},
    {"suppress_tokens": list(range(40, 120))}, {"begin_suppress_tokens": list(range(20, 250))},
]


def main():
    name = "generation"
    model = AutoModelForImageTextToText.from_pretrained(ROOT / "goldens/seeing_llava", dtype=torch.float32)
    expected = json.loads((ROOT / "goldens/seeing_llava/expected.json").read_text())
    marker = model.config.image_token_index
    prompts = [[i for i in case["ids"] if i != marker] for case in expected][:3]
    cases = []
    for ids in prompts:
        inputs = torch.tensor([ids])
        for settings in SETTINGS:
            plain = greedy(model, inputs, {})
            words = [settings] if settings else [settings, {"bad_words_ids": [[plain[0][0]], plain[0][2:4]]}]
            for settings in words:
                tokens, lead = greedy(model, inputs, settings)
                if lead > LEAD:
                    cases.append({"ids": ids, "settings": settings, "tokens": tokens})
    folder = ROOT / "goldens" / name
    folder.mkdir(exist_ok=True)
    (folder / "cases.json").write_text(json.dumps(cases) + "\n")
    print(f"goldens/{name}: {len(cases)} cases")


def greedy(model, inputs, settings):
    """The tokens, and the narrowest lead of a chosen one."""
    with torch.no_grad():
        made = model.generate(inputs, do_sample=False, max_new_tokens=32, output_scores=True,
                              return_dict_in_generate=True, eos_token_id=None, pad_token_id=0, **settings)
    best = torch.stack(made.scores).topk(2, -1).values
    return made.sequences[0, inputs.shape[1]:].tolist(), (best[..., 0] - best[..., 1]).min().item()


if __name__ == "__main__":
    main()
