"""One tower of CLIP or SigLIP alone, as `save_pretrained` writes it. Writes goldens/towers/<case>/.

Each case is a directory and `expected.json`: pictures of goldens/published_images or texts, and what
transformers makes of each: the projected vector where the class has a projection, else the pooled one.
Tokenizers are those of goldens/tokenizer_files.
"""

import json
import shutil

import torch
from golden import ROOT, randomise
from PIL import Image
from published import two_passes
from transformers import (AutoTokenizer, CLIPImageProcessorPil, CLIPTextConfig, CLIPTextModel,
                          CLIPTextModelWithProjection, CLIPVisionConfig, CLIPVisionModel,
                          CLIPVisionModelWithProjection, PreTrainedTokenizerFast, SiglipImageProcessorPil,
                          SiglipTextConfig, SiglipTextModel, SiglipVisionConfig, SiglipVisionModel)

PICTURES = ["noise", "smooth", "rings"]
TEXTS = ["a photo of a cat", "TWO  dogs, on a mat", "", "the cat sat on the mat and the dog was lazy and red"]
TINY = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24)


def fresh(name):
    folder = ROOT / "towers" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def write(folder, key, inputs, vectors):
    expected = {key: inputs, "vectors": [[round(x, 7) for x in row] for row in vectors.tolist()]}
    (folder / "expected.json").write_text(json.dumps(expected) + "\n")
    size = sum(f.stat().st_size for f in folder.iterdir())
    print(f"goldens/towers/{folder.name}: {size / 1000:.0f} kB")


def vision(name, kind, config, images):
    folder = fresh(name)
    model = randomise(kind(config))
    model.save_pretrained(folder)
    images.save_pretrained(folder)
    made = [Image.open(ROOT / "published_images" / f"{picture}.png").convert("RGB") for picture in PICTURES]
    with torch.no_grad():
        out = model(images(made, return_tensors="pt")["pixel_values"])
    vectors = out.image_embeds if "image_embeds" in out else out.pooler_output
    write(folder, "pictures", [f"{picture}.png" for picture in PICTURES], vectors)


def text(name, kind, config, tokenizer, files, **padding):
    folder = fresh(name)
    model = randomise(kind(config))
    model.save_pretrained(folder)
    for file in files:
        shutil.copy(ROOT / file, folder)
    vectors = []
    for line in TEXTS:
        ids = tokenizer(line, truncation=True, max_length=config.max_position_embeddings, return_tensors="pt",
                        **padding)["input_ids"]
        with torch.no_grad():
            out = model(ids)
        vectors.append(out.text_embeds if "text_embeds" in out else out.pooler_output)
    write(folder, "texts", TEXTS, torch.cat(vectors))


def main():
    two_passes()
    side = {"height": 14, "width": 14}
    images = CLIPImageProcessorPil(size={"shortest_edge": 14}, crop_size=side)
    config = CLIPVisionConfig(**TINY, image_size=14, patch_size=7, projection_dim=12)
    vision("clip_vision", CLIPVisionModel, config, images)
    vision("clip_vision_projection", CLIPVisionModelWithProjection, config, images)
    vision("siglip_vision", SiglipVisionModel, SiglipVisionConfig(**TINY, image_size=14, patch_size=7),
           SiglipImageProcessorPil(size=side))

    words = AutoTokenizer.from_pretrained(ROOT / "tokenizer_files" / "clip")
    files = [f"tokenizer_files/clip/{name}" for name in ("vocab.json", "merges.txt", "tokenizer_config.json")]
    ends = dict(bos_token_id=words.bos_token_id, eos_token_id=words.eos_token_id, pad_token_id=words.eos_token_id)
    config = CLIPTextConfig(**TINY, **ends, vocab_size=len(words), max_position_embeddings=16, projection_dim=12)
    text("clip_text", CLIPTextModel, config, words, files)
    text("clip_text_projection", CLIPTextModelWithProjection, config, words, files)

    pieces = PreTrainedTokenizerFast.from_pretrained(ROOT / "published_siglip")
    files = [f"published_siglip/{name}" for name in ("tokenizer.json", "tokenizer_config.json")]
    config = SiglipTextConfig(**TINY, vocab_size=len(pieces), max_position_embeddings=16, projection_size=12,
                              pad_token_id=0, bos_token_id=2, eos_token_id=1)
    text("siglip_text", SiglipTextModel, config, pieces, files, padding="max_length")


if __name__ == "__main__":
    main()
