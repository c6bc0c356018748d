"""Tiny models whose pictures have as many tokens as their shape asks for. Writes goldens/tiles_*.

Liu et al. 2024, https://llava-vl.github.io/blog/2024-01-30-llava-next/; Li et al. 2024,
https://arxiv.org/abs/2408.03326; Zhu et al. 2025, https://arxiv.org/abs/2504.10479

    tiles_next        LLaVA-NeXT with CLIP's tower, Mistral, a template of parts; rows without padding
    tiles_next_qwen   the same with SigLIP's tower and Qwen2, whose head is the token table, the names of
                      transformers 5 in memory, two levels of the tower
    tiles_onevision   LLaVA-OneVision: SigLIP's tower without a head, Qwen2, grids that are scaled down, of
                      several pictures each whole; a video beside them
    tiles_internvl    InternVL: its own tower with layer scale, pixel shuffle, Qwen2, tiles and a thumbnail in
                      one row of tokens, a video's frames by their numbers

Each folder is what `save_pretrained` writes; beside it `expected.json` (conversations with the ids of
their prompts and of 16 greedy tokens) and `outputs.safetensors` (for each conversation pixels, what
stands for its media in the prompt, logits after the prompt).
"""

import numpy as np
import torch
from golden import randomise
from published import IMAGES, fresh, pictures, two_passes
from PIL import Image, ImageSequence
from safetensors.torch import save_file
from seeing import LEAD, LLAVA_TEMPLATE, PAIRS, QUESTIONS, VIDEO, byte_tokenizer, greedy, write
from transformers import (AutoModelForImageTextToText, CLIPVisionConfig, InternVLConfig,
                          InternVLForConditionalGeneration, InternVLProcessor, InternVLVisionConfig,
                          InternVLVideoProcessor, LlavaNextConfig,
                          LlavaNextForConditionalGeneration, LlavaNextProcessor, LlavaOnevisionConfig,
                          LlavaOnevisionForConditionalGeneration, LlavaOnevisionProcessor, MistralConfig,
                          Qwen2Config, SiglipVisionConfig)
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import (
    LlavaOnevisionImageProcessorPil)
from transformers.models.llava_onevision.video_processing_llava_onevision import LlavaOnevisionVideoProcessor

ONEVISION_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + ' ' }}"
    "{% for part in message['content'] if part['type'] in ['image', 'video'] %}"
    "{{ '<' + part['type'] + '>' }}{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ '\\n' + part['text'] }}{% endgeneration %}"
    "{% else %}{{ '\\n' + part['text'] }}{% endif %}{% endfor %}"
    "{{ '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")


INTERNVL_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}{{ '<IMG_CONTEXT>\n' }}"
    "{% elif part['type'] == 'video' %}{{ '<video>\n' }}{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")


def asked(processor, question, media):
    """The processed inputs of one question about media, as a conversation."""
    kinds = [{"type": kind} for kind, _ in media]
    content = [*kinds, {"type": "text", "text": question}]
    text = question
    if processor.chat_template:
        text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    images = [[seen for kind, seen in media if kind == "image"]]
    videos = [seen for kind, seen in media if kind == "video"]
    bos = processor.tokenizer.bos_token
    more = dict(videos=videos, do_sample_frames=False) if videos else {}
    inputs = processor(images=images if images[0] else None, text=[text], return_tensors="pt",
                       add_special_tokens=bool(processor.chat_template and not (bos and text.startswith(bos))),
                       **more)
    left = ("mm_token_type_ids", "labels", "num_crops")
    return {k: v for k, v in inputs.items() if k not in left}


def tiles(pixels, features):
    """Pixels of the tiles that the model reads: those that fill a batch are zeros."""
    if pixels.dim() == 4:
        return pixels, features.flatten(0, 1)
    kept = pixels.flatten(0, 1)
    return kept[kept.flatten(1).abs().sum(1) > 0], torch.cat(list(features))


def seen(model, inputs):
    """Pixels, and what stands for the media in the prompt."""
    with torch.no_grad():
        if "pixel_values" not in inputs:
            pixels = inputs["pixel_values_videos"]
            return pixels.flatten(0, 1), model.get_video_features(pixels).pooler_output.flatten(0, 1)
        extra = {k: inputs[k] for k in ("image_sizes", "batch_num_images") if k in inputs}
        features = model.get_image_features(inputs["pixel_values"], **extra).pooler_output
        return tiles(inputs["pixel_values"], features)


def conversations(folder, processor, questions, least):
    """Each question with its media; those whose answer hangs on a last bit are left out."""
    model = AutoModelForImageTextToText.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager").eval()
    kept, outputs, counts = [], {}, {}
    for question, names in questions:
        if counts.get(tuple(names), 0) == (1 if names else 2):
            continue
        media = [filmed(name) if name.endswith(".gif") else
                 ("image", Image.open(IMAGES / f"{name}.png")) for name in names]
        inputs = asked(processor, question, media)
        tokens, lead = greedy(model, inputs)
        if lead < LEAD:
            continue
        i = len(kept)
        with torch.no_grad():
            outputs[f"{i}.logits"] = model(**inputs).logits[0, -1]
        if len({kind for kind, _ in media}) == 1:
            outputs[f"{i}.pixels"], outputs[f"{i}.features"] = seen(model, inputs)
        counts[tuple(names)] = counts.get(tuple(names), 0) + 1
        kept.append({"question": question, "media": [n if "." in n else f"{n}.png" for n in names],
                     "ids": inputs["input_ids"][0].tolist(), "greedy": tokens})
    print(folder.name, counts, [len(set(case["greedy"])) for case in kept])
    assert {len(names) for names in counts} >= {least, 1}, counts
    return kept, outputs


FRAMES = 3
ASKED = QUESTIONS + [(question, []) for question in ("say it.", "more?", "who are you?", "2 + 2", "go on")]


def filmed(name):
    """So many frames of a film, as numpy's `linspace` takes them."""
    with Image.open(VIDEO.parent / name) as file:
        film = np.stack([np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(file)])
    places = np.linspace(0, len(film) - 1, FRAMES, dtype=int)
    return "video", torch.from_numpy(film[places]).permute(0, 3, 1, 2)


def save(folder, model, processor, questions, least=0):
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    write(folder, *conversations(folder, processor, questions, least))


def text(kind, tokenizer, bos, eos, **more):
    return kind(vocab_size=len(tokenizer) + 3, hidden_size=24, intermediate_size=40, num_hidden_layers=2,
                num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512, pad_token_id=0,
                bos_token_id=bos, eos_token_id=eos, **more)


def next_tokenizer():
    return byte_tokenizer(["<pad>", "<s>", "</s>", "<image>"], "<s>", bos_token="<s>", eos_token="</s>",
                          pad_token="<pad>")


def next_mistral():
    tokenizer, tile = next_tokenizer(), 12
    vision = CLIPVisionConfig(hidden_size=24, intermediate_size=40, num_hidden_layers=3,
                              num_attention_heads=3, image_size=tile, patch_size=4)
    language = text(MistralConfig, tokenizer, 1, 2, sliding_window=None)
    canvases = [[12, 24], [24, 12], [24, 24], [36, 12], [12, 36]]
    config = LlavaNextConfig(vision_config=vision, text_config=language, image_grid_pinpoints=canvases,
                             image_token_index=tokenizer.convert_tokens_to_ids("<image>"))
    images = LlavaNextImageProcessorPil(size={"shortest_edge": tile}, image_grid_pinpoints=canvases,
                                        crop_size={"height": tile, "width": tile})
    processor = LlavaNextProcessor(images, tokenizer, patch_size=4, chat_template=LLAVA_TEMPLATE,
                                   vision_feature_select_strategy="default", num_additional_image_tokens=1)
    save(fresh("tiles_next"), randomise(LlavaNextForConditionalGeneration(config)), processor,
         ASKED + PAIRS)


def next_qwen():
    tokenizer, tile = next_tokenizer(), 10
    vision = SiglipVisionConfig(hidden_size=20, intermediate_size=36, num_hidden_layers=3,
                                num_attention_heads=2, image_size=tile, patch_size=5, vision_use_head=False)
    language = text(Qwen2Config, tokenizer, 1, 2, tie_word_embeddings=True)
    canvases = [[10, 20], [20, 10], [30, 30]]
    config = LlavaNextConfig(vision_config=vision, text_config=language, image_grid_pinpoints=canvases,
                             image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
                             vision_feature_layer=[-3, -1], vision_feature_select_strategy="full",
                             tie_word_embeddings=True)
    square = {"height": tile, "width": tile}
    images = LlavaNextImageProcessorPil(size=square, crop_size=square, image_grid_pinpoints=canvases)
    processor = LlavaNextProcessor(images, tokenizer, patch_size=5, chat_template=LLAVA_TEMPLATE,
                                   vision_feature_select_strategy="full")
    folder = fresh("tiles_next_qwen")
    model = randomise(LlavaNextForConditionalGeneration(config), table=0.15)
    save(folder, model, processor, ASKED)
    weights = {name: value for name, value in model.state_dict().items() if name != "lm_head.weight"}
    save_file({name: value.clone() for name, value in weights.items()}, folder / "model.safetensors",
              {"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)


def onevision():
    special = ["<|im_start|>", "<|im_end|>", "<image>", "<video>"]
    tokenizer, tile = byte_tokenizer(special, eos_token="<|im_end|>", pad_token="<|im_end|>"), 12
    vision = SiglipVisionConfig(hidden_size=24, intermediate_size=36, num_hidden_layers=2,
                                num_attention_heads=3, image_size=tile, patch_size=4, vision_use_head=False)
    language = text(Qwen2Config, tokenizer, 0, 1)
    canvases = [[down * tile, across * tile] for down in (1, 2, 3) for across in (1, 2, 3)]
    ids = {f"{kind}_token_index": tokenizer.convert_tokens_to_ids(f"<{kind}>") for kind in ("image", "video")}
    config = LlavaOnevisionConfig(vision_config=vision, text_config=language, image_grid_pinpoints=canvases,
                                  vision_aspect_ratio="anyres_max_3", **ids)
    settings = dict(size={"height": tile, "width": tile}, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    images = LlavaOnevisionImageProcessorPil(**settings, image_grid_pinpoints=canvases)
    processor = LlavaOnevisionProcessor(
        images, tokenizer, LlavaOnevisionVideoProcessor(**settings), num_image_tokens=9,
        vision_feature_select_strategy="full", chat_template=ONEVISION_TEMPLATE,
        vision_aspect_ratio="anyres_max_3")
    films = [(q, [VIDEO.name]) for q in ("what happens?", "is it here?", "why?", "and then?", "x", "when?",
                                         "who?", "where to?", "z", "tell me", "is it?")]
    both = [(q, ["smooth", VIDEO.name]) for q in ("which?", "same?", "y")]
    model = randomise(LlavaOnevisionForConditionalGeneration(config))
    save(fresh("tiles_onevision"), model, processor, ASKED + PAIRS + films + both)


def internvl():
    names = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>",
             "video_token": "<video>"}
    special, tile = ["<|im_start|>", "<|im_end|>", *names.values()], 16
    tokenizer = byte_tokenizer(special, eos_token="<|im_end|>", pad_token="<|im_end|>",
                               model_specific_special_tokens=names)
    vision = InternVLVisionConfig(hidden_size=20, intermediate_size=36, num_hidden_layers=2,
                                  num_attention_heads=2, image_size=[tile, tile], patch_size=[4, 4], attention_bias=True)
    language = text(Qwen2Config, tokenizer, 0, 1)
    config = InternVLConfig(vision_config=vision, text_config=language, image_seq_length=4,
                            tie_word_embeddings=False,
                            image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"))
    size = {"height": tile, "width": tile}
    processor = InternVLProcessor(GotOcr2ImageProcessorPil(size=size, max_patches=5), tokenizer,
                                  InternVLVideoProcessor(size=size), image_seq_length=4,
                                  chat_template=INTERNVL_TEMPLATE)
    films = [(q, [VIDEO.name]) for q in ("what happens?", "is it here?", "why?", "and then?", "x", "when?")]
    both = [(q, ["smooth", VIDEO.name]) for q in ("which?", "same?", "y", "both?", "z")]
    model = randomise(InternVLForConditionalGeneration(config))
    save(fresh("tiles_internvl"), model, processor, ASKED + PAIRS + films + both)


def main():
    two_passes()
    if not IMAGES.exists():
        pictures()
    next_mistral()
    next_qwen()
    onevision()
    internvl()


if __name__ == "__main__":
    main()
