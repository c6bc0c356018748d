"""What transformers makes of a fine-tuned model, to lay beside `sensorium score` and `sensorium ask`.

    python reference/finetuned.py runs/clip/final picture.png "a red square" "a blue square"
    python reference/finetuned.py runs/llava/instruct/final picture.png "describe the picture."

Prints the logits of a dual encoder's pairs, or the five likeliest first tokens of an answer. Writes no
files.
"""

import sys

import torch
from PIL import Image
from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoProcessor


def compared(folder, picture, texts):
    model, processor = AutoModel.from_pretrained(folder, dtype=torch.float32).eval(), AutoProcessor.from_pretrained(folder)
    padding = "max_length" if model.config.model_type == "siglip" else True
    inputs = processor(text=texts, images=picture, padding=padding, truncation=True, return_tensors="pt")
    with torch.no_grad():
        logits = model(**inputs).logits_per_image[0]
    for text, logit in zip(texts, logits.tolist()):
        print(f"{logit:10.4f}  {text}")


def answered(folder, picture, question):
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(folder)
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]
    prompt = processor.apply_chat_template(messages, add_generation_prompt=True)
    inputs = processor(text=prompt, images=[picture], return_tensors="pt")
    with torch.no_grad():
        logits = model(**inputs).logits[0, -1]
    for logit, token in zip(*(found.tolist() for found in logits.topk(5))):
        print(f"{logit:10.4f}  {processor.tokenizer.decode([token])!r}")


if __name__ == "__main__":
    folder, picture, *texts = sys.argv[1:]
    picture = Image.open(picture).convert("RGB")
    if AutoConfig.from_pretrained(folder).model_type in ("clip", "siglip"):
        compared(folder, picture, texts)
    else:
        answered(folder, picture, texts[0])
