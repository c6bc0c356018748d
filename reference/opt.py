"""Tiny OPT checkpoints. Writes goldens/opt and goldens/opt_post.

Zhang et al. 2022, https://arxiv.org/abs/2205.01068

    opt       norms before attention and MLP, a final norm (125M, 1.3B and larger)
    opt_post  norms after them, tokens of another width than the stream (350M)
"""

from decoder import VOCABULARY, golden
from transformers import OPTConfig, OPTForCausalLM


def main():
    size = dict(vocab_size=VOCABULARY, num_hidden_layers=2, max_position_embeddings=40,
                bos_token_id=2, eos_token_id=2, pad_token_id=1)
    golden("opt", OPTForCausalLM(OPTConfig(
        **size, hidden_size=36, ffn_dim=52, num_attention_heads=3, word_embed_proj_dim=36)),
        length=13, prompt_length=5, table=0.3)
    golden("opt_post", OPTForCausalLM(OPTConfig(
        **size, hidden_size=32, ffn_dim=44, num_attention_heads=4, word_embed_proj_dim=20,
        do_layer_norm_before=False, tie_word_embeddings=False)), length=12, prompt_length=2)


if __name__ == "__main__":
    main()
