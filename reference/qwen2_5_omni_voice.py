"""What speaks in Qwen2.5-Omni: a tiny one in goldens/qwen2_5_omni_voice, and published voices taken out of their pickle.

Xu et al. 2025, https://arxiv.org/abs/2503.20215

    venv/bin/python reference/qwen2_5_omni_voice.py                             # goldens/qwen2_5_omni_voice
    venv/bin/python reference/qwen2_5_omni_voice.py convert spk_dict.pt FOLDER  # FOLDER/voices.safetensors

The golden is a directory as the hub has it, but for `spk_dict.pt`, whose voices lie in `voices.safetensors`: of each the
token that opens what it says, its vector, and the spectrogram of a recording. `expected.json` has conversations (ids of
prompt and answer, the voice, greedy codes of speech); `outputs.safetensors` of each the places of the prompt's tokens,
what the talker reads and thinks of the prompt, the noise that was drawn, what the encoder of voices gives, the first velocities, the spectrogram and the
samples.
"""

import sys
from pathlib import Path

import torch
from golden import normal, randomise
from published import finish, fresh, two_passes
from qwen2_5_omni import BANDS, NAMES, SECONDS, SPECIAL, TEMPLATE, edges, mel, prepared
from qwen_vl import IMAGE_PIXELS, PATCH, VIDEO_PIXELS, rope, watched
from safetensors.torch import save_file
from seeing import LEAD, VIDEO, byte_tokenizer
from transformers import (Qwen2_5OmniConfig, Qwen2_5OmniForConditionalGeneration, Qwen2_5OmniProcessor,
                          Qwen2VLVideoProcessor, WhisperFeatureExtractor)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from whisper_mel import wave

VOICES = "voices.safetensors"
WORDS, CODES, CONTEXT = 6, 14, 400
# Codes are 0 to 33; behind them stand tokens that are no sound.
PAD, START, END, MASK = 34, 35, 36, 38
WIDTH, MEL, SPEAKER = 16, 8, 6
PACE = 3
# The last is a video whose own sound stands among its frames.
KINDS = [("Chelsie", [], [], 0), ("Ethan", [4_960], [], 0), ("Chelsie", [11_003], ["noise"], 0), ("Ethan", [11_003], [], 5)]
QUESTIONS = ("what is it?", "how many?", "why?", "and now?", "x", "where?", "who?", "how?", "when?", "what?", "whose?",
             "which?", "is it red?", "is it here?", "tell me", "look", "y", "z", "what happens?", "what else?")


def published_voices(voices):
    """As the program reads them."""
    return {f"{name}.{key}": torch.as_tensor(value).float().reshape(-1) if key == "bos_token" else value.float().contiguous()
            for name, voice in voices.items() for key, value in voice.items()}


def convert(pickle, folder):
    voices = torch.load(pickle, map_location="cpu", weights_only=True)
    save_file(published_voices(voices), Path(folder) / VOICES)
    print(f"{folder}/{VOICES}: {', '.join(voices)}")


class Watched:
    """What a part of the model generates, and by how much each token led."""

    def __init__(self, part, inner=None, unread=()):
        self.own, self.inner, self.unread = part.generate, inner, unread
        part.generate = self.generate

    def generate(self, *args, **more):
        more = {key: value for key, value in more.items() if key not in self.unread}
        made = self.own(*args, **more | {"output_scores": True, "return_dict_in_generate": True})
        best = torch.stack(made.scores).topk(2, -1).values
        self.lead = (best[..., 0] - best[..., 1]).min().item()
        self.tokens = made.sequences[0, -len(made.scores):].tolist()
        return self.inner(made) if self.inner else made


def masked(talker):
    """transformers 5 takes a mask of ones away, without which its talker leaves out the marks of codes and M-RoPE."""
    own = talker.prepare_inputs_for_generation

    def prepare(input_ids, inputs_embeds=None, **kwargs):
        return own(input_ids, inputs_embeds=inputs_embeds, **kwargs) | {"attention_mask": torch.ones_like(input_ids)}

    talker.prepare_inputs_for_generation = prepare


class Unclear(Exception):
    """What is said hangs on a last bit, or is no sound."""


def codes_alone(made):
    codes = made.sequences[0, -len(made.scores):]
    if any(PAD > code > 33 or code > END for code in codes.tolist()) or codes[0] >= PAD:
        raise Unclear
    return made.sequences


class Kept:
    """The first that a module reads and gives."""

    def __init__(self, module):
        self.seen = []
        self.handle = module.register_forward_hook(lambda _, args, output: self.seen.append((args[0], output)))

    def take(self):
        (read, given), self.seen = self.seen[0], []
        return read[0].clone(), (given[0] if len(given) == 1 else given).clone()


class Drawn:
    """Noise by the name of what it is drawn for, in place of torch's own."""

    def __init__(self, name, frames):
        self.most = normal(name, 1, frames, MEL)

    def __enter__(self):
        self.own = torch.randn
        torch.randn = self.draw
        return self

    def draw(self, shape, **_):
        self.noise = self.most[:, : shape[1]].clone()
        return self.noise

    def __exit__(self, *_):
        torch.randn = self.own


def heard_and_watched(processor, question, samples, frames):
    content = [{"type": "video"}, {"type": "text", "text": question}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    shown, metadata = watched(frames)
    made = dict(processor(
        text=[text], videos=[shown], audio=[wave(samples)], load_audio_from_video=True, audio_from_video_indices=[0],
        position_id_per_seconds=PACE, return_tensors="pt",
        videos_kwargs=dict(video_metadata=[metadata], do_sample_frames=False, size=edges(VIDEO_PIXELS))))
    return made | {"input_features": mel(processor.feature_extractor, samples)[None], "use_audio_in_video": True}


def places(talker, inputs):
    """Where the tokens of a prompt stand in time, height and width, `[T, 3]`."""
    sounds = inputs["feature_attention_mask"].sum(1) if "feature_attention_mask" in inputs else None
    found, _ = talker.get_rope_index(
        inputs["input_ids"], inputs.get("image_grid_thw"), inputs.get("video_grid_thw"), inputs["attention_mask"],
        inputs.get("use_audio_in_video", False), sounds, inputs.get("video_second_per_grid"))
    return found[:, 0].T.float()


@torch.no_grad()
def conversations(model, processor):
    """One question of each kind, of which every token is clear."""
    masked(model.talker)
    # transformers hands the talker pixels too, which it then refuses.
    thinker, talker = Watched(model.thinker), Watched(model.talker, codes_alone, ["pixel_values", "pixel_values_videos"])
    dit = model.token2wav.code2wav_dit_model
    parts = {"read": Kept(model.talker.thinker_to_talker_proj), "hidden": Kept(model.talker.model.norm),
             "speaker": Kept(dit.input_embed.spk_encoder), "velocity": Kept(dit.proj_out),
             "mel": Kept(model.token2wav.code2wav_bigvgan_model)}
    kept, outputs = [], {}
    for i, (voice, sounds, names, frames) in enumerate(KINDS):
        for question in QUESTIONS:
            if frames:
                inputs = heard_and_watched(processor, question, *sounds, frames)
            else:
                inputs = prepared(processor, question, sounds, names, 0)
            model.thinker.model.rope_deltas = model.talker.rope_deltas = None
            try:
                with Drawn(f"voice.{i}", 2 * CODES) as drawn:
                    words, samples = model.generate(
                        **inputs, speaker=voice, thinker_max_new_tokens=WORDS, talker_max_new_tokens=CODES,
                        talker_do_sample=False, talker_eos_token_id=[PAD, END])
            except Unclear:
                continue
            finally:
                made = {name: part.take() if part.seen else None for name, part in parts.items()}
            if min(thinker.lead, talker.lead) > (2 * LEAD if frames else LEAD) and len(thinker.tokens) > 2:
                break
        else:
            raise SystemExit(f"no clear answer of {voice}")
        read, hidden = made["read"][0], made["hidden"][1]
        outputs |= {f"{i}.positions": places(model.talker, inputs), f"{i}.read": read, f"{i}.hidden": hidden, f"{i}.speaker": made["speaker"][1],
                    f"{i}.noise": drawn.noise[0], f"{i}.velocity": made["velocity"][1], f"{i}.mel": made["mel"][0].T,
                    f"{i}.samples": samples}
        kept.append({"question": question, "sounds": sounds, "pictures": [f"{name}.png" for name in names],
                     "video": VIDEO.name if frames else None, "frames": frames,
                     "voice": voice, "ids": inputs["input_ids"][0].tolist(), "greedy": thinker.tokens,
                     "codes": talker.tokens})
        print(len(read), thinker.tokens, talker.tokens, f"{samples.abs().max():.2f}", len(samples))
    return kept, outputs


def settings(tokens):
    ids = {key: tokens[NAMES[name]] for key, name in (
        ("image_token_index", "image_token"), ("video_token_index", "video_token"), ("audio_token_index", "audio_token"),
        ("audio_start_token_id", "audio_bos_token"), ("audio_end_token_id", "audio_eos_token"),
        ("vision_start_token_id", "vision_bos_token"), ("vision_end_token_id", "vision_eos_token"))}
    more = len(tokens)
    text = dict(vocab_size=more + 3, hidden_size=WIDTH, intermediate_size=20, num_hidden_layers=2, num_attention_heads=2,
                num_key_value_heads=1, max_position_embeddings=CONTEXT, bos_token_id=0, eos_token_id=2, pad_token_id=0,
                rope_parameters=rope([1, 1, 2]))
    vision = dict(depth=1, hidden_size=8, out_hidden_size=WIDTH, intermediate_size=12, num_heads=2, window_size=16,
                  fullatt_block_indexes=[0], patch_size=PATCH)
    audio = dict(num_mel_bins=BANDS, encoder_layers=1, d_model=12, encoder_attention_heads=3, encoder_ffn_dim=16,
                 max_source_positions=30, n_window=10, output_dim=WIDTH)
    talker = dict(vocab_size=40, embedding_size=WIDTH, hidden_size=24, intermediate_size=20, num_hidden_layers=2,
                  num_attention_heads=2, num_key_value_heads=1, head_dim=16, max_position_embeddings=CONTEXT,
                  rope_parameters=rope([2, 3, 3]), tts_text_start_token_id=more, tts_text_end_token_id=more + 1,
                  tts_text_pad_token_id=more + 2, tts_codec_pad_token_id=PAD, tts_codec_start_token_id=START,
                  tts_codec_end_token_id=END, tts_codec_mask_token_id=MASK, position_id_per_seconds=PACE, **ids)
    dit = dict(hidden_size=16, num_hidden_layers=3, num_attention_heads=2, head_dim=8, ff_mult=2, emb_dim=4, block_size=5,
               look_ahead_layers=[1], look_backward_layers=[0, 2], repeats=2, num_embeds=33, mel_dim=MEL,
               enc_emb_dim=SPEAKER, enc_dim=5, enc_channels=[8, 8, 8, 16], enc_kernel_sizes=[5, 3, 3, 1],
               enc_dilations=[1, 2, 3, 1], enc_attention_channels=4, enc_res2net_scale=2, enc_se_channels=4)
    bigvgan = dict(mel_dim=MEL, upsample_initial_channel=8, resblock_kernel_sizes=[3, 5],
                   resblock_dilation_sizes=[[1, 3, 5], [1, 2, 3]], upsample_rates=[3, 2], upsample_kernel_sizes=[7, 4])
    return Qwen2_5OmniConfig(
        thinker_config=dict(audio_config=audio, vision_config=vision, text_config=text, position_id_per_seconds=PACE, **ids),
        talker_config=talker, token2wav_config=dict(dit_config=dit, bigvgan_config=bigvgan))


def random_model(config):
    config._attn_implementation = "eager"
    model = randomise(Qwen2_5OmniForConditionalGeneration(config))
    with torch.no_grad():
        for name, parameter in model.token2wav.code2wav_bigvgan_model.named_parameters():
            if name.endswith(("act.alpha", "act.beta")):
                parameter.mul_(0.3)  # of their powers
        model.token2wav.code2wav_bigvgan_model.conv_post.weight.mul_(0.3)
    model.thinker.generation_config.eos_token_id = 2
    return model


def main():
    two_passes()
    tokenizer = byte_tokenizer(SPECIAL, eos_token="<|im_end|>", pad_token="<|endoftext|>",
                               model_specific_special_tokens=NAMES)
    processor = Qwen2_5OmniProcessor(
        Qwen2VLImageProcessorPil(size=edges(IMAGE_PIXELS), patch_size=PATCH),
        Qwen2VLVideoProcessor(size=edges(VIDEO_PIXELS), patch_size=PATCH),
        WhisperFeatureExtractor(feature_size=BANDS, chunk_length=SECONDS, return_attention_mask=True),
        tokenizer, chat_template=TEMPLATE)
    folder = fresh("qwen2_5_omni_voice")
    model = random_model(settings(tokenizer.get_vocab()))
    voices = {name: {"bos_token": bos, "cond": normal(f"{name}.cond", 1, SPEAKER),
                     "ref_mel": normal(f"{name}.mel", 1, frames, MEL)}
              for name, bos, frames in (("Chelsie", len(tokenizer), 11), ("Ethan", 9, 14))}
    model.speaker_map = voices
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    save_file(published_voices(voices), folder / VOICES)
    kept, outputs = conversations(model, processor)
    finish(folder, kept, outputs)


if __name__ == "__main__":
    convert(*sys.argv[2:]) if sys.argv[1:2] == ["convert"] else main()
