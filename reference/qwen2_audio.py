"""A tiny Qwen2-Audio that answers about sounds, as it lies in a directory. Writes goldens/qwen2_audio.

Chu et al. 2024, https://arxiv.org/abs/2407.10759

`expected.json` has conversations with how many samples each sound has (see `whisper_mel.wave`), the ids of their
prompts and 16 greedy tokens; `outputs.safetensors` the spectrograms, what stands for the sounds in the prompt, the
logits after it, and of the first sound every block of the tower. A sound of up to four seconds is heard at once.
"""

import json

import numpy as np
import torch
from golden import ROOT, capture, randomise, save, write_json
from transformers import (Qwen2AudioConfig, Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor,
                          WhisperFeatureExtractor)
from seeing import LEAD, byte_tokenizer, greedy
from whisper_mel import RATE, wave

BANDS, SECONDS, LIMIT = 16, 4, 320_000
QUESTIONS = [("what is it?", [4_960]), ("who speaks?", []), ("how loud?", [27_211]), ("which one?", [11_003, 52_999]),
             ("why?", [52_999]), ("and now?", [27_211]), ("x", [4_960]), ("is it far?", [27_211, 4_960]), ("so?", [])]


def features(extractor, samples):
    """In double precision, padded with silence to all that is heard at once, and how many frames are not silence."""
    padded = np.zeros(SECONDS * RATE, dtype=np.float32)
    padded[:samples] = wave(samples)
    exact = extractor._np_extract_fbank_features(padded[None], "cpu")[0].astype(np.float32)
    made = extractor(wave(samples), sampling_rate=RATE, return_tensors="pt", padding="max_length",
                     return_attention_mask=True)
    assert np.abs(made.input_features[0].numpy() - exact).max() < 2e-3
    return torch.from_numpy(exact), made.attention_mask[0]


def prompt(processor, question, sounds):
    content = [{"type": "audio", "audio": wave(samples)} for samples in sounds]
    messages = [{"role": "user", "content": content + [{"type": "text", "text": question}]}]
    text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    made = processor(text=text, audio=[wave(samples) for samples in sounds] or None, return_tensors="pt",
                     **(dict(sampling_rate=RATE) if sounds else {}))
    inputs = {"input_ids": made["input_ids"], "attention_mask": made["attention_mask"]}
    if sounds:
        mels = [features(processor.feature_extractor, samples) for samples in sounds]
        inputs["input_features"] = torch.stack([mel for mel, _ in mels])
        inputs["feature_attention_mask"] = torch.stack([mask for _, mask in mels])
        assert (inputs["feature_attention_mask"] == made["feature_attention_mask"]).all()
    return inputs


@torch.no_grad()
def conversations(model, processor):
    kept, outputs = [], {}
    for question, sounds in QUESTIONS:
        if sum(len(case["sounds"]) == len(sounds) for case in kept) == 2:
            continue
        inputs = prompt(processor, question, sounds)
        tokens, lead = greedy(model, inputs)
        if lead < LEAD:
            continue
        i, spliced = len(kept), {}
        hook = model.model.multi_modal_projector.register_forward_hook(lambda _, __, out: spliced.update(heard=out))
        outputs[f"{i}.logits"] = model(**inputs).logits[0, -1]
        hook.remove()
        if sounds:
            frames = inputs["feature_attention_mask"].sum(-1)
            tokens_of = [int(((n - 1) // 2 + 1 - 2) // 2 + 1) for n in frames]
            if not any(key.endswith("mel") for key in outputs):
                outputs[f"{i}.mel"] = inputs["input_features"][0]
            rows = [row[:n] for row, n in zip(spliced["heard"], tokens_of)]
            outputs[f"{i}.features"] = torch.cat(rows)
        kept.append({"question": question, "sounds": sounds, "ids": inputs["input_ids"][0].tolist(), "greedy": tokens})
    shown = [len(case["sounds"]) for case in kept]
    assert {0, 1, 2} <= set(shown), shown
    print(shown, [len(set(case["greedy"])) for case in kept])
    return kept, outputs


@torch.no_grad()
def states(model, processor):
    """Of the first sound, what each block gives where it is not silent."""
    inputs = prompt(processor, *QUESTIONS[0])
    layers = model.config.audio_config.encoder_layers
    watched = {f"model.audio_tower.layers.{i}": f"encoder.{i + 1}" for i in range(layers)}
    _, seen = capture(model, watched, lambda: model(**inputs))
    heard = (int(inputs["feature_attention_mask"].sum()) - 1) // 2 + 1
    return {name: value[:, :heard] for name, value in seen.items()}


def main():
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>"]
    tokenizer = byte_tokenizer(special, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    extractor = WhisperFeatureExtractor(feature_size=BANDS, chunk_length=SECONDS, return_attention_mask=True)
    processor = Qwen2AudioProcessor(extractor, tokenizer)
    positions = SECONDS * RATE // 320
    config = Qwen2AudioConfig(
        audio_config=dict(model_type="qwen2_audio_encoder", num_mel_bins=BANDS, encoder_layers=2, d_model=24,
                          encoder_attention_heads=3, encoder_ffn_dim=36, max_source_positions=positions),
        text_config=dict(model_type="qwen2", vocab_size=len(tokenizer) + 3, hidden_size=32, intermediate_size=40,
                         num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                         max_position_embeddings=512, bos_token_id=0, eos_token_id=2),
        audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"))
    config._attn_implementation = "eager"
    model = randomise(Qwen2AudioForConditionalGeneration(config))
    model.generation_config.eos_token_id = 2
    kept, outputs = conversations(model, processor)
    outputs |= states(model, processor)
    folder = ROOT / "qwen2_audio"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    model.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    processor.save_pretrained(folder)
    write_json(folder, "expected.json", kept)
    save(folder, "outputs.safetensors", outputs, ordered=True)
    size = sum(f.stat().st_size for f in folder.iterdir())
    assert size <= LIMIT, size
    print(f"goldens/qwen2_audio: {size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
