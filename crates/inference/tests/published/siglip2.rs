//! SigLIP 2 whose pictures keep their ratio: `goldens/siglip2*` (`reference/siglip2.py`), and what can be
//! wrong with their directories.

use std::fs;

use sensorium_checkpoint::Tensor as Stored;
use sensorium_inference::Error as Running;
use sensorium_media::Picture;
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use sensorium_pretrained::{Error, Towers, planes};
use sensorium_testkit::assert_close;
use serde_json::{Value, json};

use crate::bad_inputs::{copy, edit, edit_weights, fails, lacks_or_renames, placed, put};
use crate::golden;
use crate::open::{device, model};
use crate::outputs::Twin;

/// Largest difference of a value of a stack in f32.
const STACK: f32 = 1e-5;

const GOLDENS: [&str; 2] = ["siglip2", "siglip2_wide"];

/// Patches as transformers cuts them, `[N, p · p · 3]`: row by row, channels last.
fn patches(towers: &Towers, picture: &Picture, patch: usize) -> ([usize; 2], Vec<f32>) {
    let image = planes(&towers.processor, std::slice::from_ref(picture), &device());
    let [_, _, height, width] = image.dims();
    let planes = read(image);
    let mut all = Vec::with_capacity(planes.len());
    for (top, left) in
        (0..height).step_by(patch).flat_map(|y| (0..width).step_by(patch).map(move |x| (y, x)))
    {
        for (y, x) in (top..top + patch).flat_map(|y| (left..left + patch).map(move |x| (y, x))) {
            all.extend((0..3).map(|c| planes[(c * height + y) * width + x]));
        }
    }
    ([height / patch, width / patch], all)
}

#[test]
fn pictures_of_any_shape_and_texts_are_compared_as_transformers_does() {
    for (name, patch) in [("siglip2", 6), ("siglip2_wide", 5)] {
        let twin = Twin::open(name, None);
        let towers = twin.towers();
        for (i, picture) in twin.pictures.iter().enumerate() {
            let (grid, got) = patches(towers, picture, patch);
            assert_eq!(grid.map(|n| n as f32)[..], twin.outputs[&format!("{i}.grid")].1, "{name}");
            let key = format!("{i}.patches");
            assert_close(&key, &got, &twin.outputs[&key].1, 1e-5);
        }
        for (text, ids) in twin.texts.iter().zip(&twin.ids) {
            assert_eq!(&towers.ids(text).unwrap(), ids, "{text}");
        }
        twin.compare(STACK);
        Twin::open(name, Some(pack::Format::F32)).compare(STACK);
    }
}

#[test]
fn fewer_bits_keep_the_directions() {
    let exact = Twin::open("siglip2", None).embed_pictures();
    for (format, least) in [(pack::Format::Bf16, 0.999), (pack::Format::Int8, 0.995)] {
        let twin = Twin::open("siglip2", Some(format));
        for (a, b) in exact.iter().zip(&twin.embed_pictures()) {
            let cosine: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
            assert!(cosine > least, "{format:?}: {cosine}");
        }
    }
}

/// From one pixel to the thinnest strip: each has a vector of unit length.
#[test]
fn pictures_of_extreme_shapes_are_read() {
    let model = model(&golden("siglip2"), None).unwrap();
    let pictures = [(1, 1), (1, 3000), (3000, 1), (5, 7)]
        .map(|(width, height)| Picture::filled(width, height, [200, 30, 90]));
    for vector in model.embedding().unwrap().embed_pictures(&pictures).unwrap() {
        let length: f32 = vector.iter().map(|x| x * x).sum();
        assert!((length - 1.0).abs() < 1e-5, "{length}");
    }
}

#[test]
fn every_tensor_has_its_place() {
    for name in GOLDENS {
        let plan = placed(name);
        assert_eq!(plan.family, "siglip2");
        for tensor in &plan.tensors {
            let part = tensor.name.split('_').next().unwrap();
            let part = match part {
                "vision" => "image",
                "logit" => "scalars",
                part => part,
            };
            assert_eq!(tensor.part, part, "{}", tensor.name);
        }
    }
}

#[test]
fn keys_that_are_missing_renamed_left_over_or_of_another_shape_are_named() {
    let keys = [
        "vision_model.embeddings.patch_embedding.weight",
        "vision_model.embeddings.position_embedding.weight",
        "vision_model.encoder.layers.1.self_attn.q_proj.bias",
        "vision_model.head.probe",
        "vision_model.head.attention.in_proj_weight",
        "text_model.head.bias",
        "logit_bias",
    ];
    for key in keys {
        lacks_or_renames("siglip2", key, &key.replacen(['e', 'i'], "x", 1), |dir, words| {
            drop(fails(dir, words))
        });

        let dir = copy("siglip2");
        edit_weights(dir.path(), |all| {
            let (mut shape, values) = all.tensors.remove(key).unwrap().into_parts();
            shape.push(1);
            all.tensors.insert(key.into(), Stored::new(shape, values).unwrap());
        });
        fails(dir.path(), &["another shape", key]);
    }
    // SigLIP of one resolution has its patches in a convolution.
    let dir = copy("siglip2");
    edit_weights(dir.path(), |all| {
        let (_, values) = all.tensors.remove(keys[0]).unwrap().into_parts();
        all.tensors.insert(keys[0].into(), Stored::new(vec![32, 3, 6, 6], values).unwrap());
    });
    fails(dir.path(), &["another shape", keys[0]]);
}

#[test]
fn settings_that_cannot_be() {
    let cases: [(&str, &str, Value, &str); 19] = [
        ("config.json", "/vision_config/num_patches", json!(15), "a square number"),
        ("config.json", "/vision_config/num_patches", json!(0), "num_patches"),
        ("config.json", "/vision_config/num_patches", json!(1 << 24), "pixels in 4096 patches"),
        ("config.json", "/vision_config/num_patches", json!(25), "another shape"),
        ("config.json", "/vision_config/patch_size", json!([6, 6]), "patch_size"),
        ("config.json", "/vision_config/patch_size", json!(1 << 23), "at most 4096 pixels"),
        ("config.json", "/vision_config/patch_size", json!(8), "the patch_size of config.json"),
        ("config.json", "/vision_config/hidden_size", json!(1 << 20), "projection_size"),
        ("config.json", "/vision_config/num_attention_heads", json!(5), "a divisor"),
        ("config.json", "/vision_config/num_hidden_layers", json!(1 << 20), "layers"),
        ("config.json", "/vision_config/vision_use_head", json!(false), "vision_use_head"),
        ("config.json", "/vision_config/num_channels", json!(4), "num_channels"),
        ("config.json", "/vision_config", json!("base"), "an object"),
        ("config.json", "/text_config/vocab_size", json!(16_000_000), "another shape"),
        ("preprocessor_config.json", "/patch_size", json!(16), "the patch_size of config.json"),
        ("preprocessor_config.json", "/max_num_patches", json!(1_u64 << 40), "max_num_patches"),
        ("preprocessor_config.json", "/max_num_patches", json!(0), "max_num_patches"),
        ("preprocessor_config.json", "/do_resize", json!(false), "do_resize"),
        (
            "preprocessor_config.json",
            "/image_processor_type",
            json!("SiglipImageProcessor"),
            "Siglip2ImageProcessor",
        ),
    ];
    for (file, path, value, words) in cases {
        let dir = copy("siglip2");
        put(dir.path(), file, path, value);
        fails(dir.path(), &[words]);
    }
}

#[test]
fn files_that_are_missing_and_tokenizers_of_other_models() {
    for file in ["preprocessor_config.json", "tokenizer.json", "model.safetensors"] {
        let dir = copy("siglip2");
        fs::remove_file(dir.path().join(file)).unwrap();
        let error = fails(dir.path(), &[file]);
        assert!(matches!(error, Error::Missing { .. }), "{error:?}");
    }
    let dir = copy("siglip2");
    edit(dir.path(), "tokenizer.json", |tokenizer| {
        tokenizer["model"]["vocab"]["▁cat"] = json!(5000);
    });
    let model = model(dir.path(), None).unwrap();
    let error = model.embedding().unwrap().embed_texts(&["a cat".to_owned()]).unwrap_err();
    assert!(matches!(error, Running::Pretrained(Error::Token { id: 5000, .. })), "{error}");
}
