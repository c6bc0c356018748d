"""Tiny SpeechT5 that speaks, with its vocoder. Writes goldens/speecht5.

Ao et al. 2021, https://arxiv.org/abs/2110.07205

The golden is a directory as the hub has it, with the vocoder's inside as `vocoder/`, and two voices in
`voices.safetensors`. `expected.json` has texts with their voice and their ids; `outputs.safetensors` which numbers of the
prenet were kept at each step, the frames before and after the postnet, and the samples of each, and of the first text
every block of the encoder.
"""

import io

import sentencepiece
import torch
from golden import ROOT, generator, normal, randomise, save, write_json
from transformers import SpeechT5Config, SpeechT5ForTextToSpeech, SpeechT5HifiGan, SpeechT5HifiGanConfig

LIMIT = 250_000
SHAPE = dict(vocab_size=19, hidden_size=16, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=20,
             decoder_layers=2, decoder_ffn_dim=24, decoder_attention_heads=4, num_mel_bins=6,
             speech_decoder_prenet_layers=2, speech_decoder_prenet_units=10, speaker_embedding_dim=7,
             speech_decoder_postnet_layers=3, speech_decoder_postnet_units=9, speech_decoder_postnet_kernel=3,
             reduction_factor=2, max_speech_positions=80, max_text_positions=30, encoder_max_relative_position=4,
             layer_norm_eps=1e-4)
VOCODER = dict(model_in_dim=6, upsample_initial_channel=16, upsample_rates=[4, 2], upsample_kernel_sizes=[8, 4],
               resblock_kernel_sizes=[3, 5], resblock_dilation_sizes=[[1, 3], [1, 2]])
LINES = ["Hello, the hat.", "The hall had a bell, too.", "to be at the hotel"]
TEXTS = [("Hello, the hat.", "anna"), ("a bell", "bert")]


def tokenizer(folder):
    """A file of characters, whose first ids are those of the published one."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES), model_writer=model, model_type="char", vocab_size=20, hard_vocab_limit=False,
        bos_id=0, pad_id=1, eos_id=2, unk_id=3, normalization_rule_name="identity", minloglevel=2)
    (folder / "spm_char.model").write_bytes(model.getvalue())
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    write_json(folder, "tokenizer_config.json", {
        "bos_token": "<s>", "eos_token": "</s>", "model_max_length": 30, "normalize": False, "pad_token": "<pad>",
        "processor_class": "SpeechT5Processor", "tokenizer_class": "SpeechT5Tokenizer", "unk_token": "<unk>"})
    size = pieces.get_piece_size()
    write_json(folder, "added_tokens.json", {"<mask>": size, "<ctc_blank>": size + 1})
    return pieces


class Kept:
    """Which numbers are kept, by step and layer, in place of torch's own draws."""

    def __init__(self, name, layers):
        self.name, self.layers, self.calls, self.rows = name, layers, 0, {}

    def row(self, step, layer, width, p):
        key = (step, layer)
        if key not in self.rows:
            draw = torch.rand(width, generator=generator(f"{self.name}.{step}.{layer}"))
            self.rows[key] = (draw < p).float()
        return self.rows[key]

    def __call__(self, x, p):
        layer = self.calls % self.layers
        self.calls += 1
        return torch.stack([self.row(step, layer, x.shape[1], p) for step in range(x.shape[0])])

    def __enter__(self):
        self.own, torch.bernoulli = torch.bernoulli, self
        return self

    def __exit__(self, *_):
        torch.bernoulli = self.own

    def all(self):
        steps = 1 + max(step for step, _ in self.rows)
        return torch.stack([torch.stack([self.rows[step, layer] for layer in range(self.layers)]) for step in range(steps)])


@torch.no_grad()
def spoken(model, vocoder, ids, voice, i):
    """Frames, samples, and how near a step was to ending otherwise."""
    seen, ends, postnet = {}, [], model.speech_decoder_postnet.postnet
    hook = model.speech_decoder_postnet.prob_out.register_forward_hook(
        lambda _, __, out: ends.append(out.sigmoid().sum().item()))
    model.speech_decoder_postnet.postnet = lambda x: seen.setdefault("mel", (x, postnet(x)))[1]
    with Kept(f"speecht5.{i}", model.config.speech_decoder_prenet_layers) as kept:
        wave = model.generate_speech(torch.tensor([ids]), voice[None], vocoder=vocoder, maxlenratio=5.0)
    hook.remove()
    del model.speech_decoder_postnet.postnet
    before, after = seen["mel"]
    near = min(abs(end - 0.5) for end in ends)
    outputs = {f"{i}.kept": kept.all(), f"{i}.before": before, f"{i}.log_mel": after, f"{i}.waveform": wave}
    return len(ends), near, ends[-1] >= 0.5, outputs


def found(texts, voices, vocoder):
    """The first of many random models that ends by itself, and clearly."""
    for seed in range(3000):
        model = randomise(SpeechT5ForTextToSpeech(SpeechT5Config(**SHAPE)).eval(), table=0.5, seed=seed)
        with torch.no_grad():
            model.speecht5.encoder.prenet.encode_positions.alpha.fill_(0.7)
            model.speecht5.decoder.prenet.encode_positions.alpha.fill_(1.3)
            model.speech_decoder_postnet.prob_out.bias.sub_(1.0)
            for name, buffer in model.named_buffers():
                if name.endswith("running_mean"):
                    buffer.copy_(0.2 * normal(name, *buffer.shape))
                elif name.endswith("running_var"):
                    buffer.copy_(0.5 + normal(name, *buffer.shape).abs())
        made = [spoken(model, vocoder, ids, voices[voice], i) for i, (ids, voice) in enumerate(texts)]
        if all(5 < steps < 30 and near > 5e-3 and ended for steps, near, ended, _ in made):
            return model, made
    raise SystemExit("no model comes to an end")


@torch.no_grad()
def states(model, ids):
    made = model.speecht5.encoder(input_values=torch.tensor([ids]), output_hidden_states=True)
    return {f"text.{i}": state for i, state in enumerate(made.hidden_states)}


def main():
    folder = ROOT / "speecht5"
    (folder / "vocoder").mkdir(parents=True, exist_ok=True)
    for old in [*folder.iterdir(), *(folder / "vocoder").iterdir()]:
        if old.is_file():
            old.unlink()
    pieces = tokenizer(folder)
    assert pieces.get_piece_size() + 2 == SHAPE["vocab_size"], pieces.get_piece_size()
    voices = {name: normal(f"speecht5.{name}", SHAPE["speaker_embedding_dim"]) for name in ("anna", "bert")}
    vocoder = randomise(SpeechT5HifiGan(SpeechT5HifiGanConfig(**VOCODER)).eval())
    vocoder.mean.copy_(normal("speecht5.mean", 6))
    vocoder.scale.copy_(0.5 + normal("speecht5.scale", 6).abs())
    cases = [{"text": text, "voice": voice, "ids": [*pieces.encode(text), 2]} for text, voice in TEXTS]
    model, made = found([(case["ids"], case["voice"]) for case in cases], voices, vocoder)
    outputs = states(model, cases[0]["ids"])
    for _, _, _, more in made:
        outputs |= more
    model.save_pretrained(folder)
    vocoder.save_pretrained(folder / "vocoder")
    for file in (folder / "model.safetensors", folder / "vocoder" / "model.safetensors"):
        file.chmod(0o644)
    save(folder, "voices.safetensors", voices)
    write_json(folder, "expected.json", cases)
    save(folder, "outputs.safetensors", outputs, ordered=True)
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    assert size <= LIMIT, size
    print(f"goldens/speecht5: {size / 1000:.0f} kB; steps {[steps for steps, *_ in made]}")


if __name__ == "__main__":
    main()
