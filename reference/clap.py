"""Tiny CLAP: sounds and texts in one space. Writes goldens/clap and goldens/clap_fused.

Wu et al. 2023, https://arxiv.org/abs/2211.06687

    clap        one spectrogram of a sound, folded four times, three stages of windows, the last as large as its picture
    clap_fused  the whole sound and three crops, folded twice; settings in files of their own, as the hub has them

Each golden is a directory as the hub has it. Where transformers takes a crop from anywhere, here it takes the middle
one, as our program does. `expected.json` has how many samples each sound has (see `whisper_mel.wave`), the texts and
their ids; `outputs.safetensors` has the spectrograms, every stage of the first sound, the text's blocks, embeddings and
logits.
"""

import json

import numpy as np
import torch
from golden import ROOT, capture, randomise, save, write_json
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, ClapProcessor, RobertaTokenizer
from whisper_mel import wave

LIMIT = 420_000
TEXTS = ["a dog barks", "rain", "a car passes by, slowly"]


def middle_of(low, high):
    return (high - 1) // 2 if low == 0 and high > 1 else 0


# No dice: the middle of what there is to choose from.
np.random.randint = middle_of
np.random.choice = lambda choices: choices[len(choices) // 2]


def tokenizer():
    letters = ["<s>", "<pad>", "</s>", "<unk>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "<mask>"]
    made = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, [], unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    made.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    return RobertaTokenizer(tokenizer_object=made, model_max_length=40)


def model(audio, seed=3):
    text = dict(vocab_size=262, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
                max_position_embeddings=42)
    made = ClapModel(ClapConfig(audio_config=audio, text_config=text, projection_dim=14))
    made = randomise(made, table=0.4, seed=seed)
    with torch.no_grad():
        for name, value in made.named_buffers():
            if name.endswith("running_mean"):
                value.copy_(-20 if name.endswith("audio_encoder.batch_norm.running_mean") else 0.1)
            if name.endswith("running_var"):
                value.copy_(400 if name.endswith("audio_encoder.batch_norm.running_var") else 1.3)
    return made


@torch.no_grad()
def heard(made, extractor, sounds):
    """The spectrogram of each sound, heard alone, and its vector."""
    mels, vectors = [], []
    for samples in sounds:
        inputs = extractor(wave(samples), sampling_rate=extractor.sampling_rate, return_tensors="pt")
        mels.append(inputs["input_features"].float())
        inputs["input_features"] = mels[-1]
        vectors.append(made.get_audio_features(**inputs).pooler_output[0])
    return mels, torch.stack(vectors)


@torch.no_grad()
def golden(name, audio, extractor, sounds, older=False):
    made, words = model(audio), tokenizer()
    mels, vectors = heard(made, extractor, sounds)
    texts = words(TEXTS, padding=True, return_tensors="pt")
    result = made(**texts, input_features=mels[0], is_longer=torch.tensor([[True]]))
    watched = {"audio_model.audio_encoder.patch_embed": "audio.0"}
    stages = len(made.config.audio_config.depths)
    watched |= {f"audio_model.audio_encoder.layers.{i}": f"audio.{i + 1}" for i in range(stages)}
    watched["text_model.embeddings"] = "text.0"
    watched |= {f"text_model.encoder.layer.{i}": f"text.{i + 1}" for i in range(2)}
    run = lambda: made(**words(TEXTS[:1], return_tensors="pt"), input_features=mels[0], is_longer=torch.tensor([[True]]))
    _, outputs = capture(made, watched, run)
    audio_embeds = vectors / vectors.norm(dim=-1, keepdim=True)
    text_embeds = result.text_embeds
    logits = made.logit_scale_a.exp() * audio_embeds @ text_embeds.T
    assert (logits[0] - result.logits_per_audio[0]).abs().max() < 1e-4
    outputs |= {f"{i}.mel": mel for i, mel in enumerate(mels)}
    outputs |= dict(audio_embeds=audio_embeds, text_embeds=text_embeds, logits_per_audio=logits)

    folder = ROOT / name
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    made.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    if older:  # without the numbers that follow from the settings
        weights = load_file(folder / "model.safetensors")
        save(folder, "model.safetensors", {key: value for key, value in weights.items() if value.is_floating_point()})
        words.save_pretrained(folder)
        extractor.save_pretrained(folder)
    else:
        ClapProcessor(extractor, words).save_pretrained(folder)
    ids = [words(text)["input_ids"] for text in TEXTS]
    write_json(folder, "expected.json", {"sounds": sounds, "texts": TEXTS, "ids": ids})
    save(folder, "outputs.safetensors", outputs, ordered=True)
    size = sum(f.stat().st_size for f in folder.iterdir())
    assert size <= LIMIT, size
    print(f"goldens/{name}: {size / 1000:.0f} kB")


def main():
    shared = dict(patch_embeds_hidden_size=8, mlp_ratio=2.0, projection_dim=14)
    golden("clap", dict(shared, num_mel_bins=16, spec_size=64, window_size=4, depths=[2, 2, 2], hidden_size=32,
                        num_attention_heads=[2, 4, 4]),
           ClapFeatureExtractor(feature_size=16, sampling_rate=8000, hop_length=40, max_length_s=1, fft_window_size=128,
                                frequency_min=50, frequency_max=3500, truncation="rand_trunc"),
           [2_400, 8_000, 29_003])
    golden("clap_fused", dict(shared, num_mel_bins=64, spec_size=128, window_size=8, depths=[1, 2], hidden_size=16,
                              num_attention_heads=[2, 2], enable_fusion=True, fusion_type="aff_2d", qkv_bias=False),
           ClapFeatureExtractor(sampling_rate=8000, hop_length=160, max_length_s=1, fft_window_size=256,
                                frequency_max=4000, padding="repeat"),
           [2_400, 20_011], older=True)


if __name__ == "__main__":
    main()
