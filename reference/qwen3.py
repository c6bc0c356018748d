"""A tiny Qwen3 checkpoint. Writes goldens/qwen3.

Yang et al. 2025, https://arxiv.org/abs/2505.09388. Heads of width 10 in a model of width 28, each
query and key head normed, biases on all four maps of attention.
"""

from decoder import VOCABULARY, golden
from transformers import Qwen3Config, Qwen3ForCausalLM


def main():
    golden("qwen3", Qwen3ForCausalLM(Qwen3Config(
        vocab_size=VOCABULARY, hidden_size=28, intermediate_size=36, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=10, max_position_embeddings=48,
        tie_word_embeddings=True, attention_bias=True, bos_token_id=1, eos_token_id=[2, 3],
        rope_parameters=dict(rope_type="default", rope_theta=1e6))), length=12, prompt_length=4,
        table=0.2)


if __name__ == "__main__":
    main()
