//! Picture files and texts to embeddings and logits.

use sensorium_media::Picture;
use sensorium_model::clip::Score;
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use sensorium_nn::running_device;
use sensorium_pretrained::{Published, Towers};
use sensorium_testkit::{Tensors, assert_close};
use serde_json::Value;

use crate::golden;

/// Largest difference of a value of a stack in f32.
const STACK: f32 = 1e-4;

pub struct Twin {
    pub model: Published,
    pub pictures: Vec<Picture>,
    pub texts: Vec<String>,
    pub ids: Vec<Vec<u32>>,
    pub outputs: Tensors,
}

fn strings(value: &Value) -> Vec<String> {
    serde_json::from_value(value.clone()).unwrap_or_default()
}

impl Twin {
    pub fn open(name: &str) -> Self {
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
            model: Published::open(&folder).unwrap_or_else(|error| panic!("{error}")),
            pictures: strings(&expected["pictures"]).iter().map(picture).collect(),
            texts: strings(&expected["texts"]),
            ids: serde_json::from_value(expected["ids"].clone()).unwrap_or_default(),
            outputs: outputs.collect(),
        }
    }

    fn check(&self, name: &str, got: &[f32], tolerance: f32) {
        assert_close(name, got, &self.outputs[name].1, tolerance);
    }

    /// Embeddings and logits; `tolerance` of an embedding's values.
    pub fn compare(&self, tolerance: f32) {
        let towers = self.model.towers().unwrap();
        let pictures = self.model.embed_pictures(&self.pictures).expect("it sees");
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
    let mut twin = Twin::open(name);
    let towers = twin.model.towers().unwrap();
    pixels(&twin, |picture| read(towers.processor.image(picture)));
    let pad = towers.tokenizer.id("</s>");
    for (text, ids) in twin.texts.iter().zip(&twin.ids) {
        let mut got = towers.ids(text).unwrap();
        if let Some(pad) = pad {
            got.resize(ids.len().max(got.len()), pad);
        }
        assert_eq!(&got, ids, "{text}");
    }
    twin.compare(STACK / 10.0);
    twin.model.pack(pack::Format::F32);
    twin.compare(STACK / 10.0);
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
    let mut twin = Twin::open("published_clip_resnet");
    twin.compare(STACK / 10.0);
    twin.model.pack(pack::Format::F32);
    twin.compare(STACK / 10.0);
}

#[test]
fn siglip() {
    both_towers("published_siglip");
}

#[test]
fn probabilities_are_of_all_texts_or_of_the_pair() {
    let probabilities = |name: &str| -> Vec<(f32, f32)> {
        let twin = Twin::open(name);
        let towers = twin.model.towers().unwrap();
        let picture = twin.model.embed_pictures(&twin.pictures[..1]).expect("it sees");
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

fn dinov2(name: &str) {
    let mut twin = Twin::open(name);
    for format in [None, Some(pack::Format::F32)] {
        if let Some(format) = format {
            twin.model.pack(format);
        }
        let Published::Dinov2(dinov2) = &twin.model else { panic!("it is DINOv2") };
        pixels(&twin, |picture| dinov2.processor.process(picture));
        let all: Vec<f32> = twin.pictures.iter().flat_map(|p| dinov2.positions(p)).collect();
        twin.check("last_hidden_state", &all, STACK);
        let rows = dinov2.config().patches() + 1;
        assert_eq!(twin.outputs["last_hidden_state"].0, [3, rows, dinov2.config().width]);
        let pooled = &twin.outputs["pooler_output"];
        let pooled = Tensor::<2>::from_data(
            TensorData::new(pooled.1.clone(), [pooled.0[0], pooled.0[1]]),
            &running_device(),
        );
        let want = read(sensorium_model::clip::unit(pooled));
        assert_close(
            "unit",
            &twin.model.embed_pictures(&twin.pictures).expect("it sees").concat(),
            &want,
            STACK,
        );
    }
    assert!(twin.model.towers().unwrap_err().to_string().contains("dinov2"));
}

#[test]
fn fewer_bits_keep_the_directions() {
    for name in [
        "published_clip",
        "published_siglip",
        "published_dinov2",
        "published_dinov2_swiglu",
        "published_clip_resnet",
    ] {
        let exact = Twin::open(name);
        let exact = exact.model.embed_pictures(&exact.pictures).expect("it sees");
        for (format, least) in [(pack::Format::Bf16, 0.999), (pack::Format::Int8, 0.995)] {
            let mut twin = Twin::open(name);
            twin.model.pack(format);
            let packed = twin.model.embed_pictures(&twin.pictures).expect("it sees");
            for (a, b) in exact.iter().zip(&packed) {
                let cosine: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
                assert!(cosine > least, "{name} {format:?}: {cosine}");
            }
        }
    }
}
