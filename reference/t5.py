"""Tiny T5 checkpoints, alone and as BLIP-2 asks them. Writes goldens/t5, t5_gated, blip2_t5, blip2_t5_plain, of
the pictures of goldens/published_images: after `published.py`.

Raffel et al. 2020, https://arxiv.org/abs/1910.10683

    t5              ReLU, a head that is the token table and reads what is scaled, as in 2020
    t5_gated        T5 1.1 and Flan-T5: gated GELU, a head of its own, heads that do not share the width, more
                    blocks in the encoder than in the decoder
    blip2_t5        Blip2ForConditionalGeneration, gated, image token in settings and tokenizer
    blip2_t5_plain  the same class without an image token, the first T5

Laid out as those of `seeing.py` and `blip2.py`. `states.safetensors` has the stream after each block, of the
encoder behind the picture's tokens, and of the decoder when it has said four tokens.
"""


import torch
from blip2 import NEW, PROMPTS, loud, opened, pretty
from golden import randomise
from published import finish, fresh, two_passes
from states import States
from states import finish as keep
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (AutoTokenizer, Blip2Config, Blip2ForConditionalGeneration, Blip2Processor,
                          BlipImageProcessorPil, PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration)

TEXTS = ("translate English to German: the cat", "what is it?", "", "a photo of a dog " * 9)


def tokenizer(image_token=False):
    """A Unigram model as sentencepiece has it, behind whose texts an end stands."""
    letters = [(letter, -6.0 - i / 50) for i, letter in enumerate("abcdefghijklmnopqrstuvwxyzETGQA:?.")]
    words = [("▁a", -3.0), ("▁cat", -4.0), ("▁dog", -4.1), ("▁photo", -4.5), ("▁of", -3.5), ("▁the", -3.2),
             ("▁is", -3.3), ("▁", -2.5)]
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces = special + words + [piece for piece in letters if piece[0] not in dict(words)]
    made = Tokenizer(models.Unigram(pieces, unk_id=2))
    made.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("  ", " ")])
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    made.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)])
    made.add_special_tokens(["<pad>", "</s>", "<unk>", *(["<image>"] if image_token else [])])
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="</s>", unk_token="<unk>",
                                   pad_token="<pad>"), len(pieces)


def shape(rows, gated):
    own = dict(d_model=24, d_kv=10, num_heads=3, d_ff=40, num_layers=3, num_decoder_layers=2,
               feed_forward_proj="gated-gelu", tie_word_embeddings=False) if gated else \
        dict(d_model=32, d_kv=8, num_heads=4, d_ff=36, num_layers=2)
    return dict(own, vocab_size=rows + 3, relative_attention_num_buckets=8, relative_attention_max_distance=20,
                decoder_start_token_id=0, pad_token_id=0, eos_token_id=1)


def untied(model, gated, text):
    """A head of its own, as files of Flan-T5 have it; transformers 5 writes that it is the token table."""
    if not gated:
        return lambda settings: None
    head = torch.nn.Linear(model.config.d_model, model.config.vocab_size, bias=False)
    model.lm_head = randomise(head)
    return lambda settings: (settings[text] if text else settings).update(tie_word_embeddings=False)


def asked(folder, name, model, embeds, seen, ids):
    """Every state where the model reads `embeds` and has said four tokens."""
    states = States(model)
    states.stack("encoder", "encoder.block")
    states.out("encoder", "encoder.final_layer_norm")
    states.stack("decoder", "decoder.block")
    states.out("decoder", "decoder.final_layer_norm")
    with torch.no_grad():
        model(inputs_embeds=embeds, attention_mask=seen, decoder_input_ids=ids, use_cache=False)
    keep(name, states.taken())


def text(name, gated):
    made, rows = tokenizer()
    model = randomise(T5ForConditionalGeneration(T5Config(**shape(rows, gated))), table=0.3)
    change = untied(model, gated, None)
    folder = fresh(name)
    model.save_pretrained(folder)
    pretty(folder, change=change)
    made.save_pretrained(folder)
    made = AutoTokenizer.from_pretrained(folder)
    model = T5ForConditionalGeneration.from_pretrained(folder, attn_implementation="eager").eval()
    assert (model.lm_head.weight is model.shared.weight) != gated, "the head"
    cases, outputs = [], {}
    with torch.no_grad():
        for i, question in enumerate(TEXTS):
            ids = made(question, return_tensors="pt")["input_ids"]
            new = model.generate(input_ids=ids, max_new_tokens=NEW, do_sample=False)
            answer = model(input_ids=ids, decoder_input_ids=new[:, :1]).logits
            outputs[f"{i}.logits"] = answer[0, -1]
            cases.append({"question": question, "pictures": [], "ids": ids[0].tolist(),
                          "greedy": new[0, 1:].tolist()})
            print(cases[-1]["greedy"])
    finish(folder, cases, outputs)
    ids = torch.tensor([cases[0]["ids"]])
    said = torch.tensor([[0, *cases[0]["greedy"][:4]]])
    asked(folder, name, model, model.shared(ids), torch.ones_like(ids), said)


def seen(name, gated, modern):
    made, rows = tokenizer(modern)
    queries = 5
    config = Blip2Config(
        vision_config=dict(hidden_size=24, intermediate_size=36, num_hidden_layers=1, num_attention_heads=2,
                           image_size=24, patch_size=8),
        qformer_config=dict(hidden_size=20, intermediate_size=28, num_hidden_layers=2, num_attention_heads=2),
        text_config=dict(shape(rows, gated), model_type="t5"),
        num_query_tokens=queries, image_token_index=rows if modern else None)
    model = loud(Blip2ForConditionalGeneration(config), table=0.3)
    change = untied(model.language_model, gated, "text_config")
    folder = fresh(name)
    model.save_pretrained(folder)
    pretty(folder, change=change)
    images = BlipImageProcessorPil(size={"height": 24, "width": 24})
    Blip2Processor(images, made, num_query_tokens=queries if modern else None).save_pretrained(folder)
    if not modern:
        (folder / "processor_config.json").unlink(missing_ok=True)
        images.save_pretrained(folder)
        # The processor of today has put its token into the file.
        tokenizer()[0].save_pretrained(folder)
    made = AutoTokenizer.from_pretrained(folder)
    model = Blip2ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32,
                                                          attn_implementation="eager").eval()
    language = model.language_model
    assert (language.lm_head.weight is language.shared.weight) != gated, "the head"
    processor = Blip2Processor(images, made, num_query_tokens=queries if modern else None)
    cases, outputs, pictures = [], {}, opened()
    with torch.no_grad():
        for i, (picture, question) in enumerate(PROMPTS):
            inputs = processor(images=pictures[picture], text=question, return_tensors="pt")
            values, ids = inputs["pixel_values"], inputs["input_ids"]
            embeds = model.get_image_features(values).pooler_output
            behind = ids[:, queries:] if modern else ids
            whole = torch.cat([embeds, model.get_input_embeddings()(behind)], 1)
            mask = torch.ones(whole.shape[:2], dtype=torch.long)
            new = language.generate(inputs_embeds=whole, attention_mask=mask, max_new_tokens=NEW, do_sample=False)
            if modern:
                assert torch.equal(new, model.generate(**inputs, max_new_tokens=NEW, do_sample=False))
            answer = language(inputs_embeds=whole, attention_mask=mask, decoder_input_ids=new[:, :1]).logits
            outputs.update({f"{i}.pixels": values, f"{i}.features": embeds, f"{i}.logits": answer[0, -1]})
            # Ours keeps the picture's places with the first token.
            ids = ids if modern else torch.cat([ids.new_zeros(1, queries), ids], 1)
            cases.append({"question": question, "pictures": [f"{picture}.png"], "ids": ids[0].tolist(),
                          "greedy": new[0, 1:].tolist()})
            print(cases[-1]["greedy"])
            if i == 1:
                kept = (language, whole, mask, torch.tensor([[0, *cases[-1]["greedy"][:4]]]))
    finish(folder, cases, outputs)
    asked(folder, name, *kept)


def main():
    two_passes()
    text("t5", False)
    text("t5_gated", True)
    seen("blip2_t5", True, True)
    seen("blip2_t5_plain", False, False)


if __name__ == "__main__":
    main()
