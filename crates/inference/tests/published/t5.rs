//! T5, alone and behind a picture's tokens (`reference/t5.py`): what it answers, and what can be wrong with its
//! directory.

use std::ops::ControlFlow;

use sensorium_checkpoint::Tensor;
use sensorium_inference::{ChatModel, Error, GenerateOptions, Model, Reply, T5Model};
use sensorium_media::{Media, Message, Part, Role};
use sensorium_nn::prelude::pack;

use serde_json::{Value, json};

use crate::bad_inputs::{copy, edit, edit_weights, fails, lacks_or_renames, placed};
use crate::golden;
use crate::open::{answer, model};
use crate::seeing::{Case, cases, said_alike};

const ALL: [&str; 4] = ["t5", "t5_gated", "blip2_t5", "blip2_t5_plain"];

fn t5(name: &str, format: Option<pack::Format>) -> T5Model {
    match model(&golden(name), format).unwrap_or_else(|error| panic!("{error}")) {
        Model::T5(model) => model,
        other => panic!("{name} is no T5: {other:?}"),
    }
}

#[test]
fn answers_are_those_of_transformers() {
    for name in ALL {
        for format in [None, Some(pack::Format::F32)] {
            let model = t5(name, format);
            let (cases, outputs): (Vec<Case>, _) = cases(name);
            assert!(cases.len() >= 4, "{} cases", cases.len());
            for (i, case) in cases.iter().enumerate() {
                let reply = answer(&model, &case.messages(), &case.pictures(), 16).unwrap();
                let want = &outputs[&format!("{i}.logits")].1;
                said_alike(&format!("{name} {i}"), case, &reply, want);
                assert_eq!(reply.continuation.prompt_tokens, case.ids.len());
            }
        }
    }
}

#[test]
fn a_text_is_read_as_it_is_too() {
    let model = t5("t5", None);
    let complete = |text: &str, special| -> Reply {
        let options = GenerateOptions { max_new_tokens: 2, ..GenerateOptions::default() };
        let go_on = &mut |_: sensorium_inference::Step<'_>| ControlFlow::Continue(());
        model.complete(text, special, &[], &options, go_on).unwrap()
    };
    assert_eq!(complete("a cat", false).prompt.last(), Some(&1));
    assert_eq!(complete("a </s> cat", true).prompt.iter().filter(|id| **id == 1).count(), 2);
    assert_eq!(complete("a </s> cat", false).prompt.iter().filter(|id| **id == 1).count(), 1);
}

#[test]
fn every_tensor_has_its_place() {
    for name in ALL {
        placed(name);
    }
    let keys = [
        "shared.weight",
        "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
        "decoder.block.1.layer.1.EncDecAttention.k.weight",
        "decoder.block.0.layer.2.DenseReluDense.wi_1.weight",
        "lm_head.weight",
    ];
    for key in keys {
        let fails = |dir: &std::path::Path, words: &[&str]| drop(fails(dir, words));
        match key {
            // Without one, the token table is the head.
            "lm_head.weight" => {
                let dir = copy("t5_gated");
                edit_weights(dir.path(), |all| drop(all.tensors.remove(key)));
                assert!(model(dir.path(), None).is_ok());
            }
            key => lacks_or_renames("t5_gated", key, &key.replacen('e', "x", 1), fails),
        }
    }
}

/// What old files hold beside the model.
#[test]
fn copies_of_the_token_table_may_be_there_but_not_differ() {
    for (name, prefix) in [("t5", ""), ("blip2_t5_plain", "language_model.")] {
        for copy_of in
            ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"]
        {
            let dir = copy(name);
            let put = |change: f32| {
                edit_weights(dir.path(), |all| {
                    let table = all.tensors[&format!("{prefix}shared.weight")].clone();
                    let (shape, mut values) = table.into_parts();
                    values[3] += change;
                    let table = Tensor::new(shape, values).unwrap();
                    all.tensors.insert(format!("{prefix}{copy_of}"), table);
                });
            };
            put(0.0);
            assert!(model(dir.path(), None).is_ok(), "{name} {copy_of}");
            put(1.0);
            fails(dir.path(), &[copy_of, "differs"]);
        }
    }
    let dir = copy("t5");
    edit_weights(dir.path(), |all| {
        let name = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight";
        all.tensors.insert(name.into(), Tensor::new(vec![8, 4], vec![0.5; 32]).unwrap());
    });
    assert!(model(dir.path(), None).is_ok());
}

#[test]
fn settings_that_cannot_be() {
    let cases: [(&str, &str, Value, &str); 9] = [
        ("t5", "/feed_forward_proj", json!("gated-tanh"), "behind gated-"),
        ("t5", "/feed_forward_proj", json!("gated-gelu"), "wi_0"),
        ("t5", "/relative_attention_num_buckets", json!(6), "a multiple of 4"),
        ("t5", "/relative_attention_max_distance", json!(4), "more than 4"),
        ("t5", "/decoder_start_token_id", json!(1 << 20), "a token id below vocab_size"),
        ("t5", "/is_decoder", json!(true), "false"),
        ("t5", "/num_layers", json!(1 << 20), "layers"),
        ("t5", "/d_kv", json!(1 << 23), "another shape"),
        ("blip2_t5", "/text_config/d_model", json!(20), "another shape"),
    ];
    for (name, path, value, words) in cases {
        let dir = copy(name);
        edit(dir.path(), "config.json", |config| {
            *config.pointer_mut(path).unwrap_or_else(|| panic!("{path}")) = value;
        });
        fails(dir.path(), &[words]);
    }
}

#[test]
fn what_it_does_not_do_is_refused() {
    let (alone, sees) = (t5("t5", None), t5("blip2_t5", None));
    let picture = cases::<Case>("blip2_t5").0[0].pictures().remove(0);
    let say = |model: &T5Model, media: &[Media], text: &str| {
        let message = Message { role: Role::User, parts: vec![Part::Text(text.into())] };
        let options = GenerateOptions { max_new_tokens: 1, ..GenerateOptions::default() };
        let go_on = &mut |_: sensorium_inference::Step<'_>| ControlFlow::Continue(());
        model.answer(&[message], media, &options, go_on)
    };
    let one = Media::Image(picture);
    let error = say(&alone, std::slice::from_ref(&one), "a").unwrap_err();
    assert!(matches!(error, Error::Modality { .. }), "{error}");
    let error = say(&sees, &[one.clone(), one.clone()], "a").unwrap_err();
    assert!(matches!(error, Error::OnePicture { got: 2 }), "{error}");
    let error = say(&alone, &[], &"a ".repeat(3000)).unwrap_err();
    assert!(matches!(error, Error::TooLong { .. }), "{error}");
    assert_eq!(say(&sees, &[], "a cat").unwrap().slots, []);
    let model = Model::T5(alone);
    assert!(matches!(model.embedding().err(), Some(Error::Cannot { .. })));
    assert!(matches!(model.language().err(), Some(Error::Cannot { .. })));
}
