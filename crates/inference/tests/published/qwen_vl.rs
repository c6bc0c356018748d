//! Qwen2-VL and its successors (`reference/qwen_vl.py`): directories, pictures and videos to the very tokens that
//! transformers writes, and what can be wrong.

use std::ops::ControlFlow;
use std::path::Path;

use sensorium_checkpoint::{Tensor as Stored, safetensors};
use sensorium_encoder::image::Patches;
use sensorium_flow::Grid;
use sensorium_inference::{Batch, ChatModel, GenerateOptions, Model, QwenVlModel, Reply, Step};
use sensorium_media::{
    Frame, Media, MediaDecoder, Message, Part, PatchProcessor, Picture, Role, Sampling, Video,
};
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;

use sensorium_testkit::{Tensors, assert_close};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::bad_inputs::{copy, edit, edit_weights, lacks_or_renames, placed};
use crate::golden;
use crate::open::{device, model};

pub const STACK: f32 = 1e-4;
/// torchvision's scaling of frames may round a level of 255 otherwise.
const LEVEL: f32 = 1.6e-2;
pub const WATCHED: f32 = 4e-3;

#[derive(Deserialize)]
struct Case {
    question: String,
    pictures: Vec<String>,
    video: Option<String>,
    frames: usize,
    grids: Vec<[usize; 3]>,
    ids: Vec<u32>,
    greedy: Vec<u32>,
}

impl Case {
    fn media(&self) -> Vec<Media> {
        let picture = |name| Picture::read(&golden("published_images").join(name)).unwrap();
        let pictures = self.pictures.iter().map(picture).map(Media::Image);
        let video = self.video.iter().map(|name| {
            let path = golden("video").join(name);
            let video = MediaDecoder::here().video(&path, Sampling::Frames(self.frames)).unwrap();
            assert_eq!(video.frames.len(), self.frames);
            Media::Video(video)
        });
        pictures.chain(video).collect()
    }
}

pub fn qwen(path: &Path) -> QwenVlModel {
    match model(path, None).unwrap_or_else(|error| panic!("{error}")) {
        Model::QwenVl(model) => model,
        _ => panic!("{} is no Qwen-VL", path.display()),
    }
}

fn cases(name: &str) -> (Vec<Case>, Tensors) {
    let folder = golden(name);
    let cases = std::fs::read(folder.join("expected.json")).expect("the golden is there");
    let outputs = std::fs::read(folder.join("outputs.safetensors")).unwrap();
    let outputs = safetensors::read(&outputs).unwrap().tensors.into_iter();
    let outputs = outputs.map(|(name, t)| (name, t.into_parts())).collect();
    (serde_json::from_slice(&cases).unwrap(), outputs)
}

pub fn message(question: &str, media: &[Media]) -> Message {
    let places = media.iter().map(|medium| Part::Media(medium.modality()));
    let parts = places.chain([Part::Text(question.to_owned())]).collect();
    Message { role: Role::User, parts }
}

pub fn short() -> GenerateOptions {
    GenerateOptions { max_new_tokens: 16, ..GenerateOptions::default() }
}

pub fn go_on(_: Step<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

pub fn asked(
    model: &QwenVlModel,
    question: &str,
    media: &[Media],
) -> sensorium_inference::Result<Reply> {
    model.answer(&[message(question, media)], media, &short(), &mut go_on)
}

pub fn answer(model: &QwenVlModel, question: &str, media: &[Media]) -> Reply {
    asked(model, question, media).unwrap_or_else(|error| panic!("{question}: {error}"))
}

/// The patches of each step in time, and what the tower makes of them, `[1 + L, Q, D]`.
pub fn seen(model: &QwenVlModel, medium: &Media) -> (Grid, Vec<f32>, Tensor<3>) {
    let frames: Vec<&Picture> = medium.pictures().collect();
    let processor: &PatchProcessor = match medium {
        Media::Image(_) => &model.pictures,
        _ => &model.videos,
    };
    let size = [frames[0].height, frames[0].width];
    let grid = processor.grid(size, frames.len()).unwrap();
    let (mut all, mut tokens) = (Vec::new(), Vec::new());
    for step in frames.chunks(processor.temporal()) {
        let values = processor.patches(step, grid);
        let n = grid.rows * grid.columns;
        let shape = [1, n, values.len() / n];
        let pixels = Tensor::from_data(TensorData::new(values.clone(), shape), &device());
        tokens.push(model.tower.embed(Patches { pixels, grid }));
        all.extend(values);
    }
    (grid, all, Tensor::cat(tokens, 1))
}

fn compare(name: &str) {
    let model = qwen(&golden(name));
    let (cases, outputs) = cases(name);
    assert_eq!(cases.len(), 7);
    let mut compared = 0;
    for (i, case) in cases.iter().enumerate() {
        let media = case.media();
        let watches = case.video.is_some();
        let close = |what: &str, got: &[f32], want: &str, tolerance| {
            assert_close(what, got, &outputs[&format!("{i}.{want}")].1, tolerance);
        };
        let seen: Vec<_> = media.iter().map(|medium| seen(&model, medium)).collect();
        let grids = seen.iter().map(|(grid, ..)| [grid.steps, grid.rows, grid.columns]);
        assert_eq!(grids.collect::<Vec<_>>(), case.grids, "{name} {i}");
        if outputs.contains_key(&format!("{i}.pixels")) {
            close("pixels", &seen[0].1, "pixels", if watches { LEVEL } else { 1e-5 });
            compared += 1;
        }
        if !seen.is_empty() {
            let tolerance = if watches { WATCHED } else { STACK };
            let tokens = Tensor::cat(seen.into_iter().map(|(.., tokens)| tokens).collect(), 1);
            let levels = tokens.dims()[0];
            close("features", &read(tokens.clone().narrow(0, 0, 1)), "features", tolerance);
            if levels > 1 {
                let more = read(tokens.narrow(0, 1, levels - 1));
                close("deepstack", &more, "deepstack", tolerance);
            }
        }
        let reply = answer(&model, &case.question, &media);
        assert_eq!(reply.prompt, case.ids, "{name} {i}: {}", case.question);
        let logits = &reply.continuation.first_logits;
        close("logits", logits, "logits", if watches { WATCHED } else { STACK });
        // Theirs holds the end too.
        let said = &reply.continuation.ids;
        assert_eq!(said[..], case.greedy[..said.len()], "{name} {i}: {}", case.question);
        assert!(case.greedy.len() - said.len() <= 1, "{name} {i}: {} tokens", said.len());
    }
    assert!(compared > 0, "{name}: patches of a picture");
}

#[test]
fn qwen2_vl_answers_as_transformers_does() {
    compare("qwen2_vl");
}

#[test]
fn qwen2_5_vl_answers_as_transformers_does() {
    compare("qwen2_5_vl");
}

#[test]
fn qwen3_vl_answers_as_transformers_does() {
    compare("qwen3_vl");
}

/// Positions of texts with media differ from their numbers; each text keeps its own, and only what was read of
/// plain texts is read no more than once.
#[test]
fn texts_and_media_in_one_batch_get_what_they_get_alone() {
    for name in ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"] {
        let mut model = qwen(&golden(name));
        model.remember(1 << 20);
        let (cases, _) = cases(name);
        let mut batch = Batch::remembering(&model.llm, 1 << 24);
        for again in [false, true] {
            let mut running = Vec::new();
            for case in &cases {
                let media = case.media();
                let messages = [message(&case.question, &media)];
                let inputs = model.prepare(&messages, &media, &short()).unwrap().unwrap();
                running.push((batch.join_inputs(&inputs).unwrap(), case));
            }
            while !batch.is_empty() {
                for (key, said) in batch.step(&mut |_, step| go_on(step)) {
                    let (_, case) = running.iter().find(|(own, _)| *own == key).unwrap();
                    let said = said.unwrap();
                    assert_eq!(said.ids[..], case.greedy[..said.ids.len()], "{name}");
                    let plain = case.grids.is_empty();
                    assert_eq!(said.cached_tokens > 0, plain && again, "{name}: {}", case.question);
                }
            }
        }
    }
}

/// Texts that name places without a template.
#[test]
fn raw_prompts_have_their_media_between_the_usual_tokens() {
    let model = qwen(&golden("qwen2_vl"));
    let media = [Media::Image(Picture::filled(16, 24, [9; 3]))];
    let complete =
        |text: &str| model.complete(text, true, &media, &short(), &mut go_on).unwrap().prompt;
    let ids = complete("see <image>!");
    let token = |name: &str| model.llm.lm.text.tokenizer.id(name).unwrap();
    let [start, end, pad] =
        ["vision_start", "vision_end", "image_pad"].map(|n| token(&format!("<|{n}|>")));
    let places = ids.iter().filter(|id| **id == pad).count();
    assert_eq!(places, 6);
    let at = ids.iter().position(|id| *id == start).unwrap();
    assert_eq!(ids[at + 1..=at + places], [pad; 6]);
    assert_eq!(ids[at + places + 1], end);
}

#[test]
fn every_tensor_has_its_place() {
    for name in ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"] {
        placed(name);
    }
}

/// The tower beside the decoder, as most files have it, and both in one model.
#[test]
fn tensors_in_both_layouts_of_names() {
    let nested = [["model.", "model.language_model."], ["visual.", "model.visual."]];
    let beside = [["model.language_model.", "model."], ["model.visual.", "visual."]];
    for (name, layout) in [("qwen2_vl", nested), ("qwen2_5_vl", nested), ("qwen3_vl", beside)] {
        let dir = copy(name);
        edit_weights(dir.path(), |all| {
            let renamed = std::mem::take(&mut all.tensors).into_iter().map(|(name, tensor)| {
                let found = layout.iter().find(|[from, _]| name.starts_with(from));
                (found.map_or(name.clone(), |[from, to]| name.replacen(from, to, 1)), tensor)
            });
            all.tensors = renamed.collect();
        });
        let (cases, _) = cases(name);
        let said = answer(&qwen(dir.path()), &cases[0].question, &[]).continuation.ids;
        assert_eq!(said[..], cases[0].greedy[..said.len()], "{name}");
    }
}

/// A head that is the token table, said twice.
#[test]
fn a_head_may_be_the_table_again_and_nothing_else() {
    let dir = copy("qwen2_vl");
    edit_weights(dir.path(), |all| {
        let table = all.tensors["model.embed_tokens.weight"].clone();
        all.tensors.insert("lm_head.weight".into(), table);
    });
    qwen(dir.path());
    edit_weights(dir.path(), |all| {
        let (shape, mut values) = all.tensors["lm_head.weight"].clone().into_parts();
        values[0] += 1.0;
        all.tensors.insert("lm_head.weight".into(), Stored::new(shape, values).unwrap());
    });
    fails(dir.path(), &["tie_word_embeddings"]);
}

#[track_caller]
pub fn fails(dir: &Path, words: &[&str]) {
    let Err(error) = model(dir, None) else { panic!("it is damaged: {words:?}") };
    let text = error.to_string();
    assert!(text.contains("\nhint: "), "{text}");
    for word in words {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[test]
fn keys_that_are_missing_renamed_or_left_over_are_named() {
    for (name, key) in [
        ("qwen2_vl", "visual.patch_embed.proj.weight"),
        ("qwen2_vl", "visual.blocks.1.attn.qkv.bias"),
        ("qwen2_vl", "visual.merger.ln_q.bias"),
        ("qwen2_vl", "model.layers.1.self_attn.k_proj.bias"),
        ("qwen2_5_vl", "visual.blocks.2.mlp.gate_proj.bias"),
        ("qwen2_5_vl", "lm_head.weight"),
        ("qwen3_vl", "model.visual.pos_embed.weight"),
        ("qwen3_vl", "model.visual.deepstack_merger_list.1.linear_fc2.weight"),
        ("qwen3_vl", "model.language_model.layers.0.self_attn.q_norm.weight"),
    ] {
        lacks_or_renames(name, key, &format!("{key}x"), fails);
    }
    // A convolution of another shape.
    let dir = copy("qwen2_vl");
    edit_weights(dir.path(), |all| {
        let stem = "visual.patch_embed.proj.weight";
        let values = all.tensors[stem].data().to_vec();
        all.tensors.insert(stem.into(), Stored::new(vec![16, 96], values).unwrap());
    });
    fails(dir.path(), &["1 of another shape", "visual.patch_embed.proj.weight"]);
}

#[test]
fn settings_that_cannot_be() {
    let cases: [(&str, &str, Value, &str); 24] = [
        ("qwen2_vl", "/quantization_config", json!({"bits": 4}), "nothing"),
        ("qwen2_vl", "/image_token_id", json!(9999), "tokenizer.json"),
        ("qwen2_vl", "/video_token_id", json!(-1), "a token id"),
        ("qwen2_vl", "/vision_config/hidden_size", json!(33), "the width of the language model"),
        ("qwen2_vl", "/vision_config/embed_dim", json!(1 << 23), "another shape"),
        ("qwen2_vl", "/vision_config/mlp_ratio", json!(3), "another shape"),
        ("qwen2_vl", "/vision_config/patch_size", json!(5), "as config.json has it"),
        ("qwen2_vl", "/vision_config/patch_size", json!(2000), "1 to 1024"),
        ("qwen2_vl", "/vision_config/temporal_patch_size", json!(17), "1 to 16"),
        ("qwen2_vl", "/vision_config/depth", json!(1 << 20), "layers"),
        ("qwen2_vl", "/vision_config/num_heads", json!(3), "a divisor of"),
        ("qwen2_vl", "/vision_config/num_heads", json!(8), "a multiple of 4"),
        ("qwen2_vl", "/vision_config/in_channels", json!(1), "expected 3"),
        ("qwen2_vl", "/vision_config/hidden_act", json!("relu"), "quick_gelu"),
        ("qwen2_vl", "/text_config/rope_parameters/mrope_section", json!([2, 3, 4]), "8 angles"),
        ("qwen2_vl", "/text_config/rope_parameters/mrope_section", json!([4, 4]), "three numbers"),
        ("qwen2_vl", "/text_config/num_hidden_layers", json!(1 << 20), "layers"),
        ("qwen2_vl", "/text_config/vocab_size", json!(16_000_000), "another shape"),
        ("qwen2_5_vl", "/vision_config/window_size", json!(4), "8 pixels"),
        ("qwen2_5_vl", "/vision_config/fullatt_block_indexes", json!([3]), "of 0 to 2"),
        ("qwen2_5_vl", "/vision_config/hidden_act", json!("gelu"), "silu"),
        ("qwen3_vl", "/vision_config/num_position_embeddings", json!(26), "a square number"),
        ("qwen3_vl", "/vision_config/deepstack_visual_indexes", json!([2, 0]), "rising"),
        ("qwen3_vl", "/text_config/rope_parameters/mrope_interleaved", json!(false), "true"),
    ];
    for (name, path, value, words) in cases {
        let dir = copy(name);
        edit(dir.path(), "config.json", |config| match config.pointer_mut(path) {
            Some(old) => *old = value,
            None => config[path.trim_start_matches('/')] = value,
        });
        fails(dir.path(), &[words]);
    }
}

#[test]
fn processors_that_do_not_fit() {
    const FILE: &str = "processor_config.json";
    for (name, part, key, value, words) in [
        ("qwen2_vl", "image_processor", "patch_size", json!(7), "as config.json has it"),
        ("qwen2_vl", "image_processor", "merge_size", json!(1), "as config.json has it"),
        ("qwen2_vl", "video_processor", "temporal_patch_size", json!(1), "as config.json has it"),
        ("qwen2_vl", "image_processor", "do_resize", json!(false), "do_resize"),
        ("qwen2_vl", "image_processor", "size", json!({"longest_edge": 9}), "shortest_edge"),
        (
            "qwen2_vl",
            "image_processor",
            "image_processor_type",
            json!("ViTImageProcessor"),
            "Qwen2VL",
        ),
        (
            "qwen3_vl",
            "video_processor",
            "video_processor_type",
            json!("Qwen2VLVideoProcessor"),
            "Qwen3VL",
        ),
        ("qwen3_vl", "video_processor", "a_new_key", json!(1), "a_new_key"),
    ] {
        let dir = copy(name);
        edit(dir.path(), FILE, |file| file[part][key] = value);
        fails(dir.path(), &[words]);
    }
    let dir = copy("qwen2_vl");
    std::fs::remove_file(dir.path().join(FILE)).unwrap();
    fails(dir.path(), &["preprocessor_config.json", "download it"]);
}

/// As files of Qwen2-VL have them, for pictures and videos, and of Qwen3-VL, one for each.
#[test]
fn processors_in_files_of_their_own() {
    let (pictures, videos) = ("preprocessor_config.json", "video_preprocessor_config.json");
    for name in ["qwen2_vl", "qwen3_vl"] {
        let dir = copy(name);
        let path = dir.path().join("processor_config.json");
        let all: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        std::fs::remove_file(path).unwrap();
        let write = |file: &str, key: &str| {
            std::fs::write(dir.path().join(file), all[key].to_string()).unwrap();
        };
        write(pictures, "image_processor");
        let whole = qwen(&golden(name));
        let both = qwen(dir.path());
        assert_eq!(both.pictures, whole.pictures);
        let size = [32, 48];
        let grid = both.pictures.grid(size, 1).unwrap();
        if name == "qwen2_vl" {
            // Of so many pixels as pictures.
            assert_eq!(both.videos.grid(size, 2).unwrap(), grid);
        }
        write(videos, "video_processor");
        assert_eq!(qwen(dir.path()).videos, whole.videos, "{name}");
    }
}

#[test]
fn media_that_do_not_fit_are_refused_with_numbers() {
    let model = qwen(&golden("qwen2_vl"));
    let frame = |i: u8| Frame { picture: Picture::filled(90, 60, [i; 3]), seconds: f64::from(i) };
    let video = Video { frames: (0..64).map(frame).collect(), duration: 64.0 };
    let media = [Media::Video(video.clone()), Media::Video(video)];
    let error = asked(&model, "what?", &media).unwrap_err().to_string();
    for word in ["511", "hint: "] {
        assert!(error.contains(word), "{word}: {error}");
    }
    let thread = Media::Image(Picture::filled(1, 201, [0; 3]));
    let error = asked(&model, "what?", &[thread]).unwrap_err().to_string();
    for word in ["1x201", "200", "hint: "] {
        assert!(error.contains(word), "{word}: {error}");
    }
}
