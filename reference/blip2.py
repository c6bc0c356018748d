"""Tiny BLIP-2 checkpoints as they lie in a directory. Writes goldens/blip2_*.

Li et al. 2023, https://arxiv.org/abs/2301.12597

    blip2_matching        Blip2ForImageTextRetrieval, cross-attention in every second layer, image
                          tokens in the settings
    blip2_matching_third  the same class in shards and bfloat16, cross-attention in every third layer,
                          no image tokens, settings and processor in the spelling of 2023
    blip2_opt             Blip2ForConditionalGeneration, tied OPT, image token in settings and tokenizer
    blip2_opt_plain       the same class in shards, untied OPT with norms after, layers with an MLP for
                          texts that it has no use for, cross-attention in every layer; no image token

`expected.json` of the classes that compare has the pictures (of `published_images`), the texts and their ids, and
`outputs.safetensors` the pixels, the encoder's positions, embeddings, the logits of contrast
`[pictures, texts]` and of matching `[pictures, texts, 2]`. Those of the class that writes are laid out as
those of `seeing.py`: questions with the ids that the language model reads and at most 16 greedy tokens,
for each the pixels, the picture's embeddings and the logits after the prompt.
Without an image token, transformers 4 put the picture's embeddings in front of the text's; that is done
here around its parts of today.
"""

import json
import string

import torch
from golden import ROOT, normal, randomise, save
from PIL import Image
from published import IMAGES, TEXTS, byte_letters, finish, fresh, two_passes
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (AutoTokenizer, Blip2Config, Blip2ForConditionalGeneration,
                          Blip2ForImageTextRetrieval, Blip2Processor, BlipImageProcessorPil,
                          PreTrainedTokenizerFast)

CONTEXT = 48  # the longest text has more tokens
PICTURES = ("noise", "smooth", "rings")


def opened():
    return {name: Image.open(IMAGES / f"{name}.png").convert("RGB") for name in PICTURES}


def bert_tokenizer(image_token):
    """BERT's, with [DEC]; a processor of today adds its image token."""
    words = ["a", "cat", "dog", "photo", "of", "the", "two", "on", "s", "and"]
    letters = list(string.ascii_lowercase) + list(string.punctuation)
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(words + letters),
              *("##" + letter for letter in string.ascii_lowercase), "[DEC]"]
    vocab = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])])
    tokenizer.add_special_tokens(["[DEC]"])
    if image_token:
        tokenizer.add_special_tokens(["<image>"])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]",
                                   cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]",
                                   bos_token="[DEC]", model_max_length=CONTEXT), len(tokens)


def loud(model, table=0.5):
    """Random weights; the queries are of a class that leaves them at zero."""
    model = randomise(model, table=table)
    with torch.no_grad():
        model.query_tokens.copy_(normal("query_tokens", *model.query_tokens.shape))
    return model


def pretty(folder, name="config.json", change=lambda settings: None):
    settings = json.loads((folder / name).read_text())
    change(settings)
    (folder / name).write_text(json.dumps(settings, indent=1) + "\n")


def compared(folder, processor):
    """What the class makes of all pictures with all texts, alone and in one padded batch."""
    model = Blip2ForImageTextRetrieval.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager").eval()
    images, queries = opened(), model.config.num_query_tokens
    alone = processor.tokenizer(TEXTS, truncation=True)["input_ids"]
    batch = processor(images=[images["noise"]] * len(TEXTS), text=TEXTS, padding=True,
                      truncation=True, return_tensors="pt")
    skipped = queries if model.config.image_token_index is not None else 0
    assert [sum(mask) - skipped for mask in batch["attention_mask"].tolist()] == [len(ids) for ids in alone]
    pixels, contrast, matching, seen = [], [], [], []
    outputs = {}
    with torch.no_grad():
        for image in images.values():
            values = processor(images=image, return_tensors="pt")["pixel_values"]
            several = values.expand(len(TEXTS), -1, -1, -1)
            one = model(pixel_values=several, input_ids=batch["input_ids"],
                        attention_mask=batch["attention_mask"])
            both = model(pixel_values=several, input_ids=batch["input_ids"],
                         attention_mask=batch["attention_mask"], use_image_text_matching_head=True)
            pixels.append(values)
            contrast.append(one.logits_per_image[:1])
            assert torch.equal(one.logits_per_text, one.logits_per_image.T)
            matching.append(both.logits_per_image[None])
            seen.append(one.image_embeds[:1])
            outputs["text_embeds"] = one.text_embeds
        outputs["positions"] = model.vision_model(pixels[0]).last_hidden_state
    outputs.update(pixel_values=torch.cat(pixels), image_embeds=torch.cat(seen),
                   logits_per_image=torch.cat(contrast), matching=torch.cat(matching))
    return {"pictures": [f"{name}.png" for name in images], "texts": TEXTS, "ids": alone}, outputs


def matching(name, vision, qformer, queries, space, shards=None, modern=True):
    tokenizer, rows = bert_tokenizer(modern)
    side = vision["image_size"]
    config = Blip2Config(
        vision_config=vision,
        qformer_config=dict(qformer, vocab_size=rows, max_position_embeddings=CONTEXT,
                            use_qformer_text_input=True),
        text_config=dict(model_type="opt", hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                         ffn_dim=16, vocab_size=20, word_embed_proj_dim=16, max_position_embeddings=8),
        num_query_tokens=queries, image_text_hidden_size=space,
        image_token_index=rows if modern else None)
    folder = fresh(name)
    model = loud(Blip2ForImageTextRetrieval(config))
    if shards:
        model = model.to(torch.bfloat16)
    model.save_pretrained(folder, **({"max_shard_size": shards} if shards else {}))
    images = BlipImageProcessorPil(size={"height": side, "width": side})
    processor = Blip2Processor(images, tokenizer, num_query_tokens=queries if modern else None)
    processor.save_pretrained(folder)
    if not modern:
        (folder / "processor_config.json").unlink(missing_ok=True)
        old = dict(do_convert_rgb=True, do_normalize=True, do_rescale=True, do_resize=True,
                   image_mean=[0.48145466, 0.4578275, 0.40821073],
                   image_processor_type="BlipImageProcessor",
                   image_std=[0.26862954, 0.26130258, 0.27577711], processor_class="Blip2Processor",
                   resample=3, rescale_factor=1 / 255, size={"height": side, "width": side})
        (folder / "preprocessor_config.json").write_text(json.dumps(old, indent=1) + "\n")
    images = BlipImageProcessorPil.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    processor = Blip2Processor(images, tokenizer, num_query_tokens=queries if modern else None)
    pretty(folder)
    finish(folder, *compared(folder, processor))


PROMPTS = (("noise", ""), ("rings", "Question: what is it? Answer:"), ("smooth", "a photo of"),
           ("rings", ""))
NEW = 16


def opt_tokenizer(image_token):
    """OPT's: GPT-2's with one opening and closing token; published ones name the picture's last."""
    letters = byte_letters()
    merges = [("a", "t"), ("i", "s"), ("o", "f"), ("Ġ", "a"), ("Ġ", "p"), ("Ġ", "is")]
    tokens = ["<pad>", "<s>", "</s>", *letters, *(a + b for a, b in merges)]
    vocab = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="</s> $A", pair="</s> $A </s> $B", special_tokens=[("</s>", vocab["</s>"])])
    tokenizer.add_special_tokens(["<pad>", "<s>", "</s>", *(["<image>"] if image_token else [])])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="</s>", eos_token="</s>",
                                   unk_token="</s>", pad_token="<pad>"), len(tokens)


def written(folder, processor, marker):
    """What follows each picture and prompt."""
    model = Blip2ForConditionalGeneration.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager").eval()
    images = opened()
    cases, outputs = [], {}
    with torch.no_grad():
        for i, (name, text) in enumerate(PROMPTS):
            inputs = processor(images=images[name], text=text, return_tensors="pt")
            values, ids = inputs["pixel_values"], inputs["input_ids"]
            embeds = model.get_image_features(values).pooler_output
            if marker is None:
                whole = torch.cat([embeds, model.get_input_embeddings()(ids)], 1)
                seen = torch.ones(whole.shape[:2], dtype=torch.long)
                answer = model.language_model(inputs_embeds=whole).logits
                new = model.language_model.generate(inputs_embeds=whole, attention_mask=seen,
                                                    max_new_tokens=NEW, do_sample=False)
                # Ours keeps the picture's places with the opening token.
                ids = torch.cat([ids[:, :1].expand(-1, embeds.shape[1]), ids], 1)
            else:
                answer = model(**inputs).logits
                new = model.generate(**inputs, max_new_tokens=NEW, do_sample=False)[:, ids.shape[1]:]
            outputs.update({f"{i}.pixels": values, f"{i}.features": embeds, f"{i}.logits": answer[0, -1]})
            cases.append({"question": text, "pictures": [f"{name}.png"], "ids": ids[0].tolist(),
                          "greedy": new[0].tolist()})
            print(cases[-1]["greedy"])
    return cases, outputs


def writing(name, vision, qformer, text, queries, end, shards=None, modern=True):
    tokenizer, rows = opt_tokenizer(modern)
    side = vision["image_size"]
    config = Blip2Config(
        vision_config=vision, qformer_config=qformer,
        text_config=dict(text, model_type="opt", vocab_size=rows + 3, max_position_embeddings=90,
                         bos_token_id=2, eos_token_id=end, pad_token_id=0),
        num_query_tokens=queries, image_token_index=rows if modern else None)
    folder = fresh(name)
    model = loud(Blip2ForConditionalGeneration(config), table=0.15)
    model.save_pretrained(folder, **({"max_shard_size": shards} if shards else {}))
    images = BlipImageProcessorPil(size={"height": side, "width": side})
    number = queries if modern else None
    Blip2Processor(images, tokenizer, num_query_tokens=number).save_pretrained(folder)
    if not modern:
        (folder / "processor_config.json").unlink(missing_ok=True)
        images.save_pretrained(folder)
        # The processor of today has put its token into the file.
        opt_tokenizer(False)[0].save_pretrained(folder)
    images = BlipImageProcessorPil.from_pretrained(folder)
    opened_tokenizer = AutoTokenizer.from_pretrained(folder)
    processor = Blip2Processor(images, opened_tokenizer, num_query_tokens=number)
    pretty(folder)
    finish(folder, *written(folder, processor, config.image_token_index))


def main():
    two_passes()
    writing("blip2_opt",
            dict(hidden_size=30, intermediate_size=42, num_hidden_layers=2, num_attention_heads=3,
                 image_size=23, patch_size=5),
            dict(hidden_size=28, intermediate_size=36, num_hidden_layers=3, num_attention_heads=4),
            dict(hidden_size=36, word_embed_proj_dim=36, ffn_dim=44, num_hidden_layers=2,
                 num_attention_heads=3), queries=6, end=68)
    writing("blip2_opt_plain",
            dict(hidden_size=32, intermediate_size=36, num_hidden_layers=1, num_attention_heads=2,
                 image_size=24, patch_size=8),
            dict(hidden_size=20, intermediate_size=28, num_hidden_layers=2, num_attention_heads=2,
                 cross_attention_frequency=1, use_qformer_text_input=True),
            dict(hidden_size=32, word_embed_proj_dim=32, ffn_dim=40, num_hidden_layers=2,
                 num_attention_heads=4, do_layer_norm_before=False, tie_word_embeddings=False),
            queries=3, end=1, shards="60KB", modern=False)
    matching("blip2_matching",
             dict(hidden_size=36, intermediate_size=50, num_hidden_layers=2, num_attention_heads=3,
                  image_size=26, patch_size=6),
             dict(hidden_size=27, intermediate_size=38, num_hidden_layers=3, num_attention_heads=3),
             queries=5, space=14)
    matching("blip2_matching_third",
             dict(hidden_size=26, intermediate_size=34, num_hidden_layers=1, num_attention_heads=2,
                  image_size=21, patch_size=7, hidden_act="quick_gelu", layer_norm_eps=1e-5),
             dict(hidden_size=24, intermediate_size=36, num_hidden_layers=4, num_attention_heads=4,
                  cross_attention_frequency=3),
             queries=4, space=10, shards="40KB", modern=False)


if __name__ == "__main__":
    main()
