//! CLAP, sounds and texts in one space: `goldens/clap` and `goldens/clap_fused` (`reference/clap.py`), and what
//! can be wrong with their directories.

use std::fs;

use sensorium_encoder::text::Texts;
use sensorium_flow::Encode;
use sensorium_inference::{Error as Running, Model};
use sensorium_media::{Media, Modality, Picture, Sound};
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use sensorium_pretrained::families::clap::ClapTowers;
use sensorium_pretrained::{Directory, Error, plan};
use sensorium_testkit::{Golden, Report};
use serde_json::{Value, json};

use crate::bad_inputs::{copy, edit, fails, lacks_or_renames, put};
use crate::golden;
use crate::open::model;
use crate::sounds::{medium, wave};

/// Largest difference of a value of a stack in f32.
const STACK: f32 = 1e-4;

const GOLDENS: [&str; 2] = ["clap", "clap_fused"];

struct Twin {
    model: Model,
    sounds: Vec<Media>,
    texts: Vec<String>,
    ids: Vec<Vec<u32>>,
}

impl Twin {
    fn open(name: &str, format: Option<pack::Format>) -> Self {
        let text = fs::read(golden(name).join("expected.json")).unwrap();
        let value: Value = serde_json::from_slice(&text).unwrap();
        let sounds: Vec<usize> = serde_json::from_value(value["sounds"].clone()).unwrap();
        let model = model(&golden(name), format).unwrap_or_else(|error| panic!("{error}"));
        let of = |key: &str| value[key].clone();
        Self {
            model,
            sounds: sounds.into_iter().map(|samples| medium(wave(samples), 8000)).collect(),
            texts: serde_json::from_value(of("texts")).unwrap(),
            ids: serde_json::from_value(of("ids")).unwrap(),
        }
    }

    fn towers(&self) -> &ClapTowers {
        let Model::Clap(towers) = &self.model else { panic!("two towers") };
        towers
    }

    fn sound(&self, i: usize) -> &Sound {
        self.sounds[i].sound().unwrap()
    }
}

fn check(name: &str, format: Option<pack::Format>) {
    let golden = Golden::open(name);
    let (twin, mut report) = (Twin::open(name, format), Report::new(&golden, STACK));
    let towers = twin.towers();
    for i in 0..twin.sounds.len() {
        let mel = towers.features(twin.sound(i));
        report.check(&format!("{i}.mel"), &mel.dims(), &read(mel));
    }
    let mel = towers.features(twin.sound(0));
    for i in 0..=towers.config.audio.depths.len() {
        let x = towers.clap.audio.hidden(mel.clone(), i);
        report.check(&format!("audio.{i}"), &x.dims(), &read(x.clone()));
    }
    let text = Texts::pad(&[towers.ids(&twin.texts[0]).unwrap()], 1);
    for i in 0..=2 {
        let x = towers.clap.text.hidden(&text, i);
        report.check(&format!("text.{i}"), &x.dims(), &read(x.clone()));
    }
    let model = twin.model.embedding().unwrap();
    let n = towers.config.audio.embed;
    let sounds = model.embed_media(&twin.sounds).unwrap();
    report.check("audio_embeds", &[sounds.len(), n], &sounds.concat());
    let texts = model.embed_texts(&twin.texts).unwrap();
    report.check("text_embeds", &[texts.len(), n], &texts.concat());
    let scores = twin.model.score().unwrap().score(&twin.sounds, &twin.texts).unwrap();
    let logits: Vec<f32> = scores.iter().flatten().map(|score| score.logit).collect();
    report.check("logits_per_audio", &[sounds.len(), texts.len()], &logits);
    report.finish_all();
    for row in scores {
        assert!((row.iter().map(|score| score.probability).sum::<f32>() - 1.0).abs() < 1e-5);
    }
    for (text, ids) in twin.texts.iter().zip(&twin.ids) {
        assert_eq!(&towers.ids(text).unwrap(), ids, "{text}");
    }
    assert_eq!(towers.clap.audio.encode(mel).0.dims()[2], towers.config.audio.width());
}

#[test]
fn sounds_and_texts_are_compared_as_transformers_does() {
    for name in GOLDENS {
        check(name, None);
        check(name, Some(pack::Format::F32));
    }
}

/// As on a device without kernels.
#[test]
fn by_twins() {
    fused::with_twins(|| check("clap_fused", None));
}

#[test]
fn labels_stand_in_a_sentence_about_sounds() {
    let twin = Twin::open("clap", None);
    let labels = ["a dog".to_owned(), "rain".to_owned()];
    let (score, model) = (twin.model.score().unwrap(), twin.model.embedding().unwrap());
    assert_eq!(model.templates(), ["This is a sound of {}."]);
    let got = score.classify(&twin.sounds[0], &labels, None).unwrap();
    let sentences = labels.clone().map(|label| format!("This is a sound of {label}."));
    let want = score.score(&twin.sounds[..1], &sentences).unwrap().concat();
    for (got, want) in got.iter().zip(want) {
        assert!((got.probability - want.probability).abs() < 1e-6);
        assert_eq!(got.sigmoid, None);
    }
}

/// The same sound gives the same vector, whatever stands beside it; from a sample on.
#[test]
fn every_sound_is_heard_and_nothing_is_drawn() {
    for name in GOLDENS {
        let twin = Twin::open(name, None);
        let model = twin.model.embedding().unwrap();
        let all = model.embed_media(&twin.sounds).unwrap();
        let alone = model.embed_media(&twin.sounds[1..2]).unwrap();
        assert_eq!(all[1], alone[0]);
        for samples in [vec![0.5], vec![0.0; 8000], wave(8001), wave(8159), wave(8161)] {
            let vector = model.embed_media(&[medium(samples, 8000)]).unwrap().remove(0);
            assert!((vector.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-4, "{name}");
        }
        // Another rate is brought to the model's.
        assert!(model.embed_media(&[medium(wave(30_000), 44_100)]).is_ok());
    }
}

#[test]
fn pictures_are_refused() {
    let twin = Twin::open("clap", None);
    let picture = Picture::filled(4, 4, [1, 2, 3]);
    let model = twin.model.embedding().unwrap();
    for error in [
        model.embed_media(&[Media::Image(picture.clone())]).unwrap_err(),
        model.embed_pictures(&[picture]).unwrap_err(),
    ] {
        assert!(matches!(error, Running::Modality { got: Modality::Image, .. }), "{error}");
        assert!(error.to_string().contains("(text, audio)"), "{error}");
    }
}

#[test]
fn every_tensor_has_its_place() {
    for name in GOLDENS {
        let directory = Directory::open(&golden(name)).unwrap();
        let plan = plan(&directory).unwrap();
        let stored = directory.shapes().unwrap();
        let wanted = plan.shapes();
        let rest = stored.keys().filter(|name| !plan.is_ignorable(name));
        assert_eq!(rest.count(), wanted.len(), "{name}");
        assert!(wanted.iter().all(|(name, shape)| stored[name].shape == *shape));
        let part = |part| plan.tensors.iter().filter(|tensor| tensor.part == part).count();
        assert_eq!(part("scalars"), 2);
        assert_eq!(part("text") + part("encoder") + 2, plan.tensors.len());
    }
}

#[test]
fn keys_that_are_missing_or_renamed_are_named() {
    for key in [
        "audio_model.audio_encoder.batch_norm.running_mean",
        "audio_model.audio_encoder.layers.1.blocks.1.attention.output.dense.bias",
        "audio_model.audio_encoder.layers.0.downsample.reduction.weight",
        "audio_model.audio_encoder.patch_embed.fusion_model.global_att.5.weight",
        "audio_model.audio_encoder.patch_embed.mel_conv2d.weight",
        "audio_projection.linear2.bias",
        "text_model.pooler.dense.weight",
        "logit_scale_t",
    ] {
        lacks_or_renames("clap_fused", key, &key.replacen(['o', 'i'], "x", 1), |dir, words| {
            drop(fails(dir, words))
        });
    }
}

#[test]
fn settings_that_cannot_be() {
    let own = "preprocessor_config.json";
    let cases: [(&str, &str, Value, &str); 29] = [
        ("config.json", "/audio_config/depths", json!([1, 2, 2, 2, 2]), "1 to 4 sizes"),
        ("config.json", "/audio_config/depths", json!([1, 1 << 20]), "sizes"),
        ("config.json", "/audio_config/depths", json!([1, 2, 2]), "as many as of depths"),
        ("config.json", "/audio_config/num_attention_heads", json!([2, 3]), "divisors"),
        ("config.json", "/audio_config/window_size", json!(5), "a divisor"),
        ("config.json", "/audio_config/window_size", json!(32), "a divisor"),
        ("config.json", "/audio_config/spec_size", json!(100), "a multiple of the 64 bands"),
        ("config.json", "/audio_config/spec_size", json!(1 << 20), "at most 4096"),
        ("config.json", "/audio_config/patch_size", json!([4, 8]), "one size"),
        ("config.json", "/audio_config/patch_stride", json!([2, 2]), "the patch_size"),
        ("config.json", "/audio_config/patch_embed_input_channels", json!(2), "channels"),
        ("config.json", "/audio_config/hidden_size", json!(768), "16, the channels"),
        ("config.json", "/audio_config/fusion_type", json!("channel_map"), "aff_2d"),
        ("config.json", "/audio_config/enable_fusion", json!(false), "enable_fusion"),
        ("config.json", "/audio_config/mlp_ratio", json!(1e9), "another shape"),
        ("config.json", "/audio_config/hidden_act", json!("relu"), "gelu"),
        ("config.json", "/text_config/pad_token_id", json!(41), "rows of positions"),
        ("config.json", "/text_config/vocab_size", json!(16_000_000), "another shape"),
        ("config.json", "/text_config", json!("roberta"), "an object"),
        ("config.json", "/projection_dim", json!(0), "projection_dim"),
        ("config.json", "/projection_hidden_act", json!("swish"), "gelu"),
        (own, "/truncation", json!("rand_trunc"), "fusion, as enable_fusion"),
        (own, "/padding", json!("mirror"), "repeatpad"),
        (own, "/fft_window_size", json!(400), "a power of two"),
        (own, "/feature_size", json!(80), "num_mel_bins"),
        (own, "/sampling_rate", json!(1_000_000), "at most 384000"),
        (own, "/frequency_max", json!(5000), "half of the 8000 samples"),
        (own, "/hop_length", json!(10), "at most 256"),
        (own, "/feature_extractor_type", json!("ASTFeatureExtractor"), "ClapFeatureExtractor"),
    ];
    for (file, path, value, words) in cases {
        let dir = copy("clap_fused");
        put(dir.path(), file, path, value);
        fails(dir.path(), &[words]);
    }
}

#[test]
fn files_that_are_missing_and_tokenizers_of_other_models() {
    for file in ["preprocessor_config.json", "tokenizer.json", "model.safetensors"] {
        let dir = copy("clap_fused");
        fs::remove_file(dir.path().join(file)).unwrap();
        let error = fails(dir.path(), &[file]);
        assert!(matches!(error, Error::Missing { .. }), "{error:?}");
    }
    let dir = copy("clap_fused");
    edit(dir.path(), "tokenizer.json", |tokenizer| tokenizer["model"]["vocab"]["a"] = json!(5000));
    let model = model(dir.path(), None).unwrap();
    let error = model.embedding().unwrap().embed_texts(&["a cat".to_owned()]).unwrap_err();
    assert!(matches!(error, Running::Pretrained(Error::Token { id: 5000, .. })), "{error}");
}
