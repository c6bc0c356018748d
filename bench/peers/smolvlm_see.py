"""transformers' side of P10: a question about a picture to its first token, SmolVLM-256M's shape.

    smolvlm_see.py DIRECTORY [--precision f32|bf16] [--threads 2]
    smolvlm_see.py DIRECTORY --make

`--make` writes the model, with random weights, a tokenizer of bytes, and a picture of 512 x 512
pixels. Timed are image processor, encoder, projector, prompt and first token, as on our side.
"""

import argparse
import pathlib

import torch
import transformers
from PIL import Image

import protocol

QUESTION = "What is in the picture?"
TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}:"
    "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{ line['text'] }}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}"
    "<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}")


def make(folder):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

    special = ["<|im_start|>", "<end_of_utterance>", "<fake_token_around_image>", "<image>", "<global-img>"]
    tokens = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, additional_special_tokens=special, bos_token="<|im_start|>",
        eos_token="<end_of_utterance>", pad_token="<end_of_utterance>")
    text = transformers.LlamaConfig(
        vocab_size=49280, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
        num_attention_heads=9, num_key_value_heads=3, head_dim=64, max_position_embeddings=8192,
        rms_norm_eps=1e-5, tie_word_embeddings=False, bos_token_id=0, eos_token_id=1)
    vision = dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
                  image_size=512, patch_size=16)
    config = transformers.Idefics3Config(text_config=text, vision_config=vision, scale_factor=4,
                                         image_token_id=3, tie_word_embeddings=False)
    torch.manual_seed(0)
    transformers.Idefics3ForConditionalGeneration(config).save_pretrained(folder)
    images = Idefics3ImageProcessorPil(size={"longest_edge": 512}, max_image_size={"longest_edge": 512})
    processor = transformers.Idefics3Processor(images, tokenizer, image_seq_len=64, chat_template=TEMPLATE)
    processor.save_pretrained(folder)
    noise = torch.randint(0, 256, (64, 64, 3), dtype=torch.uint8).numpy()
    Image.fromarray(noise).resize((512, 512)).save(folder / "picture.png")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--make", action="store_true")
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    if arguments.make:
        return make(arguments.directory)

    torch.set_num_threads(arguments.threads)
    dtype = torch.bfloat16 if arguments.precision == "bf16" else torch.float32
    model = transformers.AutoModelForImageTextToText.from_pretrained(arguments.directory, dtype=dtype).eval()
    processor = transformers.AutoProcessor.from_pretrained(arguments.directory)
    picture = Image.open(arguments.directory / "picture.png").convert("RGB")
    content = [{"type": "image"}, {"type": "text", "text": QUESTION}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)

    @torch.inference_mode()
    def work():
        inputs = processor(images=[picture], text=text, return_tensors="pt", add_special_tokens=False)
        inputs = {k: v for k, v in inputs.items() if k not in ("rows", "cols", "mm_token_type_ids")}
        inputs["pixel_values"] = inputs["pixel_values"].to(dtype)
        model(**inputs, logits_to_keep=1).logits.argmax()

    protocol.serve(f"transformers {transformers.__version__}", work)


if __name__ == "__main__":
    main()
