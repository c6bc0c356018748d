"""Tiny SigLIP 2 checkpoints whose pictures keep their ratio (NaFlex). Writes goldens/siglip2*.

Tschannen et al. 2025, https://arxiv.org/abs/2502.14786

    siglip2         positions of 4 x 4 places, up to 16 patches; settings of pictures in a file of their own
    siglip2_wide    positions of 3 x 3 places, up to 23 patches, exact GELU; pictures five times as wide as
                    high, and as high as wide; bicubic, values scaled otherwise; settings in the processor's

The tokenizer is Gemma's in small, as the hub's files have it: lower case is what transformers adds when
it opens a file of this family, and what the towers were trained on.

`expected.json` has the pictures (of `published_images`, or of this folder), the texts and their ids.
`outputs.safetensors` has of each picture n, without padding, `n.patches` `[N, 3 p p]` with values of a
patch row by row, channels last, and `n.grid`; then embeddings and logits. `states.safetensors` has
`n.image.K`, the stream after K layers, `n.image` after the last norm, `n.pool`, and of the first two texts
`text.K` and `text`.
"""

import json

import torch
from golden import randomise, save
from PIL import Image
from published import IMAGES, TEXTS, finish, fresh, two_passes
from states import States
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (AutoModel, AutoTokenizer, PreTrainedTokenizerFast, Siglip2Config,
                          Siglip2Model, Siglip2Processor)
from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil

CONTEXT = 16


def gemma(folder):
    """The tokenizer's files as the hub has them: no lower case in tokenizer.json."""
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *(f"<0x{i:02X}>" for i in range(256)),
              *"▁abcdefghijklmnopqrstuvwxyzATWO"]
    merges = [("c", "a"), ("ca", "t"), ("▁", "cat"), ("▁", "a"), ("d", "o"), ("do", "g"), ("T", "W")]
    vocab = {token: i for i, token in enumerate([*tokens, *(a + b for a, b in merges)])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, fuse_unk=True, unk_token="<unk>",
                                     byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", pair="$A <eos> $B:1 <eos>:1", special_tokens=[("<eos>", 1)])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(),
                                           decoders.Fuse()])
    tokenizer.add_special_tokens(tokens[:5])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>",
        unk_token="<unk>", mask_token="<mask>", model_max_length=CONTEXT, padding_side="right",
        model_input_names=["input_ids"]).save_pretrained(folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["tokenizer_class"] = "GemmaTokenizer"
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1) + "\n")
    return len(vocab)


def compared(folder, images, pictures):
    model = AutoModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    how = dict(truncation=True, max_length=CONTEXT)
    texts = tokenizer(TEXTS, padding="max_length", return_tensors="pt", **how)
    assert "attention_mask" not in texts
    inputs = images([*pictures.values()], return_tensors="pt")
    states = States(model)
    states.stack("image", "vision_model.encoder.layers")
    states.out("image", "vision_model.post_layernorm")
    states.out("pool", "vision_model.head")
    states.stack("text", "text_model.encoder.layers")
    states.out("text", "text_model.final_layer_norm")
    with torch.no_grad():
        result = model(input_ids=texts["input_ids"], **inputs)
    seen, outputs, kept = states.taken(), {}, {}
    for i, (values, grid) in enumerate(zip(inputs["pixel_values"], inputs["spatial_shapes"])):
        n = int(grid.prod())
        assert inputs["pixel_attention_mask"][i].sum() == n
        outputs[f"{i}.patches"], outputs[f"{i}.grid"] = values[:n], grid.float()
        for name, value in seen.items():
            if name.startswith("image"):
                kept[f"{i}.{name}"] = value[i : i + 1, :n]
        kept[f"{i}.pool"] = seen["pool"][i : i + 1]
    kept.update({name: value[:2] for name, value in seen.items() if name.startswith("text")})
    outputs.update(image_embeds=result.image_embeds, text_embeds=result.text_embeds,
                   logits_per_image=result.logits_per_image)
    alone = [tokenizer(text, **how)["input_ids"] for text in TEXTS]
    grids = inputs["spatial_shapes"].tolist()
    assert len({tuple(grid) for grid in grids}) > 1, grids
    print(grids, alone[1])
    return {"pictures": [*pictures], "texts": TEXTS, "ids": alone}, outputs, kept


def golden(name, pictures, images, vision, text, shared=False, shards=None):
    folder = fresh(name)
    rows = gemma(folder)
    config = Siglip2Config(
        vision_config=vision,
        text_config=dict(text, vocab_size=rows + 2, max_position_embeddings=CONTEXT, pad_token_id=0,
                         bos_token_id=2, eos_token_id=1, projection_size=vision["hidden_size"]))
    model = Siglip2Model(config)
    with torch.no_grad():
        model.logit_scale.fill_(2.302585093)
        model.logit_bias.fill_(-3.0)
    randomise(model).save_pretrained(folder, **({"max_shard_size": shards} if shards else {}))
    if shared:
        Siglip2Processor(images, AutoTokenizer.from_pretrained(folder)).save_pretrained(folder)
        # The processor of today has put lower case into the file.
        gemma(folder)
    else:
        images.save_pretrained(folder)
    opened = {}
    for picture in pictures:
        if not (IMAGES / picture).exists():
            cut(picture).save(folder / picture, optimize=True)
        place = IMAGES if (IMAGES / picture).exists() else folder
        opened[picture] = Image.open(place / picture)
    expected, outputs, states = compared(folder, images, opened)
    save(folder, "states.safetensors", states, ordered=True)
    finish(folder, expected, outputs)


def cut(name):
    """Strips of two of the pictures."""
    boxes = {"strip.png": ("rings.png", (0, 10, 61, 22)), "post.png": ("noise.png", (2, 0, 12, 41))}
    source, box = boxes[name]
    return Image.open(IMAGES / source).crop(box)


def main():
    two_passes()
    golden("siglip2", ["noise.png", "smooth.png", "rings.png"],
           Siglip2ImageProcessorPil(patch_size=6, max_num_patches=16),
           dict(hidden_size=32, intermediate_size=44, num_hidden_layers=2, num_attention_heads=4,
                patch_size=6, num_patches=16),
           dict(hidden_size=28, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4))
    golden("siglip2_wide", ["strip.png", "post.png", "smooth.png"],
           Siglip2ImageProcessorPil(patch_size=5, max_num_patches=23, resample=3,
                                    image_mean=[0.4, 0.5, 0.6], image_std=[0.3, 0.25, 0.2]),
           dict(hidden_size=30, intermediate_size=38, num_hidden_layers=3, num_attention_heads=5,
                patch_size=5, num_patches=9, hidden_act="gelu", layer_norm_eps=1e-5),
           dict(hidden_size=24, intermediate_size=36, num_hidden_layers=1, num_attention_heads=3,
                hidden_act="gelu"), shared=True, shards="40KB")


if __name__ == "__main__":
    main()
