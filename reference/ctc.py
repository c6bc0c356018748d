"""A Conformer learns two sounds letter by letter, in plain PyTorch. Writes goldens/ctc.

The directory is one that `sensorium train recipes/ctc/tiny.toml` could have left: settings with a class for each
character, and weights. `words.csv` says what is to be learned of the sounds that crates/data has as samples;
`losses.json` has ten losses on both, by torch's `ctc_loss` (mean) on spectrograms of Whisper's extractor.
"""

import csv
from pathlib import Path

import soundfile
import torch
from conformer import CONFIG, Conformer, loss_of
from golden import ROOT, curve, randomise, save, write_json
from transformers import WhisperFeatureExtractor

SOUNDS = Path(__file__).parent.parent / "crates/data/tests/samples/folder-sounds"
WORDS = {"rising.wav": "rises", "buzz.flac": "a buzz"}
CLASSES = ["", *" 'abcdefghijklmnopqrstuvwxyz0123456789"]


def main():
    folder = ROOT / "ctc"
    folder.mkdir(exist_ok=True)
    model = randomise(Conformer(len(CLASSES)))
    encoder = {"bands": CONFIG["bands"], "positions": 50, "hidden_size": CONFIG["hidden_size"],
               "n_layers": CONFIG["num_hidden_layers"], "n_heads": CONFIG["num_attention_heads"],
               "intermediate_size": CONFIG["intermediate_size"], "kernel": CONFIG["kernel_size"],
               "vocab_size": len(CLASSES)}
    write_json(folder, "config.json", {"model_type": "sensorium", "ctc": {"encoder": encoder, "classes": CLASSES}})
    save(folder, "speech.safetensors", dict(model.named_parameters()))
    with open(folder / "words.csv", "w") as table:
        csv.writer(table, lineterminator="\n").writerows([("filepath", "title"), *WORDS.items()])

    extractor = WhisperFeatureExtractor(feature_size=CONFIG["bands"])
    sounds = [soundfile.read(SOUNDS / name, dtype="float32")[0] for name in WORDS]
    frames = torch.tensor([-(-len(sound) // 160) for sound in sounds])
    mel = extractor(sounds, sampling_rate=16000, return_tensors="pt").input_features[:, :, :max(frames)]
    labels = [[CLASSES.index(c) for c in word] for word in WORDS.values()]

    def loss():
        _, logits, lengths = model(mel, frames)
        return loss_of(logits, lengths, labels)

    write_json(folder, "losses.json", {"losses": curve(model, loss)})
    print(f"goldens/ctc: {sum(f.stat().st_size for f in folder.iterdir()) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
