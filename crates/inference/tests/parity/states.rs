//! Every hidden state of models that lie in directories (`reference/states.py`): each layer of each
//! stack by name, so that a failure says which is the first to depart.

use std::sync::Arc;

use sensorium_backbone::Backbone;
use sensorium_encoder::image::{self, FeatureSelect, Patches, Vit};
use sensorium_encoder::text::Texts;
use sensorium_encoder::{Encoder, EncoderConfig};
use sensorium_flow::{Embeds, Encode, Features, Forward, Grid, Input, Project, Sequence};
use sensorium_input_projector::{Projector, ProjectorConfig};
use sensorium_media::{Layout, Modality, Picture, Slot};
use sensorium_model::blip2::Blip2Matcher;
use sensorium_model::idefics::Idefics;
use sensorium_model::llava::{Tower, TowerConfig};
use sensorium_model::qwen_vl::{Standing, positions, spliced};
use sensorium_model::splice::splice;
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use sensorium_pretrained::families::llava::Bidirectional;
use sensorium_pretrained::families::{blip2, idefics, llava, qwen_vl, whisper};
use sensorium_pretrained::{Directory, Eye, Matcher, Pretrained, Towers, planes};
use sensorium_testkit::{Golden, Report};
use serde_json::Value;

use crate::twin::device;

/// All layers of a tiny stack in f32.
const STATE: f32 = 1e-5;

/// The same of tiny Gemmas, whose streams grow: transformers' own f32 is 3e-5 to 8e-5 off the same in double
/// precision.
const GEMMA: f32 = 1e-4;

/// The states of one golden.
struct Check {
    golden: Golden,
    report: Report,
}

impl Check {
    fn open(name: &str) -> Self {
        Self::within(name, STATE)
    }

    fn within(name: &str, allowed: f32) -> Self {
        let golden = Golden::open(name);
        let report = Report::states(&golden, allowed);
        Self { golden, report }
    }

    fn directory(&self) -> Directory {
        Directory::open(&self.golden.path("")).expect("the golden is a checkpoint")
    }

    fn expected(&self) -> Value {
        self.golden.json("expected.json")
    }

    /// Output `name` of the golden.
    fn output<const D: usize>(&self, name: &str) -> Tensor<D> {
        let (shape, values) = self.golden.outputs().remove(name).expect("the golden has it");
        Tensor::from_data(TensorData::new(values, shape), &device())
    }

    fn state<const D: usize>(&mut self, name: &str, x: Tensor<D>) {
        self.report.check(name, &x.dims(), &read(x));
    }

    /// `<name>.0` to `<name>.n`, what `of` makes after so many layers.
    fn stack<const D: usize>(&mut self, name: &str, n: usize, of: impl Fn(usize) -> Tensor<D>) {
        (0..=n).for_each(|i| self.state(&format!("{name}.{i}"), of(i)));
    }
}

fn numbers<T: serde::de::DeserializeOwned>(value: &Value) -> Vec<T> {
    serde_json::from_value(value.clone()).expect("a list of numbers")
}

/// The first of the golden's conversations that `wanted` picks, with its number.
fn case(check: &Check, wanted: impl Fn(&Value) -> bool) -> (usize, Value) {
    let cases = check.expected();
    let mut cases = cases.as_array().expect("cases").iter().enumerate();
    let (i, case) = cases.find(|(_, case)| wanted(case)).expect("one of them");
    (i, case.clone())
}

/// A tower's encoder, what is read of it, and its blocks.
fn vit<'t>(tower: &'t Tower, config: &'t TowerConfig) -> (&'t Vit, &'t FeatureSelect, usize) {
    match (&tower.encoder, &config.encoder) {
        (Encoder::Image(image::Encoder::Vit(vit)), EncoderConfig::Vit { vit: shape, features }) => {
            (vit, features, shape.n_layers)
        }
        other => panic!("no Vision Transformer: {other:?}"),
    }
}

/// A model, its golden's first conversation about one picture, and that picture's pixels.
fn about_a_picture(check: &Check, media: &str) -> (llava::Spliced, Value, Tensor<4>) {
    let spliced =
        llava::open(&check.directory(), &device()).unwrap_or_else(|error| panic!("{error}"));
    let (i, case) = case(check, |case| case[media].as_array().map(Vec::len) == Some(1));
    let pixels = check.output(&format!("{i}.pixels"));
    (spliced, case, pixels)
}

/// The states before the language model: of the first tile.
fn tower(check: &mut Check, spliced: &llava::Spliced, pixels: &Tensor<4>) -> Embeds {
    let first = pixels.clone().narrow(0, 0, 1);
    let (image, features, n) = vit(&spliced.llava.towers[0], &spliced.config.towers[0]);
    check.stack("image", n, |i| image.positions_before(first.clone(), n - i));
    if features.layers.is_empty() && spliced.anyres.is_none() {
        check.state("image", image.positions(first));
    }
    let Embeds(seen) = spliced.llava.towers[0].embed(Input::Image(pixels.clone()));
    check.state("projector", seen.clone().narrow(0, 0, 1));
    Embeds(seen)
}

/// Those of the language model, with what was `seen` at its markers, `len` of them a slot.
fn language(check: &mut Check, spliced: &llava::Spliced, case: &Value, seen: Embeds, len: usize) {
    let ids: Vec<u32> = numbers(&case["ids"]);
    let marked = ids.iter().enumerate().filter(|(_, id)| **id == spliced.marker).map(|(at, _)| at);
    let slots: Vec<Slot> =
        marked.step_by(len).map(|at| Slot { at, len, modality: Modality::Image }).collect();
    let language = &spliced.llava.backbone;
    let embeds = splice(language.embed(&ids, [1, ids.len()]), seen, &slots);
    let layers = spliced.config.backbone.n_layers();
    let spans = spans(spliced.bidirectional, ids.len(), &slots);
    let sequence = Sequence { spans, ..Sequence::default() };
    check.stack("language", layers, |i| match language {
        Backbone::Llama(language) => language.hidden_of(embeds.clone(), &sequence, i),
        other => other.hidden(embeds.clone(), i),
    });
    check.state("language", language.forward(embeds, &sequence, None).0);
}

/// Which of so many tokens see each other both ways.
fn spans(bidirectional: Bidirectional, tokens: usize, slots: &[Slot]) -> Option<Arc<[Span]>> {
    let mut spans = vec![Span::None; tokens];
    match bidirectional {
        Bidirectional::Slots => {
            for (slot, n) in slots.iter().zip(1..) {
                spans[slot.at..slot.at + slot.len].fill(Span::Shared(n));
            }
        }
        Bidirectional::Prompt => spans.fill(Span::Shared(1)),
        Bidirectional::Never | Bidirectional::Framed => return None,
    }
    Some(spans.into())
}

fn seeing(name: &str) {
    told(name, "pictures", STATE);
}

/// The same of a golden that calls so what it is about.
fn told(name: &str, media: &str, allowed: f32) {
    let mut check = Check::within(name, allowed);
    let (spliced, case, pixels) = about_a_picture(&check, media);
    let seen = tower(&mut check, &spliced, &pixels);
    let len = seen.0.dims()[1];
    language(&mut check, &spliced, &case, seen, len);
    check.report.finish_all();
}

/// A picture whose tokens are those of its tiles, put together.
fn cut(name: &str) {
    let mut check = Check::open(name);
    let (spliced, case, pixels) = about_a_picture(&check, "media");
    let seen = tower(&mut check, &spliced, &pixels);
    let file = case["media"][0].as_str().expect("a name");
    let folder = Golden::open("published_images");
    let picture = Picture::read(&folder.path(file)).expect("a picture");
    let layout = spliced.processor.fit(&picture).layout;
    let Layout::Anyres { rows, columns, size } = layout else { panic!("{layout:?}") };
    let [tiles, size] = [[rows, columns], size].map(|both| both.map(|n| n as usize));
    let joined = spliced.anyres.as_ref().expect("tiles are put together").join(seen, tiles, size);
    let len = joined.0.dims()[1];
    language(&mut check, &spliced, &case, joined, len);
    check.report.finish_all();
}

#[test]
fn llava_layer_by_layer() {
    seeing("seeing_llava");
    seeing("seeing_llava_legacy");
    seeing("seeing_llava_full");
    seeing("seeing_llava_siglip");
    seeing("seeing_llava_headless");
}

#[test]
fn idefics3_and_smolvlm_layer_by_layer() {
    seeing("seeing_idefics3");
    seeing("seeing_smolvlm");
}

#[test]
fn llava_next_and_onevision_layer_by_layer() {
    cut("tiles_next");
    cut("tiles_onevision");
}

#[test]
fn gemma3_and_paligemma_layer_by_layer() {
    told("seeing_gemma3", "media", GEMMA);
    told("seeing_paligemma", "media", GEMMA);
    told("seeing_paligemma2", "media", GEMMA);
}

#[test]
fn internvl_layer_by_layer() {
    told("tiles_internvl", "media", STATE);
}

#[test]
fn qwen_vl_layer_by_layer() {
    for name in ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"] {
        let mut check = Check::open(name);
        let model = qwen_vl::open(&check.directory(), &device()).expect("it loads");
        let (i, case) = case(&check, |case| case["pictures"].as_array().map(Vec::len) == Some(1));
        let ids: Vec<u32> = numbers(&case["ids"]);
        let [steps, rows, columns]: [usize; 3] = numbers::<[usize; 3]>(&case["grids"])[0];
        let grid = Grid { steps, rows, columns };
        let pixels: Tensor<2> = check.output(&format!("{i}.pixels"));
        let patches = Patches { pixels: pixels.unsqueeze(), grid };

        let depth = model.config.tower.image.n_layers;
        check.stack("image", depth, |i| model.tower.image.hidden(&patches, i));
        let seen = model.tower.embed(patches); // [1 + L, Q, D]
        let [levels, len, _] = seen.dims();
        for level in 1..levels {
            check.state(&format!("deepstack.{}", level - 1), seen.clone().narrow(0, level, 1));
        }
        check.state("projector", seen.clone().narrow(0, 0, 1));
        let Backbone::Llama(language) = &model.backbone else { panic!("a Llama") };
        let marker = model.config.image_token_id;
        let at = ids.iter().position(|id| *id == marker).expect("a picture");
        let slot = Slot { at, len, modality: Modality::Image };
        let text = language.embed(&ids, [1, ids.len()]);
        let (embeds, deepstack) = spliced(text, seen, &[slot]);
        let merge = model.pictures.merge();
        let grid = Grid { steps, rows: rows / merge, columns: columns / merge };
        let grid = Some(positions(
            ids.len(),
            &[Standing { at, grid, step: 1.0, stretches: Vec::new() }],
            false,
        ));
        let sequence = Sequence { grid, deepstack, ..Sequence::default() };
        let layers = model.config.language.n_layers();
        check.stack("language", layers, |i| language.hidden_of(embeds.clone(), &sequence, i));
        check.state("language", language.forward(embeds, &sequence, None).0);
        check.report.finish_all();
    }
}

#[test]
fn blip2_that_writes_layer_by_layer() {
    for name in ["blip2_opt", "blip2_opt_plain"] {
        let mut check = Check::open(name);
        let writer = blip2::Writer::open(&check.directory(), &device()).expect("it loads");
        let (i, case) = case(&check, |case| case["question"] != "");
        let ids: Vec<u32> = numbers(&case["ids"]);
        let pixels: Tensor<4> = check.output(&format!("{i}.pixels"));

        let (image, _, n) = vit(&writer.eye.tower, &writer.eye.config);
        check.stack("image", n, |i| image.positions_before(pixels.clone(), n - i));
        let features = Features(image.positions(pixels));
        check.state("image", features.0.clone());
        let (Projector::Qformer(projector), ProjectorConfig::Qformer { qformer: shape, .. }) =
            (&writer.eye.tower.projector, &writer.eye.config.projector)
        else {
            panic!("no Q-Former")
        };
        let (qformer, layers) = (&projector.qformer, shape.n_layers);
        check.stack("ask", layers, |i| qformer.hidden(Some(&features), None, i));
        let seen = writer.eye.tower.projector.project(features.clone());
        check.state("projector", seen.0.clone());
        let language = &writer.backbone;
        let slot = Slot { at: 0, len: seen.0.dims()[1], modality: Modality::Image };
        let embeds = splice(language.embed(&ids, [1, ids.len()]), seen, &[slot]);
        let layers = writer.language.n_layers();
        check.stack("language", layers, |i| language.hidden(embeds.clone(), i));
        check.state("language", language.forward(embeds, &Sequence::default(), None).0);
        check.report.finish_all();
    }
}

#[test]
fn blip2_that_compares_layer_by_layer() {
    for name in ["blip2_matching", "blip2_matching_third"] {
        let mut check = Check::open(name);
        let matcher = Matcher::open(&check.directory(), &device()).expect("it loads");
        let Blip2Matcher { image, projector } = &matcher.model;
        let pixels = check.output::<4>("pixel_values").narrow(0, 0, 1);
        let ids: Vec<Vec<u32>> = numbers(&check.expected()["ids"]);
        let texts = Texts::pad(&[ids[0].clone(), ids[3].clone()], 0);

        let n = matcher.config().image.n_layers;
        check.stack("image", n, |i| image.positions_before(pixels.clone(), n - i));
        let features = Features(image.positions(pixels));
        check.state("image", features.0.clone());
        let layers = matcher.config().projector.qformer.n_layers;
        let qformer = &projector.qformer;
        check.stack("ask", layers, |i| qformer.hidden(Some(&features), None, i));
        let lengths: Arc<[usize]> = texts.ends.iter().map(|end| end + 1).collect();
        let words = || projector.words(&texts.ids, texts.shape);
        check.stack("read", layers, |i| qformer.hidden(None, Some((words(), &lengths)), i));
        let twice = Features(features.0.repeat_dim(0, 2));
        let both = |i| qformer.hidden(Some(&twice), Some((words(), &lengths)), i);
        check.stack("both", layers, both);
        check.report.finish_all();
    }
}

#[test]
fn idefics_layer_by_layer() {
    for name in ["idefics", "idefics_plain", "idefics_table"] {
        let mut check = Check::open(name);
        let directory = check.directory();
        let config = idefics::config(&directory.config()).expect("settings");
        let model = idefics::load(&directory, &config, &device()).expect("the names fit");
        let Idefics { image, projector, language } = &model;
        let expected = check.expected();
        let case = expected["cases"].as_array().and_then(|all| all.last()).expect("cases");
        let names: Vec<String> = numbers(&expected["images"]);
        let place = |part: &Value| names.iter().position(|name| *name == part["image"]);
        let cache = case["prompt"].as_array().expect("a prompt").iter().filter_map(place);
        let all: Tensor<4> = check.output("pixel_values");
        let pixels = Tensor::cat(cache.map(|at| all.clone().narrow(0, at, 1)).collect(), 0);
        let first = pixels.clone().narrow(0, 0, 1);

        let n = config.image.n_layers;
        check.stack("image", n, |i| image.positions_before(first.clone(), n - i));
        if let (Some(projector), Some(shape)) = (projector, &config.projector) {
            let features = Features(image.positions_before(first, 0));
            check.stack("resampler", shape.n_layers, |i| projector.hidden(&features, i));
            check.state("projector", projector.resample(&features).0);
        }
        let ids: Vec<u32> = numbers(&case["ids"]);
        let image_attention: Vec<i64> = numbers(&case["looks"]);
        let image_attention: Vec<_> =
            image_attention.into_iter().map(|look| usize::try_from(look).ok()).collect();
        let cache = language.cross_keys(&model.encode(pixels));
        let sequence =
            Sequence { cross_attention: Some(image_attention.into()), ..Sequence::default() };
        let embeds = || language.embed(&ids, [1, ids.len()]);
        let hidden = |i| language.hidden(embeds(), &sequence, &cache, i);
        check.stack("language", config.language.llama.n_layers, hidden);
        for i in 0..config.language.n_gated() {
            let layer = i * config.language.interval;
            let asked = language.ask(layer, hidden(layer), &sequence, &cache);
            check.state(&format!("gated.{i}"), asked);
        }
        let mut cache = cache.clone();
        check.state("language", language.forward(embeds(), &sequence, Some(&mut cache)).0);
        check.report.finish_all();
    }
}

#[test]
fn whisper_layer_by_layer() {
    for name in ["whisper", "whisper_english"] {
        let mut check = Check::open(name);
        let directory = check.directory();
        let config = whisper::config(&directory.config()).expect("settings");
        let tensors = directory.tensors().expect("tensors");
        let model =
            whisper::load(&config, tensors, &mut Init::empty(&device())).expect("the names fit");
        let mel: Tensor<3> = crate::twin::input(&check.golden, "input_features");
        let mel = Tensor::from_data(mel.into_data(), &device());
        let (ids, shape) = crate::twin::ids(&check.golden, "decoder_input_ids");

        let encoder = &model.encoder;
        check.stack("encoder", config.encoder.n_layers, |i| encoder.hidden(mel.clone(), i));
        let cache = model.decoder.cross_keys(&encoder.encode(mel));
        let embeds = || model.decoder.embed(&ids, shape);
        let hidden = |i| model.decoder.hidden(embeds(), &Sequence::default(), &cache, i);
        check.stack("decoder", config.decoder.n_layers, hidden);
        check.report.finish_all();
    }
}

fn towers(check: &Check) -> Towers {
    let model = crate::open::pretrained(&check.golden);
    let Pretrained::DualEncoder(towers) = model else { panic!("two towers") };
    towers
}

/// A text tower, of the golden's first two texts.
fn texts(check: &mut Check, towers: &Towers, layers: usize) {
    let mut ids: Vec<Vec<u32>> = numbers(&check.expected()["ids"]);
    ids.truncate(2);
    let texts = Texts::pad(&ids, 0);
    check.stack("text", layers, |i| towers.text.hidden(&texts, i));
    check.state("text", towers.text.positions(&texts));
}

#[test]
fn two_towers_layer_by_layer() {
    for (name, layers) in
        [("published_clip", 2), ("published_clip_sharded", 1), ("published_siglip", 2)]
    {
        let mut check = Check::open(name);
        let towers = towers(&check);
        let image::Encoder::Vit(image) = &towers.image else { panic!("a Vision Transformer") };
        let pixels = check.output::<4>("pixel_values").narrow(0, 0, 1);
        check.stack("image", 2, |i| image.positions_before(pixels.clone(), 2 - i));
        let pool = match name {
            "published_siglip" => image.embed(pixels),
            _ => {
                let x = image.positions(pixels).narrow(1, 0, 1);
                let e = x.dims()[2];
                x.reshape([1, e])
            }
        };
        check.state("pool", pool);
        texts(&mut check, &towers, layers);
        check.report.finish_all();
    }
}

/// Each picture alone, where transformers pads all to one number of patches and hides the padding.
#[test]
fn siglip2_layer_by_layer() {
    for (name, [deep, layers]) in [("siglip2", [2, 2]), ("siglip2_wide", [3, 1])] {
        let mut check = Check::open(name);
        let towers = towers(&check);
        let image::Encoder::Naflex(naflex) = &towers.image else { panic!("pictures of any shape") };
        let pictures: Vec<String> = numbers(&check.expected()["pictures"]);
        for (i, picture) in pictures.iter().enumerate() {
            let own = check.golden.path(picture);
            let shared = check.golden.path("../published_images").join(picture);
            let picture = Picture::read(if own.exists() { &own } else { &shared });
            let pixels =
                planes(&towers.processor, &[picture.expect("the golden is complete")], &device());
            let grid = check.golden.outputs()[&format!("{i}.grid")].1.clone();
            let vit = naflex.at([grid[0] as usize, grid[1] as usize]);
            let stack = |k| vit.positions_before(pixels.clone(), deep - k);
            check.stack(&format!("{i}.image"), deep, stack);
            check.state(&format!("{i}.image"), vit.positions(pixels.clone()));
            check.state(&format!("{i}.pool"), towers.image.embed(pixels));
        }
        texts(&mut check, &towers, layers);
        check.report.finish_all();
    }
}

#[test]
fn dino_layer_by_layer() {
    for name in [
        "published_dinov2",
        "published_dinov2_registers",
        "published_dinov2_swiglu",
        "published_dinov3",
        "published_dinov3_gated",
    ] {
        let mut check = Check::open(name);
        let model = crate::open::pretrained(&check.golden);
        let Pretrained::ImageEncoder(dinov2) = model else { panic!("it is DINO") };
        let Eye::Vit(vit, config) = &dinov2.eye else { panic!("a Vision Transformer") };
        let pixels = check.output::<4>("pixel_values").narrow(0, 0, 1);
        let n = config.n_layers;
        check.stack("image", n, |i| vit.positions_before(pixels.clone(), n - i));
        check.state("image", vit.positions(pixels));
        check.report.finish_all();
    }
}

#[test]
fn a_convnext_stage_by_stage() {
    let mut check = Check::open("published_dinov3_convnext");
    let Pretrained::ImageEncoder(dinov3) = crate::open::pretrained(&check.golden) else {
        panic!("it is DINO")
    };
    let Eye::ConvNext(convnext) = &dinov3.eye else { panic!("a ConvNeXt") };
    let pixels = check.output::<4>("pixel_values").narrow(0, 0, 1);
    check.stack("image", 3, |i| convnext.hidden(pixels.clone(), i));
    check.state("image", convnext.positions(pixels));
    check.report.finish_all();
}

#[test]
fn a_resnet_stage_by_stage() {
    let mut check = Check::open("published_clip_resnet");
    let towers = towers(&check);
    let image::Encoder::Resnet(resnet) = &towers.image else { panic!("a ResNet") };
    let name: Vec<String> = numbers(&check.expected()["pictures"]);
    let picture = check.golden.path("../published_images").join(&name[0]);
    let picture = Picture::read(&picture).expect("the golden is complete");
    let pixels = planes(&towers.processor, &[picture], &device());
    check.stack("image", 4, |i| resnet.hidden(pixels.clone(), i));
    check.state("pool", resnet.embed(pixels));
    check.report.finish_all();
}

/// The encoder behind a picture's tokens, where there are some, and the decoder when it has said four tokens.
#[test]
fn t5_layer_by_layer() {
    for name in ["t5", "t5_gated", "blip2_t5", "blip2_t5_plain"] {
        let mut check = Check::open(name);
        let Pretrained::T5(parts) = crate::open::pretrained(&check.golden) else { panic!("T5") };
        let (model, layers) = (&parts.model, parts.config.n_layers);
        let (i, case) = case(&check, |case| case["question"] != "");
        let ids: Vec<u32> = numbers(&case["ids"]);
        let mut embeds = model.embed(&ids, [1, ids.len()]);
        if let Some(eye) = &parts.eye {
            let pixels: Tensor<4> = check.output(&format!("{i}.pixels"));
            let seen = eye.tower.embed(Input::Image(pixels));
            let slot = Slot { at: 0, len: seen.0.dims()[1], modality: Modality::Image };
            embeds = splice(embeds, seen, &[slot]);
        }
        check.stack("encoder", layers[0], |i| model.encoded(embeds.clone(), i));
        let features = model.encode(embeds);
        check.state("encoder", features.0.clone());
        let said: Vec<u32> = numbers::<u32>(&case["greedy"]).into_iter().take(4).collect();
        let said = [vec![parts.decoder_start_token_id], said].concat();
        let embeds = model.embed(&said, [1, said.len()]);
        let mut cache = model.cross_keys(&features);
        check.stack("decoder", layers[1], |i| model.hidden(embeds.clone(), &cache, i));
        let last = model.forward(embeds, &Sequence::default(), Some(&mut cache)).0;
        check.state("decoder", last);
        check.report.finish_all();
    }
}

#[test]
fn janus_layer_by_layer() {
    seeing("janus");
}
