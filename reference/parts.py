"""New LLaVAs of a published encoder and a published language model. Writes goldens/parts/.

    chat_qwen2, chat_opt, chat_gpt2    language models with tokenizers, as `save_pretrained` writes them
    ENCODER_BACKBONE_PROJECTOR.json    as goldens/finetune: what `sensorium train` is given, ten losses of
                                       torch from the new model as transformers reads it, and the loss of
                                       our final/ as it reads that

transformers has no pixel shuffle in its LLaVA, so that projector has no golden. Needs
`cargo build --release`.
"""

import json
import tempfile
from pathlib import Path

import torch
from finetune import DATA, OPTIM, RATE, ROOT, RUN, SCHEDULE, assistant, read, run, trained
from golden import randomise
from seeing import byte_tokenizer
from transformers import (GPT2Config, GPT2LMHeadModel, OPTConfig, OPTForCausalLM, Qwen2Config,
                          Qwen2ForCausalLM)

PARTS = ROOT / "goldens" / "parts"
ENDS = dict(bos_token_id=1, eos_token_id=2, pad_token_id=0)


def backbones():
    """No row of Qwen2's table is to spare, OPT's has some."""
    tokenizer = byte_tokenizer(["<pad>", "<s>", "</s>"], bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    rows = len(tokenizer)
    width = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, **ENDS)
    models = {
        "qwen2": Qwen2ForCausalLM(Qwen2Config(vocab_size=rows, intermediate_size=40, num_key_value_heads=2,
                                              max_position_embeddings=256, tie_word_embeddings=True, **width)),
        "opt": OPTForCausalLM(OPTConfig(vocab_size=rows + 5, ffn_dim=40, max_position_embeddings=256,
                                        word_embed_proj_dim=32, **width)),
        "gpt2": GPT2LMHeadModel(GPT2Config(vocab_size=rows, n_positions=256, n_embd=32, n_layer=2, n_head=4,
                                           **ENDS)),
    }
    for name, model in models.items():
        folder = PARTS / f"chat_{name}"
        randomise(model).save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def recipe(encoder, backbone, projector):
    """The first stage moves nothing that counts: what it leaves is the new model."""
    still = SCHEDULE.replace(str(RATE), "1e-30")
    data = DATA.format("")
    return (f"recipe = 'llava'\nseed = 1\nz_loss = 0.0\n{OPTIM}\n[model]\nencoder = 'goldens/{encoder}'\n"
            f"projector = '{projector}'\nbackbone = 'goldens/{backbone}'\n"
            f"[align]\nsteps = 1\nbatch = 2\nsave_every = 1\n{still}\n"
            f"[instruct]\n{RUN}\n{SCHEDULE}\n{data}")


def made(backbone, projector):
    """As `assistant`; a head that is the table again, and the second map of one, are not trained by themselves."""
    def make(folder):
        model, _, loss = assistant(folder)
        if Path(backbone).name in ("chat_opt", "chat_gpt2"):
            model.lm_head.weight = model.get_input_embeddings().weight
        still = ("vision_tower", *(("linear_2",) if projector == "linear" else ()))
        return model, [p for name, p in model.named_parameters() if not any(part in name for part in still)], loss
    return make


CASES = [("published_clip", "chatting", "mlp"), ("published_siglip", "parts/chat_qwen2", "linear"),
         ("published_dinov2", "parts/chat_qwen2", "mlp"), ("published_clip", "parts/chat_opt", "linear"),
         ("published_dinov2", "parts/chat_gpt2", "mlp"), ("published_siglip", "parts/chat_gpt2", "mlp")]


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    PARTS.mkdir(exist_ok=True)
    backbones()
    for encoder, backbone, projector in CASES:
        text = recipe(encoder, backbone, projector)
        with tempfile.TemporaryDirectory() as work:
            run(text, work)
            losses = trained(made(backbone, projector), Path(work) / "run/align/final")
            final = read(assistant, Path(work) / "run/instruct/final")
        name = "_".join([encoder.removeprefix("published_"), Path(backbone).name.removeprefix("chat_"), projector])
        golden = {"recipe": text, "losses": losses, "final": final}
        (PARTS / f"{name}.json").write_text(json.dumps(golden, indent=1) + "\n")
        print(name, losses, final)


if __name__ == "__main__":
    main()
