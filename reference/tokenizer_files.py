"""Directories without a tokenizer.json, as transformers reads them. Writes goldens/tokenizer_files/<case>/.

    venv/bin/pip install sentencepiece protobuf
    venv/bin/python reference/tokenizer_files.py

Each case holds the files of one published kind, trained here on a few lines, and `expected.json`: ids of
texts with and without the tokens around them, and ids of the same texts with their control tokens read.
"""

import io
import json
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Regex, normalizers, pre_tokenizers
from tokenizer_texts import LINES, TEXTS
from transformers import AutoTokenizer, LlamaTokenizer

FOLDER = Path(__file__).resolve().parent.parent / "goldens" / "tokenizer_files"


def write(folder, files):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in files.items():
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        elif isinstance(content, str):
            (folder / name).write_text(content, encoding="utf-8")
        else:
            (folder / name).write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")


def case(name, files, spelt=(), kind=AutoTokenizer, **options):
    """Writes the case; `spelt` are texts with control tokens in them."""
    folder = FOLDER / name
    write(folder, files)
    tokenizer = kind.from_pretrained(folder, **options)
    # Its own handling of spaces at a text's ends is not that of its published tokenizer.json.
    texts = [text.strip() for text in TEXTS] if "siglip" in name else TEXTS
    ids = lambda text, around: tokenizer(text, add_special_tokens=around)["input_ids"]  # noqa: E731
    expected = {
        "vocabulary": max(tokenizer.get_vocab().values()) + 1,
        "special": sorted({id for id, token in tokenizer.added_tokens_decoder.items() if token.special}),
        "texts": [{"text": text, "ids": ids(text, False), "around": ids(text, True)} for text in texts],
        "spelt": [{"text": text, "ids": ids(text, False)} for text in spelt],
        "decoded": [tokenizer.decode(ids(text, False), skip_special_tokens=True) for text in texts],
    }
    text = json.dumps(expected, ensure_ascii=False)
    (folder / "expected.json").write_text(text + "\n", encoding="utf-8")
    size = sum(f.stat().st_size for f in folder.iterdir())
    print(f"tokenizer_files/{name}: {type(tokenizer).__name__}, {size / 1000:.1f} kB, around {ids('cat', True)}")


def bpe(normalizer, pre, special, merges=60, suffix="", letters=None):
    """`vocab.json` and `merges.txt` of a byte-level BPE. The library's own trainer breaks ties by chance."""
    words = Counter()
    for line in LINES:
        line = normalizer.normalize_str(line) if normalizer else line
        for word, _ in pre.pre_tokenize_str(line):
            words[(*word[:-1], word[-1] + suffix)] += 1
    if letters is None:
        letters = sorted({letter for word in words for letter in word})
    learned = []
    for _ in range(merges):
        pairs = Counter()
        for word, count in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += count
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        learned.append(best)
        words = Counter({joined(word, best): count for word, count in words.items()})
    tokens = [*special, *letters, *("".join(pair) for pair in learned)]
    text = "#version: 0.2\n" + "".join(f"{left} {right}\n" for left, right in learned)
    return {"vocab.json": {token: id for id, token in enumerate(dict.fromkeys(tokens))}, "merges.txt": text}


def joined(word, pair):
    made = []
    for letter in word:
        if made and (made[-1], letter) == pair:
            made[-1] += letter
        else:
            made.append(letter)
    return tuple(made)


BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())


def byte_level():
    return pre_tokenizers.ByteLevel(add_prefix_space=False)


def gpt2():
    end = "<|endoftext|>"
    files = bpe(None, byte_level(), [end], letters=BYTES)
    case("gpt2", {"config.json": {"model_type": "gpt2"}, **files}, [f"a cat{end} a dog"])


def opt():
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    files = bpe(None, byte_level(), special, letters=BYTES)
    token = lambda text, normalized=True: {"content": text, "lstrip": False, "normalized": normalized,  # noqa: E731
                                           "rstrip": False, "single_word": False, "__type": "AddedToken"}
    settings = {"add_bos_token": True, "add_prefix_space": False, "bos_token": token("</s>"),
                "eos_token": token("</s>"), "pad_token": token("<pad>"), "unk_token": token("</s>"),
                "errors": "replace", "tokenizer_class": "GPT2Tokenizer"}
    names = {"bos_token": token("</s>"), "eos_token": token("</s>"), "unk_token": token("</s>"),
             "pad_token": token("<pad>")}
    for value in names.values():
        value.pop("__type")
    case("opt", {"config.json": {"model_type": "opt"}, "tokenizer_config.json": settings,
                 "special_tokens_map.json": names, **files}, ["</s>a cat <pad>", "<s> x"])


def roberta():
    files = bpe(None, byte_level(), ["<s>", "<pad>", "</s>", "<unk>", "<mask>"], letters=BYTES)
    settings = {"tokenizer_class": "RobertaTokenizerFast", "add_prefix_space": True,
                "mask_token": {"content": "<mask>", "lstrip": True, "rstrip": False, "normalized": False,
                               "single_word": False, "__type": "AddedToken"}}
    case("roberta", {"config.json": {"model_type": "roberta"}, "tokenizer_config.json": settings, **files},
         ["a  <mask> cat", "</s>the"])


def clip():
    ends = ["<|startoftext|>", "<|endoftext|>"]
    normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    words = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    pre = pre_tokenizers.Sequence([pre_tokenizers.Split(words, "removed", invert=True), byte_level()])
    files = bpe(normalizer, pre, ends, suffix="</w>")
    settings = {"tokenizer_class": "CLIPTokenizer", "do_lower_case": True, "model_max_length": 77,
                "pad_token": "<|endoftext|>", "bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>",
                "unk_token": "<|endoftext|>"}
    case("clip", {"config.json": {"model_type": "clip"}, "tokenizer_config.json": settings, **files},
         ["<|startoftext|>A CAT<|endoftext|>"])


def whisper():
    end = "<|endoftext|>"
    files = bpe(None, byte_level(), [], letters=BYTES)
    first = len(files["vocab.json"])
    named = [end, "<|startoftranscript|>", "<|en|>", "<|de|>", "<|translate|>", "<|transcribe|>",
             "<|startoflm|>", "<|startofprev|>", "<|nocaptions|>", "<|notimestamps|>"]
    added = {token: first + i for i, token in enumerate(named)}
    settings = {"tokenizer_class": "WhisperTokenizer", "add_prefix_space": False, "bos_token": end,
                "eos_token": end, "unk_token": end, "pad_token": end, "add_bos_token": False,
                "additional_special_tokens": named}
    names = {"bos_token": end, "eos_token": end, "unk_token": end, "pad_token": end}
    case("whisper", {"config.json": {"model_type": "whisper"}, "tokenizer_config.json": settings,
                     "special_tokens_map.json": names, "added_tokens.json": added, **files},
         ["<|startoftranscript|><|en|><|transcribe|> A cat", "the <|0.00|>"])


def qwen2():
    pattern = (r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"""
               r"""|\s+(?!\S)|\s+""")
    pre = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"),
                                   pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    files = bpe(normalizers.NFC(), pre, [], letters=BYTES)
    first = len(files["vocab.json"])
    token = lambda text, special: {"content": text, "lstrip": False, "normalized": False, "rstrip": False,  # noqa: E731
                                   "single_word": False, "special": special}
    # With a hole: ids of the file, not ids in a row.
    added = {str(first): token("<|endoftext|>", True), str(first + 1): token("<|im_start|>", True),
             str(first + 2): token("<|im_end|>", True), str(first + 3): token("<think>", False)}
    settings = {"tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": added, "add_prefix_space": False,
                "additional_special_tokens": ["<|im_start|>", "<|im_end|>"], "bos_token": None,
                "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "unk_token": None, "errors": "replace"}
    case("qwen2", {"config.json": {"model_type": "qwen2"}, "tokenizer_config.json": settings, **files},
         ["<|im_start|>user\nA cat<|im_end|>\n", "<think> so"])


def pieces(**options):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(LINES * 3), model_writer=model,
                                             minloglevel=2, num_threads=1, **options)
    proto = sentencepiece_model_pb2.ModelProto.FromString(model.getvalue())
    proto.normalizer_spec.ClearField("normalization_rule_tsv")  # the name of a temporary file
    return proto.SerializeToString(deterministic=True)


def llama():
    model = pieces(model_type="bpe", vocab_size=380, byte_fallback=True, normalization_rule_name="identity",
                   remove_extra_whitespaces=False, split_digits=True, character_coverage=0.98)
    config = {"config.json": {"model_type": "llama"}, "tokenizer.model": model}
    spelt = ["<s>A cat</s> on the mat", "<s> two</s>\nx", "<image>\nthe<image> mat"]
    token = lambda text, normalized: {"content": text, "lstrip": False, "normalized": normalized, "rstrip": False,  # noqa: E731
                                      "single_word": False, "special": True}
    named = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    added = {"0": token("<unk>", False), "1": token("<s>", False), "2": token("</s>", False),
             "380": token("<image>", False)}
    settings = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": False,
                "legacy": False, "added_tokens_decoder": added, **named}
    case("llama", {**config, "tokenizer_config.json": settings}, spelt)
    older = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": True, "legacy": True,
             **named}
    case("llama_legacy", {**config, "tokenizer_config.json": older, "added_tokens.json": {"<image>": 380}}, spelt)
    # Without settings AutoTokenizer takes neither space nor <s> before a text, and the model was trained with both.
    case("llama_bare", config, spelt[:2], LlamaTokenizer, add_bos_token=True)


def unigram():
    # A charsmap of three rules: full width to ASCII, a ligature, a half.
    rules = "FF26\t46\nFB01\t66 69\nBD\t31 2044 32\n"
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as file:
        file.write(rules)
        file.flush()
        model = pieces(model_type="unigram", vocab_size=86, normalization_rule_tsv=file.name, unk_id=2,
                       pad_id=0, eos_id=1, bos_id=-1, user_defined_symbols=["<sep>"])
    settings = {"tokenizer_class": "T5Tokenizer", "extra_ids": 0, "eos_token": "</s>", "unk_token": "<unk>",
                "pad_token": "<pad>"}
    case("unigram", {"config.json": {"model_type": "t5"}, "tokenizer_config.json": settings,
                     "spiece.model": model}, ["a cat</s> the", "red<sep>cat"])


def siglip():
    model = pieces(model_type="unigram", vocab_size=80, normalization_rule_name="identity", unk_id=0,
                   eos_id=1, bos_id=-1)
    settings = {"tokenizer_class": "SiglipTokenizer", "do_lower_case": True, "model_max_length": 64,
                "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "</s>"}
    case("siglip", {"config.json": {"model_type": "siglip"}, "tokenizer_config.json": settings,
                    "spiece.model": model})


def bert():
    letters = "abcdefghijklmnopqrstuvwxyzßüéï0123456789"
    words = ["the", "cat", "dog", "on", "mat", "house", "red", "The", "Über", "你", ".", ",", "'", "-", "[", "]", "="]
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters[:26], *(f"##{letter}" for letter in letters), *words,
             "##s", "##dish"]
    vocab = list(dict.fromkeys(vocab))
    files = {"config.json": {"model_type": "bert"}, "vocab.txt": "".join(f"{token}\n" for token in vocab)}
    case("bert", files, ["a cat [SEP] on [MASK]"])
    settings = {"tokenizer_class": "BertTokenizer", "do_lower_case": False, "strip_accents": True,
                "tokenize_chinese_chars": False}
    case("bert_cased", {**files, "tokenizer_config.json": settings}, ["A cat [SEP]"])


def main():
    for script in (gpt2, opt, roberta, clip, whisper, qwen2, llama, unigram, siglip, bert):
        script()


if __name__ == "__main__":
    main()
