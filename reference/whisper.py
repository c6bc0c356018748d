"""Tiny Whisper: encoder, decoder that asks it, and the decoding. Writes goldens/whisper and
goldens/whisper_english.

Radford et al. 2022, https://arxiv.org/abs/2212.04356

    whisper          80 bands, three languages, two tasks
    whisper_english  128 bands, no languages, odd sizes

Each golden is a directory as the hub has it, and `inputs`, `outputs` beside it. The tokenizer has
the 256 bytes and the special tokens; a window is 0.6 s, so that its features are small.
`without_times` and `with_times` are what `generate` says of one window, `language` is what it
detects.
"""

import json

import torch
from golden import ROOT, capture, normal, randomise, save
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration
from transformers import WhisperFeatureExtractor

POSITIONS, CONTEXT, LIMIT = 30, 36, 400_000
LANGUAGES = ["en", "de", "fr"]


def tokenizer(languages):
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    names = ["<|endoftext|>", "<|startoftranscript|>", *(f"<|{name}|>" for name in languages)]
    names += ["<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>"]
    names += ["<|nospeech|>", "<|notimestamps|>"]
    made.add_special_tokens([AddedToken(name, special=True) for name in names])
    return made


def generation(made, languages):
    id = made.token_to_id
    settings = dict(
        decoder_start_token_id=id("<|startoftranscript|>"), eos_token_id=id("<|endoftext|>"),
        bos_token_id=id("<|endoftext|>"), pad_token_id=id("<|endoftext|>"),
        no_timestamps_token_id=id("<|notimestamps|>"), is_multilingual=bool(languages),
        suppress_tokens=[1, 2, 7, id("<|startoftranscript|>"), id("<|translate|>"),
                         id("<|transcribe|>"), id("<|startoflm|>"), id("<|startofprev|>"),
                         id("<|nospeech|>")],
        begin_suppress_tokens=[9, id("<|endoftext|>")], max_initial_timestamp_index=5,
        max_length=CONTEXT)
    if languages:
        settings["lang_to_id"] = {f"<|{name}|>": id(f"<|{name}|>") for name in languages}
        settings["task_to_id"] = {"transcribe": id("<|transcribe|>"),
                                  "translate": id("<|translate|>")}
    return GenerationConfig(**settings)


def model(name, languages, seed, **sizes):
    made = tokenizer(languages)
    words = made.get_vocab_size() + POSITIONS + 1
    end = made.token_to_id("<|endoftext|>")
    config = WhisperConfig(
        vocab_size=words, max_source_positions=POSITIONS, max_target_positions=CONTEXT,
        decoder_start_token_id=made.token_to_id("<|startoftranscript|>"), bos_token_id=end,
        pad_token_id=end, eos_token_id=end, suppress_tokens=None, begin_suppress_tokens=None,
        **sizes)
    config._attn_implementation = "eager"
    whisper = randomise(WhisperForConditionalGeneration(config), table=0.3, seed=seed)
    whisper.generation_config = generation(made, languages)
    return whisper, made


@torch.no_grad()
def said(whisper, mel, **how):
    """The tokens after the prompt, and the narrowest lead of a chosen token."""
    result = whisper.generate(mel, return_dict_in_generate=True, output_scores=True,
                              force_unique_generate_call=True, **how)
    scores = [row[0].topk(2).values for row in result.scores]
    tokens = result.sequences[0][-len(scores):]
    return tokens, min((s[0] - s[1]).item() for s in scores)


@torch.no_grad()
def states(whisper, mel, ids):
    watched = {"model.encoder.conv2": "conv2"}
    for i in range(whisper.config.encoder_layers):
        watched[f"model.encoder.layers.{i}"] = f"encoder.layers.{i}"
    watched["model.encoder.layer_norm"] = "encoder"
    watched["model.decoder.layer_norm"] = "decoder"
    run = lambda: whisper(input_features=mel, decoder_input_ids=ids, use_cache=False)
    result, seen = capture(whisper, watched, run)
    seen.pop("conv2")  # before its GELU and the positions
    return dict(seen, logits=result.logits)


def found(name, languages, mel, **sizes):
    """The first of many random models whose every choice has a lead that no rounding turns."""
    hows = {"without_times": dict(return_timestamps=False), "with_times": dict(return_timestamps=True)}
    if languages:
        for how in hows.values():
            how.update(language="de", task="translate")
    for seed in range(300):
        whisper, made = model(name, languages, seed, **sizes)
        spoken = {key: said(whisper, mel, **how) for key, how in hows.items()}
        lead = min(lead for _, lead in spoken.values())
        tokens = {key: tokens for key, (tokens, _) in spoken.items()}
        times = (tokens["with_times"] > made.token_to_id("<|notimestamps|>")).sum()
        if lead > 0.01 and times > 3 and min(len(t) for t in tokens.values()) > 9:
            return whisper, made, tokens
    raise SystemExit(f"{name}: no model is sure of itself")


def golden(name, languages, **sizes):
    bands = sizes["num_mel_bins"]
    mel = normal(f"{name}.input_features", 1, bands, 2 * POSITIONS)
    whisper, made, tokens = found(name, languages, mel, **sizes)
    ids = torch.tensor([[made.token_to_id("<|startoftranscript|>"), 3, 50, 200, 9, 77]])
    outputs = dict(states(whisper, mel, ids), **tokens)
    if languages:
        outputs["language"] = whisper.detect_language(mel)
    folder = ROOT / name
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    save(folder, "inputs.safetensors", {"input_features": mel, "decoder_input_ids": ids})
    save(folder, "outputs.safetensors", outputs, ordered=True)
    whisper.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=bands).save_pretrained(folder)
    extractor = json.loads((folder / "preprocessor_config.json").read_text())
    extractor.pop("mel_filters", None)
    (folder / "preprocessor_config.json").write_text(json.dumps(extractor, indent=2) + "\n")
    (folder / "model.safetensors").chmod(0o644)
    made.save(str(folder / "tokenizer.json"))
    size = sum(f.stat().st_size for f in folder.iterdir())
    assert size <= LIMIT, size
    print(f"goldens/{name}: {size / 1000:.0f} kB; {tokens}")


def main():
    golden("whisper", LANGUAGES, num_mel_bins=80, d_model=24, encoder_layers=2, decoder_layers=3,
           encoder_attention_heads=3, decoder_attention_heads=2, encoder_ffn_dim=40,
           decoder_ffn_dim=36)
    golden("whisper_english", [], num_mel_bins=128, d_model=20, encoder_layers=3, decoder_layers=2,
           encoder_attention_heads=5, decoder_attention_heads=4, encoder_ffn_dim=28,
           decoder_ffn_dim=44)


if __name__ == "__main__":
    main()
