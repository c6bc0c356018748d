//! A model that was trained here, of random weights: what it writes token by token is what whole passes
//! say.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::ops::ControlFlow;

use sensorium_backbone::{BackboneConfig, LlamaConfig};
use sensorium_checkpoint::Tensors;
use sensorium_checkpoint::safetensors::{self, Dtype};
use sensorium_encoder::EncoderConfig;
use sensorium_encoder::image::{FeatureSelect, VitConfig};
use sensorium_flow::Input;
use sensorium_inference::{Finish, GenerateOptions, Model, Options};
use sensorium_input_projector::ProjectorConfig;
use sensorium_media::{
    ImageProcessor, Media, Message, Modality, Part, Picture, Role, Special, Tokenizer, render,
};
use sensorium_model::clip::batch;
use sensorium_model::llava::{Llava, LlavaConfig, TowerConfig};
use sensorium_model::prompt::Batch;
use sensorium_model::weights;
use sensorium_nn::params::{self, read};
use sensorium_nn::prelude::*;
use sensorium_pretrained::families::sensorium::SensoriumConfig;
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

/// A directory of random weights, and what is in it.
fn trained(seed: u64) -> (TempDir, Tokenizer, Llava) {
    let words = ["circle", "square", "red", "blue", "left", "right"];
    let texts = (0..200).map(|i| format!("a {} {}", words[i % 6], words[i / 6 % 6]));
    let tokenizer = Tokenizer::train(texts, 600).unwrap();
    let config = config(tokenizer.vocabulary());
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
    component("image", weights::tensors(&llava.towers[0].encoder).unwrap());
    component("projector", weights::tensors(&llava.towers[0].projector).unwrap());
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
        let (dir, tokenizer, llava) = trained(seed);
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
