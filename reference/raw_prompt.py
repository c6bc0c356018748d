"""Prompts with pictures as plain text, without a template. Writes goldens/raw_prompt/cases.json.

The models and processors are those of goldens/seeing_* and goldens/idefics; `<image>` stands in each text
where transformers' processor wants it. A case has the ids of the text and 16 greedy tokens; those whose
tokens hang on a last bit are left out.
"""

import json

import torch
from golden import ROOT
from PIL import Image
from published import IMAGES, two_passes
from seeing import LEAD, greedy
from transformers import (AutoModelForImageTextToText, AutoProcessor, IdeficsProcessor,
                          LlavaProcessor, PreTrainedTokenizerFast)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.idefics.image_processing_pil_idefics import IdeficsImageProcessorPil

# Vicuna's prompt of LLaVA 1.5, with spaces that must stay.
VICUNA = ("A chat between a curious human and an artificial intelligence assistant.  USER: <image>\n"
          "{question} ASSISTANT:")
QUESTIONS = ["What is it?", "How many?", "why ", " x", "and now?", "what colour?"]
SHAPES = {
    "seeing_llava": [VICUNA, "{question}\n<image>"],
    "seeing_llava_legacy": [VICUNA, " <image> then  <image>\n{question}"],
    "seeing_idefics3": ["<|im_start|>User:<image>{question}<end_of_utterance>\nAssistant:"],
    "seeing_smolvlm": ["<|im_start|>User: {question} <image> <end_of_utterance>\nAssistant:", "<image>{question}"],
}


def processor(folder):
    if (folder / "processor_config.json").exists():
        return AutoProcessor.from_pretrained(folder)
    images, tokenizer = CLIPImageProcessorPil.from_pretrained(folder), PreTrainedTokenizerFast.from_pretrained(folder)
    return LlavaProcessor(images, tokenizer, patch_size=6, vision_feature_select_strategy="default",
                          num_additional_image_tokens=1)


def seen(name, shapes):
    folder = ROOT / name
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32,
                                                        attn_implementation="eager").eval()
    of = processor(folder)
    for shape in shapes:
        kept = 0
        for question in QUESTIONS:
            text = shape.format(question=question)
            names = ["rings.png", "noise.png"][: text.count("<image>")]
            images = [Image.open(IMAGES / picture).convert("RGB") for picture in names]
            bos = of.tokenizer.bos_token
            inputs = of(images=images, text=text, return_tensors="pt",
                        add_special_tokens=not (bos and text.startswith(bos)))
            inputs = {k: v for k, v in inputs.items() if k not in ("rows", "cols", "mm_token_type_ids")}
            tokens, lead = greedy(model, inputs)
            if lead >= LEAD and kept < 2:
                kept += 1
                yield {"model": name, "text": text, "pictures": names, "ids": inputs["input_ids"][0].tolist(),
                       "greedy": tokens}
        assert kept, (name, shape)


def idefics():
    folder = ROOT / "idefics_plain"
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    of = IdeficsProcessor(IdeficsImageProcessorPil.from_pretrained(folder), tokenizer)
    for text in ("a cat <image> it is", "Question: <image> at? Answer:"):
        before, after = text.split("<image>")
        image = Image.open(IMAGES / "rings.png").convert("RGB")
        ids = of(text=[[before, image, after]], return_tensors="pt")["input_ids"][0].tolist()
        yield {"model": "idefics_plain", "text": text, "pictures": ["rings.png"], "ids": ids, "greedy": None}


def main():
    two_passes()
    cases = [case for name, shapes in SHAPES.items() for case in seen(name, shapes)] + list(idefics())
    folder = ROOT / "raw_prompt"
    folder.mkdir(exist_ok=True)
    lines = ",\n".join(json.dumps(case) for case in cases)
    (folder / "cases.json").write_text(f"[\n{lines}\n]\n")
    print(f"goldens/raw_prompt: {len(cases)} cases")


if __name__ == "__main__":
    main()
