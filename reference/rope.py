"""Tiny checkpoints whose rotary angles were stretched. Writes goldens/yarn and goldens/longrope.

    yarn      Qwen2 with YaRN (https://arxiv.org/abs/2309.00071) as Qwen2.5's card adds it: some of eight
              rates kept, some lowered fourfold, some in between; queries and keys multiplied by 1.14
    longrope  Llama with LongRoPE (https://arxiv.org/abs/2402.13753), read beyond its first context
"""

from decoder import VOCABULARY, golden
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

SIZE = dict(vocab_size=VOCABULARY, hidden_size=32, intermediate_size=44, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=False, bos_token_id=1,
            eos_token_id=2)


def main():
    golden("yarn", Qwen2ForCausalLM(Qwen2Config(
        **SIZE, max_position_embeddings=256, rope_parameters=dict(
            rope_type="yarn", rope_theta=1e3, factor=4.0, original_max_position_embeddings=64,
            beta_fast=8.0, beta_slow=1.0))), length=40, prompt_length=5)
    golden("longrope", LlamaForCausalLM(LlamaConfig(
        **SIZE, head_dim=16, max_position_embeddings=64, rope_parameters=dict(
            rope_type="longrope", rope_theta=1e4, original_max_position_embeddings=8,
            short_factor=[1.0 + 0.1 * i for i in range(8)],
            long_factor=[1.0 + 0.7 * i * i for i in range(8)]))), length=40, prompt_length=12)


if __name__ == "__main__":
    main()
