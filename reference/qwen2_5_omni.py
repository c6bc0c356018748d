"""A tiny Qwen2.5-Omni that reads, hears, sees and watches, as it lies in a directory. Writes goldens/qwen2_5_omni.

Xu et al. 2025, https://arxiv.org/abs/2503.20215

What thinks is there, what speaks is not. Beside it `expected.json` (conversations about sounds, see
`whisper_mel.wave`, pictures of `published_images` and frames of goldens/video in the order of their kinds, with the
grids of patches, the ids of their prompts and 16 greedy tokens) and `outputs.safetensors` (of one conversation the
spectrogram; of each what stands for its sounds, its pictures and its videos in the prompt, and the logits after it;
of one sound every block of the encoder). A sound is heard by chunks of 20 frames, and up to four seconds at once.
"""

import numpy as np
import torch
from golden import capture, randomise
from PIL import Image
from published import IMAGES, finish, fresh, two_passes
from qwen_vl import PATCH, IMAGE_PIXELS, VIDEO_PIXELS, rope, watched
from seeing import LEAD, VIDEO, byte_tokenizer, greedy
from transformers import (Qwen2_5OmniConfig, Qwen2_5OmniForConditionalGeneration, Qwen2_5OmniProcessor,
                          Qwen2VLVideoProcessor, WhisperFeatureExtractor)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from whisper_mel import RATE, wave

BANDS, SECONDS = 16, 4
NAMES = {"image_token": "<|IMAGE|>", "audio_token": "<|AUDIO|>", "video_token": "<|VIDEO|>",
         "vision_bos_token": "<|vision_bos|>", "vision_eos_token": "<|vision_eos|>",
         "audio_bos_token": "<|audio_bos|>", "audio_eos_token": "<|audio_eos|>"}
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *NAMES.values()]
# As the published one: a system's message where there is none, contents as a text or as parts.
TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\nHelp.<|im_end|>\\n' }}{% endif %}"
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' or 'image' in part %}{{ '<|vision_bos|><|IMAGE|><|vision_eos|>' }}"
    "{% elif part['type'] == 'audio' or 'audio' in part %}{{ '<|audio_bos|><|AUDIO|><|audio_eos|>' }}"
    "{% elif part['type'] == 'video' or 'video' in part %}{{ '<|vision_bos|><|VIDEO|><|vision_eos|>' }}"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")
# Nothing, sounds of several lengths, pictures, videos, all of them.
KINDS = [([], [], 0), ([4_960], [], 0), ([27_211, 11_003], [], 0), ([], ["noise"], 0), ([], [], 5),
         ([52_999], ["rings", "noise"], 0), ([11_003], ["smooth"], 4)]
QUESTIONS = ("what is it?", "how many?", "why?", "and now?", "x", "where?", "who?", "how?", "when?", "what?", "whose?",
             "which?", "is it red?", "is it here?", "tell me", "look", "y", "z", "what happens?", "what else?")


def edges(pixels):
    return {"shortest_edge": pixels[0], "longest_edge": pixels[1]}


def mel(extractor, samples):
    """In double precision, as far as there is sound."""
    padded = np.zeros(SECONDS * RATE, dtype=np.float32)
    padded[:samples] = wave(samples)
    return torch.from_numpy(extractor._np_extract_fbank_features(padded[None], "cpu")[0].astype(np.float32))


def prepared(processor, question, sounds, names, frames):
    kinds = ["audio"] * len(sounds) + ["image"] * len(names) + ["video"] * bool(frames)
    content = [{"type": kind} for kind in kinds] + [{"type": "text", "text": question}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    media = {}
    if sounds:
        media["audio"] = [wave(samples) for samples in sounds]
    if names:
        media["images"] = [Image.open(IMAGES / f"{name}.png") for name in names]
    if frames:
        shown, metadata = watched(frames)
        media.update(videos=[shown], videos_kwargs=dict(video_metadata=[metadata], do_sample_frames=False,
                                                             size=edges(VIDEO_PIXELS)))
    made = dict(processor(text=[text], return_tensors="pt", **media))
    if sounds:
        exact = torch.stack([mel(processor.feature_extractor, samples) for samples in sounds])
        assert (made["input_features"] - exact).abs().max() < 2e-3
        made["input_features"] = exact
    return made


@torch.no_grad()
def features(thinker, inputs):
    """What stands for sounds, for pictures and for videos in the prompt."""
    seen = {}
    if "input_features" in inputs:
        seen["heard"] = thinker.get_audio_features(inputs["input_features"],
                                                   inputs["feature_attention_mask"]).last_hidden_state
    for kind, pixels in (("image", "pixel_values"), ("video", "pixel_values_videos")):
        if pixels in inputs:
            made = getattr(thinker, f"get_{kind}_features")(inputs[pixels], inputs[f"{kind}_grid_thw"])
            seen[kind] = torch.cat(list(made.pooler_output))
    return seen


def conversations(thinker, processor):
    """One question of each kind; those whose answer hangs on a last bit are left out."""
    kept, outputs = [], {}
    for sounds, names, frames in KINDS:
        for question in QUESTIONS:
            inputs = prepared(processor, question, sounds, names, frames)
            thinker.model.rope_deltas = None
            tokens, lead = greedy(thinker, inputs)
            if lead > (2 * LEAD if frames else LEAD):
                break
        else:
            raise SystemExit(f"no clear answer about {sounds}, {names}, {frames} frames")
        i = len(kept)
        thinker.model.rope_deltas = None
        with torch.no_grad():
            outputs[f"{i}.logits"] = thinker(**inputs).logits[0, -1]
        outputs |= {f"{i}.{kind}": value for kind, value in features(thinker, inputs).items()}
        if sounds == [4_960]:
            outputs[f"{i}.mel"] = inputs["input_features"][0][:, :31]
        grids = [grid for kind in ("image", "video") for grid in inputs.get(f"{kind}_grid_thw", torch.zeros(0, 3)).tolist()]
        kept.append({"question": question, "sounds": sounds, "pictures": [f"{name}.png" for name in names],
                     "video": VIDEO.name if frames else None, "frames": frames, "grids": grids,
                     "ids": inputs["input_ids"][0].tolist(), "greedy": tokens})
    print([len(case["ids"]) for case in kept], [len(set(case["greedy"])) for case in kept])
    return kept, outputs


@torch.no_grad()
def states(thinker, processor):
    """Of a sound of a chunk and a half, what each block gives."""
    inputs = prepared(processor, "x", [4_960], [], 0)
    layers = thinker.config.audio_config.num_hidden_layers
    watched = {f"model.audio_tower.layers.{i}": f"encoder.{i + 1}" for i in range(layers)}
    _, seen = capture(thinker, watched, lambda: thinker.get_audio_features(
        inputs["input_features"], inputs["feature_attention_mask"]))
    return seen


def main():
    two_passes()
    tokenizer = byte_tokenizer(SPECIAL, eos_token="<|im_end|>", pad_token="<|endoftext|>",
                               model_specific_special_tokens=NAMES)
    ids = {key: tokenizer.convert_tokens_to_ids(NAMES[name]) for key, name in (
        ("image_token_index", "image_token"), ("video_token_index", "video_token"), ("audio_token_index", "audio_token"),
        ("audio_start_token_id", "audio_bos_token"), ("audio_end_token_id", "audio_eos_token"),
        ("vision_start_token_id", "vision_bos_token"), ("vision_end_token_id", "vision_eos_token"))}
    text = dict(vocab_size=len(tokenizer) + 3, hidden_size=32, intermediate_size=40, num_hidden_layers=2,
                num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=512, bos_token_id=0,
                eos_token_id=2, pad_token_id=0, rope_parameters=rope([2, 3, 3]))
    vision = dict(depth=3, hidden_size=16, out_hidden_size=32, intermediate_size=20, num_heads=2, window_size=16,
                  fullatt_block_indexes=[1], patch_size=PATCH)
    audio = dict(num_mel_bins=BANDS, encoder_layers=2, d_model=24, encoder_attention_heads=3, encoder_ffn_dim=36,
                 max_source_positions=30, n_window=10, output_dim=32)
    config = Qwen2_5OmniConfig(
        thinker_config=dict(audio_config=audio, vision_config=vision, text_config=text, position_id_per_seconds=3, **ids),
        enable_audio_output=False)
    processor = Qwen2_5OmniProcessor(
        Qwen2VLImageProcessorPil(size=edges(IMAGE_PIXELS), patch_size=PATCH),
        Qwen2VLVideoProcessor(size=edges(VIDEO_PIXELS), patch_size=PATCH),
        WhisperFeatureExtractor(feature_size=BANDS, chunk_length=SECONDS, return_attention_mask=True),
        tokenizer, chat_template=TEMPLATE)
    folder = fresh("qwen2_5_omni")
    config._attn_implementation = "eager"
    model = randomise(Qwen2_5OmniForConditionalGeneration(config))
    model.thinker.generation_config.eos_token_id = 2
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    kept, outputs = conversations(model.thinker, processor)
    finish(folder, kept, outputs | states(model.thinker, processor))


if __name__ == "__main__":
    main()
