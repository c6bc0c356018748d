"""A tiny Gemma checkpoint. Writes goldens/gemma.

Gemma Team 2024, https://arxiv.org/abs/2403.08295. Embeddings multiplied by the root of the width, gates of
GELU, norms that add 1 to their weight, heads wider than the width over their number, one key-value head.
"""

from decoder import VOCABULARY, golden
from transformers import GemmaConfig, GemmaForCausalLM


def main():
    model = GemmaForCausalLM(GemmaConfig(
        vocab_size=VOCABULARY, hidden_size=24, intermediate_size=44, num_hidden_layers=2, num_attention_heads=3,
        num_key_value_heads=1, head_dim=10, max_position_embeddings=64, bos_token_id=1, eos_token_id=2,
        pad_token_id=0))
    golden("gemma", model, length=17, prompt_length=4, table=0.1)


if __name__ == "__main__":
    main()
