"""A tiny GPT-2 checkpoint. Writes goldens/gpt2.

Radford et al. 2019. Matrices are published transposed, queries, keys and values in one.
"""

from decoder import VOCABULARY, golden
from transformers import GPT2Config, GPT2LMHeadModel


def main():
    golden("gpt2", GPT2LMHeadModel(GPT2Config(
        vocab_size=VOCABULARY, n_positions=40, n_embd=30, n_layer=2, n_head=3, n_inner=44,
        bos_token_id=0, eos_token_id=0)), length=13, prompt_length=4, table=0.3)


if __name__ == "__main__":
    main()
