"""A tiny Janus as it lies in a directory, which answers about pictures and says some. Writes goldens/janus, of the
pictures of goldens/published_images: after `published.py`.

Wu et al. 2024, https://arxiv.org/abs/2410.13848

`expected.json` and `outputs.safetensors` are laid out as those of `seeing.py`; `system.json` has the ids of a prompt
with `use_default_system_prompt`; `drawn.json` has texts with the ids of their prompts, the guidance, and the tokens of a picture
that are likeliest one after the other, `outputs.safetensors` what the decoder makes of them; `states.safetensors`
the stream after each block, of the encoder and of the language model.
The weights are bfloat16. The half of the picture's autoencoder that makes tokens of pictures is left out: nothing
of it is read.
"""

import json

import torch
from golden import randomise
from published import fresh, two_passes
from safetensors.torch import load_file, save_file
from seeing import QUESTIONS, byte_tokenizer, conversations, text_config, write
from states import States
from states import finish as keep
from transformers import (JanusConfig, JanusForConditionalGeneration, JanusProcessor, JanusVisionConfig,
                          JanusVQVAEConfig)
from transformers.models.janus.image_processing_pil_janus import JanusImageProcessorPil

NAME = "janus"
TEMPLATE = (
    "{%- for message in messages %}{{ '<|' + message['role'] | capitalize + '|>: ' }}"
    "{%- for part in message['content'] %}{% if part['type'] == 'image' %}{{ '<image_placeholder>\\n' }}"
    "{%- else %}{{ part['text'] }}{% endif %}{% endfor %}{{ '\\n\\n' }}{% endfor %}"
    "{%- if add_generation_prompt %}{{ '<|Assistant|>:' }}{% endif %}")
GENERATION = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "guidance_scale": 3.0,
              "generation_kwargs": {"boi_token_id": 4}}
DRAWN = (("a cat", 3.0), ("two dogs, on a sofa", 5.0), ("", 2.0))


def checkpoint():
    special = ["<pad>", "<s>", "</s>", "<image_placeholder>", "<begin_of_image>", "<end_of_image>", "<|User|>",
               "<|Assistant|>"]
    tokenizer = byte_tokenizer(special, "<s>", bos_token="<s>", eos_token="</s>", pad_token="<pad>",
                               image_token="<image_placeholder>", boi_token="<begin_of_image>",
                               eoi_token="<end_of_image>")
    text = text_config(tokenizer, bos_token_id=1, eos_token_id=2, max_position_embeddings=512, num_key_value_heads=2)
    vision = JanusVisionConfig(hidden_size=24, num_hidden_layers=2, num_attention_heads=3, image_size=12, patch_size=4,
                               mlp_ratio=1.5, projection_dim=32, num_image_tokens=9)
    vq = JanusVQVAEConfig(embed_dim=6, num_embeddings=40, latent_channels=5, base_channels=32,
                          channel_multiplier=[1, 1], num_res_blocks=0, num_patches=3, projection_dim=32,
                          image_token_embed_dim=32)
    config = JanusConfig(text_config=text, vision_config=vision, vq_config=vq, tie_word_embeddings=False,
                         image_token_id=tokenizer.convert_tokens_to_ids("<image_placeholder>"))
    model = randomise(JanusForConditionalGeneration(config)).to(torch.bfloat16)
    folder = fresh(NAME)
    model.save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps(GENERATION, indent=1) + "\n")
    weights = load_file(folder / "model.safetensors")
    left = ("model.vqmodel.encoder.", "model.vqmodel.quant_conv.")
    weights = {key: value for key, value in weights.items() if not key.startswith(left)}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    images = JanusImageProcessorPil(size={"height": 12, "width": 12}, min_size=5, image_mean=[0.5, 0.5, 0.5],
                                    image_std=[0.5, 0.5, 0.5])
    processor = JanusProcessor(images, tokenizer, chat_template=TEMPLATE, num_image_tokens=9)
    processor.save_pretrained(folder)
    return folder, processor


def drawn(model, processor):
    """Prompts, and the likeliest picture after each."""
    cases, outputs = [], {}
    for i, (text, guidance) in enumerate(DRAWN):
        said = [{"role": "user", "content": [{"type": "text", "text": text}]}]
        prompt = processor.apply_chat_template(said, add_generation_prompt=True)
        inputs = processor(text=prompt, generation_mode="image", return_tensors="pt")
        model.generation_config.guidance_scale = guidance
        with torch.no_grad():
            tokens = model.generate(**inputs, generation_mode="image", do_sample=False)
            outputs[f"drawn.{i}"] = model.model.vqmodel.decode(tokens)
        cases.append({"text": text, "guidance": guidance, "ids": inputs["input_ids"][0].tolist(),
                      "greedy": tokens[0].tolist()})
        print(cases[-1]["greedy"])
    return cases, outputs


def system(processor, question):
    """Behind what the processor writes in front where it is asked to."""
    processor.use_default_system_prompt = True
    said = [{"role": "user", "content": [{"type": "text", "text": question}]}]
    prompt = processor.apply_chat_template(said, add_generation_prompt=True)
    return {"question": question, "ids": processor(text=prompt, return_tensors="pt")["input_ids"][0].tolist()}


def states(model, kept, outputs):
    seen = States(model)
    seen.stack("image", "model.vision_model.encoder.layers")
    seen.out("projector", "model.aligner")
    seen.stack("language", "model.language_model.layers")
    seen.out("language", "model.language_model.norm")
    i = next(i for i, case in enumerate(kept) if len(case["pictures"]) == 1)
    with torch.no_grad():
        positions = model.model.vision_model(outputs[f"{i}.pixels"]).last_hidden_state
        seen.taken()
        model(input_ids=torch.tensor([kept[i]["ids"]]), pixel_values=outputs[f"{i}.pixels"])
    keep(NAME, dict(seen.taken(), image=positions))


def main():
    two_passes()
    folder, processor = checkpoint()
    kept, outputs = conversations(folder, processor, QUESTIONS)
    model = JanusForConditionalGeneration.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager").eval()
    cases, pictures = drawn(model, processor)
    write(folder, kept, {**outputs, **pictures})
    (folder / "drawn.json").write_text(json.dumps(cases) + "\n")
    (folder / "system.json").write_text(json.dumps(system(processor, "what is it?")) + "\n")
    states(model, kept, outputs)


if __name__ == "__main__":
    main()
