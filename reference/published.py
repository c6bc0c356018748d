"""Tiny checkpoints as they lie in a directory. Writes goldens/published_*.

Each folder is what `save_pretrained` writes, or what older code wrote: settings, weights in one file
or in shards, tokenizer, image processor. Beside them stands what transformers makes of pictures and
texts with them, opened by `from_pretrained`: `expected.json` (texts and their ids) and
`outputs.safetensors`.

`published_images` holds the pictures, and what image processors of many settings make of them before
values are scaled.

    published_clip           quick GELU, text read at its largest id (eos_token_id 2), settings in the
                             spelling of 2021, numbers of positions (I64) among the weights
    published_clip_sharded   exact GELU, bfloat16 in shards, text read at its end token, v5 processor
    published_open_clip      the weights of published_clip in open_clip's files and names
    published_siglip         attention pooling with MLP, text padded to its context
    published_dinov2         positions resized from 36 to 26 pixels, layer scale
    published_dinov2_registers  with registers
    published_dinov2_swiglu  the gated MLP of its giant
"""

import json
import random
import shutil

import numpy as np
import torch
from golden import ROOT, normal, randomise, save
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (AutoModel, AutoTokenizer, BitImageProcessorPil, CLIPConfig,
                          CLIPImageProcessorPil, CLIPModel, CLIPProcessor, CLIPTokenizer,
                          Dinov2Config, Dinov2WithRegistersConfig, Dinov2WithRegistersModel, Dinov2Model, PreTrainedTokenizerFast, SiglipConfig,
                          SiglipImageProcessorPil, SiglipModel, ViTImageProcessorPil)

IMAGES = ROOT / "published_images"
LIMIT = 400_000
TEXTS = ["a photo of a cat", "TWO  dogs, on a sofa!", "", "it's the cat",
         "a very long text about a cat and a dog that goes on and on and does not end at all"]


def two_passes():
    """Across, then down, as every Pillow before 13 and as `reference/pillow.py` explains."""
    whole = Image.Image.resize

    def resize(self, size, resample=None, box=None, reducing_gap=None):
        across = whole(self, (size[0], self.height), resample)
        return whole(across, tuple(size), resample)

    Image.Image.resize = resize


def pictures():
    """Odd sizes; smooth, sharp and noisy."""
    rng = random.Random(5)
    noise = Image.frombytes("RGB", (23, 41), bytes(rng.randrange(256) for _ in range(23 * 41 * 3)))
    y, x = np.mgrid[0:37, 0:61]
    smooth = np.stack([x * 4, y * 6, 128 + 100 * np.sin(x / 5 + y / 9)], -1)
    rings = np.stack([(np.hypot(x - 30, y - 18) // 4 % 2) * 220, x * 2, 200 - y * 4], -1)
    made = {"noise": noise}
    for name, values in (("smooth", smooth), ("rings", rings)):
        made[name] = Image.fromarray(values.clip(0, 255).astype("uint8"))
    IMAGES.mkdir(parents=True, exist_ok=True)
    for old in IMAGES.iterdir():
        old.unlink()
    for name, image in made.items():
        image.save(IMAGES / f"{name}.png", optimize=True)
    return made


def processed(made):
    """What each setting makes of each picture, as `u8`."""
    styles = {"clip": CLIPImageProcessorPil, "siglip": SiglipImageProcessorPil,
              "vit": ViTImageProcessorPil}
    crop = {"height": 15, "width": 18}
    settings = [
        ("clip", {"size": {"shortest_edge": 20}, "crop_size": {"height": 20, "width": 20}}),
        ("clip", {"size": 17, "crop_size": 16, "resample": 2}),
        ("clip", {"size": {"shortest_edge": 13}, "crop_size": crop, "resample": 1}),
        ("clip", {"do_resize": False, "crop_size": {"height": 30, "width": 30}}),
        ("clip", {"size": {"height": 50, "width": 33}, "do_center_crop": False, "resample": 0}),
        ("siglip", {"size": {"height": 24, "width": 24}}),
        ("siglip", {"size": {"height": 16, "width": 40}, "resample": 4}),
        ("vit", {"size": 21}),
        ("vit", {"size": {"height": 48, "width": 48}, "resample": 5}),
    ]
    cases = []
    for i, (style, keys) in enumerate(settings):
        processor = styles[style](**keys, do_rescale=False, do_normalize=False)
        for name, image in made.items():
            array = processor(image, return_tensors="np")["pixel_values"][0]
            expected = f"{name}.{i}.png"
            Image.fromarray(array.astype("uint8").transpose(1, 2, 0)).save(IMAGES / expected, optimize=True)
            cases.append({"style": style, "settings": keys, "picture": f"{name}.png", "expected": expected})
    lines = ",\n".join(json.dumps(case) for case in cases)
    (IMAGES / "cases.json").write_text(f"[\n{lines}\n]\n")


def byte_letters():
    """GPT-2's printable stand-ins for the 256 bytes."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(b) for b in kept] + [chr(256 + n) for n in range(256 - len(kept))]


def clip_tokenizer():
    letters = byte_letters()
    merges = [("c", "a"), ("ca", "t</w>"), ("d", "o"), ("do", "g"), ("t", "h"), ("th", "e</w>")]
    tokens = [*letters, *(letter + "</w>" for letter in letters), *(a + b for a, b in merges),
              "<|startoftext|>", "<|endoftext|>"]
    vocab = {token: i for i, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=12)


def siglip_tokenizer():
    letters = [(letter, -6.0 - i / 50) for i, letter in enumerate("abcdefghijklmnopqrstuvwxyz")]
    words = [("▁a", -3.0), ("▁cat", -4.0), ("▁dog", -4.1), ("▁photo", -4.5), ("▁of", -3.5),
             ("▁the", -3.2), ("▁", -2.5), ("s", -5.0)]
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    taken = {word for word, _ in words}
    pieces = special + words + [piece for piece in letters if piece[0] not in taken]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2))
    tokenizer.normalizer = normalizers.Sequence([
        normalizers.Lowercase(), normalizers.Replace(Regex(r"[!-/:-@\[-`{-~]"), ""),
        normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=16,
                                   pad_token="</s>", eos_token="</s>", unk_token="<unk>")


def fresh(name):
    folder = ROOT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def finish(folder, expected, outputs):
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
    save(folder, "outputs.safetensors", outputs, ordered=True)
    for file in folder.iterdir():
        file.chmod(0o644)
    size = sum(file.stat().st_size for file in folder.iterdir())
    assert size <= LIMIT, f"{folder} has {size} bytes, more than {LIMIT}"
    print(f"{folder.name}: {size / 1000:.0f} kB")


def compared(folder, images, tokenizer, made, padding):
    """Embeddings and logits of all pictures and texts, by what `from_pretrained` opens."""
    model = AutoModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    texts = tokenizer(TEXTS, padding=padding, truncation=True, return_tensors="pt")["input_ids"]
    alone = [tokenizer(text, truncation=True, padding=padding if padding == "max_length" else False)["input_ids"]
             for text in TEXTS]
    pixels = images([*made.values()], return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        result = model(input_ids=texts, pixel_values=pixels)
    outputs = {"pixel_values": pixels, "image_embeds": result.image_embeds,
               "text_embeds": result.text_embeds, "logits_per_image": result.logits_per_image}
    expected = {"pictures": [f"{name}.png" for name in made], "texts": TEXTS, "ids": alone}
    return expected, outputs


def clip(made):
    tokenizer = clip_tokenizer()
    config = CLIPConfig(
        text_config=dict(hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=3,
                         vocab_size=len(tokenizer), max_position_embeddings=12, eos_token_id=2,
                         bos_token_id=0),
        vision_config=dict(hidden_size=32, intermediate_size=56, num_hidden_layers=2,
                           num_attention_heads=4, image_size=26, patch_size=6),
        projection_dim=20)
    folder = fresh("published_clip")
    randomise(CLIPModel(config)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    # Older files count their positions, and name the processor's class otherwise.
    weights = load_file(folder / "model.safetensors")
    for tower, count in (("text_model", 12), ("vision_model", 17)):
        weights[f"{tower}.embeddings.position_ids"] = torch.arange(count).reshape(1, -1)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    settings = {"crop_size": 26, "do_center_crop": True, "do_normalize": True, "do_resize": True,
                "feature_extractor_type": "CLIPFeatureExtractor", "resample": 3, "size": 26,
                "image_mean": [0.48145466, 0.4578275, 0.40821073],
                "image_std": [0.26862954, 0.26130258, 0.27577711]}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    images = CLIPImageProcessorPil.from_pretrained(folder)
    opened = AutoTokenizer.from_pretrained(folder)
    expected, outputs = compared(folder, images, opened, made, True)
    finish(folder, expected, outputs)
    return expected, outputs


def clip_sharded(made):
    tokenizer = clip_tokenizer()
    end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    config = CLIPConfig(
        text_config=dict(hidden_size=24, intermediate_size=40, num_hidden_layers=1, num_attention_heads=2,
                         vocab_size=len(tokenizer), max_position_embeddings=12, eos_token_id=end,
                         hidden_act="gelu"),
        vision_config=dict(hidden_size=30, intermediate_size=44, num_hidden_layers=2,
                           num_attention_heads=5, image_size=25, patch_size=5, hidden_act="gelu"),
        projection_dim=18)
    folder = fresh("published_clip_sharded")
    randomise(CLIPModel(config)).to(torch.bfloat16).save_pretrained(folder, max_shard_size="30KB")
    images = CLIPImageProcessorPil(size={"shortest_edge": 27}, crop_size={"height": 25, "width": 25})
    CLIPProcessor(images, tokenizer).save_pretrained(folder)
    assert (folder / "model.safetensors.index.json").exists() and (folder / "processor_config.json").exists()
    opened = AutoTokenizer.from_pretrained(folder)
    finish(folder, *compared(folder, images, opened, made, True))


def open_clip(expected, outputs):
    """The weights of `published_clip`, renamed as open_clip's code has them."""
    theirs = ROOT / "published_clip"
    source = load_file(theirs / "model.safetensors")
    renamed = {"logit_scale": source["logit_scale"]}
    for tower, prefix in (("vision_model", "visual."), ("text_model", "")):
        mine = {key[len(tower) + 1:]: value for key, value in source.items() if key.startswith(tower)}
        put = lambda name, value: renamed.__setitem__(prefix + name, value)  # noqa: E731
        put("positional_embedding", mine["embeddings.position_embedding.weight"])
        if prefix:
            put("class_embedding", mine["embeddings.class_embedding"])
            put("conv1.weight", mine["embeddings.patch_embedding.weight"])
            put("proj", source["visual_projection.weight"].T)
        else:
            put("token_embedding.weight", mine["embeddings.token_embedding.weight"])
            put("text_projection", source["text_projection.weight"].T)
        norms = {"pre_layrnorm": "ln_pre", "post_layernorm": "ln_post", "final_layer_norm": "ln_final"}
        for old, new in norms.items():
            for end in ("weight", "bias"):
                if f"{old}.{end}" in mine:
                    put(f"{new}.{end}", mine[f"{old}.{end}"])
        for i in range(2):
            old, new = f"encoder.layers.{i}", f"transformer.resblocks.{i}"
            for end in ("weight", "bias"):
                parts = [mine[f"{old}.self_attn.{part}_proj.{end}"] for part in "qkv"]
                put(f"{new}.attn.in_proj_{end}", torch.cat(parts))
                put(f"{new}.attn.out_proj.{end}", mine[f"{old}.self_attn.out_proj.{end}"])
                put(f"{new}.ln_1.{end}", mine[f"{old}.layer_norm1.{end}"])
                put(f"{new}.ln_2.{end}", mine[f"{old}.layer_norm2.{end}"])
                put(f"{new}.mlp.c_fc.{end}", mine[f"{old}.mlp.fc1.{end}"])
                put(f"{new}.mlp.c_proj.{end}", mine[f"{old}.mlp.fc2.{end}"])
    folder = fresh("published_open_clip")
    save(folder, "open_clip_model.safetensors", renamed)
    model = {"embed_dim": 20, "quick_gelu": True,
             "vision_cfg": {"image_size": 26, "layers": 2, "width": 32, "head_width": 8, "patch_size": 6,
                            "mlp_ratio": 1.75},
             "text_cfg": {"context_length": 12, "vocab_size": source["text_model.embeddings.token_embedding.weight"].shape[0],
                          "width": 24, "heads": 3, "layers": 2, "mlp_ratio": 1.6666667}}
    preprocess = {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711],
                  "interpolation": "bicubic", "resize_mode": "shortest"}
    settings = {"model_cfg": model, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    shutil.copy(theirs / "tokenizer.json", folder / "tokenizer.json")
    finish(folder, expected, outputs)


def siglip(made):
    tokenizer = siglip_tokenizer()
    tower = dict(num_hidden_layers=2, num_attention_heads=4)
    config = SiglipConfig(
        text_config=dict(tower, hidden_size=28, intermediate_size=40, vocab_size=len(tokenizer) + 3,
                         max_position_embeddings=16, pad_token_id=0, bos_token_id=2, eos_token_id=1,
                         projection_size=32),
        vision_config=dict(tower, hidden_size=32, intermediate_size=44, image_size=27, patch_size=7,
                           hidden_act="gelu"))
    model = SiglipModel(config)
    with torch.no_grad():
        model.logit_scale.fill_(2.302585093)
        model.logit_bias.fill_(-3.0)
    folder = fresh("published_siglip")
    randomise(model).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    SiglipImageProcessorPil(size={"height": 27, "width": 27}).save_pretrained(folder)
    images = SiglipImageProcessorPil.from_pretrained(folder)
    opened = PreTrainedTokenizerFast.from_pretrained(folder)
    finish(folder, *compared(folder, images, opened, made, "max_length"))


def dinov2(made, name="published_dinov2", **other):
    registers = "num_register_tokens" in other
    kinds = (Dinov2WithRegistersConfig, Dinov2WithRegistersModel) if registers else (Dinov2Config, Dinov2Model)
    config = kinds[0](**{**dict(hidden_size=36, num_hidden_layers=2, num_attention_heads=3,
                                    mlp_ratio=2, image_size=36, patch_size=6), **other})
    model = randomise(kinds[1](config))
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "layer_scale" in key or key.endswith("lambda1"):
                parameter.copy_(0.5 + 0.3 * normal(key, *parameter.shape))
    folder = fresh(name)
    model.save_pretrained(folder)
    crop = {"height": 26, "width": 26}
    BitImageProcessorPil(size={"shortest_edge": 30}, crop_size=crop, resample=3,
                         image_mean=[0.485, 0.456, 0.406],
                         image_std=[0.229, 0.224, 0.225]).save_pretrained(folder)
    images = BitImageProcessorPil.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    pixels = images([*made.values()], return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        result = model(pixels)
    states = result.last_hidden_state
    if registers:  # Ours leaves them out.
        states = torch.cat([states[:, :1], states[:, 1 + config.num_register_tokens:]], 1).contiguous()
    outputs = {"pixel_values": pixels, "last_hidden_state": states,
               "pooler_output": result.pooler_output}
    finish(folder, {"pictures": [f"{name}.png" for name in made]}, outputs)


def main():
    two_passes()
    made = pictures()
    processed(made)
    open_clip(*clip(made))
    clip_sharded(made)
    siglip(made)
    dinov2(made)
    dinov2(made, "published_dinov2_registers", num_register_tokens=3)
    dinov2(made, "published_dinov2_swiglu", use_swiglu_ffn=True, hidden_size=32, num_attention_heads=4)


if __name__ == "__main__":
    main()
