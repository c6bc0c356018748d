"""Makes every golden anew: `python reference/all.py`."""

import bert
import blip2
import blip2_stage1
import blip2_trained
import chat_template
import clap
import clip
import clip_resnet
import clip_resnet_training
import conformer
import consistency
import ctc
import dinov3
import finetune
import flamingo
import gemma
import generation
import generators
import gpt2
import idefics
import janus
import kokoro_82m
import llama
import llama3
import llava
import lora
import masked
import mistral
import nano_vit
import ops
import opt
import parts
import phi3
import published
import qwen2
import qwen2_5_omni
import qwen2_5_omni_voice
import qwen2_audio
import qwen3
import qwen_vl
import raw_prompt
import rope
import seeing
import seeing_gemma
import settings
import siglip
import siglip2
import speecht5
import stable_diffusion
import states
import t5
import table_encoder
import talker
import tiles
import towers
import video_encoder
import vit
import vits
import vocoder
import voxtral
import wav2vec2
import whisper
import whisper_mel

if __name__ == "__main__":
    for script in (ops, nano_vit, vit, clip, siglip, llama, llava, published, dinov3, towers, clip_resnet,
                   clip_resnet_training, conformer, ctc, generators, table_encoder, talker, vocoder, video_encoder,
                   seeing, tiles, siglip2, blip2, blip2_stage1, flamingo, masked, chat_template, llama3, rope,
                   mistral, qwen2, qwen3, phi3, gemma, opt, gpt2, bert, whisper, wav2vec2, clap, qwen2_audio, voxtral, vits,
                   speecht5, kokoro_82m, qwen_vl, qwen2_5_omni, qwen2_5_omni_voice,
                   stable_diffusion, consistency, seeing_gemma,
                   whisper_mel, idefics, raw_prompt, states, t5, janus, lora, finetune, parts, blip2_trained, generation):
        script.main()
