"""Every key of every family's settings, at its default. Writes goldens/settings/cases.json.

A case is a file as transformers writes it: `config.json` of each family that is read, the settings of
each image processor and of Whisper's features, and those of generation.
"""

import json
from pathlib import Path

import transformers

ROOT = Path(__file__).parent.parent
CONFIGS = (
    "Bert Blip2 CLIP Dinov2 Dinov2WithRegisters DINOv3ViT DINOv3ConvNext GPT2 Idefics Idefics3 Llama Llava Mistral OPT Qwen2 Qwen3 Siglip "
    "Siglip2 SmolVLM Whisper Phi3 Gemma CLIPVision CLIPText SiglipVision SiglipText Qwen2VL Qwen2_5_VL Qwen3VL "
    "LlavaNext LlavaOnevision Janus T5 Gemma2 Gemma3Text Gemma3 PaliGemma InternVL Wav2Vec2 Hubert Clap Qwen2Audio Vits "
    "Voxtral Qwen2_5Omni SpeechT5"
).split()
# What by default does not fit together: a tower gives tokens of another width, or none has biases, unlike every published
# one, or a picture has more tokens than patches.
MORE = {"Qwen2VL": {"vision_config": {"hidden_size": 8192}}, "Qwen2_5_VL": {"vision_config": {"out_hidden_size": 8192}},
        "Qwen3VL": {"vision_config": {"out_hidden_size": 4096}}, "InternVL": {"vision_config": {"attention_bias": True}},
        "Janus": {"text_config": {"model_type": "llama", "hidden_size": 2048}}, "Gemma3": {"mm_tokens_per_image": 196}}
PROCESSORS = (
    "Bit Blip CLIP DINOv3ViT Gemma3 GotOcr2 Idefics Idefics3 Janus Llava LlavaNext LlavaOnevision Qwen2VL Siglip Siglip2 SmolVLM ViT"
).split()
# By default they do not fit their own canvases.
SIZES = {"LlavaNext": {"size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}}}
VIDEOS = "Qwen2VL Qwen3VL".split()


def plain(settings):
    return json.loads(settings.to_json_string(use_diff=False))


def processor(kind):
    stem = kind.removesuffix("ImageProcessor")
    return json.loads(getattr(transformers, kind)(**SIZES.get(stem, {})).to_json_string())


def main():
    name = "settings"
    cases = {
        "config.json": [plain(getattr(transformers, f"{kind}Config")(**MORE.get(kind, {}))) for kind in CONFIGS],
        "preprocessor_config.json": [processor(f"{kind}ImageProcessor") for kind in PROCESSORS],
        "video_preprocessor_config.json": [processor(f"{kind}VideoProcessor") for kind in VIDEOS],
        "whisper": processor("WhisperFeatureExtractor"),
        "generation_config.json": plain(transformers.GenerationConfig()),
    }
    cases["whisper"].pop("mel_filters", None)
    folder = ROOT / "goldens" / name
    folder.mkdir(exist_ok=True)
    (folder / "cases.json").write_text(json.dumps(cases, sort_keys=True) + "\n")
    print(f"goldens/{name}: {len(CONFIGS)} families")


if __name__ == "__main__":
    main()
