//! Models whose pictures have as many tokens as their shape asks for (`reference/tiles.py`): LLaVA-NeXT,
//! LLaVA-OneVision and InternVL.

use std::ops::ControlFlow;

use sensorium_checkpoint::{Tensor, safetensors};
use sensorium_flow::Embeds;
use sensorium_inference::{ChatModel, GenerateOptions, Step, VisionLanguageModel};
use sensorium_media::{
    Fitted, Media, MediaDecoder, Message, Modality, Part, Picture, Role, Sampling,
};
use sensorium_nn::params::read;
use sensorium_pretrained::{Directory, plan};
use sensorium_testkit::assert_close;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::bad_inputs::{copy, edit, edit_weights, lacks_or_renames};
use crate::golden;
use crate::llava::fails;
use crate::open::vision_language;

const STACK: f32 = 1e-4;
/// One level of 255: torchvision rounds a frame once more.
const PIXELS: f32 = 8e-3;
const WATCHED: f32 = 2e-3;
/// Frames of a video that `reference/tiles.py` takes.
const FRAMES: usize = 3;

#[derive(Deserialize)]
struct Case {
    question: String,
    media: Vec<String>,
    ids: Vec<u32>,
    greedy: Vec<u32>,
}

impl Case {
    fn media(&self) -> Vec<Media> {
        let read = |name: &String| match name.ends_with(".gif") {
            true => {
                let path = golden("video").join(name);
                let video = MediaDecoder::here().video(&path, Sampling::Frames(FRAMES)).unwrap();
                Media::Video(video)
            }
            false => Media::Image(Picture::read(&golden("published_images").join(name)).unwrap()),
        };
        self.media.iter().map(read).collect()
    }

    fn message(&self, media: &[Media]) -> Message {
        let places = media.iter().map(|medium| Part::Media(medium.modality()));
        let parts = places.chain([Part::Text(self.question.clone())]).collect();
        Message { role: Role::User, parts }
    }
}

/// What is looked at for each medium.
fn fitted(vlm: &VisionLanguageModel, media: &[Media]) -> Vec<Fitted> {
    let pictures = media.iter().filter(|medium| medium.modality() == Modality::Image).count();
    let fit = |medium: &Media| match medium {
        Media::Image(picture) => vlm.vision_tower.fit(picture, pictures == 1),
        Media::Video(video) => vlm.vision_tower.fit_video(video),
        other => panic!("{other:?}"),
    };
    media.iter().map(fit).collect()
}

/// Every conversation of a golden: pixels, what stands for media, ids, logits, greedy tokens.
pub fn compare(name: &str) {
    let vlm = vision_language(&golden(name), None).unwrap_or_else(|error| panic!("{error}"));
    let cases = std::fs::read(golden(name).join("expected.json")).expect("the golden is there");
    let cases: Vec<Case> = serde_json::from_slice(&cases).unwrap();
    let outputs = std::fs::read(golden(name).join("outputs.safetensors")).unwrap();
    let outputs = safetensors::read(&outputs).unwrap().tensors;
    assert!(cases.len() >= 3, "{} cases", cases.len());
    for (i, case) in cases.iter().enumerate() {
        let media = case.media();
        let films = media.iter().any(|medium| medium.modality() == Modality::Video);
        let (pixel, stack) = if films { (PIXELS, WATCHED) } else { (1e-5, STACK) };
        if let Some(want) = outputs.get(&format!("{i}.pixels")) {
            let fitted = fitted(&vlm, &media);
            let tiles = fitted.iter().flat_map(|fitted| &fitted.pictures);
            let pixels: Vec<f32> = tiles.flat_map(|tile| vlm.vision_tower.planes(tile)).collect();
            assert_close("pixels", &pixels, want.data(), pixel);
            let seen = fitted.iter().flat_map(|Fitted { pictures, layout }| {
                let Embeds(seen) =
                    vlm.vision_tower.join(vlm.vision_tower.encode(pictures), *layout);
                read(seen)
            });
            let want = outputs[&format!("{i}.features")].data();
            assert_close("features", &seen.collect::<Vec<_>>(), want, stack);
        }
        let options = GenerateOptions { max_new_tokens: 16, ..GenerateOptions::default() };
        let go_on = &mut |_: Step<'_>| ControlFlow::Continue(());
        let reply = vlm.answer(&[case.message(&media)], &media, &options, go_on);
        let reply = reply.unwrap_or_else(|error| panic!("{name} {i}: {error}"));
        assert_eq!(reply.prompt, case.ids, "{name} {i}: {}", case.question);
        let logits = &reply.continuation.first_logits;
        assert_close("logits", logits, outputs[&format!("{i}.logits")].data(), stack);
        // Theirs holds the end too.
        let said = &reply.continuation.ids;
        assert_eq!(said[..], case.greedy[..said.len()], "{name} {i}: {}", case.question);
        assert!(case.greedy.len() - said.len() <= 1, "{name} {i}: {} tokens", said.len());
    }
}

#[test]
fn llava_next_answers_as_transformers_does() {
    compare("tiles_next");
    compare("tiles_next_qwen");
}

/// A picture alone is cut, several are not, a video has a quarter of the tokens.
#[test]
fn llava_onevision_answers_as_transformers_does() {
    compare("tiles_onevision");
}

/// Tiles and a thumbnail in one row; a video's frames by their numbers.
#[test]
fn internvl_answers_as_transformers_does() {
    compare("tiles_internvl");
}

#[test]
fn every_tensor_has_its_place() {
    for name in ["tiles_next", "tiles_next_qwen", "tiles_onevision", "tiles_internvl"] {
        let directory = Directory::open(&golden(name)).unwrap();
        let plan = plan(&directory).unwrap();
        let stored = directory.shapes().unwrap();
        assert_eq!(plan.tensors.len(), stored.len(), "{name}");
        for tensor in &plan.tensors {
            assert_eq!(stored[&tensor.name].shape, tensor.shape, "{}", tensor.name);
        }
    }
}

/// As files of before transformers 4.52 have it, since then, and as it is in memory.
#[test]
fn every_layout_of_names_is_read() {
    let inner = [
        ["image_newline", "model.image_newline"],
        ["multi_modal_projector.", "model.multi_modal_projector."],
        ["language_model.model.", "model.language_model."],
        ["language_model.lm_head.", "lm_head."],
    ];
    let layouts: [Vec<[&str; 2]>; 3] = [
        vec![["vision_tower.", "vision_tower.vision_model."]],
        [&[["vision_tower.", "model.vision_tower.vision_model."]][..], &inner].concat(),
        [&[["vision_tower.", "model.vision_tower."]][..], &inner].concat(),
    ];
    let all = ["tiles_next", "tiles_onevision"].into_iter();
    let all = all.flat_map(|name| layouts.iter().map(move |layout| (name, layout)));
    // Of a family that is younger than the older ones.
    for (name, layout) in all.chain([("tiles_internvl", &layouts[2])]) {
        let dir = copy(name);
        edit_weights(dir.path(), |all| {
            let renamed = std::mem::take(&mut all.tensors).into_iter().map(|(name, tensor)| {
                let found = layout.iter().find(|[from, _]| name.starts_with(from));
                (found.map_or(name.clone(), |[from, to]| name.replacen(from, to, 1)), tensor)
            });
            all.tensors = renamed.collect();
        });
        vision_language(dir.path(), None).unwrap_or_else(|error| panic!("{layout:?}: {error}"));
    }
}

#[test]
fn keys_that_are_missing_renamed_or_left_over_are_named() {
    for key in [
        "image_newline",
        "multi_modal_projector.linear_1.weight",
        "vision_tower.encoder.layers.1.mlp.fc1.bias",
        "language_model.model.layers.0.self_attn.k_proj.weight",
    ] {
        for name in ["tiles_next", "tiles_onevision"] {
            lacks_or_renames(name, key, &key.replacen("_", "x", 1), fails);
        }
    }
    for key in [
        "vision_tower.embeddings.cls_token",
        "vision_tower.encoder.layer.1.lambda_2",
        "vision_tower.encoder.layer.0.attention.projection_layer.bias",
        "multi_modal_projector.layer_norm.bias",
    ] {
        lacks_or_renames("tiles_internvl", key, &key.replacen("_", "x", 1), fails);
    }
    let dir = copy("tiles_onevision");
    edit_weights(dir.path(), |all| {
        all.tensors.insert("image_newline".into(), Tensor::new(vec![3], vec![0.0; 3]).unwrap());
    });
    fails(dir.path(), &["1 of another shape", "image_newline"]);
}

#[test]
fn settings_that_cannot_be() {
    const STRATEGY: &str = "vision_feature_select_strategy";
    const RATIO: &str = "vision_aspect_ratio";
    const POINTS: &str = "image_grid_pinpoints";
    let cases: [(&str, &str, Value, &str); 13] = [
        ("tiles_next", STRATEGY, json!("full"), "each must be a square of tokens"),
        ("tiles_next_qwen", STRATEGY, json!("default"), "drops a patch"),
        ("tiles_next", POINTS, json!([[12, 24]]), "the image processor's"),
        ("tiles_next", POINTS, json!("all"), "the image processor's"),
        ("tiles_next", "use_image_newline_parameter", json!(false), "true"),
        ("tiles_onevision", RATIO, json!("anyres"), "anyres_max_N"),
        ("tiles_onevision", RATIO, json!("anyres_max_0"), "anyres_max_N"),
        ("tiles_onevision", RATIO, json!(9), "a text"),
        ("tiles_onevision", "video_token_index", json!(40_000), "places pictures take"),
        ("tiles_internvl", "downsample_ratio", json!(0.3), "a divisor of 4 patches"),
        ("tiles_internvl", "downsample_ratio", json!(2), "a divisor of 4 patches"),
        ("tiles_internvl", "vision_feature_layer", json!([-1, -2]), "one level"),
        ("tiles_internvl", STRATEGY, json!("full"), "\"default\""),
    ];
    for (name, key, value, words) in cases {
        let dir = copy(name);
        edit(dir.path(), "config.json", |config| config[key] = value);
        fails(dir.path(), &[words]);
    }
}

#[test]
fn encoders_of_internvl_that_are_not_built() {
    for (key, value, words) in [
        ("use_qk_norm", json!(true), "false"),
        ("norm_type", json!("rms_norm"), "layer_norm"),
        ("attention_bias", json!(false), "true"),
        ("use_mean_pooling", json!(false), "true"),
        ("image_size", json!([16, 20]), "a square"),
        ("patch_size", json!(17), "a square of 1 to 16"),
        ("hidden_size", json!(3 << 20), "another shape"),
    ] {
        let dir = copy("tiles_internvl");
        edit(dir.path(), "config.json", |config| config["vision_config"][key] = value);
        fails(dir.path(), &[words]);
    }
}

#[test]
fn image_processors_that_do_not_fit() {
    let processor = "processor_config.json";
    let cases: [(&str, &str, Value, &[&str]); 9] = [
        ("tiles_next", "/image_processor/size", json!(24), &["crop_size", "24 pixels"]),
        ("tiles_next", "/image_processor/image_grid_pinpoints", json!([[12, 25]]), &["canvases"]),
        (
            "tiles_next",
            "/image_processor/image_grid_pinpoints",
            json!([[24, 12]]),
            &["config.json"],
        ),
        (
            "tiles_next",
            "/image_processor/image_processor_type",
            json!("CLIPImageProcessor"),
            &["LlavaNext- or LlavaOnevisionImageProcessor"],
        ),
        ("tiles_onevision", "/image_processor/size", json!(6), &["12x12", "6x6"]),
        ("tiles_onevision", "/video_processor/image_std", json!(0.4), &["video_processor"]),
        ("tiles_onevision", "/video_processor/size/height", json!("x"), &["size"]),
        ("tiles_internvl", "/image_processor/max_patches", json!(0), &["max_patches"]),
        ("tiles_internvl", "/video_processor/size/height", json!(20), &["size"]),
    ];
    for (name, path, value, words) in cases {
        let dir = copy(name);
        edit(dir.path(), processor, |settings| {
            *settings.pointer_mut(path).unwrap_or_else(|| panic!("{path}")) = value;
        });
        fails(dir.path(), words);
    }
}
