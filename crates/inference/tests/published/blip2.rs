//! BLIP-2 that compares: `goldens/blip2_matching*` (`reference/blip2.py`).

use std::fs;

use sensorium_checkpoint::safetensors;
use sensorium_inference::Error as Running;
use sensorium_media::Picture;
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use sensorium_pretrained::names::{self, BLIP2};
use sensorium_pretrained::{Directory, Error, Matcher, Pretrained, plan};
use sensorium_testkit::{Tensors, assert_close, assert_tensor};
use serde_json::{Value, json};

use crate::bad_inputs::{copy, edit, fails, lacks_or_renames};
use crate::golden;
use crate::open::{model, pretrained};

/// Largest difference of a value of a stack in f32.
const STACK: f32 = 1e-4;

const GOLDENS: [&str; 2] = ["blip2_matching", "blip2_matching_third"];

struct Twin {
    model: Matcher,
    pictures: Vec<Picture>,
    texts: Vec<String>,
    ids: Vec<Vec<u32>>,
    outputs: Tensors,
}

impl Twin {
    fn open(name: &str) -> Self {
        let folder = golden(name);
        let expected = fs::read(folder.join("expected.json")).expect("the golden is there");
        let expected: Value = serde_json::from_slice(&expected).unwrap();
        let strings =
            |key: &str| -> Vec<String> { serde_json::from_value(expected[key].clone()).unwrap() };
        let picture =
            |name: &String| Picture::read(&golden("published_images").join(name)).unwrap();
        let outputs = safetensors::load(&folder.join("outputs.safetensors")).unwrap();
        let Pretrained::Matcher(model) = pretrained(&folder).unwrap_or_else(|e| panic!("{e}"))
        else {
            panic!("it is BLIP-2")
        };
        Self {
            model,
            pictures: strings("pictures").iter().map(picture).collect(),
            texts: strings("texts"),
            ids: serde_json::from_value(expected["ids"].clone()).unwrap(),
            outputs: outputs.tensors.into_iter().map(|(n, t)| (n, t.into_parts())).collect(),
        }
    }

    fn check(&self, name: &str, got: &[f32], tolerance: f32) {
        assert_close(name, got, &self.outputs[name].1, tolerance);
    }

    fn compare(&self, tolerance: f32) {
        let Self { model, pictures, .. } = self;
        let pixels: Vec<f32> = pictures.iter().flat_map(|p| model.processor.process(p)).collect();
        self.check("pixel_values", &pixels, 1e-5);
        let seen: Vec<_> = pictures.iter().map(|picture| model.encode(picture)).collect();
        let first = &seen[0].0;
        let positions = &self.outputs["positions"];
        assert_tensor("positions", &first.dims(), &read(first.clone()), positions, tolerance);
        let queries = seen.iter().flat_map(|features| read(model.model.embed_images(features)));
        self.check("image_embeds", &queries.collect::<Vec<f32>>(), tolerance);
        self.check("text_embeds", &model.embed_texts(&self.texts).unwrap().concat(), tolerance);
        let matching = seen.iter().flat_map(|features| model.matching(features, &self.ids));
        self.check("matching", &matching.flatten().collect::<Vec<f32>>(), tolerance);
        let pairs = model.compare(pictures, &self.texts).unwrap().concat();
        let similarities: Vec<f32> = pairs.iter().map(|pair| pair.similarity).collect();
        self.check("logits_per_image", &similarities, tolerance);
        for (pair, logits) in pairs.iter().zip(self.outputs["matching"].1.chunks(2)) {
            let want = 1.0 / (1.0 + (logits[0] - logits[1]).exp());
            assert!((pair.matching - want).abs() < tolerance, "{pair:?}, want {want}");
        }
    }
}

#[test]
fn pictures_and_texts_are_compared_as_transformers_does() {
    for name in GOLDENS {
        let mut twin = Twin::open(name);
        for (text, ids) in twin.texts.iter().zip(&twin.ids) {
            assert_eq!(&twin.model.ids(text).unwrap(), ids, "{text}");
        }
        twin.compare(STACK / 10.0);
        twin.model.pack(pack::Format::F32);
        twin.compare(STACK / 10.0);
    }
}

#[test]
fn fewer_bits_keep_the_order() {
    for (format, tolerance) in [(pack::Format::Bf16, 0.05), (pack::Format::Int8, 0.1)] {
        let mut twin = Twin::open("blip2_matching");
        twin.model.pack(format);
        twin.compare_similarities(tolerance);
    }
}

impl Twin {
    fn compare_similarities(&self, tolerance: f32) {
        let pairs = self.model.compare(&self.pictures, &self.texts).unwrap().concat();
        let similarities: Vec<f32> = pairs.iter().map(|pair| pair.similarity).collect();
        self.check("logits_per_image", &similarities, tolerance);
    }
}

#[test]
fn every_key_leads_there_and_back() {
    for name in GOLDENS {
        let directory = Directory::open(&golden(name)).unwrap();
        let plan = plan(&directory).unwrap();
        assert_eq!(plan.family, "blip-2");
        let stored = directory.shapes().unwrap();
        assert_eq!(plan.tensors.len(), stored.len());
        for tensor in &plan.tensors {
            assert_eq!(stored[&tensor.name].shape, tensor.shape, "{}", tensor.name);
        }
        let twin = Twin::open(name);
        let saved = names::save(&twin.model.model, &BLIP2).unwrap().tensors;
        let read = directory.tensors().unwrap().tensors;
        assert!(saved.keys().eq(read.keys()));
        for (name, tensor) in &read {
            assert_eq!(saved[name].data(), tensor.data(), "{name}");
        }
    }
}

#[test]
fn keys_that_are_missing_renamed_or_left_over_are_named() {
    let keys = [
        "query_tokens",
        "vision_model.embeddings.class_embedding",
        "vision_model.encoder.layers.1.self_attn.qkv.bias",
        "qformer.encoder.layer.2.crossattention.output.LayerNorm.weight",
        "qformer.encoder.layer.1.intermediate.dense.weight",
        "embeddings.word_embeddings.weight",
        "itm_head.bias",
    ];
    for key in keys {
        lacks_or_renames("blip2_matching", key, &key.replacen(['e', 'i'], "x", 1), |dir, words| {
            drop(fails(dir, words))
        });
    }
    // A layer that asks nothing has nothing to ask with.
    let dir = copy("blip2_matching");
    edit(dir.path(), "config.json", |config| {
        config["qformer_config"]["cross_attention_frequency"] = json!(3);
    });
    fails(dir.path(), &["0 missing, 10 unexpected", "qformer.encoder.layer.2.crossattention"]);
}

#[test]
fn settings_that_cannot_be() {
    let cases: [(&str, Value, &str); 12] = [
        ("/num_query_tokens", json!(0), "num_query_tokens"),
        ("/num_query_tokens", json!(1 << 20), "at most 4096"),
        ("/num_query_tokens", json!(6), "another shape"),
        ("/image_text_hidden_size", json!("14"), "image_text_hidden_size"),
        ("/qformer_config/num_attention_heads", json!(4), "a divisor of the width 27"),
        ("/qformer_config/num_hidden_layers", json!(1 << 20), "layers"),
        ("/qformer_config/cross_attention_frequency", json!(0), "cross_attention_frequency"),
        ("/qformer_config/use_qformer_text_input", json!(false), "use_qformer_text_input"),
        ("/qformer_config/hidden_act", json!("silu"), "hidden_act"),
        ("/vision_config/qkv_bias", json!(false), "qkv_bias"),
        ("/vision_config/image_size", json!(27), "image_size of config.json"),
        ("/qformer_config", json!(3), "an object"),
    ];
    for (path, value, words) in cases {
        let dir = copy("blip2_matching");
        edit(dir.path(), "config.json", |config| *config.pointer_mut(path).unwrap() = value);
        fails(dir.path(), &[words]);
    }
}

#[test]
fn what_it_has_no_vector_for() {
    let model = model(&golden("blip2_matching"), None).unwrap();
    let picture = Picture::read(&golden("published_images").join("noise.png")).unwrap();
    let error = model.embedding().unwrap().embed_pictures(&[picture]).unwrap_err();
    assert!(matches!(error, Running::Pretrained(Error::ManyVectors { .. })), "{error}");
    assert!(error.to_string().contains("hint: `sensorium score"), "{error}");
    let texts = ["a cat".to_owned()];
    assert_eq!(model.embedding().unwrap().embed_texts(&texts).unwrap()[0].len(), 14);
    assert!(model.score().unwrap().score(&[], &texts).unwrap().is_empty());
}

#[test]
fn tokenizers_of_other_models_are_found_out() {
    let dir = copy("blip2_matching");
    edit(dir.path(), "tokenizer.json", |tokenizer| {
        tokenizer["model"]["vocab"]["cat"] = json!(5000);
    });
    let model = model(dir.path(), None).unwrap();
    let error = model.embedding().unwrap().embed_texts(&["a cat".to_owned()]).unwrap_err();
    assert!(matches!(error, Running::Pretrained(Error::Token { id: 5000, .. })), "{error}");
}
