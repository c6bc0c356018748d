"""Published Whisper weights: from CTranslate2's format to a directory as the hub has it, and measured.

    cargo xtask data whisper-tiny.en whisper-base
    venv/bin/python reference/whisper_real.py convert           # data/whisper-tiny.en, data/whisper-base
    venv/bin/python reference/whisper_real.py measure FOLDER    # test/data of pocketsphinx-testdata

`convert` reads numbers and texts only: no code of the packages runs. CTranslate2 stores queries, keys
and values in one matrix and repeats the token table as the head; all else is renamed.

`measure` transcribes the ten recordings of Debian's package pocketsphinx-testdata with the program in
target/release and with transformers, from the same directory, and prints both word error rates,
whether their tokens are equal, and how many times faster than the sound each was.
"""

import hashlib
import json
import re
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "data"
MODELS = {
    "whisper-tiny.en": (["ctranslate2/model.bin"],
                        "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"),
    "whisper-base": (["part1/model.bin.part1", "part2/model.bin.part2"],
                     "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"),
}
TYPES = {0: "<f4", 1: "i1", 2: "<i2", 3: "<i4", 4: "<f2"}


class Reader:
    """CTranslate2's model.bin, version 6: names, shapes, types, values; then aliases."""

    def __init__(self, data):
        self.data, self.at = data, 0
        assert self.take("I") == 6 and self.text() == "WhisperSpec" and self.take("I") == 3

    def take(self, kind):
        (value,) = struct.unpack_from("<" + kind, self.data, self.at)
        self.at += struct.calcsize("<" + kind)
        return value

    def text(self):
        length = self.take("H")
        self.at += length
        return self.data[self.at - length : self.at].rstrip(b"\0").decode()

    def variables(self):
        found = {}
        for _ in range(self.take("I")):
            name = self.text()
            shape = [self.take("I") for _ in range(self.take("B"))]
            kind = TYPES[self.take("B")]
            size = self.take("I")
            values = np.frombuffer(self.data, kind, size // np.dtype(kind).itemsize, self.at)
            found[name] = values.reshape(shape)
            self.at += size
        return found


def renamed(variables):
    """Hub names to arrays of f32."""
    made = {}

    def norm(theirs, ours):
        made[f"{theirs}.weight"] = variables[f"{ours}/gamma"]
        made[f"{theirs}.bias"] = variables[f"{ours}/beta"]

    def split(theirs, names, ours):
        weights = np.split(variables[f"{ours}/weight"], len(names))
        biases = np.split(variables[f"{ours}/bias"], len(names))
        for name, weight, bias in zip(names, weights, biases):
            made[f"{theirs}.{name}.weight"] = weight
            if name == "k_proj":
                assert not bias.any(), "Whisper's keys have no bias"
            else:
                made[f"{theirs}.{name}.bias"] = bias

    for half in ("encoder", "decoder"):
        norm(f"model.{half}.layer_norm", f"{half}/layer_norm")
        made[f"model.{half}.embed_positions.weight"] = variables[f"{half}/position_encodings/encodings"]
        layer = 0
        while f"{half}/layer_{layer}/ffn/linear_0/weight" in variables:
            ours, theirs = f"{half}/layer_{layer}", f"model.{half}.layers.{layer}"
            norm(f"{theirs}.self_attn_layer_norm", f"{ours}/self_attention/layer_norm")
            split(f"{theirs}.self_attn", ["q_proj", "k_proj", "v_proj"], f"{ours}/self_attention/linear_0")
            split(f"{theirs}.self_attn", ["out_proj"], f"{ours}/self_attention/linear_1")
            if half == "decoder":
                norm(f"{theirs}.encoder_attn_layer_norm", f"{ours}/attention/layer_norm")
                split(f"{theirs}.encoder_attn", ["q_proj"], f"{ours}/attention/linear_0")
                split(f"{theirs}.encoder_attn", ["k_proj", "v_proj"], f"{ours}/attention/linear_1")
                split(f"{theirs}.encoder_attn", ["out_proj"], f"{ours}/attention/linear_2")
            norm(f"{theirs}.final_layer_norm", f"{ours}/ffn/layer_norm")
            split(theirs, ["fc1"], f"{ours}/ffn/linear_0")
            split(theirs, ["fc2"], f"{ours}/ffn/linear_1")
            layer += 1
    for conv in ("conv1", "conv2"):
        for end in ("weight", "bias"):
            made[f"model.encoder.{conv}.{end}"] = variables[f"encoder/{conv}/{end}"]
    made["model.decoder.embed_tokens.weight"] = variables["decoder/embeddings/weight"]
    return {name: np.ascontiguousarray(values, dtype=np.float32) for name, values in made.items()}


def settings(variables, weights, published, tokenizer):
    """config.json and generation_config.json."""
    ids = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    id = lambda name: ids.get(f"<|{name}|>", ids.get("<|nocaptions|>") if name == "nospeech" else None)
    end, start = id("endoftext"), id("startoftranscript")
    layers = lambda half: sum(name.startswith(f"{half}/layer_") and name.endswith("ffn/linear_0/weight")
                              for name in variables)
    table = weights["model.decoder.embed_tokens.weight"]
    config = {
        "architectures": ["WhisperForConditionalGeneration"], "model_type": "whisper",
        "activation_function": "gelu", "d_model": table.shape[1], "vocab_size": table.shape[0],
        "num_mel_bins": weights["model.encoder.conv1.weight"].shape[1],
        "max_source_positions": weights["model.encoder.embed_positions.weight"].shape[0],
        "max_target_positions": weights["model.decoder.embed_positions.weight"].shape[0],
        "scale_embedding": False, "tie_word_embeddings": True, "dtype": "float32",
        "bos_token_id": end, "eos_token_id": end, "pad_token_id": end,
        "decoder_start_token_id": start,
    }
    for half in ("encoder", "decoder"):
        config[f"{half}_layers"] = layers(half)
        config[f"{half}_attention_heads"] = int(variables[f"{half}/num_heads"])
        config[f"{half}_ffn_dim"] = weights[f"model.{half}.layers.0.fc1.weight"].shape[0]
    # 51864 entries: English only, one token fewer.
    multilingual = table.shape[0] > 51864
    generation = {
        "bos_token_id": end, "eos_token_id": end, "pad_token_id": end,
        "decoder_start_token_id": start, "no_timestamps_token_id": id("notimestamps"),
        "is_multilingual": multilingual, "max_initial_timestamp_index": 50, "max_length": 448,
        "suppress_tokens": published["suppress_ids"],
        "begin_suppress_tokens": published["suppress_ids_begin"],
        "alignment_heads": published["alignment_heads"],
    }
    if multilingual:
        spelt = {token["id"]: token["content"] for token in tokenizer["added_tokens"]}
        generation["lang_to_id"] = {spelt[i]: i for i in published["lang_ids"]}
        generation["task_to_id"] = {task: id(task) for task in ("transcribe", "translate")}
    return config, generation


def convert(name):
    from safetensors.numpy import save_file
    from transformers import WhisperFeatureExtractor

    files, want = MODELS[name]
    folder = DATA / name
    data = b"".join((folder / file).read_bytes() for file in files)
    got = hashlib.sha256(data).hexdigest()
    assert got == want, f"{name}: expected {want}, got {got}"
    variables = Reader(data).variables()
    weights = renamed(variables)
    beside = (folder / files[0]).parent
    published = json.loads((beside / "config.json").read_text())
    text = (beside / "tokenizer.json").read_text()
    config, generation = settings(variables, weights, published, json.loads(text))
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    WhisperFeatureExtractor(feature_size=config["num_mel_bins"]).save_pretrained(folder)
    (folder / "tokenizer.json").write_text(text)
    for file, value in (("config.json", config), ("generation_config.json", generation)):
        (folder / file).write_text(json.dumps(value, indent=2) + "\n")
    count = sum(values.size for values in weights.values())
    print(f"data/{name}: {count:,} parameters, {len(weights)} tensors")


SPELT = dict(zip("mr 2 3 4 5 6 7 8 9 10".split(),
                 "mister two three four five six seven eight nine ten".split()))


def words(text, spelt=False):
    """Lower case, without punctuation; `spelt` writes numerals and titles as the transcripts do."""
    found = re.sub(r"[^a-z0-9' ]", " ", text.lower()).split()
    return [SPELT.get(word, word) for word in found] if spelt else found


def errors(want, got):
    """Fewest words to insert, delete and change (Levenshtein)."""
    row = list(range(len(got) + 1))
    for i, w in enumerate(want, 1):
        last, row[0] = row[0], i
        for j, g in enumerate(got, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (w != g))
    return row[-1]


def recordings(folder):
    """Sounds and what is said in them."""
    found = []
    for transcripts in ("librivox/transcription", "cards/cards.transcription"):
        for line in (folder / transcripts).read_text().splitlines():
            text, name = re.fullmatch(r"<s>(.*)</s>\s*\((.*)\)", line.strip()).groups()
            found.append(((folder / transcripts).parent / f"{name}.wav", words(text)))
    return found


def ours(name, sounds):
    command = [str(ROOT / "target/release/sensorium"), "transcribe", *map(str, sounds),
               "--model", str(DATA / name), "--json"]
    if name == "whisper-base":
        command += ["--language", "en"]
    done = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    done = done["transcripts"]
    tokens = [[id for segment in item["segments"] for id in segment["token_ids"]] for item in done]
    spent = sum(sum(item["seconds"].values()) - item["seconds"]["load"] for item in done)
    return [item["text"] for item in done], tokens, sum(item["duration"] for item in done) / spent


def theirs(name, sounds):
    import torch
    from tokenizers import Tokenizer
    from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

    torch.set_num_threads(2)
    model = WhisperForConditionalGeneration.from_pretrained(DATA / name).eval()
    extractor = WhisperFeatureExtractor.from_pretrained(DATA / name)
    tokenizer = Tokenizer.from_file(str(DATA / name / "tokenizer.json"))
    how = dict(language="en", task="transcribe") if name == "whisper-base" else {}
    texts, tokens, seconds, spent = [], [], 0, 0
    for sound in sounds:
        begun = time.time()
        samples = np.frombuffer(sound.read_bytes()[44:], "<i2").astype(np.float32) / 32768
        mel = extractor(samples, sampling_rate=16_000, return_tensors="pt").input_features
        with torch.no_grad():
            ids = model.generate(mel, **how)[0].tolist()
        spent += time.time() - begun
        seconds += len(samples) / 16_000
        tokens.append([id for id in ids if id < model.generation_config.eos_token_id])
        texts.append(tokenizer.decode(tokens[-1]))
    return texts, tokens, seconds / spent


def measure(folder):
    cases = recordings(Path(folder))
    sounds = [sound for sound, _ in cases]
    said = sum(len(want) for _, want in cases)
    for name in MODELS:
        results = {"ours": ours(name, sounds), "transformers": theirs(name, sounds)}
        for who, (texts, _, speed) in results.items():
            wrong = [sum(errors(want, words(text, spelt)) for (_, want), text in zip(cases, texts))
                     for spelt in (False, True)]
            print(f"{name} {who}: {wrong[0]} of {said} words wrong, {100 * wrong[0] / said:.1f} %; "
                  f"with numerals spelt {wrong[1]}, {100 * wrong[1] / said:.1f} %; "
                  f"{speed:.1f} times faster than the sound")
        pairs = list(zip(results["ours"][1], results["transformers"][1]))
        print(f"{name}: tokens equal in {sum(a == b for a, b in pairs)} of {len(pairs)}")
        for (_, want), text in zip(cases, results["ours"][0]):
            print(f"  {' '.join(want)} | {text}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["convert"]:
            for model in MODELS:
                convert(model)
        case ["measure", folder]:
            measure(folder)
        case _:
            raise SystemExit(__doc__)
