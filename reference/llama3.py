"""A tiny checkpoint of Llama 3.1's kind. Writes goldens/llama3.

Grattafiori et al. 2024, https://arxiv.org/abs/2407.21783. Rotary angles stretched for long texts: of
the eight rates some are kept, some lowered eightfold, some in between; biases on every map.
"""

from decoder import VOCABULARY, golden
from transformers import LlamaConfig, LlamaForCausalLM


def main():
    golden("llama3", LlamaForCausalLM(LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=44, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, head_dim=16, max_position_embeddings=256,
        attention_bias=True, mlp_bias=True, tie_word_embeddings=False, bos_token_id=1,
        eos_token_id=2, rope_parameters=dict(
            rope_type="llama3", rope_theta=1e3, factor=8.0, low_freq_factor=1.0,
            high_freq_factor=4.0, original_max_position_embeddings=64))),
        length=40, prompt_length=5)


if __name__ == "__main__":
    main()
