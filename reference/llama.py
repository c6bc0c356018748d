"""Tiny decoders. Writes goldens/llama, goldens/llama_untied and goldens/llama_qknorm.

Touvron et al. 2023, https://arxiv.org/abs/2302.13971; QK-norm as in Qwen3,
https://arxiv.org/abs/2505.09388

    llama         tied embeddings, 4 query heads on 2 key-value heads, RoPE base 1e5
    llama_untied  lm_head of its own, 4 on 4 heads, RoPE base 1e4, odd length
    llama_qknorm  RMSNorm on every query and key head, head width 8 in a model of width 40

The loss is next-token cross-entropy, the mean over labels that are not -100. `greedy` in
outputs continues `prompt` by 16 tokens with a key-value cache.
"""

import torch
from golden import capture, curve, gradients, integers, layers, published, randomise, write
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

BATCH, NEW_TOKENS, VOCABULARY = 2, 16, 96


def next_token(logits, labels):
    """Position t is judged by label t + 1; labels of -100 do not count."""
    return cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)


@torch.no_grad()
def greedy(model, prompt):
    """`NEW_TOKENS` greedy tokens with a cache, and the narrowest lead of a chosen token."""
    cache, ids, chosen, lead = None, prompt, [], float("inf")
    for _ in range(NEW_TOKENS):
        result = model(input_ids=ids, past_key_values=cache, use_cache=True)
        cache = result.past_key_values
        scores = result.logits[:, -1]
        best = scores.topk(2, dim=-1)
        lead = min(lead, (best.values[0, 0] - best.values[0, 1]).item())
        ids = best.indices[:, :1]
        chosen.append(ids)
    chosen = torch.cat(chosen, 1)
    whole = model(input_ids=torch.cat([prompt, chosen], 1)).logits.argmax(-1)
    assert torch.equal(whole[:, prompt.shape[1] - 1 : -1], chosen), "cached = uncached"
    return chosen, lead


def prompt_and_greedy(model, name, length):
    """The prompt, of 60, that a tiny model continues with the most different tokens.

    A lead below 0.02 is refused: it would turn on the last bit of another machine.
    """
    found = []
    for attempt in range(60):
        prompt = integers(f"{name}.prompt.{attempt}", 0, VOCABULARY, 1, length)
        chosen, lead = greedy(model, prompt)
        if lead > 0.02:
            found.append((chosen.unique().numel(), -attempt, prompt, chosen))
    return max(found, key=lambda entry: entry[:2])[2:]


def golden(name, model_class, config, length, prompt_length):
    config._attn_implementation = "eager"
    # Wide tied embeddings would make every token predict itself.
    model = randomise(model_class(config), table=0.2 if config.tie_word_embeddings else 0.5)
    ids = integers(f"{name}.input_ids", 0, VOCABULARY, BATCH, length)
    labels = ids.clone()
    labels[0, :4] = -100  # a prompt
    labels[1, length - 3 :] = -100  # padding
    labels[1, 5] = -100
    n_layers = config.num_hidden_layers
    watched = ["model.embed_tokens", "model.layers.0.input_layernorm",
               *layers("model.layers", n_layers), "model.norm"]
    if model_class is Qwen3ForCausalLM:
        watched[2:2] = ["model.layers.0.self_attn.q_norm", "model.layers.0.self_attn.k_norm"]

    def run():
        logits = model(input_ids=ids, use_cache=False).logits
        return logits, next_token(logits, labels)

    prompt, continued = prompt_and_greedy(model, name, prompt_length)
    (logits, loss), seen = capture(model, {p: p for p in watched}, run)
    outputs = dict(seen, logits=logits, loss=loss.reshape(1), greedy=continued)
    write(name, config=published(config), weights=dict(model.named_parameters()),
          inputs={"input_ids": ids, "labels": labels, "prompt": prompt}, outputs=outputs,
          gradients=gradients(model, loss), losses={"losses": curve(model, lambda: run()[1])})


def main():
    size = dict(vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=3,
                num_attention_heads=4, max_position_embeddings=64, bos_token_id=1, eos_token_id=2)
    golden("llama", LlamaForCausalLM,
           LlamaConfig(**size, num_key_value_heads=2, tie_word_embeddings=True,
                       rms_norm_eps=1e-5, rope_parameters=dict(rope_type="default", rope_theta=1e5)),
           length=12, prompt_length=5)
    golden("llama_untied", LlamaForCausalLM,
           LlamaConfig(**size, num_key_value_heads=4, tie_word_embeddings=False,
                       rms_norm_eps=1e-6, rope_parameters=dict(rope_type="default", rope_theta=1e4)),
           length=13, prompt_length=1)
    size.update(hidden_size=40, num_hidden_layers=2)
    golden("llama_qknorm", Qwen3ForCausalLM,
           Qwen3Config(**size, num_key_value_heads=2, head_dim=8, tie_word_embeddings=True,
                       rms_norm_eps=1e-6, rope_parameters=dict(rope_type="default", rope_theta=1e4)),
           length=12, prompt_length=4)


if __name__ == "__main__":
    main()
