//! Picture files and texts to embeddings and logits.

use sensorium_inference::{Error as Running, Model};
use sensorium_media::Picture;
use sensorium_model::clip::Score;
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use sensorium_pretrained::{Error, Eye, Towers, planes};
use sensorium_testkit::{Tensors, assert_close};
use serde_json::Value;

use crate::golden;
use crate::open::{device, model};

/// Largest difference of a value of a stack in f32.
const STACK: f32 = 1e-4;

pub struct Twin {
    pub model: Model,
    pub pictures: Vec<Picture>,
    pub texts: Vec<String>,
    pub ids: Vec<Vec<u32>>,
    pub outputs: Tensors,
}

fn strings(value: &Value) -> Vec<String> {
    serde_json::from_value(value.clone()).unwrap_or_default()
}

impl Twin {
    /// Matrices as they are read, or in this format.
    pub fn open(name: &str, format: Option<pack::Format>) -> Self {
        let folder = golden(name);
        let expected = std::fs::read(folder.join("expected.json")).expect("the golden is there");
        let expected: Value = serde_json::from_slice(&expected).unwrap();
        let picture = |name: &String| {
            let (own, shared) = (folder.join(name), golden("published_images").join(name));
            Picture::read(if own.exists() { &own } else { &shared }).unwrap()
        };
        let outputs = std::fs::read(folder.join("outputs.safetensors")).unwrap();
        let outputs = sensorium_checkpoint::safetensors::read(&outputs).unwrap();
        let outputs = outputs.tensors.into_iter().map(|(name, t)| (name, t.into_parts()));
        Self {
            model: model(&folder, format).unwrap_or_else(|error| panic!("{error}")),
            pictures: strings(&expected["pictures"]).iter().map(picture).collect(),
            texts: strings(&expected["texts"]),
            ids: serde_json::from_value(expected["ids"].clone()).unwrap_or_default(),
            outputs: outputs.collect(),
        }
    }

    pub fn towers(&self) -> &Towers {
        let Model::DualEncoder(towers) = &self.model else { panic!("two towers") };
        towers
    }

    pub fn embed_pictures(&self) -> Vec<Vec<f32>> {
        self.model.embedding().unwrap().embed_pictures(&self.pictures).expect("it sees")
    }

    fn check(&self, name: &str, got: &[f32], tolerance: f32) {
        assert_close(name, got, &self.outputs[name].1, tolerance);
    }

    /// Embeddings and logits; `tolerance` of an embedding's values.
    pub fn compare(&self, tolerance: f32) {
        let towers = self.towers();
        let pictures = self.embed_pictures();
        let texts = towers.embed_texts(&self.texts).unwrap();
        self.check("image_embeds", &pictures.concat(), tolerance);
        self.check("text_embeds", &texts.concat(), tolerance);
        let logits: Vec<f32> = scores(towers, &pictures, &texts).iter().map(|s| s.logit).collect();
        self.check("logits_per_image", &logits, 20.0 * tolerance);
    }
}

fn scores(towers: &Towers, pictures: &[Vec<f32>], texts: &[Vec<f32>]) -> Vec<Score> {
    towers.comparison.scores(pictures, texts).concat()
}

fn pixels(twin: &Twin, of: impl Fn(&Picture) -> Vec<f32>) {
    let got: Vec<f32> = twin.pictures.iter().flat_map(of).collect();
    twin.check("pixel_values", &got, 1e-5);
}

fn both_towers(name: &str) {
    let twin = Twin::open(name, None);
    let towers = twin.towers();
    pixels(&twin, |picture| {
        read(planes(&towers.processor, std::slice::from_ref(picture), &device()))
    });
    let pad = towers.texts.tokenizer.id("</s>");
    for (text, ids) in twin.texts.iter().zip(&twin.ids) {
        let mut got = towers.ids(text).unwrap();
        if let Some(pad) = pad {
            got.resize(ids.len().max(got.len()), pad);
        }
        assert_eq!(&got, ids, "{text}");
    }
    twin.compare(STACK / 10.0);
    Twin::open(name, Some(pack::Format::F32)).compare(STACK / 10.0);
}

#[test]
fn clip_read_at_its_largest_id() {
    both_towers("published_clip");
}

#[test]
fn clip_in_shards_read_at_its_end_token() {
    both_towers("published_clip_sharded");
}

#[test]
fn clip_as_open_clip_has_it() {
    both_towers("published_open_clip");
}

#[test]
fn clip_with_a_resnet() {
    for format in [None, Some(pack::Format::F32)] {
        Twin::open("published_clip_resnet", format).compare(STACK / 10.0);
    }
}

#[test]
fn siglip() {
    both_towers("published_siglip");
}

#[test]
fn probabilities_are_of_all_texts_or_of_the_pair() {
    let probabilities = |name: &str| -> Vec<(f32, f32)> {
        let twin = Twin::open(name, None);
        let towers = twin.towers();
        let picture = towers.embed_pictures(&twin.pictures[..1]);
        let texts = towers.embed_texts(&twin.texts).unwrap();
        scores(towers, &picture, &texts).iter().map(|s| (s.logit, s.probability)).collect()
    };
    let sum: f32 = probabilities("published_clip").iter().map(|(_, p)| p).sum();
    assert!((sum - 1.0).abs() < 1e-5, "{sum}");
    for (logit, probability) in probabilities("published_siglip") {
        assert!((probability - 1.0 / (1.0 + (-logit).exp())).abs() < 1e-6);
    }
}

#[test]
fn dinov2_at_another_resolution_than_its_own() {
    dinov2("published_dinov2");
}

#[test]
fn dinov2_with_gated_mlps() {
    dinov2("published_dinov2_swiglu");
}

#[test]
fn dinov2_with_registers() {
    dinov2("published_dinov2_registers");
}

#[test]
fn dinov3() {
    dino("published_dinov3", "dinov3_vit");
}

#[test]
fn dinov3_with_gated_mlps_and_without_registers() {
    dino("published_dinov3_gated", "dinov3_vit");
}

#[test]
fn dinov3_as_a_convnext() {
    dino("published_dinov3_convnext", "dinov3_convnext");
}

fn dinov2(name: &str) {
    dino(name, "dinov2");
}

fn dino(name: &str, family: &str) {
    for format in [None, Some(pack::Format::F32)] {
        let twin = Twin::open(name, format);
        let Model::ImageEncoder(dinov2) = &twin.model else { panic!("it is DINO") };
        pixels(&twin, |picture| dinov2.processor.process(picture));
        let all: Vec<f32> = twin.pictures.iter().flat_map(|p| dinov2.positions(p)).collect();
        twin.check("last_hidden_state", &all, STACK);
        if let Eye::Vit(_, config) = &dinov2.eye {
            let rows = config.patches() + 1;
            assert_eq!(twin.outputs["last_hidden_state"].0, [3, rows, config.hidden_size]);
        }
        let pooled = &twin.outputs["pooler_output"];
        let pooled = Tensor::<2>::from_data(
            TensorData::new(pooled.1.clone(), [pooled.0[0], pooled.0[1]]),
            &device(),
        );
        let want = read(sensorium_model::clip::unit(pooled));
        assert_close("unit", &twin.embed_pictures().concat(), &want, STACK);
        let texts = twin.model.embedding().unwrap().embed_texts(&["a cat".to_owned()]);
        let error = texts.unwrap_err();
        let Running::Pretrained(Error::NoTexts { family: named }) = error else {
            panic!("{error}")
        };
        assert_eq!(named, family);
        assert!(matches!(twin.model.score().err(), Some(Running::Cannot { .. })));
    }
}

#[test]
fn fewer_bits_keep_the_directions() {
    for name in [
        "published_clip",
        "published_siglip",
        "published_dinov2",
        "published_dinov2_swiglu",
        "published_dinov3",
        "published_dinov3_gated",
        "published_dinov3_convnext",
        "published_clip_resnet",
    ] {
        let exact = Twin::open(name, None).embed_pictures();
        for (format, least) in [(pack::Format::Bf16, 0.999), (pack::Format::Int8, 0.995)] {
            let packed = Twin::open(name, Some(format)).embed_pictures();
            for (a, b) in exact.iter().zip(&packed) {
                let cosine: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
                assert!(cosine > least, "{name} {format:?}: {cosine}");
            }
        }
    }
}
