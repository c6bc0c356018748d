"""What `sensorium train` leaves of BLIP-2's two stages, as transformers reads it. Writes goldens/blip2_trained/.

    ENCODER_BACKBONE.json    {"recipe": what `sensorium train` is given, "generate": the loss of the captions
                             by Blip2ForConditionalGeneration, "matching": logits [pictures, texts, 2] of
                             Blip2ForImageTextRetrieval}

Needs `cargo build --release`.
"""

import json
import re
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from finetune import DATA, OPTIM, ROOT, examples, run
from transformers import (AutoImageProcessor, AutoTokenizer, Blip2ForConditionalGeneration,
                          Blip2ForImageTextRetrieval)

PROMPT = "a photo of"
CASES = [("published_dinov2", "parts/chat_opt"), ("published_dinov2", "parts/chat_qwen2"),
         ("published_dinov2", "chatting")]


def recipe(encoder, backbone):
    stage = ("steps = 20\nbatch = 2\nsave_every = 20\neval_every = 20\neval_batches = 1\ntokens = 64\n"
             "schedule = { kind = 'constant', learning_rate = 0.003 }\n")
    return (f"recipe = 'blip2'\nseed = 1\nprompt = '{PROMPT}'\n{OPTIM}\n[model]\nencoder = 'goldens/{encoder}'\n"
            f"tokenizer = 'goldens/blip2_matching/tokenizer.json'\nbackbone = 'goldens/{backbone}'\n"
            "[qformer]\nqueries = 3\nhidden_size = 24\nn_layers = 2\nn_heads = 2\nintermediate_size = 32\n"
            f"embed = 12\ncontext = 64\n[represent]\n{stage}[generate]\n{stage}{DATA.format('')}")


def caption(text):
    return " ".join(re.sub(r'[.!"()*#:;~]', " ", text.lower()).split()[:50])


def pixels(folder, pictures):
    return AutoImageProcessor.from_pretrained(folder)(images=pictures, return_tensors="pt")["pixel_values"]


def generated(folder, pictures, texts):
    """The loss of the captions, mean over all of their tokens."""
    model = Blip2ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    end = model.config.text_config.eos_token_id
    places = [model.config.image_token_id] * model.config.num_query_tokens
    plain = lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]  # noqa: E731
    opening = [i for i in tokenizer("a")["input_ids"] if i not in plain("a")]
    total, count = 0.0, 0
    for values, text in zip(pixels(folder, pictures), texts):
        before = places + opening + plain(PROMPT)
        said = plain(" " + caption(text)) + [end]
        ids = torch.tensor([before + said])
        with torch.no_grad():
            logits = model(pixel_values=values[None], input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        start = len(before)
        total += F.cross_entropy(logits[0, start - 1:-1], ids[0, start:], reduction="sum").item()
        count += len(said)
    return total / count


def matched(folder, pictures, texts):
    model = Blip2ForImageTextRetrieval.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = []
    for values in pixels(folder, pictures):
        row = []
        for text in texts:
            inputs = tokenizer(text, return_tensors="pt")
            with torch.no_grad():
                out = model(pixel_values=values[None], input_ids=inputs["input_ids"],
                            attention_mask=inputs["attention_mask"], use_image_text_matching_head=True)
            row.append(out.logits_per_image[0].tolist())
        rows.append(row)
    return rows


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    goldens = ROOT / "goldens" / "blip2_trained"
    goldens.mkdir(exist_ok=True)
    pictures, texts = examples()
    for encoder, backbone in CASES:
        text = recipe(encoder, backbone)
        with tempfile.TemporaryDirectory() as work:
            run(text, work)
            golden = {"recipe": text, "generate": generated(Path(work) / "run/generate/final", pictures, texts),
                      "matching": matched(Path(work) / "run/represent/final", pictures, texts)}
        name = f"{encoder.removeprefix('published_')}_{Path(backbone).name.removeprefix('chat_')}"
        (goldens / f"{name}.json").write_text(json.dumps(golden, indent=1) + "\n")
        print(name, golden["generate"], golden["matching"])


if __name__ == "__main__":
    main()
