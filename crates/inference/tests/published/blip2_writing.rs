//! BLIP-2 that writes: what can be wrong with its directory (`goldens/blip2_opt*`). Its answers are
//! compared in [`seeing`](crate::seeing).

use sensorium_checkpoint::{Tensor, safetensors};
use sensorium_inference::Error;
use sensorium_media::{Message, Modality, Part, Picture, Role};
use sensorium_nn::prelude::pack;
use sensorium_pretrained::Pretrained;
use serde_json::{Value, json};

use crate::bad_inputs::{copy, edit, edit_weights, lacks_or_renames, placed};
use crate::golden;
use crate::llava::fails;
use crate::open::{answer, model, pretrained, vision_language};

fn asked(text: &str, pictures: usize) -> [Message; 1] {
    let mut parts = vec![Part::Media(Modality::Image); pictures];
    parts.push(Part::Text(text.to_owned()));
    [Message { role: Role::User, parts }]
}

#[test]
fn every_tensor_has_its_place() {
    for name in ["blip2_opt", "blip2_opt_plain"] {
        for tensor in &placed(name).tensors {
            let part = match tensor.name.split('.').next() {
                Some("vision_model") => "image",
                Some("language_model") => "language",
                _ => "projector",
            };
            assert_eq!(tensor.part, part, "{}", tensor.name);
        }
    }
}

#[test]
fn keys_that_are_missing_renamed_or_left_over_are_named() {
    let keys = [
        "query_tokens",
        "language_projection.weight",
        "vision_model.post_layernorm.bias",
        "qformer.encoder.layer.0.crossattention.attention.key.weight",
        "language_model.model.decoder.embed_positions.weight",
        "language_model.model.decoder.layers.1.fc2.bias",
    ];
    for key in keys {
        lacks_or_renames("blip2_opt", key, &key.replacen(['e', 'i'], "x", 1), fails);
    }
    // What the other class has.
    let dir = copy("blip2_opt");
    edit_weights(dir.path(), |all| {
        all.tensors.insert("itm_head.bias".into(), Tensor::new(vec![2], vec![0.0; 2]).unwrap());
    });
    fails(dir.path(), &["0 missing, 1 unexpected", "itm_head.bias"]);
}

#[test]
fn a_tied_head_may_be_there_twice_but_not_differ() {
    const HEAD: &str = "language_model.lm_head.weight";
    const TABLE: &str = "language_model.model.decoder.embed_tokens.weight";
    let dir = copy("blip2_opt");
    edit_weights(dir.path(), |all| {
        let table = all.tensors[TABLE].clone();
        all.tensors.insert(HEAD.into(), table);
    });
    assert!(vision_language(dir.path(), None).is_ok());

    edit_weights(dir.path(), |all| {
        let (shape, mut values) = all.tensors[HEAD].clone().into_parts();
        values[7] += 1.0;
        all.tensors.insert(HEAD.into(), Tensor::new(shape, values).unwrap());
    });
    fails(dir.path(), &["tie_word_embeddings", "lm_head.weight differs"]);
}

#[test]
fn settings_that_cannot_be() {
    let cases: [(&str, &str, Value, &str); 13] = [
        ("config.json", "/text_config/model_type", json!("bloom"), "gpt2, t5"),
        ("config.json", "/text_config/model_type", json!("gemma"), "one of llama, mistral"),
        ("config.json", "/text_config", json!([]), "text_config: expected an object"),
        ("config.json", "/text_config/word_embed_proj_dim", json!(20), "word_embed_proj_dim"),
        ("config.json", "/text_config/hidden_size", json!(3 << 20), "word_embed_proj_dim"),
        ("config.json", "/text_config/num_hidden_layers", json!(1 << 20), "num_hidden_layers"),
        ("config.json", "/text_config/vocab_size", json!(16_000_000), "another shape"),
        ("config.json", "/text_config/eos_token_id", json!("end"), "eos_token_id"),
        (
            "config.json",
            "/image_token_index",
            json!(1 << 20),
            "below the language model's vocab_size",
        ),
        ("config.json", "/image_token_index", json!(-1), "a token id"),
        ("config.json", "/num_query_tokens", json!(5), "num_query_tokens: expected 5"),
        ("processor_config.json", "/num_query_tokens", json!(32), "expected 6, as in config.json"),
        ("processor_config.json", "/image_processor/size/height", json!(24), "image_size"),
    ];
    for (file, path, value, words) in cases {
        let dir = copy("blip2_opt");
        edit(dir.path(), file, |config| *config.pointer_mut(path).unwrap() = value);
        fails(dir.path(), &[words]);
    }
}

#[test]
fn each_class_says_where_it_belongs() {
    for name in ["blip2_opt", "blip2_opt_plain"] {
        let writer = model(&golden(name), None).unwrap();
        for error in [writer.score().err().unwrap(), writer.embedding().err().unwrap()] {
            assert!(matches!(error, Error::Cannot { .. }), "{error}");
            let text = error.to_string();
            assert!(text.contains("which answers about pictures\nhint: take CLIP"), "{text}");
        }
        assert!(writer.chat().is_ok());
    }
    let matcher = model(&golden("blip2_matching"), None).unwrap();
    let error = matcher.chat().err().unwrap();
    assert!(matches!(error, Error::Cannot { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("which compares pictures and texts\nhint: take a language"), "{text}");

    // Without a class's name, a Q-Former that reads texts is that of the class that compares.
    let dir = copy("blip2_matching");
    let nameless =
        |config: &mut Value| drop(config.as_object_mut().unwrap().remove("architectures"));
    edit(dir.path(), "config.json", nameless);
    assert!(matches!(pretrained(dir.path()), Ok(Pretrained::Matcher(_))));
    let dir = copy("blip2_opt");
    edit(dir.path(), "config.json", nameless);
    assert!(matches!(pretrained(dir.path()), Ok(Pretrained::Blip2(..))));
}

#[test]
fn one_picture_in_front_of_a_text_that_fits() {
    let vlm = vision_language(&golden("blip2_opt"), None).unwrap();
    let picture = Picture::read(&golden("published_images").join("noise.png")).unwrap();
    let answer = |text: &str, n: usize, most: usize| {
        answer(&vlm, &asked(text, n), &vec![picture.clone(); n], most)
    };
    let error = answer("a", 2, 4).unwrap_err();
    assert!(matches!(error, Error::OnePicture { got: 2 }), "{error}");
    assert!(matches!(answer(&"x".repeat(90), 1, 4).unwrap_err(), Error::TooLong { .. }));
    // No picture: the language model alone.
    assert_eq!(answer("ab", 0, 2).unwrap().prompt, vlm.llm.prompt("ab").unwrap());
    // A typed marker stays text.
    let marker = vlm.llm.lm.text.tokenizer.id("<image>").unwrap();
    let ids = answer("<image>", 1, 1).unwrap().prompt;
    assert_eq!(ids.iter().filter(|id| **id == marker).count(), 6);
}

#[test]
fn packed_models_see_nearly_the_same() {
    let picture = Picture::read(&golden("published_images").join("noise.png")).unwrap();
    let outputs = safetensors::load(&golden("blip2_opt").join("outputs.safetensors")).unwrap();
    let want = outputs.tensors["0.logits"].data();
    for (format, tolerance) in [(pack::Format::Bf16, 0.2), (pack::Format::Int8, 0.4)] {
        let vlm = vision_language(&golden("blip2_opt"), Some(format)).unwrap();
        let pictures = std::slice::from_ref(&picture);
        let reply = answer(&vlm, &asked("", 1), pictures, 1).unwrap();
        let got = &reply.continuation.first_logits;
        let off = got.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off < tolerance, "{format:?}: {off}");
    }
}
