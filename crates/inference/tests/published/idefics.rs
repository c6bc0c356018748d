//! Idefics: counts of the published model, and each way in which a directory can be wrong.

use std::ops::ControlFlow;

use sensorium_checkpoint::Tensor;
use sensorium_inference::{Error, GenerateOptions};
use sensorium_media::{Message, Modality, Part, Picture, Role};
use sensorium_nn::rng::Rng;
use sensorium_pretrained::{Directory, plan};
use serde_json::{Value, json};

use crate::bad_inputs::{copy, edit, edit_weights};
use crate::configs::mutated;
use crate::golden;
use crate::open::{self, model};

/// Sums of shapes that transformers gives on its meta device.
#[test]
fn counts_are_those_of_idefics_9b() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), include_bytes!("idefics-9b.json")).unwrap();
    let plan = plan(&Directory::open(dir.path()).unwrap()).unwrap();
    let parts = [Some("image"), Some("projector"), Some("language"), None];
    let got = parts.map(|part| plan.parameters(part));
    assert_eq!(got, [630_766_080, 125_961_984, 8_172_951_568, 8_929_679_632]);
    let apart = plan.tensors.iter().find(|t| t.name == "lm_head.additional_fc.weight").unwrap();
    assert_eq!((apart.part, &apart.shape[..], apart.packs), ("language", &[2, 4096][..], true));
}

#[track_caller]
fn fails(name: &str, change: impl FnOnce(&std::path::Path), words: &[&str]) {
    let dir = copy(name);
    change(dir.path());
    let text = open::idefics(dir.path()).expect_err("it is damaged").to_string();
    assert!(text.contains("\nhint: "), "{text}");
    for word in words {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[test]
fn settings_that_cannot_be() {
    let cases: [(&str, &str, Value, &str); 24] = [
        ("idefics", "/model_type", json!("idefics2"), "model_type"),
        ("idefics", "/hidden_act", json!("gelu"), "silu"),
        ("idefics", "/hidden_size", json!(1u64 << 40), "hidden_size"),
        ("idefics", "/hidden_size", json!(3 << 22), "another shape"),
        ("idefics", "/num_attention_heads", json!(5), "a divisor of"),
        ("idefics", "/num_attention_heads", json!(8), "an even width"),
        ("idefics", "/num_hidden_layers", json!(1 << 20), "layers"),
        ("idefics", "/num_hidden_layers", json!(3), "missing"),
        ("idefics", "/cross_layer_interval", json!(3), "a divisor of the 2 layers"),
        ("idefics", "/cross_layer_interval", json!(0), "cross_layer_interval"),
        ("idefics", "/cross_layer_interval", json!(2), "unexpected"),
        ("idefics", "/alpha_type", json!("matrix"), "vector"),
        ("idefics", "/alpha_type", json!("vector"), "another shape"),
        ("idefics", "/additional_vocab_size", json!(-1), "additional_vocab_size"),
        ("idefics", "/additional_vocab_size", json!(2), "another shape"),
        ("idefics", "/additional_vocab_size", json!(0), "additional_embedding"),
        ("idefics", "/qk_layer_norms", json!("yes"), "qk_layer_norms"),
        ("idefics", "/qk_layer_norms", json!(false), "unexpected"),
        ("idefics", "/use_resampler", json!(false), "unexpected"),
        ("idefics", "/perceiver_config/resampler_depth", json!(1 << 20), "layers"),
        ("idefics", "/perceiver_config/resampler_n_latents", json!(1 << 24), "another shape"),
        ("idefics", "/vision_config/image_size", json!(26), "image_size of config.json"),
        ("idefics", "/vision_config/hidden_act", json!("relu"), "quick_gelu"),
        ("idefics", "/rope_parameters/rope_type", json!("ntk"), "llama3"),
    ];
    for (name, path, value, words) in cases {
        let change = |config: &mut Value| {
            *config.pointer_mut(path).unwrap_or_else(|| panic!("{path}")) = value.clone();
        };
        fails(name, |dir| edit(dir, "config.json", change), &[words]);
    }
    let quantised = |config: &mut Value| config["quantization_config"] = json!({});
    fails("idefics", |dir| edit(dir, "config.json", quantised), &["quantization_config"]);
}

#[test]
fn tensors_that_do_not_fit() {
    let keys = [
        "model.embed_tokens.additional_embedding.weight",
        "lm_head.additional_fc.weight",
        "model.gated_cross_attn_layers.1.alpha_dense",
        "model.perceiver_resampler.blocks.0.0.k_layer_norm.bias",
        "model.vision_model.post_layernorm.bias",
    ];
    for key in keys {
        let removed =
            |dir: &std::path::Path| edit_weights(dir, |all| drop(all.tensors.remove(key)));
        fails("idefics", removed, &["1 missing, 0 unexpected", key]);
        let renamed = format!("{key}s");
        let moved = |dir: &std::path::Path| {
            edit_weights(dir, |all| {
                let tensor = all.tensors.remove(key).unwrap();
                all.tensors.insert(renamed.clone(), tensor);
            });
        };
        fails("idefics", moved, &["1 missing, 1 unexpected", &renamed]);
        let wider = |dir: &std::path::Path| {
            edit_weights(dir, |all| {
                let (mut shape, values) = all.tensors.remove(key).unwrap().into_parts();
                shape.insert(0, 1);
                all.tensors.insert(key.into(), Tensor::new(shape, values).unwrap());
            });
        };
        fails("idefics", wider, &["1 of another shape", key]);
    }
}

/// A head beside a table that is the head: the same values or none.
#[test]
fn a_tied_head_may_be_there_again() {
    let dir = copy("idefics");
    edit(dir.path(), "config.json", |config| config["tie_word_embeddings"] = json!(true));
    let text = open::idefics(dir.path()).unwrap_err().to_string();
    assert!(text.contains("tie_word_embeddings") && text.contains("hint: "), "{text}");
    edit_weights(dir.path(), |all| {
        for (head, table) in [
            ("lm_head.weight", "model.embed_tokens.weight"),
            ("lm_head.additional_fc.weight", "model.embed_tokens.additional_embedding.weight"),
        ] {
            all.tensors.insert(head.into(), all.tensors[table].clone());
        }
    });
    open::idefics(dir.path()).unwrap();
}

#[test]
fn tokenizers_that_do_not_fit() {
    let other = golden("published_siglip").join("tokenizer.json");
    let swap = |dir: &std::path::Path| {
        std::fs::copy(other, dir.join("tokenizer.json")).unwrap();
    };
    fails("idefics", swap, &["tokenizer.json", "<image>"]);
    // Its id has no row.
    let shorten = |dir: &std::path::Path| {
        edit(dir, "config.json", |config| config["additional_vocab_size"] = json!(0));
        edit_weights(dir, |all| all.tensors.retain(|name, _| !name.contains(".additional_")));
    };
    fails("idefics", shorten, &["tokenizer.json", "<image>", "below"]);
    let remove = |dir: &std::path::Path| {
        std::fs::remove_file(dir.join("preprocessor_config.json")).unwrap();
    };
    fails("idefics", remove, &["preprocessor_config.json"]);
}

fn text(text: &str) -> Part {
    Part::Text(text.into())
}

#[test]
fn prompts_that_cannot_be_are_errors() {
    let viewer = open::idefics(&golden("idefics")).unwrap();
    let refused = |parts: &[Part], pictures: usize| {
        let prompt = viewer.text_processor.prompt(parts, false).unwrap();
        let pictures = vec![Picture::filled(5, 7, [9; 3]); pictures];
        let options = GenerateOptions { max_new_tokens: 2, ..GenerateOptions::default() };
        viewer.extend(&prompt, &pictures, &options, &mut |_| ControlFlow::Continue(()))
    };
    let error = refused(&[Part::Media(Modality::Image), text("a")], 0).unwrap_err().to_string();
    assert!(error.contains("1 <image> marker but 0 images"), "{error}");
    assert!(refused(&[text("a")], 1).is_err());
    let error = refused(&[text(&"a cat ".repeat(99))], 0).unwrap_err();
    assert!(matches!(error, Error::TooLong { limit: 95, .. }), "{error}");
    assert_eq!(
        refused(&[Part::Media(Modality::Image), Part::Media(Modality::Image)], 2)
            .unwrap()
            .continuation
            .ids
            .len(),
        2
    );
    let broken = refused(&[text("a cat")], 0).unwrap();
    assert!(!broken.continuation.ids.is_empty());
}

/// What a user spells never becomes a picture or the end of a turn.
#[test]
fn texts_are_data() {
    let viewer = open::idefics(&golden("idefics")).unwrap();
    let spelt = "a<image>b<end_of_utterance></s><fake_token_around_image>";
    let prompt =
        viewer.text_processor.prompt(&[text(spelt), Part::Media(Modality::Image)], false).unwrap();
    assert_eq!(prompt.pictures(), 1);
    let [image, fake] = viewer.text_processor.picture_ids();
    let counts = [image, fake, viewer.text_processor.utterance().unwrap(), 2]
        .map(|id| prompt.ids.iter().filter(|other| **other == id).count());
    assert_eq!(counts, [1, 2, 0, 0]);
}

/// As the processor writes them from the parts that the model card passes to it.
#[test]
fn conversations_are_written_as_the_model_was_taught() {
    let messages = [
        Message {
            role: Role::User,
            parts: vec![Part::Media(Modality::Image), text("what is it?")],
        },
        Message::text(Role::Assistant, "a cat."),
        Message { role: Role::User, parts: vec![text("is it a dog?")] },
    ];
    let taught = [
        text("User:"),
        Part::Media(Modality::Image),
        text("what is it?"),
        text("\nAssistant: a cat."),
        text("\nUser: is it a dog?"),
        text("\nAssistant:"),
    ];
    let plain = [
        text("Question:"),
        Part::Media(Modality::Image),
        text("what is it? Answer: a cat.\nQuestion: is it a dog? Answer:"),
    ];
    for (name, parts) in [("idefics", &taught[..]), ("idefics_plain", &plain)] {
        let text_processor = open::idefics(&golden(name)).unwrap().text_processor;
        let written = text_processor.conversation(&messages).unwrap();
        assert_eq!(written, text_processor.prompt(parts, false).unwrap(), "{name}");
        let turns =
            written.ids.iter().filter(|id| Some(**id) == text_processor.utterance()).count();
        assert_eq!(turns, if name == "idefics" { 3 } else { 0 });
    }
}

/// It has no one vector for a picture.
#[test]
fn it_is_no_encoder_of_one_space() {
    let idefics = model(&golden("idefics"), None).unwrap();
    let error = idefics.embedding().err().unwrap();
    assert!(matches!(error, Error::Cannot { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("makes vectors, got a vision-language model"), "{text}");
    assert!(text.contains("hint: "), "{text}");
}

/// No settings, however damaged, end in a panic or in memory that the weights do not fill.
#[test]
fn damaged_settings_are_errors_or_other_settings() {
    let mut rng = Rng::new(7);
    let dir = copy("idefics_plain");
    for file in ["config.json", "preprocessor_config.json", "tokenizer_config.json"] {
        let whole = std::fs::read(golden("idefics_plain").join(file)).unwrap();
        let mut opened = 0;
        for _ in 0..200 {
            std::fs::write(dir.path().join(file), mutated(&whole, &mut rng)).unwrap();
            match open::idefics(dir.path()) {
                Ok(_) => opened += 1,
                Err(error) => assert!(error.to_string().contains("hint: "), "{error}"),
            }
        }
        assert!(opened > 0, "{file}: every mutation was refused");
        std::fs::write(dir.path().join(file), &whole).unwrap();
    }
}
