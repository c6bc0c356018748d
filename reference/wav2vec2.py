"""Tiny wav2vec 2.0 and HuBERT with a head for transcripts. Writes goldens/wav2vec2, goldens/wav2vec2_stable and
goldens/hubert.

Baevski et al. 2020, https://arxiv.org/abs/2006.11477; Hsu et al. 2021, https://arxiv.org/abs/2106.07447

    wav2vec2         as the first files of the hub: norms after, channels normed over time, weight_g and weight_v
    wav2vec2_stable  as transformers 5 writes it: norms before, positions normed, biases, lower case, a padded batch
    hubert           no norm before the projection, an odd kernel of positions, norms before, channels normed

Each golden is a directory as the hub has it. `expected.json` has how many samples each sound has (see
`whisper_mel.wave`), and what the processor writes down; `outputs.safetensors` has the logits of each, and the values
that are read and every hidden state of the first. `losses.json` has ten losses on two of the sounds that crates/data has as
samples, by transformers' own loss (its mean), without dropout and masks, the convolutions frozen; each is heard alone.
"""

import json
from pathlib import Path

import soundfile
import torch
from golden import ROOT, capture, curve, randomise, save, write_json
from safetensors.torch import load_file
from transformers import HubertConfig, HubertForCTC, Wav2Vec2Config, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor
from transformers import Wav2Vec2ForCTC, Wav2Vec2Processor
from whisper_mel import RATE, wave

SOUNDS = [4_960, 27_211, 52_999]  # 0.3 to 3.3 s
LIMIT = 250_000
SAMPLES = Path(__file__).parent.parent / "crates/data/tests/samples/folder-sounds"
WORDS = {"rising.wav": "TEN TOTE", "buzz.flac": "A'ONTO"}
SHAPE = dict(vocab_size=12, num_hidden_layers=2, intermediate_size=36, conv_dim=(8, 12, 12, 12, 12, 12, 16))
OLDER = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}


def vocabulary(folder, delimiter):
    letters = ["<pad>", "<s>", "</s>", "<unk>", delimiter, *"ETAO'N"]
    write_json(folder, "vocab.json", {letter: i for i, letter in enumerate(letters)})  # the last class has none


@torch.no_grad()
def heard(model, processor):
    """What is written down of each sound, its logits, and the narrowest lead of a class."""
    texts, logits = [], []
    for samples in SOUNDS:
        values = processor(wave(samples), sampling_rate=RATE, return_tensors="pt").input_values
        logits.append(model(values).logits[0])
        texts.append(processor.batch_decode(logits[-1][None].argmax(-1))[0])
    leads = [row.topk(2).values for row in logits]
    return texts, logits, min((lead[:, 0] - lead[:, 1]).min().item() for lead in leads)


def found(make, processor):
    """The first of many random models that spells something, and whose every choice no rounding turns."""
    for seed in range(400):
        model = randomise(make(), seed=seed)
        # Logits of near classes, so that a sound has several.
        with torch.no_grad():
            model.lm_head.weight.mul_(3)
            if hasattr(model, "hubert"):  # which has no norm before it
                model.hubert.feature_projection.projection.weight.mul_(8)
        texts, logits, lead = heard(model, processor)
        if lead > 1e-3 and all(len(set("ETAO'N") & set(text.upper())) > 2 for text in texts) and " " in texts[-1]:
            return model, texts, logits
    raise SystemExit("no model is sure of itself")


@torch.no_grad()
def states(model, processor):
    inner = "hubert" if hasattr(model, "hubert") else "wav2vec2"
    values = processor(wave(SOUNDS[0]), sampling_rate=RATE, return_tensors="pt").input_values
    watched = {f"{inner}.feature_extractor": "heard"}
    for i in range(model.config.num_hidden_layers):
        watched[f"{inner}.encoder.layers.{i}"] = f"encoder.{i + 1}"
    watched[f"{inner}.encoder"] = "encoder"
    inputs = {}
    layer = model.get_submodule(f"{inner}.encoder.layers.0")
    handle = layer.register_forward_pre_hook(lambda _, args: inputs.update(first=args[0].detach()))
    encoder = model.get_submodule(f"{inner}.encoder")
    last = encoder.register_forward_hook(lambda _, __, out: inputs.update(last=out.last_hidden_state.detach()))
    watched.pop(f"{inner}.encoder")
    _, seen = capture(model, watched, lambda: model(values))
    handle.remove(), last.remove()
    heard = seen.pop("heard").transpose(1, 2)
    return {"input_values": values, "heard": heard, "encoder.0": inputs["first"], **seen, "encoder": inputs["last"]}


@torch.no_grad()
def batched(model, processor, logits):
    """Of models that were taught with a mask, a padded batch says of each sound what it says of it alone."""
    sounds = [wave(samples) for samples in SOUNDS]
    batch = processor(sounds, sampling_rate=RATE, padding=True, return_tensors="pt")
    assert "attention_mask" in batch
    for row, alone in zip(model(**batch).logits, logits):
        assert (row[: len(alone)] - alone).abs().max() < 1e-4


def losses(folder, processor):
    """Of what `from_pretrained` opens."""
    kind = HubertForCTC if folder.name == "hubert" else Wav2Vec2ForCTC
    model = kind.from_pretrained(folder, ctc_loss_reduction="mean", attn_implementation="eager").eval()
    model.freeze_feature_encoder()
    sounds = [soundfile.read(SAMPLES / name, dtype="float32")[0] for name in WORDS]
    values = [processor(sound, sampling_rate=RATE, return_tensors="pt").input_values for sound in sounds]
    labels = [torch.tensor([processor.tokenizer(text).input_ids]) for text in WORDS.values()]

    def loss():
        return torch.stack([model(v, labels=ids).loss for v, ids in zip(values, labels)]).mean()

    learned = curve(model, loss, lambda name: "feature_extractor" not in name)
    return {"words": WORDS, "labels": [ids[0].tolist() for ids in labels], "losses": learned}


def golden(name, make, delimiter="|", older=False, mask=False, **settings):
    folder = ROOT / name
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    vocabulary(folder, delimiter)
    tokenizer = Wav2Vec2CTCTokenizer(str(folder / "vocab.json"), word_delimiter_token=delimiter, **settings)
    extractor = Wav2Vec2FeatureExtractor(return_attention_mask=mask, do_normalize=name != "hubert")
    processor = Wav2Vec2Processor(extractor, tokenizer)
    model, texts, logits = found(make, processor)
    outputs = states(model, processor)
    if mask:
        batched(model, processor, logits)
    outputs.update({f"{i}.logits": row for i, row in enumerate(logits)})
    model.save_pretrained(folder)
    if older:
        weights = load_file(folder / "model.safetensors")
        for new, old in OLDER.items():
            weights = {key.replace(new, old): value for key, value in weights.items()}
        save(folder, "model.safetensors", weights)
        extractor.save_pretrained(folder)
        special = {key: getattr(tokenizer, key) for key in ("bos_token", "eos_token", "unk_token", "pad_token")}
        write_json(folder, "special_tokens_map.json", special)
        write_json(folder, "tokenizer_config.json", dict(special, do_lower_case=False, return_attention_mask=False,
                                                         do_normalize=True, word_delimiter_token=delimiter))
    else:
        processor.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    write_json(folder, "expected.json", {"sounds": SOUNDS, "texts": texts})
    write_json(folder, "losses.json", losses(folder, processor))
    save(folder, "outputs.safetensors", outputs, ordered=True)
    size = sum(f.stat().st_size for f in folder.iterdir())
    assert size <= LIMIT, size
    print(f"goldens/{name}: {size / 1000:.0f} kB; {texts}")


def main():
    golden("wav2vec2", lambda: Wav2Vec2ForCTC(Wav2Vec2Config(
        **SHAPE, hidden_size=24, num_attention_heads=3, num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=4)), older=True)
    golden("wav2vec2_stable", lambda: Wav2Vec2ForCTC(Wav2Vec2Config(
        **SHAPE, hidden_size=20, num_attention_heads=5, num_conv_pos_embeddings=6, num_conv_pos_embedding_groups=2,
        feat_extract_norm="layer", do_stable_layer_norm=True, conv_bias=True, layer_norm_eps=1e-3)),
        mask=True, do_lower_case=True)
    golden("hubert", lambda: HubertForCTC(HubertConfig(
        **SHAPE, hidden_size=24, num_attention_heads=2, num_conv_pos_embeddings=5, num_conv_pos_embedding_groups=3,
        do_stable_layer_norm=True, feat_proj_layer_norm=False, hidden_act="gelu_new")), delimiter="_")


if __name__ == "__main__":
    main()
