"""Tiny Gemma checkpoints. Writes goldens/gemma, goldens/gemma2 and goldens/gemma3.

Gemma Team 2024, https://arxiv.org/abs/2403.08295. Embeddings multiplied by the root of the width, gates of
GELU, norms that add 1 to their weight, heads wider than the width over their number, one key-value head.

Gemma Team 2024, https://arxiv.org/abs/2408.00118. Norms behind attention and gates, every other layer sees
the last 6 tokens, capped scores and logits, scores scaled by a number of their own.

Gemma Team 2025, https://arxiv.org/abs/2503.19786. Normed queries and keys, no caps, layers that see the last
5 tokens, with rotary angles of their own.
"""

from decoder import VOCABULARY, golden
from transformers import (Gemma2Config, Gemma2ForCausalLM, Gemma3ForCausalLM, Gemma3TextConfig, GemmaConfig,
                          GemmaForCausalLM)


def main():
    size = dict(vocab_size=VOCABULARY, hidden_size=24, intermediate_size=44, num_attention_heads=3, head_dim=10,
                max_position_embeddings=64, bos_token_id=1, eos_token_id=2, pad_token_id=0)
    model = GemmaForCausalLM(GemmaConfig(**size, num_hidden_layers=2, num_key_value_heads=1))
    golden("gemma", model, length=17, prompt_length=4, table=0.1)
    model = Gemma2ForCausalLM(Gemma2Config(
        **size, num_hidden_layers=3, num_key_value_heads=1, sliding_window=6, query_pre_attn_scalar=7,
        attn_logit_softcapping=2.0, final_logit_softcapping=3.0))
    golden("gemma2", model, length=17, prompt_length=4, table=0.1)
    angles = {"sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
              "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1000.0}}
    model = Gemma3ForCausalLM(Gemma3TextConfig(
        **size, num_hidden_layers=4, num_key_value_heads=3, sliding_window=5, query_pre_attn_scalar=12,
        layer_types=["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"],
        rope_parameters=angles))
    golden("gemma3", model, length=17, prompt_length=4, table=0.1)


if __name__ == "__main__":
    main()
