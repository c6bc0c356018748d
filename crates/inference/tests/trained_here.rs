//! A model that was trained here, of random weights: what it writes token by token is what whole passes
//! say.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::ops::ControlFlow;

use sensorium_backbone::{BackboneConfig, LlamaConfig};
use sensorium_checkpoint::safetensors::{self, Dtype};
use sensorium_checkpoint::{Tensor as Stored, Tensors};
use sensorium_encoder::EncoderConfig;
use sensorium_encoder::audio::ConformerConfig;
use sensorium_encoder::image::{FeatureSelect, Pooling, VitConfig};
use sensorium_encoder::table::TableEncoderConfig;
use sensorium_encoder::text::TextConfig;
use sensorium_encoder::video::VideoEncoderConfig;
use sensorium_flow::{Cell, Input, Rows, Sounds};
use sensorium_inference::{Finish, GenerateOptions, Model, Options};
use sensorium_input_projector::ProjectorConfig;
use sensorium_media::video::Frame;
use sensorium_media::{
    ImageProcessor, Media, Message, Modality, Part, Picture, Prompt, Role, Sound, Special, Table,
    Tokenizer, Video, render,
};
use sensorium_model::clip::{Clip, ClipConfig, batch};
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
    let image = VitConfig::clip(96, 48, hidden_size, n_layers, hidden_size);
    let image = VitConfig { n_heads, pooling: Pooling::Mean, proj: false, ..image };
    let (frames, pool, latents) = (2, 1, 3);
    let video =
        VideoEncoderConfig { image, frames, pool, latents, n_layers, n_heads, intermediate_size };
    let (embed, columns, rates) = (128, 3, 2);
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
    // Words of tables are read by the text tower.
    let text = TextConfig { vocab_size: tokenizer.vocabulary(), ..TextConfig::small() };
    let clip = (config.towers.len() > 1).then(|| ClipConfig { text, ..ClipConfig::small() });
    let llava_config = Some(config);
    let settings =
        SensoriumConfig { clip: clip.clone(), llava: llava_config, ..SensoriumConfig::default() };
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
    if let Some(clip) = clip {
        let clip = lively(Clip::init(&clip, &mut Init::new(seed ^ 1, &Device::flex())));
        component("text", weights::tensors(&clip.text).unwrap());
        let scalar = |x: &Tensor<1>| Stored::new(vec![1], read(x.clone())).unwrap();
        let bias = clip.bias.unwrap();
        let scalars = [("scale", scalar(&clip.scale.val())), ("bias", scalar(&bias.val()))];
        let tensors = scalars.map(|(name, tensor)| (name.to_owned(), tensor)).into();
        component("clip", Tensors { tensors, ..Tensors::default() });
    }
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
        Modality::Audio => Input::Audio(Sounds::whole(init.normal([2, 8, 20], 1.0).val())),
        Modality::Video => Input::Video(init.normal([2, 2, 3, 96, 96], 1.0).val()),
        Modality::Table => Input::Table(Rows {
            names: init.normal([2, 3, 128], 1.0).val(),
            categories: init.normal([2, 3, 128], 1.0).val(),
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
    let plan = sensorium::plan(&directory).unwrap().tensors;
    let compares = |name: &str| name.starts_with("text.") || ["scale", "bias"].contains(&name);
    let answers = plan.iter().filter(|tensor| !compares(&tensor.name)).count();
    assert_eq!(answers, params::list(&llava).len());
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
}

/// A sound of two stretches, a picture, a table of two rows, a film and a second sound among words: what is
/// written token by token is what a whole pass over all of them in padded batches says.
#[test]
fn media_of_all_kinds_stand_in_one_prompt() {
    let (dir, tokenizer, llava) = trained(2, others());
    let model = Model::open(dir.path(), &Options::on(&Device::flex())).unwrap();
    let sound = |samples: usize| {
        let samples = (0..samples).map(|i| (i as f32 * 0.3).sin()).collect();
        Media::Audio(Sound { rate: 16_000, samples, warning: None })
    };
    let frame = |seconds: f64| Frame {
        picture: Picture::filled(20, 16, [10, 90, (40.0 * seconds) as u8]),
        seconds,
    };
    let table = Table::decode(b"colour,x\nred,2\nblue,\n", "t.csv").unwrap();
    let media = [
        sound(4000),
        Media::Image(Picture::filled(64, 64, [200, 30, 90])),
        Media::Table(table),
        Media::Video(Video { frames: [0.0, 1.0, 2.0].map(frame).into(), duration: 3.0 }),
        sound(900),
    ];
    let word = |text: &str| Part::Text(text.into());
    let mut parts = vec![word("a red")];
    parts.extend(media.iter().map(|medium| Part::Media(medium.modality())));
    parts.push(word("left circle"));
    let messages = [Message { role: Role::User, parts }];
    let options = GenerateOptions { max_new_tokens: 6, ..GenerateOptions::default() };
    let mut go_on = |_: sensorium_inference::Step<'_>| ControlFlow::Continue(());
    let reply = model.chat().unwrap().answer(&messages, &media, &options, &mut go_on).unwrap();
    let told: Vec<(Modality, usize)> = reply.slots.iter().map(|s| (s.modality, s.len)).collect();
    let want = [
        (Modality::Audio, 5),
        (Modality::Audio, 2),
        (Modality::Image, 16),
        (Modality::Table, 2),
        (Modality::Table, 2),
        (Modality::Video, 3),
        (Modality::Audio, 2),
    ];
    assert_eq!(told, want);

    let opened = Pretrained::open(dir.path(), &Device::flex()).unwrap();
    let Pretrained::Sensorium(own) = opened else { panic!("not trained here") };
    let (_, spliced) = own.llava.unwrap();
    let planes = ImageProcessor::small().process(&Picture::filled(64, 64, [200, 30, 90]));
    let mut features = vec![llava.encode(Input::Image(batch(planes, [96, 96], &Device::flex())))];
    for processor in &spliced.processors {
        let pieces = media.iter().flat_map(|medium| processor.pieces(medium).unwrap());
        let input = processor.input(&pieces.collect::<Vec<_>>(), &Device::flex()).unwrap();
        features.push(llava.encode(input.unwrap()));
    }
    let mut whole = Prompt {
        answer: vec![false; reply.prompt.len()],
        spans: vec![0; reply.prompt.len()],
        ids: reply.prompt.clone(),
        slots: reply.slots.clone(),
    };
    for (span, slot) in (1..).zip(&reply.slots) {
        // A medium's tokens and those around it see each other.
        whole.spans[slot.at - 1..=slot.at + slot.len].fill(span);
    }
    let said = reply.continuation;
    let end = (said.finish == Finish::Stop).then(|| tokenizer.special(Special::End).unwrap());
    for token in said.ids.into_iter().chain(end) {
        let batch = Batch::new(std::slice::from_ref(&whole), 0);
        let logits = read(llava.logits(llava.forward(&batch, &features)));
        let last = &logits[logits.len() - tokenizer.vocabulary()..];
        let best = last.iter().fold(f32::MIN, |most, &v| most.max(v));
        assert!(best - last[token as usize] <= 10.0 * ROUNDING * best.abs().max(1.0));
        whole.ids.push(token);
        whole.answer.push(false);
        whole.spans.push(0);
    }

    // A table of more columns than the encoder reads.
    let wide = Media::Table(Table::decode(b"a,b,c,d\n1,2,3,4\n", "t.csv").unwrap());
    let messages = [Message { role: Role::User, parts: vec![Part::Media(Modality::Table)] }];
    let error = model.chat().unwrap().answer(&messages, &[wide], &options, &mut go_on).unwrap_err();
    assert!(error.to_string().contains("at most 3 columns, got 4"), "{error}");
}

#[test]
fn a_model_without_such_a_tower_refuses_a_medium_by_its_kind() {
    let (dir, ..) = trained(1, Vec::new());
    let model = Model::open(dir.path(), &Options::on(&Device::flex())).unwrap();
    let table = Table::decode(b"a,b\n1,2\n", "t.csv").unwrap();
    let error = model.chat().unwrap().takes(&[Media::Table(table)]).unwrap_err().to_string();
    assert!(error.contains("(text, image, video)") && error.contains("kind table"), "{error}");
}
