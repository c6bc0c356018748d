"""A tiny Phi-3 checkpoint. Writes goldens/phi3.

Abdin et al. 2024, https://arxiv.org/abs/2404.14219. Queries, keys and values in one matrix, gates and what
they let through in another, LongRoPE within the first context.
"""

from decoder import VOCABULARY, golden
from transformers import Phi3Config, Phi3ForCausalLM


def main():
    golden("phi3", Phi3ForCausalLM(Phi3Config(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=44, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, original_max_position_embeddings=64, bos_token_id=1,
        eos_token_id=2, pad_token_id=0, rope_parameters=dict(
            rope_type="longrope", rope_theta=1e4, short_factor=[1.0, 1.1, 1.3, 1.6],
            long_factor=[1.0, 2.0, 4.0, 8.0]))), length=21, prompt_length=6)


if __name__ == "__main__":
    main()
