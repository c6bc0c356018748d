"""Tiny Qwen2-VL, Qwen2.5-VL and Qwen3-VL, as they lie in a directory. Writes goldens/qwen*_vl.

Wang et al. 2024, https://arxiv.org/abs/2409.12191; Bai et al. 2025, https://arxiv.org/abs/2502.13923;
Bai et al. 2025, https://arxiv.org/abs/2511.21631

    qwen2_vl    LayerNorm and quick GELU, a tied head, axes of positions one behind the other
    qwen2_5_vl  RMSNorm and SwiGLU, windows of 2 x 2 tokens but in one block, a head of its own, two positions
                a second
    qwen3_vl    a table of positions, three levels of the tower in three layers of the decoder, axes in turn, times
                among a video's tokens

Each folder is what `save_pretrained` writes; beside it `expected.json` (conversations about pictures of
`published_images` and frames of goldens/video, with the grids of their patches, the ids of their prompts and 16
greedy tokens) and `outputs.safetensors` (of one picture and one video the patches; for each conversation what stands for its media in the prompt, the tower's further levels, logits after the prompt).
"""

import json

import numpy as np
import torch
from golden import randomise
from published import IMAGES, finish, fresh, pictures, two_passes
from PIL import Image, ImageSequence
from seeing import LEAD, VIDEO, byte_tokenizer, greedy
from transformers import (AutoModelForImageTextToText, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration,
                          Qwen2_5_VLProcessor, Qwen2VLConfig, Qwen2VLForConditionalGeneration, Qwen2VLProcessor,
                          Qwen2VLVideoProcessor, Qwen3VLConfig, Qwen3VLForConditionalGeneration,
                          Qwen3VLProcessor, Qwen3VLVideoProcessor)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.video_utils import VideoMetadata

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
           "<|video_pad|>"]
# As the published ones: a system's message where there is none, contents as a text or as parts.
TEMPLATE = (
    "{% set seen = namespace(images=0, videos=0) %}{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}{{ '<|im_start|>system\\nHelp.<|im_end|>\\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' or 'image' in part or 'image_url' in part %}"
    "{% set seen.images = seen.images + 1 %}{% if add_vision_id %}{{ 'Picture ' ~ seen.images ~ ': ' }}{% endif %}"
    "{{ '<|vision_start|><|image_pad|><|vision_end|>' }}"
    "{% elif part['type'] == 'video' or 'video' in part %}"
    "{% set seen.videos = seen.videos + 1 %}{% if add_vision_id %}{{ 'Video ' ~ seen.videos ~ ': ' }}{% endif %}"
    "{{ '<|vision_start|><|video_pad|><|vision_end|>' }}"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")
PATCH = 4
# Pictures of some 60 and 110 patches, of a video's frames some 30.
IMAGE_PIXELS, VIDEO_PIXELS = (256, 2000), (256, 800)
FPS = 4


def film():
    with Image.open(VIDEO) as file:
        frames = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(file)]
    return np.stack(frames)


def watched(frames):
    """So many frames, evenly, and when they are shown."""
    all_frames = film()
    places = np.linspace(0, len(all_frames) - 1, frames, dtype=int)
    shown = torch.from_numpy(all_frames[places]).permute(0, 3, 1, 2)
    return shown, VideoMetadata(total_num_frames=len(all_frames), fps=FPS, duration=len(all_frames) / FPS,
                                frames_indices=places.tolist())


def prepared(processor, question, names, frames):
    content = [{"type": "image"}] * len(names) + [{"type": "video"}] * bool(frames)
    content.append({"type": "text", "text": question})
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    media = {}
    if names:
        media["images"] = [Image.open(IMAGES / f"{name}.png") for name in names]
    if frames:
        shown, metadata = watched(frames)
        media.update(videos=[shown], video_metadata=[metadata], do_sample_frames=False)
    return dict(processor(text=[text], return_tensors="pt", **media))


def features(model, inputs):
    """What stands for all media in the prompt, and the tower's further levels."""
    with torch.no_grad():
        seen = [getattr(model.model, f"get_{kind}_features")(inputs[pixels], inputs[f"{kind}_grid_thw"])
                for kind, pixels in (("image", "pixel_values"), ("video", "pixel_values_videos")) if pixels in inputs]
    tokens = torch.cat([part for one in seen for part in one.pooler_output])
    levels = [[part for part in one.deepstack_features] for one in seen if hasattr(one, "deepstack_features")]
    if not levels:
        return tokens, None
    joined = [torch.cat([part for one in levels for part in one[i]]) for i in range(len(levels[0]))]
    return tokens, torch.stack(joined)


# Without pictures, one, two of different shapes; videos of an even and an odd number of frames; both.
KINDS = [([], 0), (["noise"], 0), (["smooth"], 0), (["rings", "noise"], 0), ([], 4), ([], 5), (["noise"], 2)]
QUESTIONS = ("what is it?", "how many?", "why?", "and now?", "x", "where?", "who?", "how?", "when?", "what?", "whose?",
             "which?", "is it red?", "is it here?", "tell me", "look", "y", "z", "what happens?", "what else?")
# Whose patches are kept: they take many bytes. Qwen2.5-VL's of a video are Qwen2-VL's.
PIXELS = {"qwen2_vl": [(["noise"], 0), ([], 5)], "qwen2_5_vl": [(["noise"], 0)],
          "qwen3_vl": [(["noise"], 0), ([], 5)]}


def conversations(folder, processor):
    """One question of each kind; those whose answer hangs on a last bit are left out."""
    model = AutoModelForImageTextToText.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager").eval()
    kept, outputs = [], {}
    for names, frames in KINDS:
        for question in QUESTIONS:
            inputs = prepared(processor, question, names, frames)
            model.model.rope_deltas = None
            tokens, lead = greedy(model, inputs)
            if lead > (2 * LEAD if frames else LEAD):
                break
        else:
            raise SystemExit(f"{folder.name}: no clear answer about {names}, {frames} frames")
        i = len(kept)
        model.model.rope_deltas = None
        with torch.no_grad():
            outputs[f"{i}.logits"] = model(**inputs).logits[0, -1]
        grids = [grid for kind in ("image", "video") for grid in inputs.get(f"{kind}_grid_thw", torch.zeros(0, 3)).tolist()]
        if grids:
            outputs[f"{i}.features"], levels = features(model, inputs)
            if levels is not None:
                outputs[f"{i}.deepstack"] = levels
            if (names, frames) in PIXELS[folder.name]:
                outputs[f"{i}.pixels"] = inputs["pixel_values"] if names else inputs["pixel_values_videos"]
        kept.append({"question": question, "pictures": [f"{name}.png" for name in names],
                     "video": VIDEO.name if frames else None, "frames": frames, "grids": grids,
                     "ids": inputs["input_ids"][0].tolist(), "greedy": tokens})
    print(folder.name, [len(case["ids"]) for case in kept], [len(set(case["greedy"])) for case in kept])
    return kept, outputs


def text(tokenizer, **more):
    return dict(vocab_size=len(tokenizer) + 3, hidden_size=32, intermediate_size=40, num_hidden_layers=2,
                num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=512, bos_token_id=0,
                eos_token_id=2, pad_token_id=0, **more)


def rope(section, **more):
    return {"rope_type": "default", "rope_theta": 1e4, "mrope_section": section, **more}


def write(name, config_class, model_class, processor_class, videos, text_config, vision, tied, mean):
    tokenizer = byte_tokenizer(SPECIAL, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    places = {key: tokenizer.convert_tokens_to_ids(f"<|{token}|>") for key, token in (
        ("image_token_id", "image_pad"), ("video_token_id", "video_pad"),
        ("vision_start_token_id", "vision_start"), ("vision_end_token_id", "vision_end"))}
    config = config_class(text_config=text(tokenizer, **text_config), vision_config=dict(vision, patch_size=PATCH),
                          tie_word_embeddings=tied, **places)
    edges = lambda pixels: {"shortest_edge": pixels[0], "longest_edge": pixels[1]}  # noqa: E731
    values = dict(patch_size=PATCH, **({"image_mean": mean, "image_std": mean} if mean else {}))
    images = Qwen2VLImageProcessorPil(size=edges(IMAGE_PIXELS), **values)
    scale = 4 if videos is Qwen3VLVideoProcessor else 1
    videos = videos(size=edges([scale * n for n in VIDEO_PIXELS]), **values)
    processor = processor_class(images, tokenizer, videos, chat_template=TEMPLATE)
    folder = fresh(name)
    randomise(model_class(config), table=0.3 if tied else 0.5).save_pretrained(folder)
    processor.save_pretrained(folder)
    finish(folder, *conversations(folder, processor))


def qwen2():
    vision = dict(depth=2, embed_dim=16, hidden_size=32, num_heads=2, mlp_ratio=2)
    write("qwen2_vl", Qwen2VLConfig, Qwen2VLForConditionalGeneration, Qwen2VLProcessor, Qwen2VLVideoProcessor,
          dict(rope_parameters=rope([2, 3, 3])), vision, tied=True, mean=None)


def qwen2_5():
    vision = dict(depth=3, hidden_size=16, out_hidden_size=32, intermediate_size=20, num_heads=2, window_size=16,
                  fullatt_block_indexes=[1], tokens_per_second=3)
    write("qwen2_5_vl", Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor,
          Qwen2VLVideoProcessor, dict(rope_parameters=rope([2, 3, 3])), vision, tied=False, mean=None)


def qwen3():
    vision = dict(depth=4, hidden_size=8, out_hidden_size=32, intermediate_size=20, num_heads=1,
                  num_position_embeddings=25, deepstack_visual_indexes=[0, 2])
    write("qwen3_vl", Qwen3VLConfig, Qwen3VLForConditionalGeneration, Qwen3VLProcessor, Qwen3VLVideoProcessor,
          dict(head_dim=16, rope_parameters=rope([4, 2, 2], mrope_interleaved=True)), vision, tied=True, mean=[0.5] * 3)


def main():
    two_passes()
    if not IMAGES.exists():
        pictures()
    qwen2()
    qwen2_5()
    qwen3()


if __name__ == "__main__":
    main()
