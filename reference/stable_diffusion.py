"""Models that draw in diffusers' layout. Writes goldens/stable_diffusion/<case>/ and schedulers.json there.

    venv/bin/pip install diffusers
    venv/bin/python reference/stable_diffusion.py

Each case is a whole pipeline as `save_pretrained` writes it, of random weights:

    v1      as Stable Diffusion 1.x: projections that are convolutions, one number of heads, noise predicted (PNDM)
    v2      as 2.x: linear projections, a number of heads for each level, velocity predicted (DDIM), padded by `!`
    turbo   as Turbo with a TAESD: few steps (Euler, trailing), an AutoencoderTiny, weights in f16 files alone
    shifted the autoencoder of SD 3 and FLUX in place of v1's: 16 channels, a shift, no 1x1 convolutions

`outputs.safetensors` has what diffusers makes of `expected.json`: texts' positions, the UNet at several times, the
latents after each of ten steps by each scheduler, what the autoencoder makes of latents and of pictures; `picture.png`
is what the pipeline draws from the initial latents. `redrawn.safetensors` and `redrawn.png` have what it makes of
`before.png` anew: latents after each of the steps that a strength of 0.55 leaves, from numbers that choose among what the
autoencoder saw and from noise. `schedulers.json`: times, sigmas and ten steps of many settings.
"""

import json
import shutil
from unittest.mock import patch

import torch
from diffusers import (AutoencoderKL, AutoencoderTiny, DDIMScheduler, EulerDiscreteScheduler, PNDMScheduler,
                       StableDiffusionImg2ImgPipeline, StableDiffusionPipeline, UNet2DConditionModel)
from golden import ROOT, normal, randomise, save
from PIL import Image
from safetensors.torch import load_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

FOLDER = ROOT / "stable_diffusion"
WORDS = ROOT / "tokenizer_files" / "clip"
PROMPT = "a photo of a cat"
CONTEXT = 10
STEPS = 10
GUIDANCE = 3.0
STRENGTH, BEFORE = 0.55, "before.png"
TIMES = [999.0, 501.0, 250.5, 1.0]
SIZE = [24, 16]  # height and width of the picture
SCHEDULE = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000)


def tokenizer(pad):
    """CLIP's in its first files, of which `pad` fills up a text."""
    vocab = json.loads((WORDS / "vocab.json").read_text())
    vocab.setdefault("!</w>", len(vocab))
    vocab.setdefault("!", len(vocab))
    lines = (WORDS / "merges.txt").read_text().splitlines()
    merges = [tuple(line.split()) for line in lines if line and not line.startswith("#")]
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=CONTEXT, pad_token=pad)


def text_encoder(words, width, layers):
    return randomise(CLIPTextModel(CLIPTextConfig(
        hidden_size=width, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=2 * width,
        vocab_size=len(words), max_position_embeddings=CONTEXT, bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id,
        hidden_act="gelu" if layers == 3 else "quick_gelu")))


def unet(width, channels, **settings):
    n = len(channels)
    return randomise(UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=channels,
        norm_num_groups=2, cross_attention_dim=width,
        down_block_types=["CrossAttnDownBlock2D"] * (n - 1) + ["DownBlock2D"],
        up_block_types=["UpBlock2D"] + ["CrossAttnUpBlock2D"] * (n - 1), **settings))


def autoencoder(channels, latents=4, **settings):
    n = len(channels)
    return randomise(AutoencoderKL(
        block_out_channels=channels, layers_per_block=1, latent_channels=latents, norm_num_groups=2, sample_size=16,
        down_block_types=["DownEncoderBlock2D"] * n, up_block_types=["UpDecoderBlock2D"] * n, **settings))


def cases():
    first, second = tokenizer("<|endoftext|>"), tokenizer("!")
    yield "v1", first, text_encoder(first, 8, 2), unet(8, [4, 8], attention_head_dim=2), autoencoder([4, 6]), \
        PNDMScheduler(**SCHEDULE, skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1)
    yield "v2", second, text_encoder(second, 12, 3), \
        unet(12, [4, 8], attention_head_dim=[1, 2], use_linear_projection=True), autoencoder([4, 4]), \
        DDIMScheduler(**SCHEDULE, clip_sample=False, set_alpha_to_one=False, steps_offset=1,
                      prediction_type="v_prediction")
    yield "turbo", second, text_encoder(second, 8, 2), \
        unet(8, [4, 4], attention_head_dim=[1, 2], use_linear_projection=True), \
        randomise(AutoencoderTiny(encoder_block_out_channels=[4, 4], decoder_block_out_channels=[4, 4],
                                  num_encoder_blocks=[1, 2], num_decoder_blocks=[2, 1])), \
        EulerDiscreteScheduler(**SCHEDULE, timestep_spacing="trailing", steps_offset=1)


SCHEDULERS = {"euler": EulerDiscreteScheduler, "ddim": DDIMScheduler, "pndm": PNDMScheduler}


def as_another(scheduler, kind):
    """What diffusers makes of one scheduler's settings as those of another kind."""
    extra = dict(skip_prk_steps=True) if kind is PNDMScheduler else {}
    if kind is DDIMScheduler:
        extra = dict(clip_sample=False)
    return kind.from_config(scheduler.config, **extra)


def pipeline(folder, variant=None):
    return StableDiffusionPipeline.from_pretrained(folder, variant=variant, dtype=torch.float32,
                                                   safety_checker=None, requires_safety_checker=False)


def clean(folder):
    """Settings without where they were read from."""
    for file in folder.rglob("*.json"):
        settings = json.loads(file.read_text())
        if isinstance(settings, dict):
            settings.pop("_name_or_path", None)
            file.write_text(json.dumps(settings, indent=1) + "\n")
    for file in folder.rglob("*"):
        file.chmod(0o755 if file.is_dir() else 0o644)


def draw(pipe, latents, steps, guidance):
    """The picture, and the latents after every step."""
    seen = []
    keep = lambda _pipe, _i, _t, tensors: seen.append(tensors["latents"].clone()) or tensors  # noqa: E731
    height, width = SIZE
    image = pipe(PROMPT, height=height, width=width, num_inference_steps=steps, guidance_scale=guidance,
                 latents=latents, callback_on_step_end=keep).images[0]
    return image, torch.stack(seen)


def one(name, words, text, net, vae, scheduler):
    folder = FOLDER / name
    half = name == "turbo"
    pipe = StableDiffusionPipeline(vae, text, words, net, scheduler, None, None, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    (pipe.to(torch.float16) if half else pipe).save_pretrained(folder, variant="fp16" if half else None)
    # The files of before there was a tokenizer.json, as these models are published with.
    (folder / "tokenizer" / "tokenizer.json").unlink(missing_ok=True)
    vocab = dict(sorted(words.get_vocab().items(), key=lambda item: item[1]))
    (folder / "tokenizer" / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False))
    shutil.copy(WORDS / "merges.txt", folder / "tokenizer" / "merges.txt")
    clean(folder)
    pipe = pipeline(folder, "fp16" if half else None)
    pipe.set_progress_bar_config(disable=True)
    # The texts of each padding.
    ids = words([PROMPT, ""], padding="max_length", max_length=CONTEXT, truncation=True, return_tensors="pt").input_ids
    factor = pipe.vae_scale_factor
    latents = normal(f"{name}.latents", 1, 4, SIZE[0] // factor, SIZE[1] // factor)
    outputs = {"latents": latents}
    with torch.no_grad():
        told = pipe.text_encoder(ids).last_hidden_state
        outputs["texts"] = told
        for time in TIMES:
            outputs[f"unet.{time}"] = pipe.unet(torch.cat([latents] * 2), torch.tensor(time), told).sample
        outputs["decoded"] = pipe.vae.decode(latents).sample
        image = torch.tanh(normal(f"{name}.image", 1, 3, *SIZE))
        outputs["image"] = image
        encoded = pipe.vae.encode(image)
        outputs["encoded"] = encoded.latents if half else encoded.latent_dist.parameters
    own = next(key for key, kind in SCHEDULERS.items() if isinstance(pipe.scheduler, kind))
    usual = pipe.scheduler
    for key, kind in SCHEDULERS.items():
        pipe.scheduler = usual if key == own else as_another(usual, kind)
        image, outputs[f"steps.{key}"] = draw(pipe, latents, STEPS, GUIDANCE)
        if key == own:
            image.save(folder / "picture.png", optimize=True)
    pipe.scheduler = usual
    _, outputs["untold"] = draw(pipe, latents, 2, 0.0)
    expected = {"prompt": PROMPT, "ids": ids.tolist(), "scheduler": own, "steps": STEPS, "guidance": GUIDANCE,
                "size": SIZE, "times": TIMES}
    (folder / "expected.json").write_text(json.dumps(expected) + "\n")
    save(folder, "outputs.safetensors", outputs, ordered=True)
    print(f"stable_diffusion/{name}: {sum(f.stat().st_size for f in folder.rglob('*') if f.is_file()) / 1000:.0f} kB")


def redrawn(name):
    """What StableDiffusionImg2ImgPipeline makes of a picture whose sides are no whole latents."""
    folder = FOLDER / name
    pipe = pipeline(folder, "fp16" if name == "turbo" else None)
    components = {key: part for key, part in pipe.components.items() if key != "image_encoder"}
    redraws = StableDiffusionImg2ImgPipeline(**components, requires_safety_checker=False)
    redraws.set_progress_bar_config(disable=True)
    factor = pipe.vae_scale_factor
    choice, noise = (normal(f"{name}.{key}", 1, 4, SIZE[0] // factor, SIZE[1] // factor) for key in ("choice", "noise"))
    outputs = {"choice": choice, "noise": noise}
    own, usual = json.loads((folder / "expected.json").read_text())["scheduler"], redraws.scheduler
    modules = ("diffusers.models.autoencoders.vae",
               "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_img2img")
    for key, kind in SCHEDULERS.items():
        redraws.scheduler = usual if key == own else as_another(usual, kind)
        seen = []
        keep = lambda _pipe, _i, _t, tensors: seen.append(tensors["latents"].clone()) or tensors  # noqa: E731
        with patch(f"{modules[0]}.randn_tensor", lambda *_, **__: choice), \
                patch(f"{modules[1]}.randn_tensor", lambda *_, **__: noise):
            image = redraws(PROMPT, Image.open(FOLDER / BEFORE).convert("RGB"), STRENGTH, num_inference_steps=STEPS,
                            guidance_scale=GUIDANCE, callback_on_step_end=keep).images[0]
        outputs[f"steps.{key}"] = torch.stack(seen)
        if key == own:
            image.save(folder / "redrawn.png", optimize=True)
    save(folder, "redrawn.safetensors", outputs, ordered=True)


def before():
    """A picture to be drawn anew, wider and higher by a pixel than what is drawn."""
    levels = torch.sigmoid(normal("before", SIZE[0] + 1, SIZE[1] + 1, 3)) * 255
    Image.fromarray(levels.round().to(torch.uint8).numpy()).save(FOLDER / BEFORE, optimize=True)


def shifted():
    """An autoencoder alone."""
    folder = FOLDER / "shifted"
    vae = autoencoder([4, 6], latents=16, scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False,
                      use_post_quant_conv=False)
    vae.save_pretrained(folder)
    clean(folder)
    latents, image = normal("shifted.latents", 1, 16, 5, 4), torch.tanh(normal("shifted.image", 1, 3, 10, 8))
    with torch.no_grad():
        outputs = {"latents": latents, "image": image,
                   "decoded": vae.decode(latents / vae.config.scaling_factor + vae.config.shift_factor).sample,
                   "encoded": vae.encode(image).latent_dist.parameters}
    save(folder, "outputs.safetensors", outputs, ordered=True)


SETTINGS = [
    (EulerDiscreteScheduler, {}),
    (EulerDiscreteScheduler, dict(SCHEDULE, timestep_spacing="leading", steps_offset=1)),
    (EulerDiscreteScheduler, dict(SCHEDULE, timestep_spacing="trailing", prediction_type="v_prediction")),
    (EulerDiscreteScheduler, dict(SCHEDULE, use_karras_sigmas=True)),
    (EulerDiscreteScheduler, dict(SCHEDULE, interpolation_type="log_linear", final_sigmas_type="sigma_min")),
    (EulerDiscreteScheduler, dict(beta_schedule="squaredcos_cap_v2", prediction_type="sample")),
    (EulerDiscreteScheduler, dict(SCHEDULE, rescale_betas_zero_snr=True, timestep_spacing="trailing",
                                  prediction_type="v_prediction")),
    (DDIMScheduler, dict(clip_sample=False, steps_offset=1)),
    (DDIMScheduler, dict(SCHEDULE, clip_sample=False, set_alpha_to_one=False, steps_offset=1)),
    (DDIMScheduler, dict(SCHEDULE, clip_sample=False, timestep_spacing="trailing", prediction_type="v_prediction",
                         rescale_betas_zero_snr=True)),
    (DDIMScheduler, dict(SCHEDULE, clip_sample=False, timestep_spacing="linspace", prediction_type="sample")),
    (DDIMScheduler, dict(trained_betas=[0.001 * (i + 1) for i in range(40)], num_train_timesteps=40,
                         clip_sample=False, steps_offset=1)),
    (PNDMScheduler, dict(SCHEDULE, skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1)),
    (PNDMScheduler, dict(SCHEDULE, skip_prk_steps=True, timestep_spacing="trailing", prediction_type="v_prediction")),
    (PNDMScheduler, dict(SCHEDULE, skip_prk_steps=True, timestep_spacing="linspace", set_alpha_to_one=True)),
]


def predicted(sample, i):
    """What stands for a model."""
    return 0.3 * sample + 0.5 * torch.sin(3 * sample + i)


def schedulers():
    first = normal("schedulers.first", 6)
    cases = []
    for kind, settings in SETTINGS:
        scheduler = kind(**settings)
        for steps in (1, STEPS):
            scheduler.set_timesteps(steps)
            x, seen = first * scheduler.init_noise_sigma, []
            scaled = []
            for i, time in enumerate(scheduler.timesteps):
                told = scheduler.scale_model_input(x, time)
                scaled.append(told.tolist())
                x = scheduler.step(predicted(told, i), time, x).prev_sample
                seen.append(x.tolist())
            config = {key: value for key, value in scheduler.config.items() if not key.startswith("_use")}
            cases.append({"config": {"_class_name": kind.__name__, **config}, "steps": steps,
                          "timesteps": scheduler.timesteps.tolist(),
                          "sigmas": scheduler.sigmas.tolist() if hasattr(scheduler, "sigmas") else None,
                          "scale": float(scheduler.init_noise_sigma), "model_inputs": scaled, "samples": seen})
    out = {"first": first.tolist(), "cases": cases}
    (FOLDER / "schedulers.json").write_text(json.dumps(out, default=float) + "\n")


def main():
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    before()
    for case in cases():
        one(*case)
        redrawn(case[0])
    shifted()
    schedulers()


if __name__ == "__main__":
    main()
