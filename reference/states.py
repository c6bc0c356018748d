"""Every hidden state of models that lie in directories. Writes `states.safetensors` beside their
weights, in goldens/{seeing_*,tiles_*,qwen*_vl,blip2_*,idefics*,whisper*,published_*}: after the scripts that make those.

Names are `<stack>.N`, the stream after N layers (0: what the first one reads, of a language model with
the picture in its place), and what stands between stacks. The file's metadata lists them in the order
of computation. One picture, or the first tile of one, and one prompt of what each golden holds; what
the model computes from them is compared with the golden itself.

    image, text, encoder, decoder, language   the stacks
    projector       what takes features to embeddings
    pool            a picture's one vector, before a projection
    ask, read       BLIP-2's queries alone, a text alone
    both            its queries and texts, which see each other
    resampler       Perceiver's latents, before its last norm
    gated           what the gated block before a layer writes
    deepstack.N     what further levels of a tower become
"""

import json

import torch
from clip_resnet import SIDE, ResNet
from dinov3 import first_patches
from golden import ROOT, save
from PIL import Image
from published import IMAGES, two_passes
from safetensors.torch import load_file
from transformers import (AutoModel, AutoModelForImageTextToText, Blip2ForConditionalGeneration,
                          Blip2ForImageTextRetrieval, CLIPImageProcessorPil,
                          IdeficsForVisionText2Text, WhisperForConditionalGeneration)
from transformers.vision_utils import get_vision_window_index

LIMIT = 400_000


class States:
    """What passes through the watched modules of a model."""

    def __init__(self, model):
        self.model, self.seen = model, {}

    def put(self, name, value):
        value = value[0] if isinstance(value, tuple) else value
        self.seen[name] = value.detach().clone()

    def out(self, name, path):
        module = self.model.get_submodule(path)
        module.register_forward_hook(lambda _m, _args, output: self.put(name, output))

    def into(self, name, path, place=0):
        def store(_module, args, kwargs):
            self.put(name, args[place] if len(args) > place else kwargs["hidden_states"])

        self.model.get_submodule(path).register_forward_pre_hook(store, with_kwargs=True)

    def stack(self, name, path):
        self.into(f"{name}.0", f"{path}.0")
        for i in range(len(self.model.get_submodule(path))):
            self.out(f"{name}.{i + 1}", f"{path}.{i}")

    def taken(self):
        seen, self.seen = self.seen, {}
        return seen


def opened(name, kind):
    folder = ROOT / name
    model = kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    expected, outputs = folder / "expected.json", folder / "outputs.safetensors"
    expected = json.loads(expected.read_text()) if expected.exists() else None
    return States(model), expected, load_file(outputs)


def agree(name, got, want):
    apart = (got - want).abs().max().item()
    assert got.shape == want.shape and apart < 2e-5, f"{name}: {got.shape}, {want.shape}, {apart}"


def finish(name, states):
    save(ROOT / name, "states.safetensors", states, ordered=True)
    size = sum(file.stat().st_size for file in (ROOT / name).iterdir())
    assert size <= LIMIT, f"{name} has {size} bytes, more than {LIMIT}"
    print(f"{name}: {len(states)} states, {size / 1000:.0f} kB in all")


def first_seen(cases):
    return next(i for i, case in enumerate(cases) if len(case["pictures"]) == 1)


def seeing(name, image, text, projector):
    """Of an encoder that reads tiles, the first tile; of the prompt, all tokens."""
    states, cases, outputs = opened(name, AutoModelForImageTextToText)
    i = first_seen(cases)
    pixels = outputs[f"{i}.pixels"]
    looked(name, states, dict(input_ids=torch.tensor([cases[i]["ids"]]),
                              pixel_values=pixels if image == "vision_tower" else pixels[None]),
           outputs[f"{i}.logits"], image, text, projector)


def both_ways(name):
    """As `seeing`, of Gemma 3, whose pictures' tokens see each other, and PaliGemma, whose prompts are read both ways."""
    states, cases, outputs = opened(name, AutoModelForImageTextToText)
    i = next(i for i, case in enumerate(cases) if len(case["media"]) == 1)
    ids = torch.tensor([cases[i]["ids"]])
    pictured = (ids == states.model.config.image_token_id).int()
    kinds = pictured if "gemma3" in name else torch.zeros_like(ids)
    inputs = dict(input_ids=ids, pixel_values=outputs[f"{i}.pixels"], token_type_ids=kinds)
    looked(name, states, inputs, outputs[f"{i}.logits"], normed=True)


def internvl(name):
    """As `seeing`, of InternVL, whose tower goes by other names and ends without a norm."""
    states, cases, outputs = opened(name, AutoModelForImageTextToText)
    i = next(i for i, case in enumerate(cases) if len(case["media"]) == 1)
    inputs = dict(input_ids=torch.tensor([cases[i]["ids"]]), pixel_values=outputs[f"{i}.pixels"])
    looked(name, states, inputs, outputs[f"{i}.logits"], layers="encoder.layer", norm="layernorm")


def looked(name, states, inputs, want, image="vision_tower", text="language_model",
           projector="multi_modal_projector", layers="encoder.layers", norm="post_layernorm", normed=False):
    """What is read of a tower is behind its norm where that is so, else before it."""
    states.stack("image", f"model.{image}.{layers}")
    states.out("image", f"model.{image}.{norm}")
    states.out("projector", f"model.{projector}")
    states.stack("language", f"model.{text}.layers")
    states.out("language", f"model.{text}.norm")
    with torch.no_grad():
        logits = states.model(**inputs).logits
    agree(name, logits[0, -1], want)
    seen = states.taken()
    if image == "vision_tower" and not normed:
        seen.pop("image")  # of the class token alone, and read by nothing
    finish(name, {key: value if key.startswith("language") else value[:1] for key, value in seen.items()})


def cut(name):
    """As `seeing`, of a picture whose tokens are those of its tiles, put together."""
    states, cases, outputs = opened(name, AutoModelForImageTextToText)
    i = next(i for i, case in enumerate(cases) if len(case["media"]) == 1)
    width, height = Image.open(IMAGES / cases[i]["media"][0]).size
    inputs = dict(input_ids=torch.tensor([cases[i]["ids"]]), pixel_values=outputs[f"{i}.pixels"],
                  image_sizes=torch.tensor([[height, width]]))
    looked(name, states, inputs, outputs[f"{i}.logits"])


def qwen_vl(name):
    """Of the picture of the first prompt that has one; patches that a tower has moved into windows, moved back."""
    states, cases, outputs = opened(name, AutoModelForImageTextToText)
    model = states.model
    visual, depth = model.model.visual, len(model.model.visual.blocks)
    states.stack("image", "model.visual.blocks")
    states.out("projector", "model.visual.merger")
    for i in range(len(getattr(visual, "deepstack_merger_list", []))):
        states.out(f"deepstack.{i}", f"model.visual.deepstack_merger_list.{i}")
    layers = model.config.text_config.num_hidden_layers
    for i in range(layers):
        states.into(f"language.{i}", f"model.language_model.layers.{i}")
    # Behind what may be added after the last layer.
    states.into(f"language.{layers}", "model.language_model.norm")
    states.out("language", "model.language_model.norm")
    i = first_seen(cases)
    grid = torch.tensor(cases[i]["grids"])
    ids = torch.tensor([cases[i]["ids"]])
    with torch.no_grad():
        logits = model(input_ids=ids, pixel_values=outputs[f"{i}.pixels"], image_grid_thw=grid,
                       mm_token_type_ids=(ids == model.config.image_token_id).int()).logits
    agree(name, logits[0, -1], outputs[f"{i}.logits"])
    seen = states.taken()
    if hasattr(visual, "window_size"):
        square = visual.spatial_merge_size**2
        windows, _ = get_vision_window_index(grid, visual.spatial_merge_size, visual.window_size, visual.patch_size)
        back = windows.argsort()
        for n in range(depth + 1):
            squares = seen[f"image.{n}"].reshape(len(back), square, -1)
            seen[f"image.{n}"] = squares[back].flatten(0, 1)
        seen["projector"] = seen["projector"][back]
    flat = {key: value if value.dim() == 3 else value[None] for key, value in seen.items()}
    agree(name, flat["projector"][0], outputs[f"{i}.features"])
    finish(name, flat)


def blip2_writes(name):
    states, cases, outputs = opened(name, Blip2ForConditionalGeneration)
    states.stack("image", "vision_model.encoder.layers")
    states.out("image", "vision_model.post_layernorm")
    states.stack("ask", "qformer.encoder.layer")
    states.out("projector", "language_projection")
    states.stack("language", "language_model.model.decoder.layers")
    i = next(i for i, case in enumerate(cases) if case["question"])
    ids, pixels = torch.tensor([cases[i]["ids"]]), outputs[f"{i}.pixels"]
    model, queries = states.model, states.model.config.num_query_tokens
    with torch.no_grad():
        positions = model.vision_model(pixels).last_hidden_state
        embeds = model.get_image_features(pixels).pooler_output
        whole = torch.cat([embeds, model.get_input_embeddings()(ids[:, queries:])], 1)
        result = model.language_model(inputs_embeds=whole, output_hidden_states=True)
    agree(name, result.logits[0, -1], outputs[f"{i}.logits"])
    # The norm after the encoder is read twice, the second time for a vector that nothing reads.
    finish(name, dict(states.taken(), image=positions, language=result.hidden_states[-1]))


def blip2_matches(name):
    states, expected, outputs = opened(name, Blip2ForImageTextRetrieval)
    model, queries = states.model, states.model.config.num_query_tokens
    states.stack("image", "vision_model.encoder.layers")
    states.stack("qformer", "qformer.encoder.layer")
    pixels = outputs["pixel_values"][:1]
    texts = [expected["ids"][0], expected["ids"][3]]
    longest = max(len(ids) for ids in texts)
    ids = torch.tensor([ids + [0] * (longest - len(ids)) for ids in texts])
    mask = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids in texts])

    def qformer(stack):
        found = states.taken()
        return {key.replace("qformer", stack): value for key, value in found.items() if key.startswith("qformer")}

    with torch.no_grad():
        positions = model.vision_model(pixels).last_hidden_state
        seen = dict(states.taken(), image=positions)
        tokens = model.query_tokens
        model.qformer(query_embeds=tokens, encoder_hidden_states=positions)
        seen.update(qformer("ask"))
        model.qformer(query_embeds=model.embeddings(input_ids=ids), query_length=0, attention_mask=mask)
        seen.update(qformer("read"))
        both = model.embeddings(input_ids=ids, query_embeds=tokens.expand(2, -1, -1))
        seeing = torch.cat([torch.ones(2, queries, dtype=torch.long), mask], 1)
        last = model.qformer(query_embeds=both, query_length=queries, attention_mask=seeing,
                             encoder_hidden_states=positions.expand(2, -1, -1)).last_hidden_state
        seen.update(qformer("both"))
        matching = model.itm_head(last[:, :queries]).mean(1)
    agree(name, matching, outputs["matching"][0, [0, 3]])
    finish(name, seen)


def idefics(name):
    """Of the last prompt, which names three pictures."""
    states, expected, outputs = opened(name, IdeficsForVisionText2Text)
    model = states.model
    states.stack("image", "model.vision_model.encoder.layers")
    if model.config.use_resampler:
        depth = len(model.model.perceiver_resampler.blocks)
        for i in range(depth):
            states.into(f"resampler.{i}", f"model.perceiver_resampler.blocks.{i}.0", place=1)
        states.into(f"resampler.{depth}", "model.perceiver_resampler.layer_norm")
        states.out("projector", "model.perceiver_resampler")
    # A gated block stands before the first layer: what it reads is the tokens.
    states.into("language.0", "model.gated_cross_attn_layers.0")
    for i in range(model.config.num_hidden_layers // model.config.cross_layer_interval):
        states.out(f"gated.{i}", f"model.gated_cross_attn_layers.{i}")
    for i in range(model.config.num_hidden_layers):
        states.out(f"language.{i + 1}", f"model.layers.{i}")
    states.out("language", "model.norm")
    case, last = expected["cases"][-1], len(expected["cases"]) - 1
    names = [part["image"] for part in case["prompt"] if not isinstance(part, str)]
    pixels = outputs["pixel_values"][[expected["images"].index(name) for name in names]]
    looks = torch.tensor(case["looks"])
    mask = (looks[:, None] == torch.arange(len(names))).long()[None]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([case["ids"]]), pixel_values=pixels[None],
                       image_attention_mask=mask, use_cache=False).logits
    agree(name, logits, outputs[f"{last}.logits"])
    # Of the pictures, the first.
    finish(name, {key: value[:1] for key, value in states.taken().items()})


def whisper(name):
    states, _, outputs = opened(name, WhisperForConditionalGeneration)
    inputs = load_file(ROOT / name / "inputs.safetensors")
    states.stack("encoder", "model.encoder.layers")
    states.stack("decoder", "model.decoder.layers")
    with torch.no_grad():
        logits = states.model(**inputs, use_cache=False).logits
    agree(name, logits, outputs["logits"])
    finish(name, states.taken())


def towers(name, pool, padded, text_pool):
    """CLIP's or SigLIP's two; of a picture and two texts."""
    states, expected, outputs = opened(name, AutoModel)
    states.stack("image", "vision_model.encoder.layers")
    states.out("pool", f"vision_model.{pool}")
    states.stack("text", "text_model.encoder.layers")
    states.out("text", f"text_model.{text_pool}")
    texts = expected["ids"][:2]
    longest = max(map(len, texts))
    assert padded is None or {len(ids) for ids in texts} == {longest}
    ids = torch.tensor([ids + [0] * (longest - len(ids)) for ids in texts])
    with torch.no_grad():
        result = states.model(input_ids=ids, pixel_values=outputs["pixel_values"][:1])
    agree(name, result.image_embeds, outputs["image_embeds"][:1])
    agree(name, result.text_embeds, outputs["text_embeds"][:2])
    finish(name, states.taken())


def dino(name, layers):
    """Registers stand last, as ours do, and after the last norm they are left out."""
    states, _, outputs = opened(name, AutoModel)
    states.stack("image", layers)
    with torch.no_grad():
        result = states.model(outputs["pixel_values"][:1])
    n = getattr(states.model.config, "num_register_tokens", 0)
    seen = {key: first_patches(value, n) for key, value in states.taken().items()}
    last = first_patches(result.last_hidden_state, n)
    last = last[:, :last.shape[1] - n].contiguous()
    agree(name, last, outputs["last_hidden_state"][:1])
    finish(name, dict(seen, image=last))


def convnext(name):
    """The places after each stage."""
    states, _, outputs = opened(name, AutoModel)
    states.stack("image", "model.stages")
    with torch.no_grad():
        last = states.model(outputs["pixel_values"][:1]).last_hidden_state
    agree(name, last, outputs["last_hidden_state"][:1])
    finish(name, dict(states.taken(), image=last.contiguous()))


def resnet(name):
    weights = load_file(ROOT / name / "open_clip_model.safetensors")
    model = ResNet()
    model.load_state_dict({key[len("visual."):]: value.float() for key, value in weights.items()
                           if key.startswith("visual.")})
    states, outputs = States(model.eval()), load_file(ROOT / name / "outputs.safetensors")
    states.into("image.0", "layer1.0")
    for i in range(1, 5):
        states.out(f"image.{i}", f"layer{i}")
    states.out("pool", "attnpool")
    processor = CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    picture = json.loads((ROOT / name / "expected.json").read_text())["pictures"][0]
    pixels = processor(Image.open(IMAGES / picture), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        embeds = model(pixels)
    agree(name, torch.nn.functional.normalize(embeds, dim=1), outputs["image_embeds"][:1])
    finish(name, states.taken())


def main():
    two_passes()
    for name in ("seeing_llava", "seeing_llava_legacy", "seeing_llava_full", "seeing_llava_siglip",
                 "seeing_llava_headless"):
        seeing(name, "vision_tower", "language_model", "multi_modal_projector")
    for name in ("seeing_idefics3", "seeing_smolvlm"):
        seeing(name, "vision_model", "text_model", "connector")
    for name in ("tiles_next", "tiles_onevision"):
        cut(name)
    for name in ("seeing_gemma3", "seeing_paligemma", "seeing_paligemma2"):
        both_ways(name)
    internvl("tiles_internvl")
    for name in ("qwen2_vl", "qwen2_5_vl", "qwen3_vl"):
        qwen_vl(name)
    for name in ("blip2_opt", "blip2_opt_plain"):
        blip2_writes(name)
    for name in ("blip2_matching", "blip2_matching_third"):
        blip2_matches(name)
    for name in ("idefics", "idefics_plain", "idefics_table"):
        idefics(name)
    for name in ("whisper", "whisper_english"):
        whisper(name)
    towers("published_clip", "post_layernorm", None, "final_layer_norm")
    towers("published_clip_sharded", "post_layernorm", None, "final_layer_norm")
    towers("published_siglip", "head", True, "final_layer_norm")
    for name in ("published_dinov2", "published_dinov2_registers", "published_dinov2_swiglu"):
        dino(name, "encoder.layer")
    for name in ("published_dinov3", "published_dinov3_gated"):
        dino(name, "model.layer")
    convnext("published_dinov3_convnext")
    resnet("published_clip_resnet")


if __name__ == "__main__":
    main()
