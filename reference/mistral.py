"""A tiny Mistral checkpoint. Writes goldens/mistral.

Jiang et al. 2023, https://arxiv.org/abs/2310.06825. Each token sees the 32 tokens before it; texts
here are shorter, so that the window changes nothing.
"""

from decoder import VOCABULARY, golden
from transformers import MistralConfig, MistralForCausalLM


def main():
    golden("mistral", MistralForCausalLM(MistralConfig(
        vocab_size=VOCABULARY, hidden_size=30, intermediate_size=44, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=8, max_position_embeddings=64,
        sliding_window=32, tie_word_embeddings=False, bos_token_id=1, eos_token_id=2,
        rope_parameters=dict(rope_type="default", rope_theta=1e4))), length=14, prompt_length=3)


if __name__ == "__main__":
    main()
