//! Janus (`reference/janus.py`): what it answers about pictures, the pictures that it says, and what can be wrong
//! with its directory.

use sensorium_flow::{Sampler, SamplerOptions, Scheduler};
use sensorium_inference::{Error, JanusModel, Model, Sampling};
use sensorium_media::{Media, Message, Modality, Part, Role};
use sensorium_nn::params::read;
use sensorium_nn::prelude::pack;

use sensorium_testkit::assert_close;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::bad_inputs::{copy, edit, edit_weights, fails, lacks_or_renames, placed};
use crate::golden;
use crate::open::{answer, model};
use crate::seeing::{cases, compare_with};

fn janus(format: Option<pack::Format>) -> JanusModel {
    match model(&golden("janus"), format).unwrap_or_else(|error| panic!("{error}")) {
        Model::Janus(model) => model,
        other => panic!("no Janus: {other:?}"),
    }
}

#[test]
fn janus_answers_as_transformers_does() {
    compare_with("janus", &janus(None).chat);
}

#[derive(Deserialize)]
struct Drawn {
    text: String,
    guidance: f32,
    ids: Vec<u32>,
    greedy: Vec<u32>,
}

#[test]
fn janus_draws_as_transformers_does() {
    let (_, outputs) = cases::<Value>("janus");
    let drawn = std::fs::read(golden("janus").join("drawn.json")).unwrap();
    let drawn: Vec<Drawn> = serde_json::from_slice(&drawn).unwrap();
    assert!(drawn.len() >= 2);
    for format in [None, Some(pack::Format::F32)] {
        let model = janus(format);
        for (i, Drawn { text, guidance, ids, greedy }) in drawn.iter().enumerate() {
            let prompt = model.prompt(text).unwrap();
            assert_eq!(&prompt, ids, "{text}");
            let mut steps = 0;
            let said = model.say(&prompt, *guidance, Sampling::default(), &mut |n| steps = n);
            assert_eq!(&said.unwrap(), greedy, "{text}");
            assert_eq!(steps, greedy.len());
            let decoded = model.painter.model.decode(greedy);
            let want = &outputs[&format!("drawn.{i}")];
            assert_eq!(decoded.dims().to_vec(), want.0);
            assert_close("decoded", &read(decoded), &want.1, 1e-4);
        }
    }
}

/// What the processor writes in front of a conversation where its settings ask for it, and never of a drawing.
#[test]
fn the_system_prompt_stands_in_front() {
    let system = std::fs::read(golden("janus").join("system.json")).unwrap();
    let system: Value = serde_json::from_slice(&system).unwrap();
    let dir = copy("janus");
    edit(dir.path(), "processor_config.json", |settings| {
        settings["use_default_system_prompt"] = json!(true);
    });
    let Model::Janus(model) = model(dir.path(), None).unwrap() else { panic!("Janus") };
    let question = system["question"].as_str().unwrap().to_owned();
    let message = Message { role: Role::User, parts: vec![Part::Text(question)] };
    let reply = answer(&model.chat, &[message], &[], 1).unwrap();
    assert_eq!(json!(reply.prompt), system["ids"]);
    assert_eq!(model.prompt("a cat").unwrap(), janus(None).prompt("a cat").unwrap());
}

/// Drawn by chance, a picture is the same for the same seed, and of a size and a way that are fixed.
#[test]
fn pictures_come_out() {
    let model = Model::Janus(janus(None));
    let maker = model.media().unwrap();
    let usual = maker.usual();
    assert_eq!((usual.steps, usual.guidance), (9, 3.0));
    let draw = |options: SamplerOptions| {
        let sampler = options.or(maker.usual());
        maker.generate(Modality::Image, &["a cat".into(), "a dog".into()], sampler, &mut |_, _| ())
    };
    let seeded = |seed| draw(SamplerOptions { seed, ..SamplerOptions::default() }).unwrap();
    let made = seeded(4);
    for medium in &made {
        let Media::Image(picture) = medium else { panic!("a picture") };
        assert_eq!([picture.width, picture.height], [6, 6]);
    }
    let pixels = |media: &[Media]| -> Vec<u8> {
        media.iter().flat_map(Media::pictures).flat_map(|p| p.pixels.clone()).collect()
    };
    assert_eq!(pixels(&made), pixels(&seeded(4)));
    assert_ne!(pixels(&made), pixels(&seeded(5)));
    for options in [
        SamplerOptions { steps: Some(20), ..SamplerOptions::default() },
        SamplerOptions { size: Some([8, 8]), ..SamplerOptions::default() },
        SamplerOptions { scheduler: Some(Scheduler::Ddim), ..SamplerOptions::default() },
    ] {
        let error = draw(options).unwrap_err();
        assert!(matches!(error, Error::Fixed { .. }), "{error}");
    }
    let audio = maker.generate(Modality::Audio, &[], Sampler::default(), &mut |_, _| ());
    assert!(matches!(audio.unwrap_err(), Error::Makes { .. }));
}

#[test]
fn every_tensor_has_its_place() {
    placed("janus");
    let fails = |dir: &std::path::Path, words: &[&str]| drop(fails(dir, words));
    for key in [
        "model.aligner.hidden_layers.0.weight",
        "model.vision_model.encoder.layers.0.self_attn.projection_layer.bias",
        "model.generation_head.vision_head.weight",
        "model.vqmodel.decoder.mid.attn_1.q.weight",
        "model.vqmodel.decoder.up.0.upsample.conv.bias",
    ] {
        lacks_or_renames("janus", key, &key.replacen('e', "x", 2), fails);
    }
    // What makes tokens of pictures is not read.
    let dir = copy("janus");
    edit_weights(dir.path(), |all| {
        let tensor = all.tensors["model.generation_embeddings.weight"].clone();
        all.tensors.insert("model.vqmodel.encoder.conv_in.weight".into(), tensor);
    });
    assert!(model(dir.path(), None).is_ok());
}

#[test]
fn settings_that_cannot_be() {
    let (config, image) = ("config.json", "processor_config.json");
    let cases: [(&str, &str, Value, &str); 12] = [
        (config, "/vision_config/depth", json!(3), "depth: expected 2"),
        (config, "/vision_config/use_qk_norm", json!(true), "use_qk_norm"),
        (config, "/vision_config/projection_dim", json!(20), "projection_dim"),
        (config, "/vision_config/num_image_tokens", json!(16), "one for each patch"),
        (config, "/vision_config/mlp_ratio", json!(1e12), "mlp_ratio"),
        (config, "/vq_config/base_channels", json!(48), "a multiple of 32"),
        (config, "/vq_config/channel_multiplier", json!([1, 0]), "whole numbers"),
        (config, "/vq_config/channel_multiplier", json!([]), "whole numbers"),
        (config, "/vq_config/image_token_embed_dim", json!(20), "image_token_embed_dim"),
        (config, "/vq_config/num_embeddings", json!(1 << 23), "another shape"),
        (image, "/image_processor/size/height", json!(20), "a square"),
        (image, "/image_processor/min_size", json!(4000), "at most"),
    ];
    for (file, path, value, words) in cases {
        let dir = copy("janus");
        edit(dir.path(), file, |settings| {
            *settings.pointer_mut(path).unwrap_or_else(|| panic!("{path}")) = value;
        });
        fails(dir.path(), &[words]);
    }
    let dir = copy("janus");
    edit(dir.path(), "tokenizer_config.json", |settings| {
        settings.as_object_mut().unwrap().retain(|key, _| key != "boi_token");
    });
    fails(dir.path(), &["boi_token", "the name of a token"]);
}
