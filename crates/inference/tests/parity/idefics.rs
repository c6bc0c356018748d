//! `goldens/{idefics, idefics_plain, idefics_table}`: directories as the hub has them, from picture
//! files and texts to tokens.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use sensorium_flow::{Features, Forward, Hidden, Sequence};
use sensorium_inference::idefics::Prompt;
use sensorium_inference::{Finish, GenerateOptions, IdeficsModel, Model};
use sensorium_media::{Modality, Part, Picture};
use sensorium_model::idefics::Idefics;
use sensorium_nn::params::{read, update};
use sensorium_nn::prelude::*;
use sensorium_pretrained::names::{self, IDEFICS};
use sensorium_pretrained::{Directory, families};
use sensorium_testkit::{Golden, Report};
use serde_json::Value;

use crate::twin::{STACK, device};

const NAMES: [&str; 3] = ["idefics", "idefics_plain", "idefics_table"];

/// Media that tokens see.
fn seeing(features: Option<Features>, looks: &[Option<usize>]) -> Sequence {
    Sequence { features, cross_attention: Some(looks.into()), ..Sequence::default() }
}

/// A prompt, and what transformers makes of it.
struct Case {
    parts: Vec<Part>,
    pictures: Vec<Picture>,
    prompt: Prompt,
    greedy: Vec<u32>,
}

fn picture(name: &str) -> Picture {
    let images = Golden::open(NAMES[0]).path("../published_images");
    Picture::read(&images.join(name)).expect("the golden is complete")
}

fn cases(golden: &Golden) -> Vec<Case> {
    let expected = std::fs::read(golden.path("expected.json")).expect("the golden is complete");
    let expected: Value = serde_json::from_slice(&expected).expect("JSON");
    expected["cases"].as_array().expect("cases").iter().map(case).collect()
}

fn case(value: &Value) -> Case {
    let numbers = |key: &str| -> Vec<i64> {
        serde_json::from_value(value[key].clone()).expect("a list of numbers")
    };
    let mut pictures = Vec::new();
    let parts = value["prompt"].as_array().expect("a prompt").iter().map(|part| {
        if let Some(text) = part.as_str() {
            return Part::Text(text.to_owned());
        }
        pictures.push(picture(part["image"].as_str().expect("a name")));
        Part::Media(Modality::Image)
    });
    let parts = parts.collect();
    let ids = |key: &str| numbers(key).into_iter().map(|id| id as u32).collect();
    let image_attention =
        numbers("looks").into_iter().map(|look| usize::try_from(look).ok()).collect();
    Case {
        parts,
        pictures,
        prompt: Prompt { ids: ids("ids"), image_attention },
        greedy: ids("greedy"),
    }
}

fn open(name: &str) -> (Golden, IdeficsModel) {
    let golden = Golden::open(name);
    let Model::Idefics(model) = crate::open::model(&golden) else { panic!("{name} is Idefics") };
    (golden, model)
}

fn load(golden: &Golden) -> (Directory, Idefics) {
    let directory = Directory::open(&golden.path("")).expect("a directory");
    let config = families::idefics::config(&directory.config()).expect("settings");
    let model = families::idefics::load(&directory, &config, &device()).expect("the names fit");
    (directory, model)
}

fn logits(model: &Idefics, Hidden(x): Hidden) -> Tensor<3> {
    let [b, t, d] = x.dims();
    let logits = model.language.logits(x.reshape([b * t, d]));
    let v = logits.dims()[1];
    logits.reshape([b, t, v])
}

#[test]
fn pictures_and_prompts_to_states_and_logits() {
    for name in NAMES {
        let (golden, viewer) = open(name);
        let mut report = Report::new(&golden, STACK);
        let images = ["noise.png", "smooth.png", "rings.png"].map(picture);
        let pixels: Vec<f32> =
            images.iter().flat_map(|p| viewer.parts.processor.process(p)).collect();
        let side = viewer.parts.config.image.image;
        report.check("pixel_values", &[3, 3, side, side], &pixels);
        let pixels = TensorData::new(pixels, [3, 3, side, side]);
        let pixels = Tensor::<4>::from_data(pixels, &device());
        let positions = viewer.parts.model.image.positions_before(pixels.clone(), 0);
        report.check("positions", &positions.dims(), &read(positions));
        let seen = viewer.parts.model.encode(pixels).0;
        let last = if viewer.parts.config.projector.is_some() { "latents" } else { "positions" };
        report.check(last, &seen.dims(), &read(seen));

        for (n, case) in cases(&golden).into_iter().enumerate() {
            let prompt = viewer.text_processor.prompt(&case.parts, false).expect("ids");
            assert_eq!(prompt, case.prompt, "{name} {n}");
            assert_eq!(prompt.pictures(), case.pictures.len());
            let fitted: Vec<_> =
                case.pictures.iter().flat_map(|p| viewer.parts.processor.fit(p).pictures).collect();
            let (language, mut cache) = (&viewer.parts.model.language, viewer.cross_keys(&fitted));
            let embeds = language.embed(&prompt.ids, [1, prompt.ids.len()]);
            let hidden =
                language.forward(embeds, &seeing(None, &prompt.image_attention), Some(&mut cache));
            let x = hidden.0.clone();
            report.check(&format!("{n}.hidden"), &x.dims(), &read(x));
            let x = logits(&viewer.parts.model, hidden);
            report.check(&format!("{n}.logits"), &x.dims(), &read(x));
        }
        report.finish();
    }
}

#[test]
fn greedy_tokens_are_those_of_transformers() {
    for name in NAMES {
        let (golden, viewer) = open(name);
        for (n, case) in cases(&golden).into_iter().enumerate() {
            let options = GenerateOptions { max_new_tokens: 16, ..GenerateOptions::default() };
            let mut heard = Vec::new();
            let done = viewer.extend(&case.prompt, &case.pictures, &options, &mut |step| {
                heard.push(step.id);
                ControlFlow::Continue(())
            });
            let done = done.unwrap_or_else(|error| panic!("{name} {n}: {error}")).continuation;
            assert_eq!((&done.ids, &heard), (&case.greedy, &case.greedy), "{name} {n}");
            assert_eq!((done.finish, done.steps), (Finish::Length, 15));
        }
    }
}

/// Flamingo at its start is exactly the language model that it is made from.
#[test]
fn with_gates_at_zero_logits_are_the_plain_llamas_bit_for_bit() {
    for name in NAMES {
        let golden = Golden::open(name);
        let (_, model) = load(&golden);
        let viewer = open(name).1;
        let open_gates = model.clone();
        let model = update(model, |name, _, data| {
            let is_gate = name.ends_with("cross_gate") || name.ends_with("mlp_gate");
            if is_gate {
                data.fill(0.0);
            }
            is_gate
        });
        for case in cases(&golden) {
            let (ids, image_attention) = (&case.prompt.ids, &case.prompt.image_attention);
            let llama = model.language.llama();
            let plain = llama.forward(llama.embed(ids, [1, ids.len()]), &Sequence::default(), None);
            let plain = read(logits(&model, plain));
            let of = |model: &Idefics| {
                let pixels = |p: &Picture| viewer.parts.processor.process(p);
                let pixels: Vec<f32> = case.pictures.iter().flat_map(pixels).collect();
                let side = viewer.parts.config.image.image;
                let pixels = TensorData::new(pixels, [case.pictures.len(), 3, side, side]);
                let see = || model.encode(Tensor::from_data(pixels, &device()));
                let sequence = seeing((!case.pictures.is_empty()).then(see), image_attention);
                let embeds = model.language.embed(ids, [1, ids.len()]);
                read(logits(model, model.language.forward(embeds, &sequence, None)))
            };
            assert!(of(&model) == plain, "{name}: gates of 0 change logits");
            assert!(of(&open_gates) != plain, "{name}: gates do nothing");
        }
    }
}

/// Every tensor of a file has its place, and goes back to it.
#[test]
fn keys_go_there_and_back() {
    for name in NAMES {
        let (directory, model) = load(&Golden::open(name));
        let mut file: BTreeMap<_, _> = directory.tensors().expect("tensors").tensors;
        for (name, tensor) in names::save(&model, &IDEFICS).expect("it can be written").tensors {
            let mut values = file.remove(&name).expect(&name).into_parts().1;
            let apart = match name.as_str() {
                "model.embed_tokens.weight" => "model.embed_tokens.additional_embedding.weight",
                "lm_head.weight" => "lm_head.additional_fc.weight",
                _ => "",
            };
            values.extend(file.remove(apart).iter().flat_map(|rows| rows.data()));
            assert_eq!(tensor.data(), values, "{name}");
        }
        assert!(file.is_empty(), "{name}: {:?}", file.keys());
    }
}
