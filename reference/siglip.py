"""Tiny SigLIP: attention-pooling head, text without a causal mask. Writes goldens/siglip.

Zhai et al. 2023, https://arxiv.org/abs/2303.15343

Text is pooled at its last position, so it is always padded to the full context (pad id 1) and
no attention mask is given. Both towers use tanh GELU, as published configs say. Besides the
usual files, `loss.json` holds the sigmoid loss alone: logits of a batch, its value and the
gradients with respect to embeddings' cosines, t and b.
"""

import torch
from golden import (ROOT, capture, curve, gradients, integers, layers, normal, published,
                    randomise, write, write_json)
from torch.nn.functional import logsigmoid
from transformers import SiglipConfig, SiglipModel

BATCH, CONTEXT, VOCABULARY = 3, 12, 60


def sigmoid_loss(logits):
    """-sum(logsigmoid(label * logit)) / N, label +1 on the diagonal and -1 elsewhere."""
    labels = 2 * torch.eye(len(logits)) - 1
    return -logsigmoid(labels * logits).sum() / len(logits)


def loss_alone(folder):
    """The loss from cosines [N, N]: logits = exp(t) * cosine + b."""
    cases = []
    for n, t, b in ((1, 2.302585093, -10.0), (4, 2.302585093, -10.0), (5, 1.0, 0.5)):
        cosine = torch.tanh(normal(f"siglip.cosine.{n}", n, n)).requires_grad_()
        scale = torch.tensor(t, requires_grad=True)
        bias = torch.tensor(b, requires_grad=True)
        logits = scale.exp() * cosine + bias
        loss = sigmoid_loss(logits)
        loss.backward()
        cases.append({
            "n": n, "t": t, "b": b,
            "cosine": cosine.flatten().tolist(),
            "logits": logits.flatten().tolist(),
            "loss": loss.item(),
            "gradient_cosine": cosine.grad.flatten().tolist(),
            "gradient_t": scale.grad.item(),
            "gradient_b": bias.grad.item(),
        })
    write_json(folder, "loss.json", {"cases": cases})


def main():
    tower = dict(hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4)
    config = SiglipConfig(
        text_config=dict(tower, vocab_size=VOCABULARY, max_position_embeddings=CONTEXT,
                         pad_token_id=1, bos_token_id=2, eos_token_id=3),
        vision_config=dict(tower, image_size=24, patch_size=6),
    )
    config._attn_implementation = "eager"
    model = SiglipModel(config)
    with torch.no_grad():
        model.logit_scale.fill_(2.302585093)  # ln 10
        model.logit_bias.fill_(-10.0)
    model = randomise(model)

    ids = integers("siglip.input_ids", 4, VOCABULARY, BATCH, CONTEXT)
    for row, length in enumerate((12, 7, 4)):
        ids[row, length:] = 1
    inputs = {"input_ids": ids, "pixel_values": normal("siglip.pixel_values", BATCH, 3, 24, 24)}
    watched = ["vision_model.embeddings", *layers("vision_model.encoder.layers", 2),
               "vision_model.post_layernorm", "vision_model.head.attention", "vision_model.head",
               "text_model.embeddings", *layers("text_model.encoder.layers", 2),
               "text_model.final_layer_norm", "text_model.head"]

    def run():
        result = model(**inputs)
        return result, sigmoid_loss(result.logits_per_image)

    (result, loss), seen = capture(model, {p: p for p in watched}, run)
    outputs = dict(seen, image_embeds=result.image_embeds, text_embeds=result.text_embeds,
                   logits_per_image=result.logits_per_image, loss=loss.reshape(1))
    write("siglip", config=published(config), weights=dict(model.named_parameters()),
          inputs=inputs, outputs=outputs, gradients=gradients(model, loss),
          losses={"losses": curve(model, lambda: run()[1])})
    loss_alone(ROOT / "siglip")


if __name__ == "__main__":
    main()
