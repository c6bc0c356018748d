"""LoRA adapters as peft saves them. Writes goldens/lora/<name>/.

Writes goldens/chatting/ too, a language model with a chat template. For each model of `goldens` an adapter with random values, and what the model says with it: its logits or
vectors.

    adapter_config.json, adapter_model.safetensors    as peft saves them
    inputs.safetensors, outputs.safetensors           what the adapted model is given, and gives

Needs peft.
"""

import json
import shutil

import torch
from peft import LoraConfig, get_peft_model
from transformers import (AutoModel, AutoModelForCausalLM, AutoModelForImageTextToText, LlamaForCausalLM,
                          Qwen2AudioForConditionalGeneration)

from golden import ROOT, SEED, integers, normal, randomise, save
from seeing import byte_tokenizer, text_config

LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
ADAPTERS = {
    "qwen2": ("qwen2", AutoModelForCausalLM, dict(r=4, lora_alpha=8, target_modules=LINEAR)),
    "qwen2_rank_stabilised": ("qwen2", AutoModelForCausalLM, dict(
        r=4, lora_alpha=6, use_rslora=True, target_modules=LINEAR, alpha_pattern={"q_proj": 3},
        rank_pattern={"v_proj": 2})),
    "qwen2_dora": ("qwen2", AutoModelForCausalLM, dict(r=4, lora_alpha=8, use_dora=True, target_modules=LINEAR)),
    "qwen2_tables": ("qwen2", AutoModelForCausalLM, dict(
        r=2, lora_alpha=8, target_modules=["embed_tokens", "q_proj"], modules_to_save=["lm_head"])),
    "gpt2": ("gpt2", AutoModelForCausalLM, dict(r=4, lora_alpha=8, target_modules=["c_attn", "c_fc", "c_proj"])),
    "seeing_llava": ("seeing_llava", AutoModelForImageTextToText, dict(
        r=2, lora_alpha=4, target_modules=r".*language_model.*_proj")),
    "seeing_smolvlm": ("seeing_smolvlm", AutoModelForImageTextToText, dict(
        r=2, lora_alpha=4, target_modules=r".*text_model.*_proj")),
    "qwen2_5_vl": ("qwen2_5_vl", AutoModelForImageTextToText, dict(
        r=2, lora_alpha=4, target_modules=r".*language_model.*_proj")),
    "qwen2_audio": ("qwen2_audio", Qwen2AudioForConditionalGeneration, dict(
        r=2, lora_alpha=4, target_modules=r".*language_model.*_proj")),
    "chatting": ("chatting", AutoModelForCausalLM, dict(r=4, lora_alpha=8, target_modules=LINEAR)),
    "chatting_dora": ("chatting", AutoModelForCausalLM, dict(
        r=4, lora_alpha=8, use_dora=True, use_rslora=True, target_modules=LINEAR)),
    "published_clip": ("published_clip", AutoModel, dict(r=2, lora_alpha=4, target_modules=["q_proj", "v_proj"])),
}


def chatting():
    """A language model with a chat template. Writes goldens/chatting/."""
    tokenizer = byte_tokenizer(["<pad>", "<s>", "</s>"], bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    tokenizer.chat_template = (
        "{% for message in messages %}{{ '<s>' + message['role'] + ': ' + message['content'] + '</s>\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<s>assistant: ' }}{% endif %}")
    model = randomise(LlamaForCausalLM(text_config(tokenizer, num_key_value_heads=2)))
    model.save_pretrained(ROOT / "chatting")
    tokenizer.save_pretrained(ROOT / "chatting")


def main():
    chatting()
    for name, (base, kind, settings) in ADAPTERS.items():
        model = kind.from_pretrained(ROOT / base, dtype=torch.float32)
        model = get_peft_model(model, LoraConfig(**settings))
        with torch.no_grad():
            for key, parameter in model.named_parameters():
                if "lora_" in key or "modules_to_save" in key:
                    noise = normal(key, *parameter.shape, seed=SEED)
                    magnitude = "magnitude" in key
                    parameter.copy_(parameter * (1 + 0.2 * noise) if magnitude else parameter * 0 + 0.2 * noise)
        model.eval()
        folder = ROOT / "lora" / name
        shutil.rmtree(folder, ignore_errors=True)
        model.save_pretrained(folder)
        (folder / "README.md").unlink(missing_ok=True)
        settings = json.loads((folder / "adapter_config.json").read_text())
        settings["base_model_name_or_path"] = base
        if isinstance(settings["target_modules"], list):
            settings["target_modules"].sort()  # It is a set.
        (folder / "adapter_config.json").write_text(json.dumps(settings, indent=1, sort_keys=True) + "\n")
        merged = model.merge_and_unload()
        with torch.no_grad():
            if base == "published_clip":
                pixels = normal("pixels", 1, 3, merged.config.vision_config.image_size,
                                merged.config.vision_config.image_size)
                inputs = {"pixel_values": pixels}
                outputs = {"image_embeds": merged.get_image_features(**inputs).pooler_output}
            else:
                text = merged.config.get_text_config()
                ids = integers("ids", 0, text.vocab_size - 8, 2, 6)
                inputs = {"input_ids": ids}
                outputs = {"logits": merged(input_ids=ids).logits}
        save(folder, "inputs.safetensors", inputs)
        save(folder, "outputs.safetensors", outputs, ordered=True)


if __name__ == "__main__":
    main()
