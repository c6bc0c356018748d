//! A model that was trained here, of random weights: what it writes token by token is what whole passes
//! say.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::ops::ControlFlow;

use sensorium_backbone::{BackboneConfig, LlamaConfig};
use sensorium_checkpoint::Tensors;
use sensorium_checkpoint::safetensors::{self, Dtype};
use sensorium_encoder::EncoderConfig;
use sensorium_encoder::audio::ConformerConfig;
use sensorium_encoder::image::{FeatureSelect, Pooling, VitConfig};
use sensorium_encoder::table::TableEncoderConfig;
use sensorium_encoder::video::VideoEncoderConfig;
use sensorium_flow::{Cell, Input, Rows};
use sensorium_inference::{Finish, GenerateOptions, Model, Options};
use sensorium_input_projector::ProjectorConfig;
use sensorium_media::{
    ImageProcessor, Media, Message, Modality, Part, Picture, Role, Special, Table, Tokenizer,
    render,
};
use sensorium_model::clip::batch;
use sensorium_model::llava::{Llava, LlavaConfig, TowerConfig};
use sensorium_model::prompt::Batch;
use sensorium_model::weights;
use sensorium_nn::params::{self, read};
use sensorium_nn::prelude::*;
use sensorium_pretrained::families::sensorium::{self, SensoriumConfig};
use sensorium_pretrained::{Directory, Pretrained};
use tempfile::TempDir;

const SEEDS: u64 = 4;
/// The same sums in another order.
const ROUNDING: f32 = 1e-5;

/// Fresh weights are small; larger ones let every token be felt.
fn lively<M: Module>(module: M) -> M {
    params::update(module, |_, shape, data| {
        data.iter_mut().for_each(|v| *v *= 2.0);
        shape.len() > 1
    })
}

/// The embedded model's directory.
const NANO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/nano");

fn config(vocabulary: usize) -> LlavaConfig {
    let features = FeatureSelect { layers: vec![1, 5], class: false };
    let encoder = EncoderConfig::Vit { vit: VitConfig::small(), features };
    let backbone =
        BackboneConfig::Llama(LlamaConfig { vocab_size: vocabulary, ..LlamaConfig::small() });
    let towers = vec![TowerConfig { encoder, projector: ProjectorConfig::small() }];
    LlavaConfig { towers, backbone, prefix: true }
}

/// Towers of sounds, videos and tables.
fn others() -> Vec<TowerConfig> {
    let (hidden_size, n_layers, n_heads, intermediate_size) = (16, 1, 2, 20);
    let sound = ConformerConfig {
        bands: 8,
        positions: 5,
        kernel: 3,
        vocab_size: None,
        hidden_size,
        n_layers,
        n_heads,
        intermediate_size,
    };
    let image = VitConfig::clip(16, 8, hidden_size, n_layers, hidden_size);
    let image = VitConfig { n_heads, pooling: Pooling::Mean, proj: false, ..image };
    let (frames, pool, latents) = (2, 1, 3);
    let video =
        VideoEncoderConfig { image, frames, pool, latents, n_layers, n_heads, intermediate_size };
    let (embed, columns, rates) = (8, 3, 2);
    let table = TableEncoderConfig {
        embed,
        columns,
        rates,
        hidden_size,
        n_layers,
        n_heads,
        intermediate_size,
    };
    let encoders =
        [EncoderConfig::Conformer(sound), EncoderConfig::Video(video), EncoderConfig::Table(table)];
    let tower = |encoder: EncoderConfig| {
        let features = encoder.width();
        let projector = ProjectorConfig::Linear { features, shuffle: 1, bias: true, width: 256 };
        TowerConfig { encoder, projector }
    };
    encoders.map(tower).into()
}

/// Files of a tower, by what it reads.
fn files(modality: Modality) -> [&'static str; 2] {
    match modality {
        Modality::Audio => ["audio", "audio_projector"],
        Modality::Video => ["video", "video_projector"],
        Modality::Table => ["table", "table_projector"],
        _ => ["image", "projector"],
    }
}

/// A directory of random weights, and what is in it.
fn trained(seed: u64, others: Vec<TowerConfig>) -> (TempDir, Tokenizer, Llava) {
    let words = ["circle", "square", "red", "blue", "left", "right"];
    let texts = (0..200).map(|i| format!("a {} {}", words[i % 6], words[i / 6 % 6]));
    let tokenizer = Tokenizer::train(texts, 600).unwrap();
    let mut config = config(tokenizer.vocabulary());
    config.towers.extend(others);
    let llava = lively(Llava::init(&config, &mut Init::new(seed, &Device::flex())));
    let dir = TempDir::new().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
    for name in ["preprocessor_config.json", "chat_template.jinja"] {
        write(name, &std::fs::read(format!("{NANO}/{name}")).unwrap());
    }
    write("tokenizer.json", &tokenizer.to_bytes().unwrap());
    let settings = SensoriumConfig { llava: Some(config), ..SensoriumConfig::default() };
    write("config.json", &serde_json::to_vec(&settings).unwrap());
    let component = |name: &str, tensors: Tensors| {
        let bytes = safetensors::write(&tensors, Dtype::F32).unwrap();
        write(&format!("{name}.safetensors"), &bytes);
    };
    for tower in &llava.towers {
        let [encoder, projector] = files(tower.encoder.modality());
        component(encoder, weights::tensors(&tower.encoder).unwrap());
        component(projector, weights::tensors(&tower.projector).unwrap());
    }
    component("backbone", weights::tensors(&llava.backbone).unwrap());
    (dir, tokenizer, llava)
}

#[test]
fn generated_tokens_are_those_of_repeated_whole_passes() {
    let parts = vec![
        Part::Text("a red".into()),
        Part::Media(Modality::Image),
        Part::Text("left circle".into()),
    ];
    let messages = [Message { role: Role::User, parts }];
    let mut checked = 0;
    for seed in 0..SEEDS {
        let (dir, tokenizer, llava) = trained(seed, Vec::new());
        let options = Options::on(&Device::flex());
        let model = Model::open(dir.path(), &options).unwrap();
        let pictures = [Picture::filled(64, 64, [200, 30, 90])];
        let media = pictures.clone().map(Media::Image);
        let options = GenerateOptions { max_new_tokens: 6, ..GenerateOptions::default() };
        let mut go_on = |_: sensorium_inference::Step<'_>| ControlFlow::Continue(());
        let reply = model.chat().unwrap().answer(&messages, &media, &options, &mut go_on).unwrap();
        let said = reply.continuation;
        let tokens = config(600).towers[0].tokens();
        let mut whole = render(&tokenizer, &messages, tokens, true).unwrap();
        assert_eq!(reply.prompt, whole.ids);

        let planes = ImageProcessor::small().process(&pictures[0]);
        let features = llava.encode(Input::Image(batch(planes, [96, 96], &Device::flex())));
        let end = (said.finish == Finish::Stop).then(|| tokenizer.special(Special::End).unwrap());
        for token in said.ids.into_iter().chain(end) {
            let batch = Batch::new(std::slice::from_ref(&whole), 0);
            let hidden = llava.forward(&batch, std::slice::from_ref(&features));
            let logits = read(llava.logits(hidden));
            let last = &logits[logits.len() - tokenizer.vocabulary()..];
            let best = last.iter().fold(f32::MIN, |most, &v| most.max(v));
            assert!(best - last[token as usize] <= ROUNDING * best.abs().max(1.0), "seed {seed}");
            whole.ids.push(token);
            whole.answer.push(false);
            whole.spans.push(0);
            checked += 1;
        }
    }
    assert!(checked > 12, "{checked} tokens");
}

/// What each kind of medium is as its encoder reads it.
fn input(modality: Modality) -> Input {
    let mut init = Init::new(9, &Device::flex());
    match modality {
        Modality::Audio => Input::Audio(init.normal([2, 8, 20], 1.0).val()),
        Modality::Video => Input::Video(init.normal([2, 2, 3, 16, 16], 1.0).val()),
        Modality::Table => Input::Table(Rows {
            names: init.normal([2, 3, 8], 1.0).val(),
            categories: init.normal([2, 3, 8], 1.0).val(),
            numbers: init.normal([2, 3], 1.0).val(),
            cells: [Cell::Number, Cell::Category, Cell::Missing].repeat(2).into(),
            columns: [3; 2].into(),
        }),
        _ => Input::Image(init.normal([2, 3, 96, 96], 1.0).val()),
    }
}

#[test]
fn encoders_of_other_media_stand_beside_that_of_pictures() {
    let (dir, _, llava) = trained(1, others());
    let directory = Directory::open(dir.path()).unwrap();
    let plan: usize = sensorium::plan(&directory).unwrap().tensors.len();
    assert_eq!(plan, params::list(&llava).len());
    let opened = Pretrained::open(dir.path(), &Device::flex()).unwrap();
    let Pretrained::Sensorium(parts) = opened else { panic!("not trained here") };
    let (_, spliced) = parts.llava.unwrap();
    assert_eq!(spliced.llava.towers.len(), 4);
    for (want, got) in llava.towers.iter().zip(&spliced.llava.towers) {
        let modality = want.encoder.modality();
        assert_eq!(got.encoder.modality(), modality);
        let [want, got] = [want, got].map(|tower| tower.embed(input(modality)).0);
        assert_eq!(want.dims()[2], 256);
        assert_eq!(read(want), read(got), "{modality}");
    }
    // Prompts have no place for them yet, and say so.
    let model = Model::open(dir.path(), &Options::on(&Device::flex())).unwrap();
    let table = Table::decode(b"a,b\n1,2\n", "t.csv").unwrap();
    let error = model.chat().unwrap().takes(&[Media::Table(table)]).unwrap_err().to_string();
    assert!(error.contains("(text, image, video)") && error.contains("kind table"), "{error}");
}
