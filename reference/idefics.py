"""Tiny Idefics: pictures asked by gated cross-attention. Writes goldens/idefics*.

Alayrac et al. 2022 (Flamingo), https://arxiv.org/abs/2204.14198; Laurençon et al. 2023 (OBELICS and
Idefics), https://arxiv.org/abs/2306.16527

    idefics          resampler, norms of queries and keys, one number a gate, a gated block before
                     every layer, a head of its own, three extra rows in table and head
    idefics_plain    no resampler (the positions themselves), no such norms, a number a channel, a
                     gated block before every second layer, tied, two extra rows, in shards
    idefics_table    resampler without norms, norms in the gated blocks, no extra rows

Each golden is a directory as the hub has it. `expected.json` has the prompts as the processor takes
them (texts, and names of pictures in goldens/published_images), their ids, the picture that each
token sees (-1: none), and 16 greedy tokens that name no picture. `outputs.safetensors` has
`pixel_values`, the tower's positions and the resampler's latents of all pictures in their order, then
for each prompt n the states after the last norm, `n.hidden`, and `n.logits`.
"""

import json
import shutil

import torch
from golden import ROOT, normal, randomise, save
from PIL import Image
from published import two_passes
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import (IdeficsConfig, IdeficsForVisionText2Text, IdeficsProcessor, LlamaTokenizer,
                          PreTrainedTokenizerFast)
from transformers.models.idefics.image_processing_pil_idefics import IdeficsImageProcessorPil

LIMIT, NEW_TOKENS, SIZE = 400_000, 16, 20
IMAGES = ["noise.png", "smooth.png", "rings.png"]
FAKE, IMAGE, END = "<fake_token_around_image>", "<image>", "<end_of_utterance>"
PROMPTS = [
    ["a cat and"],
    [{"image": "rings.png"}, "what is it? "],
    ["see a ", {"image": "noise.png"}, " a dog.\nsee", {"image": "smooth.png"}, "it is"],
    [{"image": "smooth.png"}, {"image": "rings.png"}, "two. ", "Answer:", {"image": "noise.png"}],
]
LETTERS = list("▁abcdefghijklmnopqrstuvwxyzAQU.:?")
MERGES = [("a", "t"), ("c", "at"), ("▁", "cat"), ("▁", "a"), ("i", "s")]


def vocabulary():
    names = ["<unk>", "<s>", "</s>", "<0x0A>", *LETTERS, *(a + b for a, b in MERGES)]
    return {name: i for i, name in enumerate(names)}


def llama_tokenizer(extra):
    """As transformers 5 writes it: only a text's start gets a space."""
    return LlamaTokenizer(vocab=vocabulary(), merges=MERGES, pad_token="<unk>",
                          additional_special_tokens=extra)


def older_tokenizer(extra):
    """As the hub's files have it: a space after every special token."""
    made = Tokenizer(models.BPE(vocabulary(), MERGES, unk_token="<unk>", byte_fallback=True,
                                fuse_unk=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(),
                                      decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>",
                                   unk_token="<unk>", pad_token="<unk>",
                                   additional_special_tokens=extra)


def model(seed, tokenizer, extra, sizes):
    words = len(vocabulary()) + len(extra) - sizes.get("additional_vocab_size", 0)
    config = IdeficsConfig(vocab_size=words, hidden_size=24, intermediate_size=28,
                           num_attention_heads=3, max_position_embeddings=96, pad_token_id=0,
                           bos_token_id=1, eos_token_id=2, **sizes)
    assert len(tokenizer) == words + config.additional_vocab_size
    config._attn_implementation = "eager"
    # A wide tied table would make every token predict itself.
    table = 0.15 if config.tie_word_embeddings else 0.4
    made = randomise(IdeficsForVisionText2Text(config), table=table, seed=seed)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "alpha_" in name:
                parameter.copy_(0.9 * normal(name, *parameter.shape, seed=seed))
            if name.endswith("latents"):
                parameter.copy_(normal(name, *parameter.shape, seed=seed))
    return made


def inputs(processor, prompt, **how):
    items = [item if isinstance(item, str) else Image.open(ROOT / "published_images" / item["image"])
             for item in prompt]
    return processor(text=items, return_tensors="pt", **how)


def looks(mask):
    """The number of the picture that each token sees, -1 for none."""
    return [row.argmax().item() if row.any() else -1 for row in mask[0]]


@torch.no_grad()
def greedy(made, processor, given):
    """Tokens after the prompt, and the narrowest lead of a chosen one."""
    tokenizer = processor.tokenizer
    never = tokenizer.convert_tokens_to_ids([IMAGE, FAKE])
    # A model that was taught to talk is done at the end of its turn.
    ends = [tokenizer.eos_token_id, *([tokenizer.get_vocab()[END]] if END in tokenizer.get_vocab() else [])]
    result = made.generate(**given, max_new_tokens=NEW_TOKENS, do_sample=False,
                           eos_token_id=ends,
                           bad_words_ids=[[token] for token in never], output_scores=True,
                           return_dict_in_generate=True)
    leads = [row[0].topk(2).values for row in result.scores]
    return result.sequences[0][-len(leads):], min((best[0] - best[1]).item() for best in leads)


def sure(tokenizer, processor, extra, how, sizes):
    """The first of many random models whose every choice has a lead that no rounding turns."""
    for seed in range(400):
        made = model(seed, tokenizer, extra, sizes)
        said = []
        for prompt in PROMPTS:
            tokens, lead = greedy(made, processor, inputs(processor, prompt, **how))
            if lead < 0.01 or len(tokens) < NEW_TOKENS or tokens.unique().numel() < 3:
                break
            said.append(tokens.tolist())
        if len(said) == len(PROMPTS):
            return made, said
    raise SystemExit("no model is sure of itself")


@torch.no_grad()
def states(made, processor, how):
    images = [Image.open(ROOT / "published_images" / name) for name in IMAGES]
    pixels = processor.image_processor(images, return_tensors="pt")
    seen = made.model.vision_model(pixel_values=pixels).last_hidden_state
    outputs = {"pixel_values": pixels, "positions": seen}
    if made.config.use_resampler:
        outputs["latents"] = made.model.perceiver_resampler(seen)
    for n, prompt in enumerate(PROMPTS):
        given = inputs(processor, prompt, **how)
        result = made(**given, use_cache=False, output_hidden_states=True)
        outputs[f"{n}.hidden"] = result.hidden_states[-1]
        outputs[f"{n}.logits"] = result.logits
    return outputs


def golden(name, make_tokenizer, extra, shards=None, **sizes):
    tokenizer = make_tokenizer(extra)
    processor = IdeficsProcessor(IdeficsImageProcessorPil(image_size=SIZE), tokenizer)
    how = dict(add_end_of_utterance_token=END in extra)
    made, said = sure(tokenizer, processor, extra, how, sizes)

    folder = ROOT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    made.save_pretrained(folder, **({"max_shard_size": shards} if shards else {}))
    tokenizer.save_pretrained(folder)
    # The hub's files name the size so.
    settings = {"image_num_channels": 3, "image_processor_type": "IdeficsImageProcessor",
                "image_size": SIZE, "image_mean": [0.48145466, 0.4578275, 0.40821073],
                "image_std": [0.26862954, 0.26130258, 0.27577711]}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings, indent=1) + "\n")
    processor = IdeficsProcessor(IdeficsImageProcessorPil.from_pretrained(folder), tokenizer)

    opened, info = IdeficsForVisionText2Text.from_pretrained(
        folder, attn_implementation="eager", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"], info
    cases = []
    for prompt, tokens in zip(PROMPTS, said):
        given = inputs(processor, prompt, **how)
        cases.append({"prompt": prompt, "ids": given["input_ids"][0].tolist(),
                      "looks": looks(given["image_attention_mask"]), "greedy": tokens})
    expected = {"images": IMAGES, "utterances": END in extra, "cases": cases}
    (folder / "expected.json").write_text(json.dumps(expected) + "\n")
    save(folder, "outputs.safetensors", states(opened.eval(), processor, how), ordered=True)
    for file in folder.iterdir():
        file.chmod(0o644)
    size = sum(file.stat().st_size for file in folder.iterdir())
    assert size <= LIMIT, f"goldens/{name} has {size} bytes, more than {LIMIT}"
    print(f"goldens/{name}: {size / 1000:.0f} kB, {made.num_parameters()} parameters; {said}")


def main():
    two_passes()
    tower = dict(embed_dim=16, image_size=SIZE, patch_size=6, num_hidden_layers=2,
                 num_attention_heads=2, intermediate_size=24)
    resampler = dict(use_resampler=True, resampler_n_latents=5, resampler_depth=2,
                     resampler_n_heads=3, resampler_head_dim=6)
    golden("idefics", older_tokenizer, [FAKE, IMAGE, END], additional_vocab_size=3,
           num_hidden_layers=2, cross_layer_interval=1, alpha_type="float", qk_layer_norms=True,
           use_resampler=True, tie_word_embeddings=False, vision_config=tower,
           perceiver_config=dict(resampler, qk_layer_norms_perceiver=True))
    golden("idefics_plain", llama_tokenizer, [FAKE, IMAGE], shards="60KB", additional_vocab_size=2,
           num_hidden_layers=4, cross_layer_interval=2, alpha_type="vector", qk_layer_norms=False,
           use_resampler=False, tie_word_embeddings=True, rms_norm_eps=1e-5,
           vision_config=dict(tower, hidden_act="quick_gelu", layer_norm_eps=1e-6))
    golden("idefics_table", llama_tokenizer, [FAKE, IMAGE], additional_vocab_size=0,
           num_hidden_layers=2, cross_layer_interval=2, alpha_type="vector", qk_layer_norms=True,
           use_resampler=True, tie_word_embeddings=False, vision_config=dict(tower, patch_size=5),
           perceiver_config=dict(resampler, qk_layer_norms_perceiver=False))


if __name__ == "__main__":
    main()
