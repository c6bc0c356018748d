"""A tiny Voxtral that answers about sounds and writes them down, as it lies in a directory. Writes goldens/voxtral.

Liu et al. 2025, https://arxiv.org/abs/2507.13264

`expected.json` has conversations with how many samples each sound has (see `whisper_mel.wave`), transcriptions with
the language that is told, each with the ids of its prompt by mistral-common and 16 greedy tokens, and texts with
their ids; `outputs.safetensors` the spectrograms, what stands for the sounds in the prompt, the logits after it, and
of the first sound every block of the tower. Sounds are heard four seconds at a time. Needs `mistral-common`,
`tiktoken` and `soundfile`.
"""

import base64
import json
from collections import Counter

import numpy as np
import torch
from golden import ROOT, capture, randomise, save, write_json
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.protocol.transcription.request import TranscriptionRequest
from mistral_common.tokens.tokenizers.audio import Audio
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from seeing import LEAD, greedy
from tokenizer_texts import LINES, TEXTS
from transformers import VoxtralConfig, VoxtralForConditionalGeneration, WhisperFeatureExtractor
from whisper_mel import RATE, wave

BANDS, SECONDS, LIMIT = 8, 4, 330_000
SPECIAL, MERGED, SPARE = 40, 40, 4
PATTERN = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
           r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
           r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
NAMES = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]",
         "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]",
         "[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]", "<SPECIAL_20>", "<SPECIAL_21>",
         "<SPECIAL_22>", "<SPECIAL_23>", "[AUDIO]", "[BEGIN_AUDIO]", *[f"<SPECIAL_{i}>" for i in range(26, 34)],
         "[TRANSCRIBE]"]
# Without a sound, with one, two, one longer than a piece; with instructions; of several turns.
KINDS = [lambda q: [(q,)], lambda q: [(4_960, q)], lambda q: [(11_003, q, 80_999)], lambda q: [(q, 27_211)],
         lambda q: [("be brief", "system"), ("so, what?",), ("nothing.  ", "assistant"), (q,)],
         lambda q: [(4_960, "what is it?"), ("a dog", "assistant"), (27_211, q)]]
QUESTIONS = ("what is it?", "how many?", "why?", "and now?", "x", "where?", "who?", "how?", "when?", "what?", "whose?",
             "which?", "is it red?", "is it here?", "tell me", "listen", "y", "z", "what happens?", "what else?")
LANGUAGES = ("en", None)
SAMPLES = (80_999, 27_211, 4_960, 52_999, 11_003, 33_000, 21_000, 45_678, 15_000, 38_000, 60_001)


def vocabulary():
    """Bytes, and the pairs that occur most often."""
    words = Counter(tuple(bytes([b]) for b in f" {word}".encode()) for line in LINES for word in line.split())
    tokens = [bytes([i]) for i in range(256)]
    while len(tokens) < 256 + MERGED + SPARE:
        pairs = Counter()
        for word, count in words.items():
            for pair in zip(word, word[1:]):
                pairs[b"".join(pair)] += count
        best = max((token for token in pairs if token not in tokens), key=lambda token: (pairs[token], token))
        tokens.append(best)
        words = Counter({merged(word, best): count for word, count in words.items()})
    return tokens


def merged(word, token):
    out = []
    for part in word:
        if out and out[-1] + part == token:
            out[-1] = token
        else:
            out.append(part)
    return tuple(out)


def tekken(folder):
    spelt = lambda token: token.decode() if token.isascii() else None  # noqa: E731
    vocab = [{"rank": i, "token_bytes": base64.b64encode(token).decode(), "token_str": spelt(token)}
             for i, token in enumerate(vocabulary())]
    special = [{"rank": i, "token_str": name, "is_control": True} for i, name in enumerate(NAMES)]
    config = {"pattern": PATTERN, "num_vocab_tokens": len(vocab), "default_vocab_size": SPECIAL + 256 + MERGED,
              "default_num_special_tokens": SPECIAL, "version": "v7"}
    encoding = {"num_mel_bins": BANDS, "hop_length": 160, "window_size": 400}
    audio = {"sampling_rate": RATE, "frame_rate": 12.5, "audio_encoding_config": encoding,
             "chunk_length_s": float(SECONDS)}
    whole = {"config": config, "vocab": vocab, "special_tokens": special, "audio": audio}
    (folder / "tekken.json").write_text(json.dumps(whole) + "\n")
    return MistralTokenizer.from_file(folder / "tekken.json")


def wav(samples):
    return Audio(audio_array=wave(samples), sampling_rate=RATE, format="wav").to_base64("wav")


def messages(turns):
    made = []
    for turn in turns:
        role = turn[-1] if turn[-1] in ("system", "assistant") else "user"
        parts = turn if role == "user" else turn[:-1]
        made.append({"role": role, "content": list(parts)})
    return made


def asked(tokenizer, turns):
    part = lambda part: ({"type": "text", "text": part} if isinstance(part, str) else  # noqa: E731
                         {"type": "input_audio", "input_audio": {"data": wav(part), "format": "wav"}})
    given = [m | {"content": m["content"][0] if m["role"] != "user" else [part(p) for p in m["content"]]}
             for m in messages(turns)]
    return tokenizer.encode_chat_completion(ChatCompletionRequest.from_openai(given)).tokens


def features(extractor, samples):
    """In double precision, padded with silence to whole pieces, `[pieces, bands, frames]`."""
    piece = SECONDS * RATE
    padded = np.zeros(-(-samples // piece) * piece, dtype=np.float32)
    padded[:samples] = wave(samples)
    exact = extractor._np_extract_fbank_features(padded[None], "cpu")[0].astype(np.float32)
    made = extractor(wave(samples), sampling_rate=RATE, return_tensors="pt", padding=True, truncation=False,
                     pad_to_multiple_of=piece)
    assert np.abs(made.input_features[0].numpy() - exact).max() < 2e-3
    return torch.from_numpy(exact).reshape(BANDS, -1, piece // 160).transpose(0, 1)


def inputs_of(extractor, ids, sounds):
    inputs = {"input_ids": torch.tensor([ids])}
    if sounds:
        inputs["input_features"] = torch.cat([features(extractor, samples) for samples in sounds])
    return inputs


@torch.no_grad()
def heard(model, inputs, name, outputs, mel=False):
    spliced = {}
    hook = model.model.multi_modal_projector.register_forward_hook(lambda _, __, out: spliced.update(heard=out))
    outputs[f"{name}.logits"] = model(**inputs).logits[0, -1]
    hook.remove()
    if "heard" in spliced:
        outputs[f"{name}.features"] = spliced["heard"]
        if mel:
            outputs[f"{name}.mel"] = inputs["input_features"][-1]


def conversations(model, extractor, tokenizer):
    """One question of each kind; those whose answer hangs on a last bit are left out."""
    kept, outputs = [], {}
    for kind in KINDS:
        for question in QUESTIONS:
            turns = kind(question)
            sounds = [part for turn in turns for part in turn if isinstance(part, int)]
            ids = asked(tokenizer, turns)
            inputs = inputs_of(extractor, ids, sounds)
            tokens, lead = greedy(model, inputs)
            if lead > LEAD:
                break
        else:
            raise SystemExit(f"no clear answer to {turns}")
        heard(model, inputs, str(len(kept)), outputs, mel=80_999 in sounds)
        kept.append({"messages": messages(turns), "ids": ids, "greedy": tokens})
    print([len(case["ids"]) for case in kept], [len(set(case["greedy"])) for case in kept])
    return kept, outputs


def transcriptions(model, extractor, tokenizer, outputs):
    kept = []
    for language in LANGUAGES:
        for samples in SAMPLES:
            request = TranscriptionRequest(model="tiny", audio=wav(samples), language=language)
            ids = tokenizer.encode_transcription(request).tokens
            inputs = inputs_of(extractor, ids, [samples])
            tokens, lead = greedy(model, inputs)
            if lead > LEAD:
                break
        else:
            raise SystemExit(f"nothing clear is said in {language}")
        heard(model, inputs, f"transcription.{len(kept)}", outputs)
        kept.append({"samples": samples, "language": language, "ids": ids, "greedy": tokens})
    return kept


@torch.no_grad()
def states(model, extractor):
    """Of the first sound, what each block gives."""
    layers = model.config.audio_config.num_hidden_layers
    watched = {f"model.audio_tower.layers.{i}": f"encoder.{i + 1}" for i in range(layers)}
    _, seen = capture(model, watched, lambda: model.get_audio_features(features(extractor, 4_960)))
    return {name: value[:, ::8] for name, value in seen.items()}


def main():
    folder = ROOT / "voxtral"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    tokenizer = tekken(folder)
    extractor = WhisperFeatureExtractor(feature_size=BANDS, chunk_length=SECONDS)
    config = VoxtralConfig(
        audio_config=dict(model_type="voxtral_encoder", num_mel_bins=BANDS, num_hidden_layers=2, hidden_size=16,
                          num_attention_heads=2, intermediate_size=64, max_source_positions=SECONDS * 50),
        text_config=dict(model_type="llama", vocab_size=SPECIAL + 256 + MERGED, hidden_size=32, intermediate_size=40,
                         num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
                         max_position_embeddings=512, bos_token_id=1, eos_token_id=2),
        audio_token_id=24)
    config._attn_implementation = "eager"
    model = randomise(VoxtralForConditionalGeneration(config))
    model.generation_config.eos_token_id = 2
    kept, outputs = conversations(model, extractor, tokenizer)
    written = transcriptions(model, extractor, tokenizer, outputs)
    outputs |= states(model, extractor)
    model.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    extractor.save_pretrained(folder)
    encode = tokenizer.instruct_tokenizer.tokenizer.encode
    texts = [{"text": text, "ids": encode(text, bos=False, eos=False)} for text in [*TEXTS, *LINES]]
    expected = {"conversations": kept, "transcriptions": written, "texts": texts}
    (folder / "expected.json").write_text(json.dumps(expected, ensure_ascii=False) + "\n", encoding="utf-8")
    save(folder, "outputs.safetensors", outputs, ordered=True)
    size = sum(f.stat().st_size for f in folder.iterdir())
    assert size <= LIMIT, size
    print(f"goldens/voxtral: {size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
