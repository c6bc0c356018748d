"""Only CLIP's vision tower, at odd sizes. Writes goldens/vit.

Dosovitskiy et al. 2020, https://arxiv.org/abs/2010.11929

Image 30, patch 10, width 24, 3 heads of 8, 3 layers, batch 3: no size is a power of two.
The loss is the mean square of (pooled class token - target).
"""

from golden import capture, curve, gradients, layers, normal, published, randomise, write
from transformers import CLIPVisionConfig, CLIPVisionModel

LAYERS = 3


def main():
    config = CLIPVisionConfig(hidden_size=24, intermediate_size=56, num_hidden_layers=LAYERS,
                              num_attention_heads=3, projection_dim=12, image_size=30,
                              patch_size=10, hidden_act="quick_gelu")
    config._attn_implementation = "eager"
    model = randomise(CLIPVisionModel(config))
    inputs = {"pixel_values": normal("vit.pixel_values", 3, 3, 30, 30),
              "target": normal("vit.target", 3, 24)}
    watched = ["embeddings", "pre_layrnorm", *layers("encoder.layers", LAYERS), "post_layernorm"]

    def run():
        pooled = model(pixel_values=inputs["pixel_values"])
        return pooled, (pooled.pooler_output - inputs["target"]).square().mean()

    # Published files keep the prefix that the class itself has dropped.
    (result, loss), seen = capture(model, {p: f"vision_model.{p}" for p in watched}, run)
    outputs = dict(seen, last_hidden_state=result.last_hidden_state,
                   pooler_output=result.pooler_output, loss=loss.reshape(1))
    prefixed = lambda tensors: {f"vision_model.{k}": v for k, v in tensors.items()}
    write("vit", config=published(config), weights=prefixed(dict(model.named_parameters())),
          inputs=inputs, outputs=outputs, gradients=prefixed(gradients(model, loss)),
          losses={"losses": curve(model, lambda: run()[1])})


if __name__ == "__main__":
    main()
