"""Published models that learn from a folder of pictures or sounds. Writes goldens/finetune/<model>.json.

For each model of `goldens`, ten steps of torch's AdamW on a folder's two pictures (sounds) with their captions, by
transformers' own losses, and open_clip's; and, of what `sensorium train` leaves in `final/` after the same ten steps, the
loss as transformers or open_clip reads that directory. Needs `cargo build --release`.

    {"recipe": what `sensorium train` is given, "losses": [10 numbers], "final": loss of our final/}
"""

import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import torch
from PIL import Image
from open_clip import ClipLoss, load_checkpoint
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from peft import PeftModel
from tokenizers import Tokenizer
from transformers import (AutoModel, AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor,
                          AutoTokenizer, CLIPImageProcessorPil, Qwen2AudioForConditionalGeneration, WhisperFeatureExtractor, WhisperForConditionalGeneration)

ROOT = Path(__file__).parent.parent
FOLDER = "crates/data/tests/samples/folder-csv"
SOUNDS = "crates/data/tests/samples/folder-sounds"
CHATS = "crates/data/tests/samples/messages/chats.jsonl"
STEPS, RATE, REQUEST = 10, 1e-3, "describe the picture."
OPTIM = "optim = { beta1 = 0.9, beta2 = 0.95, eps = 1e-8, weight_decay = 0.0, clip = 1.0 }"
RUN = f"steps = {STEPS}\nbatch = 2\nsave_every = {STEPS}\neval_every = {STEPS}\neval_batches = 1"
SCHEDULE = f"schedule = {{ kind = 'constant', learning_rate = {RATE} }}"
# Families whose places have three axes, whose pictures are cut into tiles, that read prompts both ways, that hear.
ANSWERING = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "tiles_next", "tiles_next_qwen", "tiles_onevision",
             "tiles_internvl", "seeing_gemma3", "seeing_paligemma", "seeing_paligemma2", "qwen2_audio")
DATA = f"[[{{0}}data.train]]\nkind = 'folder'\npath = '{FOLDER}'\n[[{{0}}data.val]]\nkind = 'folder'\npath = '{FOLDER}'\n"


def dual_recipe(name, loss):
    return (f"recipe = 'clip'\nseed = 1\nloss = '{loss}'\n{RUN}\n{SCHEDULE}\n{OPTIM}\n"
            f"[model]\nfrom = 'goldens/{name}'\n{DATA.format('')}")


def assistant_recipe(name):
    return (f"recipe = 'llava'\nseed = 1\nz_loss = 0.0\n{OPTIM}\n[model]\nfrom = 'goldens/{name}'\n"
            f"[instruct]\n{RUN}\n{SCHEDULE}\n{DATA.format('instruct.')}")


def answering_recipe(recipe, name):
    return recipe.replace(FOLDER, SOUNDS) if name == "qwen2_audio" else recipe


def speech_recipe(name):
    return (f"recipe = 'whisper'\nseed = 1\n{RUN.replace('batch =', 'batch_size =')}\n{SCHEDULE}\n{OPTIM}\n"
            f"[model]\nfrom = 'goldens/{name}'\n{DATA.format('').replace(FOLDER, SOUNDS)}")


def adapter_recipe(adapter, name, r, alpha, more=""):
    kind, path = ("messages", CHATS) if name == "chatting" else ("folder", FOLDER)
    data = DATA.format("instruct.").replace("'folder'", f"'{kind}'").replace(FOLDER, path)
    return (f"recipe = 'llava'\nseed = 1\nz_loss = 0.0\n{OPTIM}\n[model]\nfrom = 'goldens/{name}'\n"
            f"[lora]\nr = {r}\nlora_alpha = {alpha}\n{more}from = 'goldens/lora/{adapter}'\n"
            f"[instruct]\n{RUN}\n{SCHEDULE}\n{data}")


def examples():
    with open(ROOT / FOLDER / "metadata.csv") as table:
        rows = list(csv.DictReader(table))
    return [Image.open(ROOT / FOLDER / row["file_name"]).convert("RGB") for row in rows], [row["text"] for row in rows]


def dual(folder):
    """The model, what is trained of it, and its loss on both pictures."""
    model, processor = AutoModel.from_pretrained(folder, dtype=torch.float32), AutoProcessor.from_pretrained(folder)
    pictures, texts = examples()
    inputs = processor(text=texts, images=pictures, padding="max_length", truncation=True,
                       max_length=model.config.text_config.max_position_embeddings, return_tensors="pt")
    if model.config.model_type == "siglip":
        inputs.pop("attention_mask", None)  # SigLIP's own tokenizer gives none: padding is read.
    return model, model.parameters(), lambda: model(**inputs, return_loss=True).loss


def dual_resnet(folder):
    """As `dual`, of CLIP with a ResNet in open_clip's files; its norms go by the batch where it learns."""
    config = json.loads((Path(folder) / "open_clip_config.json").read_text())["model_cfg"]
    model = CLIP(config["embed_dim"], CLIPVisionCfg(**config["vision_cfg"]), CLIPTextCfg(**config["text_cfg"]),
                 quick_gelu=True)
    load_checkpoint(model, str(Path(folder) / "open_clip_model.safetensors"), strict=True)
    side, context = config["vision_cfg"]["image_size"], config["text_cfg"]["context_length"]
    processor = CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    pictures, texts = examples()
    pixels = processor(pictures, return_tensors="pt")["pixel_values"]
    tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
    tokenizer.enable_truncation(context)
    tokenizer.enable_padding(length=context)
    ids = torch.tensor([tokenizer.encode(text).ids for text in texts])
    return model, model.parameters(), lambda: ClipLoss()(*model.train(torch.is_grad_enabled())(pixels, ids))


def assistant(folder):
    """As `dual`; the tower stays as it is, and only the answers are learned."""
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    processor = AutoProcessor.from_pretrained(folder)
    processor.tokenizer.padding_side = "right"
    prompts, ends = [], []
    pictures, texts = examples()
    for text in texts:
        asked = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": REQUEST}]}]
        answered = asked + [{"role": "assistant", "content": [{"type": "text", "text": text}]}]
        before = processor.apply_chat_template(asked, add_generation_prompt=True)
        whole = processor.apply_chat_template(answered)
        said, trimmed = whole[len(before):], whole[len(before):].rstrip()
        if trimmed.endswith(tuple(processor.tokenizer.all_special_tokens)):
            said = trimmed
        prompts.append(whole)
        ends.append([before, before + said])
    images = [[picture] for picture in pictures]
    inputs = processor(text=prompts, images=images, padding=True, return_tensors="pt")
    labels = torch.full_like(inputs["input_ids"], -100)
    for row, (texts, image) in enumerate(zip(ends, images)):
        start, end = (processor(text=text, images=[image], return_tensors="pt")["input_ids"].shape[1] for text in texts)
        labels[row, start:end] = inputs["input_ids"][row, start:end]
    tower = ("vision_tower", "vision_model")
    trained = [p for name, p in model.named_parameters() if not any(part in name for part in tower)]
    return model, trained, lambda: model(**inputs, labels=labels).loss


def heard():
    """A folder's sounds, and what is said of each."""
    with open(ROOT / SOUNDS / "metadata.csv") as table:
        rows = list(csv.DictReader(table))
    return [soundfile.read(ROOT / SOUNDS / row["file_name"], dtype="float32")[0] for row in rows], \
        [row["text"] for row in rows]


def lesson(processor, kind, medium, text):
    """A conversation about one picture or sound, as the model reads it, with labels."""
    media = {"images": [[medium]]} if kind == "image" else {"audio": [medium], "sampling_rate": 16000}
    if processor.chat_template is None:  # PaliGemma's prompt is read both ways, its suffix from left to right.
        return processor(text="<image>" + REQUEST, images=medium, suffix=text, return_tensors="pt")
    request = REQUEST if kind == "image" else "what do you hear?"
    asked = [{"role": "user", "content": [{"type": kind, kind: medium}, {"type": "text", "text": request}]}]
    answered = asked + [{"role": "assistant", "content": [{"type": "text", "text": text}]}]
    before = processor.apply_chat_template(asked, add_generation_prompt=True)
    whole = processor.apply_chat_template(answered)
    said, trimmed = whole[len(before):], whole[len(before):].rstrip()
    if trimmed.endswith(tuple(processor.tokenizer.all_special_tokens)):
        said = trimmed
    if "endgeneration" in processor.chat_template:
        before, said = whole[:whole.rindex("\n" + text)], "\n" + text
    bos = processor.tokenizer.bos_token
    once = {"add_special_tokens": False} if bos and whole.startswith(bos) else {}
    made = lambda text: processor(text=[text], return_tensors="pt", **media, **once)
    inputs = made(whole)
    start, end = (made(text)["input_ids"].shape[1] for text in (before, before + said))
    labels = torch.full_like(inputs["input_ids"], -100)
    labels[:, start:end] = inputs["input_ids"][:, start:end]
    if "input_features" in inputs:  # In double precision: silence is a logarithm of nearly nothing.
        extractor = processor.feature_extractor
        padded = np.pad(medium, (0, extractor.n_samples - len(medium)))
        features = extractor._np_extract_fbank_features(padded[None], "cpu")[0].astype(np.float32)
        inputs["input_features"] = torch.from_numpy(features)[None]
    return {**inputs, "labels": labels}


def answering(folder):
    """As `assistant`, of families whose processors pad in ways of their own: each conversation by itself."""
    processor = AutoProcessor.from_pretrained(folder)
    sounds = json.loads((Path(folder) / "config.json").read_text())["model_type"] == "qwen2_audio"
    kind = Qwen2AudioForConditionalGeneration if sounds else AutoModelForImageTextToText
    model = kind.from_pretrained(folder, dtype=torch.float32)
    media = heard() if sounds else examples()
    lessons = [lesson(processor, "audio" if sounds else "image", *one) for one in zip(*media)]
    known = ("num_crops", "num_patches", *(() if "qwen" in model.config.model_type else ("mm_token_type_ids",)))
    lessons = [{key: value for key, value in one.items() if key not in known} for one in lessons]
    counts = [(one["labels"][:, 1:] != -100).sum() for one in lessons]
    towers = ("vision_tower", "audio_tower", "visual.patch_embed", "visual.pos_embed", "visual.blocks")
    trained = [p for name, p in model.named_parameters() if not any(part in name for part in towers)]
    loss = lambda: sum(model(**one).loss * n for one, n in zip(lessons, counts)) / sum(counts)
    return model, trained, loss


def speech(folder):
    """As `dual`, of Whisper and a folder's two sounds; of those of 30 s, it hears as much as it was made for."""
    model = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    extractor = WhisperFeatureExtractor.from_pretrained(folder)
    tokenizer, ids = Tokenizer.from_file(f"{folder}/tokenizer.json"), model.generation_config
    prompt = [ids.decoder_start_token_id]
    if ids.is_multilingual:
        prompt += [ids.lang_to_id["<|en|>"], ids.task_to_id["transcribe"]]
    prompt.append(ids.no_timestamps_token_id)
    sounds, texts = heard()
    said = [tokenizer.encode(" " + text, add_special_tokens=False).ids for text in texts]
    rows = [prompt + text + [ids.eos_token_id] for text in said]
    features = extractor(sounds, sampling_rate=16000, return_tensors="pt").input_features
    features = features[:, :, :2 * model.config.max_source_positions]
    longest = max(map(len, rows))
    pad = lambda row, value: torch.tensor(row + [value] * (longest - 1 - len(row)))
    read = torch.stack([pad(row[:-1], ids.eos_token_id) for row in rows])
    labels = torch.stack([pad(row[1:], -100) for row in rows])
    parameters = [p for name, p in model.named_parameters() if "encoder.embed_positions" not in name]
    return model, parameters, lambda: model(input_features=features, decoder_input_ids=read, labels=labels).loss


def chat(folder):
    """As `assistant`, of a language model and conversations."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows, answers = [], []
    for line in filter(None, (ROOT / CHATS).read_text().splitlines()):
        example = json.loads(line)
        messages = example.get("messages") or [{"role": "user", "content": example["prompt"]},
                                               {"role": "assistant", "content": example["completion"]}]
        ids, learned = [], []
        for i, message in enumerate(messages):
            said = message["role"] == "assistant"
            ids = tokenizer.apply_chat_template(messages[:i + 1], return_dict=False)
            if said:
                asked = tokenizer.apply_chat_template(messages[:i], add_generation_prompt=True, return_dict=False)
                # The line break behind the end is the template's.
                learned += [False] * (len(asked) - len(learned)) + [True] * (len(ids) - 1 - len(asked))
        rows.append(ids)
        answers.append(learned + [False] * (len(ids) - len(learned)))
    longest = max(map(len, rows))
    pad = lambda row, value: row + [value] * (longest - len(row))
    ids = torch.tensor([pad(row, 0) for row in rows])
    mask = torch.tensor([pad([1] * len(row), 0) for row in rows])
    labels = torch.tensor([[i if learned else -100 for i, learned in zip(pad(row, 0), pad(answer, False))]
                           for row, answer in zip(rows, answers)])
    return model, None, lambda: model(input_ids=ids, attention_mask=mask, labels=labels).loss


def adapted(make, adapter):
    """As `make`, of the adapter alone; the model's own forward goes through it, too."""
    def made(folder):
        model, _, loss = make(folder)
        model = PeftModel.from_pretrained(model, adapter, is_trainable=True)
        return model, [p for name, p in model.named_parameters() if "lora_" in name], loss
    return made


def trained(make, folder):
    """Losses before each step."""
    model, parameters, loss_of = make(folder)
    model.requires_grad_(False)
    parameters = [p.requires_grad_(True) for p in parameters]
    optimizer = torch.optim.AdamW(parameters, RATE, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = loss_of()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        losses.append(loss.item())
    return losses


def read(make, folder):
    with torch.no_grad():
        return make(folder)[2]().item()


def run(recipe, work):
    (Path(work) / "recipe.toml").write_text(recipe)
    program = os.environ.get("SENSORIUM", ROOT / "target/release/sensorium")
    subprocess.run([program, "train", f"{work}/recipe.toml", "--out", f"{work}/run"], cwd=ROOT, check=True)


def write(name, recipe, losses, final):
    golden = {"recipe": recipe, "losses": losses, "final": final}
    (ROOT / "goldens" / "finetune" / f"{name}.json").write_text(json.dumps(golden, indent=1) + "\n")
    print(name, losses, final)


def main(only=()):
    """All of them, or those of these names."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    goldens = ROOT / "goldens" / "finetune"
    goldens.mkdir(exist_ok=True)
    runs = {
        "published_clip": (dual, dual_recipe("published_clip", "info_nce"), "final"),
        "published_siglip": (dual, dual_recipe("published_siglip", "sigmoid"), "final"),
        "published_clip_resnet": (dual_resnet, dual_recipe("published_clip_resnet", "info_nce"), "final"),
        **{name: (assistant, assistant_recipe(name), "instruct/final")
           for name in ("seeing_smolvlm", "seeing_idefics3", "seeing_llava", "seeing_llava_siglip")},
        **{name: (answering, answering_recipe(assistant_recipe(name), name), "instruct/final") for name in ANSWERING},
        **{name: (speech, speech_recipe(name), "final") for name in ("whisper", "whisper_english")},
    }
    adapters = (("chatting", "chatting", 4, 8), ("seeing_llava", "seeing_llava", 2, 4),
                ("seeing_smolvlm", "seeing_smolvlm", 2, 4),
                ("qwen2_5_vl", "qwen2_5_vl", 2, 4), ("qwen2_audio", "qwen2_audio", 2, 4),
                ("chatting_dora", "chatting", 4, 8, "use_dora = true\nuse_rslora = true\n"))
    wanted = lambda name: not only or name in only
    for name, model, *settings in adapters:
        if not wanted(f"lora_{name}"):
            continue
        make = chat if model == "chatting" else answering if model in ANSWERING else assistant
        recipe = answering_recipe(adapter_recipe(name, model, *settings), model)
        base = ROOT / "goldens" / model
        losses = trained(adapted(make, ROOT / "goldens" / "lora" / name), base)
        with tempfile.TemporaryDirectory() as work:
            run(recipe, work)
            final = read(adapted(make, Path(work) / "run/instruct/final"), base)
        write(f"lora_{name}", recipe, losses, final)
    for name, (make, recipe, final) in runs.items():
        if not wanted(name):
            continue
        losses = trained(make, ROOT / "goldens" / name)
        with tempfile.TemporaryDirectory() as work:
            run(recipe, work)
            final = read(make, Path(work) / "run" / final)
        write(name, recipe, losses, final)


if __name__ == "__main__":
    main(sys.argv[1:])
