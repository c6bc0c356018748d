"""Tiny Qwen2 checkpoints. Writes goldens/qwen2 and goldens/qwen2_tied.

Yang et al. 2024, https://arxiv.org/abs/2407.10671

    qwen2       biases on queries, keys and values, 6 query heads on 2 key-value heads, its own head
    qwen2_tied  the head is the token table; one key-value head
"""

from decoder import VOCABULARY, golden
from transformers import Qwen2Config, Qwen2ForCausalLM


def main():
    size = dict(vocab_size=VOCABULARY, num_hidden_layers=2, max_position_embeddings=48,
                bos_token_id=1, eos_token_id=2)
    golden("qwen2", Qwen2ForCausalLM(Qwen2Config(
        **size, hidden_size=36, intermediate_size=52, num_attention_heads=6, num_key_value_heads=2,
        tie_word_embeddings=False, rms_norm_eps=1e-5,
        rope_parameters=dict(rope_type="default", rope_theta=1e6))), length=13, prompt_length=5)
    golden("qwen2_tied", Qwen2ForCausalLM(Qwen2Config(
        **size, hidden_size=24, intermediate_size=40, num_attention_heads=3, num_key_value_heads=1,
        tie_word_embeddings=True, use_sliding_window=False, sliding_window=8,
        rope_parameters=dict(rope_type="default", rope_theta=1e4))), length=11, prompt_length=1,
        table=0.2)


if __name__ == "__main__":
    main()
