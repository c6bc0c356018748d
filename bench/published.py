"""Published families beside transformers and diffusers: the same random checkpoint, the same pictures, sounds and texts.

    python bench/published.py target/release/sensorium runs/published [--only clap,vits] [--pairs 3]

Makes the checkpoints (of published sizes where these fit, see `CASES`) out of the tiny ones in `goldens/`, whose
tokenizers and processors they keep; asks a server of ours over HTTP and the reference in a process of its own, in
turn, with inputs of which no two are alike. Prints a line of JSON for each case: medians in seconds, the ratio of ours
to the reference's, and the most memory that each held. Needs torch and transformers, for `draw` diffusers.
"""

import argparse
import base64
import io
import json
import shutil
import statistics
import subprocess
import sys
import time
import wave
from pathlib import Path

from server import Server, mib

ROOT = Path(__file__).resolve().parents[1]
SMALL = dict(hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14,
             num_key_value_heads=2, max_position_embeddings=8192)
SIGLIP = dict(hidden_size=1152, intermediate_size=4304, num_hidden_layers=27, num_attention_heads=16)
GEMMA = dict(hidden_size=1152, intermediate_size=6912, num_hidden_layers=26, num_attention_heads=4,
             num_key_value_heads=1, head_dim=256, max_position_embeddings=8192)
NEW = 16  # tokens behind the first, for the time of one
WORDS = "a photo of a cat"

# name: (golden, what is measured, what replaces the golden's settings, and its processor's)
CASES = {
    "qwen2_vl": ("qwen2_vl", "see", {
        "text_config": dict(SMALL, layer_types=["full_attention"] * 24, rope_parameters=dict(
            mrope_section=[8, 12, 12], rope_theta=1e6, rope_type="default")),
        "vision_config": dict(depth=32, embed_dim=1280, num_heads=16, mlp_ratio=4, patch_size=14, hidden_size=896)},
        {"image_processor": dict(patch_size=14, size=dict(shortest_edge=3136, longest_edge=12845056))}),
    "qwen2_5_vl": ("qwen2_5_vl", "see", {
        "text_config": dict(SMALL, layer_types=["full_attention"] * 24, rope_parameters=dict(
            mrope_section=[8, 12, 12], rope_theta=1e6, rope_type="default")),
        "vision_config": dict(depth=32, hidden_size=1280, num_heads=16, intermediate_size=3420, patch_size=14,
                              out_hidden_size=896, window_size=112, fullatt_block_indexes=[7, 15, 23, 31])},
        {"image_processor": dict(patch_size=14, size=dict(shortest_edge=3136, longest_edge=12845056))}),
    "qwen3_vl": ("qwen3_vl", "see", {
        "text_config": dict(SMALL, head_dim=64, rope_parameters=dict(
            mrope_section=[12, 10, 10], rope_theta=5e6, rope_type="default", mrope_interleaved=True)),
        "vision_config": dict(depth=24, hidden_size=1024, num_heads=16, intermediate_size=4096, patch_size=16,
                              out_hidden_size=896, num_position_embeddings=2304,
                              deepstack_visual_indexes=[5, 11, 17])},
        {"image_processor": dict(patch_size=16, size=dict(shortest_edge=65536, longest_edge=16777216))}),
    "llava_next": ("tiles_next", "see", {
        "image_grid_pinpoints": [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]],
        "text_config": dict(SMALL, head_dim=64),
        "vision_config": dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16,
                              image_size=336, patch_size=14)},
        {"patch_size": 14, "image_processor": dict(
            size=dict(shortest_edge=336), crop_size=dict(height=336, width=336),
            image_grid_pinpoints=[[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]])}),
    "llava_onevision": ("tiles_onevision", "see", {
        "image_grid_pinpoints": [[384 * i, 384 * j] for i in range(1, 4) for j in range(1, 4)],
        "text_config": dict(SMALL, layer_types=["full_attention"] * 24),
        "vision_config": dict(SIGLIP, image_size=384, patch_size=14)},
        {"num_image_tokens": 729, "image_processor": dict(
            size=dict(height=384, width=384),
            image_grid_pinpoints=[[384 * i, 384 * j] for i in range(1, 4) for j in range(1, 4)])}),
    "internvl": ("tiles_internvl", "see", {
        "image_seq_length": 256,
        "text_config": dict(SMALL, layer_types=["full_attention"] * 24),
        "vision_config": dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16,
                              image_size=[448, 448], patch_size=[14, 14])},
        {"image_seq_length": 256, "image_processor": dict(size=dict(height=448, width=448))}),
    "gemma3": ("seeing_gemma3", "see", {
        "mm_tokens_per_image": 256,
        "text_config": dict(GEMMA, query_pre_attn_scalar=256, sliding_window=512, layer_types=[
            "full_attention" if i % 6 == 5 else "sliding_attention" for i in range(26)]),
        "vision_config": dict(SIGLIP, image_size=896, patch_size=14)},
        {"image_seq_length": 256, "image_processor": dict(size=dict(height=896, width=896))}),
    "paligemma": ("seeing_paligemma", "see", {
        "hidden_size": 1152, "projection_dim": 1152,
        "text_config": dict(GEMMA, num_image_tokens=256),
        "vision_config": dict(SIGLIP, image_size=224, patch_size=14, projection_dim=1152)},
        {"image_seq_length": 256, "image_processor": dict(size=dict(height=224, width=224), image_seq_length=256)}),
    "qwen2_audio": ("qwen2_audio", "hear", {
        "text_config": dict(SMALL, layer_types=["full_attention"] * 24),
        "audio_config": dict(d_model=1280, encoder_attention_heads=20, encoder_ffn_dim=5120, encoder_layers=32,
                             max_source_positions=1500, num_mel_bins=128)},
        {"feature_extractor": dict(feature_size=128, chunk_length=30, n_samples=480000, nb_max_frames=3000,
                                   hop_length=160, n_fft=400, sampling_rate=16000)}),
    "wav2vec2": ("wav2vec2", "write", dict(
        conv_dim=[512] * 7, hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
        num_conv_pos_embeddings=128, num_conv_pos_embedding_groups=16, output_hidden_size=768), {}),
    "clap": ("clap", "embed", {
        "projection_dim": 512,
        "audio_config": dict(depths=[2, 2, 6, 2], hidden_size=768, num_attention_heads=[4, 8, 16, 32], num_mel_bins=64,
                             patch_embeds_hidden_size=96, spec_size=256, window_size=8, mlp_ratio=4.0,
                             projection_dim=512),
        "text_config": dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
                            projection_dim=512)},
        {"feature_extractor": dict(feature_size=64, fft_window_size=1024, hop_length=480, max_length_s=10,
                                   nb_max_samples=480000, nb_max_frames=1000, nb_frequency_bins=513,
                                   sampling_rate=48000, frequency_min=50, frequency_max=14000)}),
    "vits": ("vits", "speak", dict(
        hidden_size=192, num_hidden_layers=6, ffn_dim=768, window_size=4, flow_size=192, spectrogram_bins=513,
        duration_predictor_filter_channels=256, duration_predictor_flow_bins=10, depth_separable_num_layers=3,
        prior_encoder_num_flows=4, prior_encoder_num_wavenet_layers=4, posterior_encoder_num_wavenet_layers=16,
        resblock_dilation_sizes=[[1, 3, 5]] * 3, resblock_kernel_sizes=[3, 7, 11], upsample_initial_channel=512,
        upsample_kernel_sizes=[16, 16, 4, 4], upsample_rates=[8, 8, 2, 2]), {}),
    "draw": ("stable_diffusion/turbo", "draw", {}, {}),
}


def merged(settings, changes):
    """`settings` with `changes` put in; the inner tables alike."""
    for key, value in changes.items():
        inner = settings.get(key)
        # Angles are replaced whole: their keys belong together.
        settings[key] = merged(inner, value) if isinstance(inner, dict) and key != "rope_parameters" else value
    return settings


def rewrite(file, changes):
    """Puts `changes` into a file of settings, if it is there; of a part that it lacks, none."""
    if file.exists():
        settings = json.loads(file.read_text())
        known = {key: value for key, value in changes.items() if key != "video_processor" or key in settings}
        file.write_text(json.dumps(merged(settings, known), indent=1))


def make(name, folder):
    """A checkpoint of random weights in `folder`."""
    import torch
    golden, kind, config, processor = CASES[name]
    torch.manual_seed(0)
    shutil.copytree(ROOT / "goldens" / golden, folder, ignore=shutil.ignore_patterns("*.safetensors", "expected.json"))
    if kind == "draw":
        return make_pipeline(folder)
    rewrite(folder / "config.json", config)
    # A video's frames are scaled as pictures are.
    frames = {"video_processor": processor["image_processor"]} if "image_processor" in processor else {}
    rewrite(folder / "processor_config.json", {**processor, **frames})
    rewrite(folder / "preprocessor_config.json", processor.get("image_processor", {}))
    rewrite(folder / "generation_config.json", {"do_sample": False})
    model_class(folder)(configuration(folder)).save_pretrained(folder)


def configuration(folder):
    import transformers
    return transformers.AutoConfig.from_pretrained(folder)


def model_class(folder):
    import transformers
    return getattr(transformers, json.loads((folder / "config.json").read_text())["architectures"][0])


def make_pipeline(folder):
    """Stable Diffusion Turbo's parts at their published sizes, 4 levels each."""
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel
    words = json.loads((folder / "text_encoder" / "config.json").read_text())
    merged(words, dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=23, num_attention_heads=16,
                       max_position_embeddings=77))
    CLIPTextModel(CLIPTextConfig(**words)).save_pretrained(folder / "text_encoder")
    rewrite(folder / "tokenizer" / "tokenizer_config.json", {"model_max_length": 77})
    UNet2DConditionModel(
        sample_size=64, cross_attention_dim=1024, attention_head_dim=[5, 10, 20, 20], use_linear_projection=True,
    ).save_pretrained(folder / "unet")
    shutil.rmtree(folder / "vae")
    AutoencoderKL(block_out_channels=(128, 256, 512, 512), layers_per_block=2, sample_size=512,
                  down_block_types=["DownEncoderBlock2D"] * 4,
                  up_block_types=["UpDecoderBlock2D"] * 4).save_pretrained(folder / "vae")
    rewrite(folder / "model_index.json", {"vae": ["diffusers", "AutoencoderKL"]})


# ---- inputs: number `i` is unlike every other ----

def picture(i, side=448):
    from PIL import Image
    pixels = bytes((x * (7 + i) + y * 13 + (x * y) // (5 + i)) % 251 for y in range(side) for x in range(3 * side))
    return Image.frombytes("RGB", (side, side), pixels)


def samples(i, rate, seconds=10):
    import numpy
    t = numpy.arange(rate * seconds) / rate
    return (0.3 * numpy.sin(2 * numpy.pi * (110 + 13 * i) * t * (1 + t / 20))).astype("float32")


def wav(sound, rate):
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, rate, len(sound), "NONE", None))
        out.writeframes((sound * 32767).round().astype("<i2").tobytes())
    return file.getvalue()


def text(i):
    return ("abe"[i % 3] + "ab ba abe eba ") * 5


# ---- the reference, in a process of its own ----

def reference(name, folder):
    """Answers one line of input with one of output: the number of an input, what that took."""
    import torch
    import transformers
    kind = CASES[name][1]
    torch.set_num_threads(2)
    transformers.logging.set_verbosity_error()
    if kind == "draw":
        import diffusers
        pipe = diffusers.StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32, safety_checker=None,
                                                                 requires_safety_checker=False)
        pipe.set_progress_bar_config(disable=True)
        work = lambda i: pipe(WORDS, height=512, width=512, num_inference_steps=2, guidance_scale=0.0)  # noqa: E731
    else:
        model = model_class(folder).from_pretrained(folder, dtype=torch.float32).eval()
        work = {"see": see, "hear": hear, "write": write, "embed": embed, "speak": speak}[kind](model, folder)
    with torch.inference_mode():
        for line in sys.stdin:
            start = time.perf_counter()
            told = work(int(line))
            print(json.dumps({"took": time.perf_counter() - start, "told": told if kind != "draw" else 1}), flush=True)


def generated(model, inputs, i):
    """One token for odd inputs, `NEW` more for even ones."""
    new = NEW + 1 if i % 2 == 0 else 1
    out = model.generate(**inputs, max_new_tokens=new, min_new_tokens=new, do_sample=False)
    return out.shape[1] - inputs["input_ids"].shape[1]


def see(model, folder):
    import transformers
    processor = transformers.AutoProcessor.from_pretrained(folder)
    content = [{"type": "image"}, {"type": "text", "text": WORDS}]
    prompt = "<image>" + WORDS if processor.chat_template is None else processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True)
    return lambda i: generated(model, processor(images=[picture(i)], text=prompt, return_tensors="pt"), i)


def hear(model, folder):
    import transformers
    processor = transformers.AutoProcessor.from_pretrained(folder)
    content = [{"type": "audio", "audio_url": "x"}, {"type": "text", "text": WORDS}]
    prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True,
                                           tokenize=False)
    return lambda i: generated(model, processor(text=prompt, audio=[samples(i, 16000)], sampling_rate=16000,
                                                return_tensors="pt"), i)


def write(model, folder):
    import transformers
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)

    def work(i):
        inputs = extractor(samples(i, 16000), sampling_rate=16000, return_tensors="pt")
        return int(model(**inputs).logits.argmax(-1).sum())
    return work


def embed(model, folder):
    import transformers
    processor = transformers.AutoProcessor.from_pretrained(folder)

    def work(i):
        inputs = processor(audio=[samples(i, 48000)], sampling_rate=48000, return_tensors="pt")
        return float(model.get_audio_features(**inputs).pooler_output.sum())
    return work


def speak(model, folder):
    import transformers
    words = transformers.AutoTokenizer.from_pretrained(folder)
    return lambda i: model(**words(text(i), return_tensors="pt")).waveform.shape[-1] / model.config.sampling_rate


# ---- ours ----

def url(data, kind):
    return f"data:{kind};base64," + base64.b64encode(data).decode()


def ask(server, kind, i):
    """What a request for input `i` told, and its time."""
    if kind in ("see", "hear"):
        if kind == "see":
            file = io.BytesIO()
            picture(i).save(file, "bmp")
            part = {"type": "image_url", "image_url": {"url": url(file.getvalue(), "image/bmp")}}
        else:
            sound = base64.b64encode(wav(samples(i, 16000), 16000)).decode()
            part = {"type": "input_audio", "input_audio": {"data": sound, "format": "wav"}}
        body = {"messages": [{"role": "user", "content": [part, {"type": "text", "text": WORDS}]}], "temperature": 0,
                "max_tokens": NEW + 1 if i % 2 == 0 else 1}
        call = ["/v1/chat/completions", body]
    elif kind == "write":
        border = "edge"
        form = (f'--{border}\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\n\r\n').encode()
        body = form + wav(samples(i, 16000), 16000) + f"\r\n--{border}--\r\n".encode()
        call = ["/v1/audio/transcriptions", body, f"multipart/form-data; boundary={border}"]
    elif kind == "embed":
        call = ["/v1/embeddings", {"input": [{"audio": url(wav(samples(i, 48000), 48000), "audio/wav")}]}]
    elif kind == "speak":
        call = ["/v1/audio/speech", {"input": text(i), "response_format": "wav"}]
    else:
        call = ["/v1/images/generations", {"prompt": WORDS, "size": "512x512", "num_inference_steps": 2, "guidance_scale": 0, "seed": i}]
    path, body, *kinds = call
    start = time.perf_counter()
    status, told = server.post(path, body, 1200, *kinds)
    took = time.perf_counter() - start
    if status != 200:
        sys.exit(f"{path}: {status} {told[:500]}")
    if kind in ("see", "hear"):
        told = json.loads(told)["usage"]["completion_tokens"]
    elif kind == "speak":
        with wave.open(io.BytesIO(told)) as sound:
            told = (len(told) - 44) / 2 / sound.getframerate()
    else:
        told = 1
    return {"took": took, "told": told}


def measured(kind, other, ours, pairs):
    """Seconds of each side, by what was asked: 1 for the first token or the whole, 0 for `NEW` tokens more."""
    times = {"ours": {}, "reference": {}}
    tokens = kind in ("see", "hear")
    for i in range(2 * pairs + 2):
        for side, told in (("reference", other(i)), ("ours", ours(i))):
            if tokens and told["told"] != (NEW + 1 if i % 2 == 0 else 1):
                print(f"{side} wrote {told['told']} tokens", file=sys.stderr)
            if i >= 2:
                per = told["told"] if kind == "speak" else 1
                times[side].setdefault(i % 2 if tokens else 1, []).append(told["took"] / per)
    return times


def compare(name, program, folder, pairs):
    kind = CASES[name][1]
    if not (folder / "made").exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, __file__, "--make", name, program, folder.parent], check=True)
        (folder / "made").touch()
    peer = subprocess.Popen([sys.executable, __file__, "--reference", name, program, folder.parent],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    server = Server(program, "--model", str(folder))

    def other(i):
        peer.stdin.write(f"{i}\n")
        peer.stdin.flush()
        return json.loads(peer.stdout.readline())

    try:
        times = measured(kind, other, lambda i: ask(server, kind, i), pairs)
        memory = {"ours": round(mib(server.process, "VmHWM")), "reference": round(mib(peer, "VmHWM"))}
    finally:
        for process in (server.process, peer):
            process.kill()
            process.wait()
    out = {"case": name}
    for side, both in times.items():
        out[side] = {"first" if kind in ("see", "hear") else "seconds": round(statistics.median(both[1]), 4)}
        if 0 in both:
            out[side]["token"] = round((statistics.median(both[0]) - statistics.median(both[1])) / NEW, 5)
    out["ratio"] = {key: round(value / out["reference"][key], 3) for key, value in out["ours"].items()}
    print(json.dumps({**out, "memory_mib": memory}), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default=",".join(CASES))
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--make")
    parser.add_argument("--reference")
    args = parser.parse_args()
    if args.make:
        return make(args.make, args.folder / args.make)
    if args.reference:
        return reference(args.reference, args.folder / args.reference)
    args.folder.mkdir(parents=True, exist_ok=True)
    for name in args.only.split(","):
        compare(name, args.program, args.folder / name, args.pairs)


if __name__ == "__main__":
    main()
