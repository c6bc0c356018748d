//! The embedded model's shape with random weights: what it writes token by token is what whole passes
//! say.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::borrow::Cow;
use std::ops::ControlFlow;

use sensorium_checkpoint::Tensors;
use sensorium_checkpoint::safetensors::{self, Dtype};
use sensorium_inference::nano::{Files, Nano};
use sensorium_inference::{ChatModel, Finish, GenerateOptions};
use sensorium_media::{Message, Part, Picture, Role, Special, Tokenizer};
use sensorium_model::clip::{Clip, ClipConfig};
use sensorium_model::llava::{Llava, LlavaConfig};
use sensorium_model::prompt::Batch;
use sensorium_model::weights;
use sensorium_nn::params::{self, read};
use sensorium_nn::prelude::*;
use sensorium_nn::running_device;

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

fn nano(seed: u64) -> Nano {
    let words = ["circle", "square", "red", "blue", "left", "right"];
    let texts = (0..200).map(|i| format!("a {} {}", words[i % 6], words[i / 6 % 6]));
    let tokenizer = Tokenizer::train(texts, 600).unwrap();
    let (mut clip, mut llava) = (ClipConfig::nano(), LlavaConfig::nano());
    clip.text.vocabulary = tokenizer.vocabulary();
    llava.backbone.vocabulary = tokenizer.vocabulary();
    assert!(llava.prefix);
    let init = &mut Init::new(seed, &running_device());
    let (clip, llava) = (Clip::init(&clip, init), lively(Llava::init(&llava, init)));
    let mut scalars = weights::tensors(&clip).unwrap();
    scalars.tensors.retain(|name, _| ["scale", "bias"].contains(&name.as_str()));
    let file = |tensors: Tensors| Cow::from(safetensors::write(&tensors, Dtype::F32).unwrap());
    let files = Files(vec![
        ("tokenizer.json", tokenizer.to_bytes().into()),
        ("image.safetensors", file(weights::tensors(&llava.image).unwrap())),
        ("text.safetensors", file(weights::tensors(&clip.text).unwrap())),
        ("clip.safetensors", file(scalars)),
        ("projector.safetensors", file(weights::tensors(&llava.projector).unwrap())),
        ("backbone.safetensors", file(weights::tensors(&llava.backbone).unwrap())),
    ]);
    Nano::load(&files, &running_device()).unwrap()
}

#[test]
fn generated_tokens_are_those_of_repeated_whole_passes() {
    let parts = vec![Part::Text("a red".into()), Part::Image, Part::Text("left circle".into())];
    let messages = [Message { role: Role::User, parts }];
    let mut checked = 0;
    for seed in 0..SEEDS {
        let nano = nano(seed);
        let pictures = [Picture::filled(64, 64, [200, 30, 90])];
        let options = GenerateOptions { max_new_tokens: 6, ..GenerateOptions::default() };
        let mut go_on = |_: sensorium_inference::Step<'_>| ControlFlow::Continue(());
        let reply = nano.answer(&messages, &pictures, &options, &mut go_on).unwrap();
        let said = reply.continuation;
        let mut whole = nano.prompt(&messages).unwrap();
        assert_eq!(reply.prompt, whole.ids);

        let features = nano.llava.encode(nano.images(&pictures));
        let end = (said.finish == Finish::Stop).then(|| nano.tokenizer.special(Special::End));
        for token in said.ids.into_iter().chain(end) {
            let batch = Batch::new(std::slice::from_ref(&whole), 0);
            let hidden = nano.llava.forward(&batch, Some(features.clone()));
            let logits = read(nano.llava.logits(hidden));
            let last = &logits[logits.len() - nano.tokenizer.vocabulary()..];
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
