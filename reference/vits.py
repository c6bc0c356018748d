"""Tiny VITS: letters to samples. Writes goldens/vits, goldens/vits_voices and goldens/vits_piper.

Kim et al. 2021, https://arxiv.org/abs/2106.06103

    vits         as MMS' voices lie on the hub: durations drawn by a flow, weight_g and weight_v, blanks between letters
    vits_voices  three voices, durations that are told, no blanks, convolutions further and further apart; as
                 transformers 5 writes it
    vits_piper   a voice of Piper, as `piper.py` makes directories of them: phonemes between pads, blocks of single
                 convolutions, which transformers has not

Each golden is a directory as the hub has it. `expected.json` has texts with their voice and speed, the letters that
are read, their ids and the frames of each; `outputs.safetensors` the noise that was drawn, what was decoded and the
samples of each, and of the first text every block of its encoder.
"""

import json
import unicodedata
from types import SimpleNamespace

import torch
from golden import ROOT, normal, randomise, save, write_json
from safetensors.torch import load_file
from transformers import VitsConfig, VitsModel, VitsTokenizer

LIMIT = 250_000
SHAPE = dict(vocab_size=12, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, window_size=2, ffn_dim=20,
             flow_size=8, spectrogram_bins=9, depth_separable_num_layers=2, duration_predictor_flow_bins=4,
             duration_predictor_filter_channels=10, prior_encoder_num_flows=2, prior_encoder_num_wavenet_layers=2,
             posterior_encoder_num_wavenet_layers=1, upsample_initial_channel=16, upsample_rates=[4, 2],
             upsample_kernel_sizes=[8, 4], resblock_kernel_sizes=[3, 5], resblock_dilation_sizes=[[1, 3], [1, 2]])
OLDER = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}


class Drawn:
    """Noise by the name of what it is drawn for, in place of torch's own."""

    def __init__(self, name):
        self.name, self.noise = name, []

    def __call__(self, *shape, **_):
        self.__exit__()
        self.noise.append(normal(f"{self.name}.{len(self.noise)}", *shape))
        self.__enter__()
        return self.noise[-1]

    def __enter__(self):
        self.kept = torch.randn, torch.randn_like
        torch.randn, torch.randn_like = self, lambda x: self(*x.shape)
        return self

    def __exit__(self, *_):
        torch.randn, torch.randn_like = self.kept


class Single(torch.nn.Module):
    """VITS's second kind of block, in place of transformers' one."""

    def __init__(self, block):
        super().__init__()
        self.convs1, self.slope = block.convs1, block.leaky_relu_slope

    def forward(self, x):
        for conv in self.convs1:
            x = x + conv(torch.nn.functional.leaky_relu(x, self.slope))
        return x


class Piper(VitsModel):
    def __init__(self, config):
        super().__init__(config)
        self.decoder.resblocks = torch.nn.ModuleList(Single(block) for block in self.decoder.resblocks)


PHONEMES = ["_", "^", "$", " ", "h", "ə", "l", "ˈ", "o", "ʊ", ".", "\u0303"]


class Phonemes:
    """What stands for a tokenizer where a voice reads phonemes."""

    def __init__(self, folder):
        self.ids = {phoneme: [i] for i, phoneme in enumerate(PHONEMES)}
        write_json(folder, "voice.onnx.json", {
            "audio": {"sample_rate": 22_050, "quality": "x_low"}, "espeak": {"voice": "en-us"},
            "inference": {"noise_scale": 0.5, "length_scale": 0.8, "noise_w": 0.6}, "phoneme_type": "espeak",
            "phoneme_map": {}, "phoneme_id_map": self.ids, "num_symbols": len(PHONEMES), "num_speakers": 1,
            "speaker_id_map": {}, "piper_version": "1.0.0", "language": {"code": "en_US"}, "dataset": "none"})

    def prepare_for_tokenization(self, text):
        return [unicodedata.normalize("NFD", text)]

    def __call__(self, text, **_):
        inner = [id for phoneme in self.prepare_for_tokenization(text)[0] for id in (*self.ids[phoneme], 0)]
        return SimpleNamespace(input_ids=torch.tensor([[1, 0, *inner, 2]]))


def tokenizer(folder, **settings):
    letters = ["-", "a", "b", "e", "h", "l", "o", "t", " ", "'", "I"]
    write_json(folder, "vocab.json", {letter: i for i, letter in enumerate(letters)})
    return VitsTokenizer(str(folder / "vocab.json"), pad_token="-", phonemize=False, **settings)


@torch.no_grad()
def spoken(model, words, i, case):
    """What is made of a text: ids, frames, what is decoded, samples; and how near a duration is to a whole number."""
    ids = words(case["text"], return_tensors="pt").input_ids
    seen = {}
    hook = model.duration_predictor.register_forward_hook(lambda _, __, out: seen.update(log=out))
    voice = {} if model.config.num_speakers == 1 else dict(speaker_id=case["voice"])
    rate = model.config.speaking_rate * case["speed"]
    with Drawn(f"vits.{i}") as drawn:
        made = model(input_ids=ids, speaking_rate=rate, **voice)
    hook.remove()
    exact = seen["log"][0, 0].exp() / rate
    frames = exact.ceil()
    near = (exact - exact.round()).abs().min().item()
    outputs = {f"{i}.latents": made.spectrogram.transpose(1, 2), f"{i}.waveform": made.waveform[0],
               f"{i}.noise": drawn.noise[-1][0].T}
    if len(drawn.noise) > 1:
        outputs[f"{i}.duration_noise"] = drawn.noise[0][0]
    return ids[0].tolist(), [int(n) for n in frames], near, outputs


def found(make, words, cases):
    """The first of many random models that speaks neither too long nor too short, and whose durations are clear."""
    for seed in range(2000):
        model = randomise(make(), table=0.25, seed=seed)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith(("translate", "log_scale")):
                    parameter.mul_(0.3)
        made = [spoken(model, words, i, case) for i, case in enumerate(cases)]
        sums = [sum(frames) for _, frames, _, _ in made]
        if min(near for _, _, near, _ in made) > 2e-3 and min(sums) > 11 and max(sums) < 120:
            if min(len(set(frames)) for _, frames, _, _ in made) > 2:
                return model, made
    raise SystemExit("no model speaks")


@torch.no_grad()
def states(model, ids):
    made = model.text_encoder(input_ids=torch.tensor([ids]), padding_mask=torch.ones(1, len(ids), 1),
                              output_hidden_states=True)
    outputs = {f"text.{i}": state for i, state in enumerate(made.hidden_states)}
    return {**outputs, "means": made.prior_means, "deviations": made.prior_log_variances}


def golden(name, make, cases, older=False, piper=False, **settings):
    folder = ROOT / name
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    words = Phonemes(folder) if piper else tokenizer(folder, **settings)
    model, made = found(make, words, cases)
    outputs = states(model, made[0][0])
    for case, (ids, frames, _, more) in zip(cases, made):
        read = words.prepare_for_tokenization(case["text"])[0]
        case |= {"letters": read, "ids": ids, "frames": frames}
        outputs |= more
    model.save_pretrained(folder)
    if older:
        weights = load_file(folder / "model.safetensors")
        for new, old in OLDER.items():
            weights = {key.replace(new, old): value for key, value in weights.items()}
        save(folder, "model.safetensors", weights)
        write_json(folder, "tokenizer_config.json", {
            "add_blank": True, "clean_up_tokenization_spaces": True, "is_uroman": False, "language": "eng",
            "model_max_length": 1000000000000000019884624838656, "normalize": True, "pad_token": "-",
            "phonemize": False, "tokenizer_class": "VitsTokenizer", "unk_token": "<unk>"})
    elif piper:
        # What the voice's own file says is not said twice.
        config = json.loads((folder / "config.json").read_text())
        for key in ("noise_scale", "noise_scale_duration", "speaking_rate", "sampling_rate"):
            del config[key]
        write_json(folder, "config.json", {**config, "resblock": "2"})
        # Its script leaves out what only training needs.
        weights = load_file(folder / "model.safetensors")
        training = ("posterior_encoder.", "duration_predictor.post_", "duration_predictor.flows.1.")
        save(folder, "model.safetensors", {key: value for key, value in weights.items() if not key.startswith(training)})
    else:
        words.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    write_json(folder, "expected.json", cases)
    save(folder, "outputs.safetensors", outputs, ordered=True)
    size = sum(f.stat().st_size for f in folder.iterdir())
    assert size <= LIMIT, size
    print(f"goldens/{name}: {size / 1000:.0f} kB; {[case['frames'] for case in cases]}")


def main():
    case = lambda text, voice=0, speed=1.0: dict(text=text, voice=voice, speed=speed)  # noqa: E731
    golden("vits", lambda: VitsModel(VitsConfig(**SHAPE)),
           [case("Hello, I'll be tall!"), case("a"), case("the hat", speed=1.5)], older=True, language="eng")
    golden("vits_voices", lambda: VitsModel(VitsConfig(**{
        **SHAPE, "num_speakers": 3, "speaker_embedding_size": 6, "use_stochastic_duration_prediction": False,
        "wavenet_dilation_rate": 2, "prior_encoder_num_wavenet_layers": 3, "sampling_rate": 22_050, "use_bias": False,
        "layer_norm_eps": 1e-3, "hidden_act": "gelu", "speaking_rate": 0.8, "leaky_relu_slope": 0.2})),
           [case("the hat be at the hall", 1), case("hello", 0, 0.5), case("hello", 2)], add_blank=False,
           normalize=False)
    golden("vits_piper", lambda: Piper(VitsConfig(**{
        **SHAPE, "sampling_rate": 22_050, "noise_scale": 0.5, "noise_scale_duration": 0.6, "speaking_rate": 1 / 0.8})),
           [case("həlˈoʊ."), case("õ lo", speed=0.9)], piper=True)


if __name__ == "__main__":
    main()
