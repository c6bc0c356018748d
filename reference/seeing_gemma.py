"""Tiny Gemmas that see, as they lie in a directory. Writes goldens/seeing_gemma3 and
goldens/seeing_paligemma*.

Gemma Team 2025, https://arxiv.org/abs/2503.19786; Beyer et al. 2024, https://arxiv.org/abs/2407.07726;
Steiner et al. 2024, https://arxiv.org/abs/2412.03555

    seeing_gemma3           SigLIP's tower averaged to 2x2 tokens that see each other both ways; layers that see
                            the last 9 tokens, and all, with rotary angles of their own
    seeing_paligemma        the first Gemma, names and settings of most files on the hub
    seeing_paligemma2       Gemma 2, capped scores and logits, a window shorter than the prompt

The files are those of `tiles.py`.
"""

import json

import torch
import transformers.models.paligemma.processing_paligemma as paligemma_processing
from golden import randomise
from published import IMAGES, fresh, pictures, two_passes
from safetensors.torch import load_file, save_file
from seeing import PAIRS, QUESTIONS, byte_tokenizer
from tiles import ASKED, save
from transformers import (Gemma2Config, Gemma3Config, Gemma3ForConditionalGeneration, Gemma3Processor,
                          Gemma3TextConfig, GemmaConfig, PaliGemmaConfig, PaliGemmaForConditionalGeneration,
                          PaliGemmaProcessor, SiglipImageProcessorPil, SiglipVisionConfig)
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

GEMMA_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<' + ('model' if message['role'] == 'assistant' else message['role']) + '>\\n' }}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}{{ '<start_of_image>' }}"
    "{% else %}{{ part['text'] | trim }}{% endif %}{% endfor %}{{ '<end_of_turn>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<model>\\n' }}{% endif %}")


def language(kind, tokenizer, **more):
    size = dict(vocab_size=len(tokenizer) + 3, hidden_size=24, intermediate_size=40, num_hidden_layers=3,
                num_attention_heads=4, num_key_value_heads=2, head_dim=10, max_position_embeddings=256,
                pad_token_id=0, eos_token_id=1, bos_token_id=2)
    return kind(**{**size, **more})


def vision(side, patch, **more):
    return SiglipVisionConfig(hidden_size=20, intermediate_size=36, num_hidden_layers=2, num_attention_heads=2,
                              image_size=side, patch_size=patch, vision_use_head=False, **more)


def gemma3():
    names = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
    tokenizer = byte_tokenizer(["<pad>", "<eos>", "<bos>", "<end_of_turn>", *names.values()], "<bos>",
                               bos_token="<bos>", eos_token="<eos>", pad_token="<pad>",
                               model_specific_special_tokens=names)
    ids = {key: tokenizer.convert_tokens_to_ids(name) for key, name in
           zip(("boi_token_index", "eoi_token_index", "image_token_index"), names.values())}
    kinds = ["sliding_attention", "full_attention", "sliding_attention"]
    angles = {"sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
              "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1000.0}}
    text = language(Gemma3TextConfig, tokenizer, layer_types=kinds, sliding_window=9, query_pre_attn_scalar=7,
                    rope_parameters=angles)
    config = Gemma3Config(text_config=text, vision_config=vision(20, 5), mm_tokens_per_image=4, **ids)
    images = Gemma3ImageProcessorPil(size={"height": 20, "width": 20})
    processor = Gemma3Processor(images, tokenizer, chat_template=GEMMA_TEMPLATE, image_seq_length=4)
    model = randomise(Gemma3ForConditionalGeneration(config), table=0.1)
    with torch.no_grad():
        model.model.multi_modal_projector.mm_input_projection_weight.mul_(0.5)
    save(fresh("seeing_gemma3"), model, processor, ASKED + PAIRS)


def paligemma(name, text_kind, **more):
    # 1,152 names of places, of no use here.
    paligemma_processing.EXTRA_TOKENS = []
    tokenizer = byte_tokenizer(["<pad>", "<eos>", "<bos>", "<image>"], "<bos>", bos_token="<bos>",
                               eos_token="<eos>", pad_token="<pad>",
                               model_specific_special_tokens={"image_token": "<image>"})
    text = language(text_kind, tokenizer, **more)
    config = PaliGemmaConfig(text_config=text, vision_config=vision(18, 6), projection_dim=24, hidden_size=24,
                             image_token_index=tokenizer.convert_tokens_to_ids("<image>"))
    images = SiglipImageProcessorPil(size={"height": 18, "width": 18})
    images.image_seq_length = 9
    processor = PaliGemmaProcessor(images, tokenizer)
    folder = fresh(name)
    model = randomise(PaliGemmaForConditionalGeneration(config), table=0.1)
    questions = [(question, names) for question, names in QUESTIONS + PAIRS if names]
    save(folder, model, processor, questions, least=1)
    return folder


def older(folder):
    """In the names and settings of before transformers 5."""
    weights = load_file(folder / "model.safetensors")
    inner = lambda name: name.replace("vision_tower.", "vision_tower.vision_model.")  # noqa: E731
    save_file({inner(name): value for name, value in weights.items()}, folder / "model.safetensors",
              {"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    settings = json.loads((folder / "config.json").read_text())
    settings["text_config"]["rope_theta"] = settings["text_config"].pop("rope_parameters")["rope_theta"]
    for key in ("use_bidirectional_attention", "layer_types"):
        settings["text_config"].pop(key, None)
    (folder / "config.json").write_text(json.dumps(settings, indent=2) + "\n")
    nested = json.loads((folder / "processor_config.json").read_text())["image_processor"]
    (folder / "preprocessor_config.json").write_text(json.dumps(nested, indent=2) + "\n")
    (folder / "processor_config.json").unlink()


def main():
    two_passes()
    if not IMAGES.exists():
        pictures()
    gemma3()
    older(paligemma("seeing_paligemma", GemmaConfig, num_key_value_heads=1))
    paligemma("seeing_paligemma2", Gemma2Config, sliding_window=11, query_pre_attn_scalar=8,
              attn_logit_softcapping=2.0, final_logit_softcapping=3.0)


if __name__ == "__main__":
    main()
