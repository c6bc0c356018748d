"""Tiny LLaVA 1.5: a vision tower, a two-layer projector, a decoder. Writes goldens/llava.

Liu et al. 2023, https://arxiv.org/abs/2310.03744

Two sequences of equal length; each holds one image in its middle as 16 image tokens (id 90).
Features are hidden_states[-2] of the tower without the class token; the projector is Linear,
exact GELU, Linear. Labels are -100 on image and prompt. The tower's last layer and
post_layernorm have no part in the loss: their gradients are zero.

losses.json: `losses` trains everything, `stage1` the projector only, `stage2` the projector
and the language model with the tower frozen. Keys are those of published files
(`vision_tower.vision_model.*`, `multi_modal_projector.*`, `language_model.*`).
"""

import torch
from golden import capture, curve, gradients, integers, layers, normal, published, randomise, write
from llama import next_token
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

IMAGE_TOKEN, PATCHES, VOCABULARY = 90, 16, 96
BEFORE, AFTER, ANSWER = 3, 9, 5  # text around the image; the last ANSWER tokens are the answer

# Theirs in memory, theirs on disk.
PREFIXES = (
    ("model.vision_tower.", "vision_tower.vision_model."),
    ("model.multi_modal_projector", "multi_modal_projector"),
    ("model.language_model.", "language_model.model."),
    ("lm_head.", "language_model.lm_head."),
)


def on_disk(name):
    for memory, disk in PREFIXES:
        if name.startswith(memory):
            return disk + name[len(memory):]
    raise KeyError(name)


def renamed(tensors):
    return {on_disk(name): value for name, value in tensors.items()}


def tiny():
    vision = CLIPVisionConfig(hidden_size=24, intermediate_size=48, num_hidden_layers=3,
                              num_attention_heads=4, projection_dim=16, image_size=32,
                              patch_size=8, hidden_act="quick_gelu")
    text = LlamaConfig(vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48,
                       num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4,
                       rms_norm_eps=1e-5, max_position_embeddings=64, tie_word_embeddings=False,
                       rope_parameters=dict(rope_type="default", rope_theta=1e4))
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=IMAGE_TOKEN,
                         image_seq_length=PATCHES, projector_hidden_act="gelu",
                         vision_feature_layer=-2, vision_feature_select_strategy="default",
                         tie_word_embeddings=False)
    config._attn_implementation = "eager"
    return config


def batch():
    text = integers("llava.text", 3, IMAGE_TOKEN, 2, BEFORE + AFTER)
    image = torch.full((2, PATCHES), IMAGE_TOKEN)
    ids = torch.cat([text[:, :BEFORE], image, text[:, BEFORE:]], 1)
    labels = torch.full_like(ids, -100)
    labels[:, -ANSWER:] = ids[:, -ANSWER:]
    return {"input_ids": ids, "labels": labels,
            "pixel_values": normal("llava.pixel_values", 2, 3, 32, 32)}


def main():
    config = tiny()
    model = randomise(LlavaForConditionalGeneration(config))
    inputs = batch()
    tower, language = "model.vision_tower", "model.language_model"
    watched = [f"{tower}.embeddings", f"{tower}.pre_layrnorm", *layers(f"{tower}.encoder.layers", 2),
               "model.multi_modal_projector", *layers(f"{language}.layers", 2), f"{language}.norm"]

    def run():
        logits = model(input_ids=inputs["input_ids"], pixel_values=inputs["pixel_values"],
                       use_cache=False).logits
        return logits, next_token(logits, inputs["labels"])

    (logits, loss), seen = capture(model, {p: on_disk(p) for p in watched}, run)

    def loss_of():
        return run()[1]

    slopes = gradients(model, loss)  # before the curves move the weights in place
    curves = {
        "losses": curve(model, loss_of),
        "stage1": curve(model, loss_of, lambda name: "multi_modal_projector" in name),
        "stage2": curve(model, loss_of, lambda name: "vision_tower" not in name),
    }
    write("llava", config=published(config), weights=renamed(dict(model.named_parameters())),
          inputs=inputs, outputs=dict(seen, logits=logits, loss=loss.reshape(1)),
          gradients=renamed(slopes), losses=curves)


if __name__ == "__main__":
    main()
