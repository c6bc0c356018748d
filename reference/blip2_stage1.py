"""BLIP-2's first stage: three losses of one batch. Writes goldens/blip2_stage1/.

Li et al. 2023, https://arxiv.org/abs/2301.12597, section 3.2, as LAVIS trains it
(lavis/models/blip2_models/blip2_qformer.py), around transformers' Q-Former: contrast over the best query
with smoothed labels, matching with given negatives, generation under UniLM's mask with [DEC] in front.
Without dropout. Pictures 0 and 2 have captions of one meaning, which contrast leaves out.

Weights and gradients have transformers' names, without leading sizes of 1, queries, keys and values of the
vision tower apart; beside them `cls.predictions.*` and `temp` as LAVIS has them.
"""

import torch
import torch.nn.functional as F
from blip2 import loud
from golden import curve, gradients, integers, normal, published, write
from torch import nn
from transformers import Blip2Config, Blip2ForImageTextRetrieval

BATCH, LONGEST, ROWS, DEC, SMOOTHING = 4, 7, 23, 22, 0.1
LENGTHS = (7, 4, 6, 3)
OTHER_PICTURES, OTHER_TEXTS = (3, 2, 1, 0), (1, 3, 3, 2)
SAME = {(0, 2), (2, 0)}


class Pretraining(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.body = loud(Blip2ForImageTextRetrieval(config))
        width = config.qformer_config.hidden_size
        self.dense, self.norm = nn.Linear(width, width), nn.LayerNorm(width, eps=config.qformer_config.layer_norm_eps)
        self.bias = nn.Parameter(0.1 * normal("cls.bias", ROWS))
        self.temp = nn.Parameter(torch.tensor(0.07))
        with torch.no_grad():
            self.dense.weight.copy_(normal("cls.dense", width, width) * width**-0.5)
            self.dense.bias.copy_(0.1 * normal("cls.dense.bias", width))
            self.norm.weight.copy_(1 + 0.2 * normal("cls.norm", width))

    def qformer(self, queries, ids, seen, mask):
        body = self.body
        embeds = body.embeddings(input_ids=ids, query_embeds=queries)
        n = 0 if queries is None else queries.shape[1]
        return body.qformer(query_embeds=embeds, query_length=n, attention_mask=mask, encoder_hidden_states=seen,
                            return_dict=True).last_hidden_state

    def losses(self, pixels, ids, mask):
        body = self.body
        b, t = ids.shape
        seen = body.vision_model(pixels).last_hidden_state
        queries = body.query_tokens.expand(b, -1, -1)
        n = queries.shape[1]
        asked = body.qformer(query_embeds=queries, encoder_hidden_states=seen).last_hidden_state
        images = F.normalize(body.vision_projection(asked), dim=-1)
        read = self.qformer(None, ids, None, mask)
        texts = F.normalize(body.text_projection(read[:, 0]), dim=-1)
        similarities = torch.einsum("iqc,jc->ijq", images, texts).max(-1).values / self.temp
        rows = []
        for matrix in (similarities, similarities.T):
            for i in range(b):
                kept = [j for j in range(b) if (i, j) not in SAME]
                rows.append(F.cross_entropy(matrix[i, kept][None], torch.tensor([kept.index(i)]),
                                            label_smoothing=SMOOTHING))
        itc = torch.stack(rows).mean()

        picked = torch.cat([seen, seen[list(OTHER_PICTURES)], seen])
        told = torch.cat([ids, ids, ids[list(OTHER_TEXTS)]])
        masks = torch.cat([mask, mask, mask[list(OTHER_TEXTS)]])
        both = torch.cat([torch.ones(3 * b, n, dtype=torch.long), masks], 1)
        joined = self.qformer(body.query_tokens.expand(3 * b, -1, -1), told, picked, both)[:, :n]
        matches = body.itm_head(joined).mean(1)
        itm = F.cross_entropy(matches, torch.tensor([1] * b + [0] * 2 * b))

        begun = ids.clone()
        begun[:, 0] = DEC
        sees = torch.zeros(b, n + t, n + t)
        sees[:, :, :n] = 1
        sees[:, n:, n:] = torch.tril(torch.ones(t, t)) * mask[:, None, :]
        words = self.qformer(queries, begun, seen, (1 - sees)[:, None] * -1e4)[:, n:]
        logits = self.norm(F.gelu(self.dense(words))) @ body.embeddings.word_embeddings.weight.T + self.bias
        labels = begun.masked_fill(mask == 0, -100)[:, 1:]
        itg = F.cross_entropy(logits[:, :-1].reshape(-1, ROWS), labels.reshape(-1), label_smoothing=SMOOTHING)
        return similarities, matches, itc, itm, itg


def named(tensors):
    """Names of transformers and LAVIS, flat, and the vision tower's matrices apart."""
    out = {}
    heads = {"dense.": "cls.predictions.transform.dense.", "norm.": "cls.predictions.transform.LayerNorm.",
             "bias": "cls.predictions.bias", "temp": "temp"}
    flat = {"vision_model.embeddings.class_embedding": 2, "vision_model.embeddings.position_embedding": 1,
            "query_tokens": 1}
    for name, value in tensors.items():
        if name.startswith("body."):
            name = name.removeprefix("body.")
        else:
            start = next(start for start in heads if name.startswith(start))
            name = heads[start] + name.removeprefix(start)
        value = value.reshape(value.shape[flat.get(name, 0):]) if name != "temp" else value.reshape(1)
        if ".qkv." in name:
            for part, third in zip("qkv", value.chunk(3)):
                out[name.replace(".qkv.", f".qkv.{part}.")] = third
        else:
            out[name] = value
    return out


def main():
    config = Blip2Config(
        vision_config=dict(hidden_size=20, intermediate_size=28, num_hidden_layers=2, num_attention_heads=2,
                           image_size=12, patch_size=4),
        qformer_config=dict(hidden_size=24, intermediate_size=32, num_hidden_layers=3, num_attention_heads=3,
                            vocab_size=ROWS, max_position_embeddings=9, use_qformer_text_input=True,
                            hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0),
        text_config=dict(model_type="opt", hidden_size=8, num_hidden_layers=1, num_attention_heads=2, ffn_dim=8,
                         vocab_size=9, word_embed_proj_dim=8, max_position_embeddings=8),
        num_query_tokens=3, image_text_hidden_size=10)
    model = Pretraining(config).eval()
    pixels = normal("pixels", BATCH, 3, 12, 12)
    ids = integers("ids", 3, 20, BATCH, LONGEST)
    mask = torch.tensor([[1] * n + [0] * (LONGEST - n) for n in LENGTHS])
    ids = ids.masked_fill(mask == 0, 0)
    trained = lambda name: "vision_model" not in name or "post_layernorm" in name  # noqa: E731
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(trained(name))
    similarities, matches, itc, itm, itg = model.losses(pixels, ids, mask)
    total = itc + itm + itg
    found = gradients(model, total)
    losses = curve(model, lambda: sum(model.losses(pixels, ids, mask)[2:]), trained)
    write("blip2_stage1", config=published(config),
          inputs={"pixel_values": pixels, "input_ids": ids, "attention_mask": mask},
          outputs={"similarities": similarities, "matches": matches, "itc": itc[None], "itm": itm[None],
                   "itg": itg[None]},
          gradients=named(found), weights=named(dict(model.named_parameters())), losses={"loss": losses})


if __name__ == "__main__":
    main()
