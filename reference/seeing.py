"""Tiny models that answer about pictures, as they lie in a directory. Writes goldens/seeing_*.

Liu et al. 2023, https://arxiv.org/abs/2310.03744; Laurençon et al. 2024,
https://arxiv.org/abs/2408.12637; Marafioti et al. 2025, https://arxiv.org/abs/2504.05299

    seeing_llava           what transformers 5 writes, one picture, a template of parts, `<s>` added
    seeing_llava_legacy    names and settings of most files on the hub, two levels of the tower,
                           grouped queries, two pictures, no chat template
    seeing_llava_full      two levels of CLIP's tower with its class token
    seeing_llava_siglip    SigLIP's tower with a head that nothing reads, Qwen2
    seeing_llava_headless  SigLIP's tower without a head, its last level
    seeing_idefics3        pictures cut into tiles, a head of its own
    seeing_smolvlm         a table of positions larger than a tile, tied head, no cutting
    seeing_video           the same in the files of SmolVLM2: frames of goldens/video with their times, beside
                           pictures that are cut

Each folder is what `save_pretrained` writes; beside it `expected.json` (conversations with the ids of
their prompts and of 16 greedy tokens) and `outputs.safetensors` (for each conversation pixels, what
stands for the pictures in the prompt, logits after the prompt).
"""

import json

import numpy as np
import torch
from golden import randomise
from published import IMAGES, byte_letters, finish, fresh, pictures, two_passes
from PIL import Image, ImageSequence
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (AutoModelForImageTextToText, CLIPImageProcessorPil, CLIPVisionConfig,
                          Idefics3Config, Idefics3ForConditionalGeneration, Idefics3Processor,
                          LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor,
                          PreTrainedTokenizerFast, Qwen2Config, SiglipImageProcessorPil,
                          SiglipVisionConfig, SmolVLMConfig, SmolVLMForConditionalGeneration, SmolVLMProcessor)
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil
from transformers.models.smolvlm.video_processing_smolvlm import SmolVLMVideoProcessor
from transformers.video_utils import VideoMetadata

NEW_TOKENS, LEAD = 16, 0.02
VIDEO = IMAGES.parent / "video" / "even.gif"
LLAVA_TEMPLATE = (
    "{% for message in messages %}{{ message['role'].upper() + ': ' }}"
    "{% for part in message['content'] if part['type'] == 'image' %}{{ '<image>\\n' }}{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] + ' ' }}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}")
SMOL_TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}"
    "{% if message['content'][0]['type'] == 'image' %}{{ ':' }}{% else %}{{ ': ' }}{% endif %}"
    "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{ line['text'] }}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}"
    "<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}")


def byte_tokenizer(special, opening=None, **names):
    tokens = [*special, *byte_letters()]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if opening:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{opening} $A", special_tokens=[(opening, tokens.index(opening))])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, additional_special_tokens=special, **names)


def greedy(model, inputs):
    """Greedy tokens, and the narrowest lead of a chosen one."""
    with torch.no_grad():
        made = model.generate(**inputs, do_sample=False, max_new_tokens=NEW_TOKENS, output_logits=True,
                              return_dict_in_generate=True)
    best = torch.stack(made.logits).topk(2, -1).values
    chosen = made.sequences[0, -len(made.logits):]
    return chosen.tolist(), (best[..., 0] - best[..., 1]).min().item()


def features(model, inputs):
    if "pixel_values" not in inputs:
        return None
    extra = {k: inputs[k] for k in ("pixel_attention_mask",) if k in inputs}
    holder = model if hasattr(model, "get_image_features") else model.model
    with torch.no_grad():
        return torch.cat(list(holder.get_image_features(inputs["pixel_values"], **extra).pooler_output))


def conversations(folder, processor, questions, template=True):
    """Each question with so many pictures; those whose answer hangs on a last bit are left out."""
    model = AutoModelForImageTextToText.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager").eval()
    kept, outputs = [], {}
    for question, names in questions:
        if sum(len(case["pictures"]) == len(names) for case in kept) == 2:
            continue
        images = [Image.open(IMAGES / f"{name}.png") for name in names]
        content = [{"type": "image"}] * len(images) + [{"type": "text", "text": question}]
        text = "".join(["<image>\n"] * len(images)) + question
        if template:
            text = processor.apply_chat_template([{"role": "user", "content": content}],
                                                 add_generation_prompt=True)
        bos = processor.tokenizer.bos_token
        inputs = processor(images=images or None, text=text, return_tensors="pt",
                           add_special_tokens=not (bos and text.startswith(bos)))
        inputs = {k: v for k, v in inputs.items() if k not in ("rows", "cols", "mm_token_type_ids")}
        tokens, lead = greedy(model, inputs)
        if lead < LEAD:
            continue
        i = len(kept)
        with torch.no_grad():
            logits = model(**inputs).logits[0, -1]
        outputs[f"{i}.logits"] = logits
        if names:
            pixels = inputs["pixel_values"]
            outputs[f"{i}.pixels"] = pixels.reshape(-1, *pixels.shape[-3:])
            outputs[f"{i}.features"] = features(model, inputs).reshape(-1, model.config.text_config.hidden_size)
        ids = inputs["input_ids"][0].tolist()
        kept.append({"question": question, "pictures": [f"{n}.png" for n in names], "ids": ids,
                     "greedy": tokens})
    shown = [len(case["pictures"]) for case in kept]
    assert len(kept) >= 3 and 0 in shown and 1 in shown, f"{folder.name}: {shown}"
    print(folder.name, shown, [len(set(case["greedy"])) for case in kept])
    return kept, outputs


def write(folder, kept, outputs):
    finish(folder, kept, outputs)
    (folder / "expected.json").write_text(json.dumps(kept) + "\n")


QUESTIONS = [(q, p) for q in ("what is it?", "how many?", "why?", "and now?", "x")
             for p in ([], ["noise"], ["smooth"], ["rings"])]
PAIRS = [(q, ["rings", "noise"]) for q in ("which?", "what changed?", "same?", "both?", "y")]


def text_config(tokenizer, **more):
    size = dict(vocab_size=len(tokenizer) + 3, hidden_size=32, intermediate_size=40, num_hidden_layers=2,
                num_attention_heads=4, max_position_embeddings=256, pad_token_id=0)
    return LlamaConfig(**{**size, **more})


def llava(tokenizer, vision, text, level, template, strategy="default"):
    is_clip = vision.model_type == "clip_vision_model"
    tokens = (vision.image_size // vision.patch_size) ** 2 + (is_clip and strategy == "full")
    config = LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=level, vision_feature_select_strategy=strategy, image_seq_length=tokens)
    size = vision.image_size
    square = {"height": size, "width": size}
    images = (CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size=square) if is_clip
              else SiglipImageProcessorPil(size=square))
    processor = LlavaProcessor(images, tokenizer, patch_size=vision.patch_size, chat_template=template,
                               vision_feature_select_strategy=strategy,
                               num_additional_image_tokens=int(is_clip))
    return randomise(LlavaForConditionalGeneration(config)), processor


def present():
    tokenizer = byte_tokenizer(["<pad>", "<s>", "</s>", "<image>"], "<s>", bos_token="<s>",
                               eos_token="</s>", pad_token="<pad>")
    vision = CLIPVisionConfig(hidden_size=24, intermediate_size=40, num_hidden_layers=3,
                              num_attention_heads=3, image_size=21, patch_size=5)
    text = text_config(tokenizer, bos_token_id=1, eos_token_id=2)
    model, processor = llava(tokenizer, vision, text, -2, LLAVA_TEMPLATE)
    folder = fresh("seeing_llava")
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    write(folder, *conversations(folder, processor, QUESTIONS))


def legacy():
    tokenizer = byte_tokenizer(["<pad>", "<s>", "</s>", "<image>"], "<s>", bos_token="<s>",
                               eos_token="</s>", pad_token="<pad>")
    vision = CLIPVisionConfig(hidden_size=20, intermediate_size=36, num_hidden_layers=3,
                              num_attention_heads=2, image_size=18, patch_size=6, hidden_act="gelu")
    text = text_config(tokenizer, num_key_value_heads=2, bos_token_id=1, eos_token_id=2,
                       rms_norm_eps=1e-5)
    model, processor = llava(tokenizer, vision, text, [-3, -2], None)
    folder = fresh("seeing_llava_legacy")
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    kept, outputs = conversations(folder, processor, QUESTIONS + PAIRS, template=False)
    assert any(len(case["pictures"]) == 2 for case in kept)

    weights = load_file(folder / "model.safetensors")
    inner = lambda name: name.replace("vision_tower.", "vision_tower.vision_model.")  # noqa: E731
    renamed = {inner(name): value for name, value in weights.items()}
    renamed["vision_tower.vision_model.embeddings.position_ids"] = torch.arange(10).reshape(1, -1)
    save_file(renamed, folder / "model.safetensors", {"format": "pt"})
    nested = json.loads((folder / "processor_config.json").read_text())["image_processor"]
    (folder / "preprocessor_config.json").write_text(json.dumps(nested, indent=2) + "\n")
    (folder / "processor_config.json").unlink()
    settings = json.loads((folder / "config.json").read_text())
    settings["text_config"]["rope_theta"] = settings["text_config"].pop("rope_parameters")["rope_theta"]
    (folder / "config.json").write_text(json.dumps(settings, indent=2) + "\n")
    write(folder, kept, outputs)


def whole():
    """All positions of an encoder: CLIP's with its class token, two levels; SigLIP's, in the settings of
    llava-interleave, with its head and without."""
    tokenizer = byte_tokenizer(["<pad>", "<s>", "</s>", "<image>"], "<s>", bos_token="<s>",
                               eos_token="</s>", pad_token="<pad>")
    ends = dict(bos_token_id=1, eos_token_id=2)
    size = dict(hidden_size=24, intermediate_size=36, num_attention_heads=3)
    clip = CLIPVisionConfig(**size, num_hidden_layers=2, image_size=20, patch_size=6)
    siglip = SiglipVisionConfig(**size, num_hidden_layers=3, image_size=21, patch_size=6)
    headless = SiglipVisionConfig(**size, num_hidden_layers=2, image_size=15, patch_size=5,
                                  vision_use_head=False)
    qwen = Qwen2Config(vocab_size=len(tokenizer) + 3, hidden_size=32, intermediate_size=40,
                       num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                       max_position_embeddings=256, pad_token_id=0, **ends)
    for name, vision, text, level in (
            ("seeing_llava_full", clip, text_config(tokenizer, **ends), [-2, -1]),
            ("seeing_llava_siglip", siglip, qwen, -2),
            ("seeing_llava_headless", headless, text_config(tokenizer, **ends), -1)):
        model, processor = llava(tokenizer, vision, text, level, LLAVA_TEMPLATE, "full")
        folder = fresh(name)
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        write(folder, *conversations(folder, processor, QUESTIONS))


def tiled(name, config_class, model_class, vision, tile, longest, split, scale, tied):
    places = [f"<row_{row}_col_{column}>" for row in (1, 2) for column in (1, 2)]
    special = ["<|im_start|>", "<end_of_utterance>", "<fake_token_around_image>", "<image>",
               "<global-img>", *places]
    tokenizer = byte_tokenizer(special, bos_token="<|im_start|>", eos_token="<end_of_utterance>",
                               pad_token="<end_of_utterance>")
    text = text_config(tokenizer, num_key_value_heads=2, bos_token_id=0, eos_token_id=1,
                       tie_word_embeddings=tied, head_dim=10)
    config = config_class(text_config=text, vision_config=vision, scale_factor=scale,
                          image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
                          tie_word_embeddings=tied)
    images = Idefics3ImageProcessorPil(size={"longest_edge": longest}, do_image_splitting=split,
                                       max_image_size={"longest_edge": tile})
    tokens = (tile // vision["patch_size"] // scale) ** 2
    processor = Idefics3Processor(images, tokenizer, image_seq_len=tokens, chat_template=SMOL_TEMPLATE)
    folder = fresh(name)
    model = randomise(model_class(config), table=0.3 if tied else 0.5)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    write(folder, *conversations(folder, processor, QUESTIONS + PAIRS))


def filmed():
    """A video's frames between words that tell when they are shown."""
    special = ["<|im_start|>", "<end_of_utterance>", "<fake_token_around_image>", "<image>", "<global-img>",
               "<video>", *[f"<row_{row}_col_{column}>" for row in (1, 2) for column in (1, 2)]]
    tokenizer = byte_tokenizer(special, bos_token="<|im_start|>", eos_token="<end_of_utterance>",
                               pad_token="<end_of_utterance>")
    text = text_config(tokenizer, num_key_value_heads=2, bos_token_id=0, eos_token_id=1, head_dim=10,
                       max_position_embeddings=1024)
    vision = dict(hidden_size=20, intermediate_size=36, num_hidden_layers=2, num_attention_heads=2,
                  image_size=20, patch_size=5)
    config = SmolVLMConfig(text_config=text, vision_config=vision, scale_factor=2,
                           image_token_id=tokenizer.convert_tokens_to_ids("<image>"))
    sampling = {"fps": 1, "max_frames": 64, "video_size": {"longest_edge": 30}}
    images = SmolVLMImageProcessorPil(size={"longest_edge": 40}, max_image_size={"longest_edge": 20})
    videos = SmolVLMVideoProcessor(max_image_size={"longest_edge": 20},
                                   video_sampling=sampling)
    template = SMOL_TEMPLATE.replace("{% endif %}{% endfor %}<", "{% elif line['type'] == 'video' %}"
                                     "{{ '<video>' }}{% endif %}{% endfor %}<")
    processor = SmolVLMProcessor(images, tokenizer, videos, image_seq_len=4, chat_template=template)
    folder = fresh("seeing_video")
    model = randomise(SmolVLMForConditionalGeneration(config)).eval()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    # Where the files of SmolVLM2 have it.
    settings = json.loads((folder / "processor_config.json").read_text())
    settings["image_processor"]["video_sampling"] = sampling
    (folder / "preprocessor_config.json").write_text(json.dumps(settings["image_processor"], indent=2) + "\n")
    (folder / "processor_config.json").unlink()
    with Image.open(VIDEO) as file:
        film = np.stack([np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(file)])
    kept, outputs = [], {}
    # The processor takes no pictures beside a video: both would be `pixel_values`.
    for question, frames in (("what happens?", 4), ("is it here?", 3), ("why?", 12), ("and now?", 1), ("x", 2)):
        places = np.linspace(0, len(film) - 1, frames, dtype=int)
        metadata = VideoMetadata(total_num_frames=len(film), fps=4, duration=len(film) / 4,
                                 frames_indices=places)
        content = [{"type": "video"}, {"type": "text", "text": question}]
        prompt = processor.apply_chat_template([{"role": "user", "content": content}], template,
                                               add_generation_prompt=True)
        inputs = processor(text=prompt, videos=[torch.from_numpy(film[places]).permute(0, 3, 1, 2)],
                           video_metadata=[metadata], do_sample_frames=False, return_tensors="pt",
                           add_special_tokens=False)
        pixels, ids = inputs["pixel_values"], inputs["input_ids"]
        seen = dict(input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=pixels)
        tokens, lead = greedy(model, seen)
        if lead < LEAD:
            continue
        with torch.no_grad():
            outputs[f"{len(kept)}.logits"] = model(**seen).logits[0, -1]
        outputs[f"{len(kept)}.pixels"] = pixels.flatten(0, 1)
        kept.append({"question": question, "video": VIDEO.name, "frames": frames, "ids": ids[0].tolist(),
                     "greedy": tokens})
    assert len(kept) >= 3, len(kept)
    write(folder, kept, outputs)


def main():
    two_passes()
    if not IMAGES.exists():
        pictures()
    present()
    legacy()
    whole()
    tiled("seeing_idefics3", Idefics3Config, Idefics3ForConditionalGeneration,
          dict(hidden_size=24, intermediate_size=36, num_hidden_layers=2, num_attention_heads=3,
               image_size=16, patch_size=4), tile=16, longest=32, split=True, scale=2, tied=False)
    tiled("seeing_smolvlm", SmolVLMConfig, SmolVLMForConditionalGeneration,
          dict(hidden_size=20, intermediate_size=36, num_hidden_layers=2, num_attention_heads=2,
               image_size=30, patch_size=5), tile=22, longest=40, split=False, scale=4, tied=True)
    filmed()


if __name__ == "__main__":
    main()
