"""Tiny CLIP: two towers, two projections, InfoNCE. Writes goldens/clip and goldens/clip_eos.

Radford et al. 2021, https://arxiv.org/abs/2103.00020

The two goldens differ where published checkpoints do:

    clip       quick GELU; eos_token_id 2, so text is pooled at the largest id (OpenAI's files)
    clip_eos   exact GELU; text is pooled at the first eos_token_id, padded with the same id
"""

from golden import capture, curve, gradients, integers, layers, normal, published, randomise, write
from transformers import CLIPConfig, CLIPModel

BATCH, CONTEXT, VOCABULARY = 3, 16, 100


def config(activation, eos):
    tower = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
                 projection_dim=16, hidden_act=activation)
    text = dict(tower, vocab_size=VOCABULARY, max_position_embeddings=CONTEXT,
                bos_token_id=0, eos_token_id=eos, pad_token_id=1)
    vision = dict(tower, image_size=32, patch_size=8)
    made = CLIPConfig(text_config=text, vision_config=vision, projection_dim=16,
                      logit_scale_init_value=1.5)
    made._attn_implementation = "eager"
    return made


def texts(name, end, padding):
    """Three texts of different lengths, ended by `end`, filled up with `padding`."""
    # Ids above and below `end`, never `end` itself: pooling at the wrong rule's place must show.
    ids = integers(name, 3, VOCABULARY - 1, BATCH, CONTEXT)
    ids[ids == end] = end - 1
    for row, length in enumerate((16, 9, 5)):
        ids[row, length - 1] = end
        ids[row, length:] = padding
    ids[:, 0] = 0
    return ids


def golden(name, activation, eos, end, padding):
    made = config(activation, eos)
    model = randomise(CLIPModel(made))
    inputs = {
        "input_ids": texts(f"{name}.input_ids", end, padding),
        "pixel_values": normal(f"{name}.pixel_values", BATCH, 3, 32, 32),
    }
    watched = ["vision_model.embeddings", "vision_model.pre_layrnorm"]
    watched += layers("vision_model.encoder.layers", 2)
    watched += ["vision_model.post_layernorm", "text_model.embeddings"]
    watched += layers("text_model.encoder.layers", 2)
    watched += ["text_model.final_layer_norm", "visual_projection", "text_projection"]

    def run():
        return model(**inputs, return_loss=True)

    result, seen = capture(model, {path: path for path in watched}, run)
    outputs = dict(
        seen,
        image_embeds=result.image_embeds,  # L2-normalised
        text_embeds=result.text_embeds,
        logits_per_image=result.logits_per_image,
        loss=result.loss.reshape(1),
    )
    write(
        name,
        config=published(made),
        weights=dict(model.named_parameters()),
        inputs=inputs,
        outputs=outputs,
        gradients=gradients(model, result.loss),
        losses={"losses": curve(model, lambda: run().loss)},
    )


def main():
    golden("clip", "quick_gelu", eos=2, end=99, padding=0)
    golden("clip_eos", "gelu", eos=50, end=50, padding=50)


if __name__ == "__main__":
    main()
