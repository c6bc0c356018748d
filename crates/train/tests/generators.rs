//! Generators end to end at their tiny size: they learn, a run goes on bit for bit, what is frozen stays, and a
//! language model learns to ask for them by rows of its table alone.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use sensorium_checkpoint::{self as checkpoint, Tensor, Tensors};
use sensorium_flow::{Modality, Output, Sampler};
use sensorium_inference::{GenerateOptions, Model, Options};
use sensorium_media::{Media, Message, Role};
use sensorium_nn::params::read;
use sensorium_nn::prelude::Device;
use sensorium_pretrained::families::generators::Generators;
use sensorium_pretrained::families::sensorium::SensoriumConfig;
use sensorium_pretrained::{Directory, Pretrained};
use sensorium_train::log;
use sensorium_train::recipes;
use sensorium_train::run::RunOptions;
use tempfile::TempDir;

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

struct Trial(TempDir);

impl Trial {
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn train(&self, recipe: &str, out: &str, sets: &[&str], resume: bool) -> Result<(), String> {
        let options = RunOptions { strict: true, resume, ..RunOptions::new(self.path(out)) };
        self.run(recipe, sets, &options)
    }

    fn run(&self, recipe: &str, sets: &[&str], options: &RunOptions) -> Result<(), String> {
        let paths = match recipe {
            "flow" | "gan" | "conditional_vae" => vec![
                format!("model.from={:?}", root("models/nano")),
                format!("vae={:?}", self.path("vae/final")),
            ],
            "gill" | "next_gpt" => vec![format!("model.from={:?}", self.path("flow/final"))],
            _ => Vec::new(),
        };
        // Else what is drawn in a step depends on how many there are.
        let stages: &[&str] = match recipe {
            "next_gpt" => &["encode.", "decode.", "instruct."],
            _ => &[""],
        };
        let whole = stages.iter().map(|stage| format!("{stage}data.curriculum=[1,1]"));
        let paths = paths.into_iter().chain(whole);
        let sets = paths.chain(sets.iter().map(|set| (*set).to_owned()));
        let file = root("recipes").join(recipe).join("tiny.toml");
        recipes::train(&file, &sets.collect::<Vec<_>>(), options).map_err(|e| e.to_string())
    }

    fn losses(&self, run: &str) -> Vec<f64> {
        log::read(&self.path(run)).unwrap().iter().map(|metrics| metrics.loss).collect()
    }

    fn component(&self, run: &str, name: &str) -> Tensors {
        checkpoint::load(&self.path(run).join("final").join(name)).unwrap()
    }
}

fn mean(losses: &[f64]) -> f64 {
    losses.iter().sum::<f64>() / losses.len() as f64
}

fn generators(path: &Path) -> Generators {
    match Pretrained::open(path, &Device::flex()).unwrap() {
        Pretrained::Sensorium(parts) => parts.generators.unwrap(),
        other => panic!("not trained here: {other:?}"),
    }
}

#[test]
fn pictures_are_learned_by_three_recipes_in_turn() {
    let trial = Trial(TempDir::new().unwrap());
    for recipe in ["vae", "flow", "gill"] {
        trial.train(recipe, recipe, &[], false).unwrap();
        let losses = trial.losses(recipe);
        let [early, late] = [&losses[..10], &losses[losses.len() - 10..]].map(mean);
        // Noise is new in every step, and what it hides is never all told.
        let share = if recipe == "flow" { 0.9 } else { 0.8 };
        assert!(late < share * early, "{recipe}: {losses:?}");
    }

    // A run that was stopped goes on to the same bits.
    for (recipe, file) in [("vae", "vae"), ("flow", "image_generator"), ("gill", "image_mapper")] {
        trial.train(recipe, "again", &["steps=10", "save_every=10"], false).unwrap();
        trial.train(recipe, "again", &[], true).unwrap();
        let file = format!("{file}.safetensors");
        let [once, twice] = [recipe, "again"].map(|run| trial.component(run, &file));
        assert!(once.tensors == twice.tensors, "{recipe}");
        std::fs::remove_dir_all(trial.path("again")).unwrap();
    }

    // What tells texts is what told them before, and so is what looks at pictures.
    for name in ["image", "text", "projector", "audio"] {
        let before = Directory::open(&root("models/nano")).unwrap().component(name).unwrap();
        let after = trial.component("gill", &format!("{name}.safetensors"));
        assert!(before.tensors == after.tensors, "{name}");
    }
    // Of the language model, the rows of the signal tokens alone have moved.
    let before = Directory::open(&root("models/nano")).unwrap().component("backbone").unwrap();
    let after = trial.component("gill", "backbone.safetensors");
    assert_eq!(moved(&before, &after), [("embedding.weight".to_owned(), vec![3877, 3878])]);

    one_picture_is_one_picture(&generators(&trial.path("gill/final")));
}

#[test]
fn pixels_are_learned_without_an_autoencoder() {
    let trial = Trial(TempDir::new().unwrap());
    let text = std::fs::read_to_string(root("recipes/flow/tiny.toml")).unwrap();
    let file = trial.path("pixels.toml");
    std::fs::write(&file, text.replace("vae = \"runs/tiny/vae/final\"\n", "")).unwrap();
    let sets = [
        format!("model.from={:?}", root("models/nano")),
        "generator.pixels=true".to_owned(),
        "generator.prediction=data".to_owned(),
        "generator.patch=[1,8,8]".to_owned(),
        "data.curriculum=[1,1]".to_owned(),
    ];
    recipes::train(&file, &sets, &RunOptions::new(trial.path("pixels"))).unwrap();
    let losses = trial.losses("pixels");
    let [early, late] = [&losses[..10], &losses[losses.len() - 10..]].map(mean);
    assert!(late < 0.7 * early, "{losses:?}");
    one_picture_is_one_picture(&generators(&trial.path("pixels/final")));

    // What goes on knows that it makes pixels.
    let from = format!("model.from={:?}", trial.path("pixels/final"));
    let text = std::fs::read_to_string(&file).unwrap();
    let (head, rest) = text.split_once("[generator]").unwrap();
    let (_, data) = rest.split_once("[[data").unwrap();
    std::fs::write(&file, format!("{head}[[data{data}")).unwrap();
    let sets = [from, "steps=2".to_owned(), "save_every=2".to_owned(), sets[4].clone()];
    recipes::train(&file, &sets, &RunOptions::new(trial.path("further"))).unwrap();
    assert!(mean(&trial.losses("further")) < early);
}

/// The rows of each tensor that are other than they were, where any is.
fn moved(before: &Tensors, after: &Tensors) -> Vec<(String, Vec<usize>)> {
    assert!(before.tensors.keys().eq(after.tensors.keys()));
    let rows = |name: &String, tensor: &Tensor| {
        let (old, new) = (tensor.data(), after.tensors[name].data());
        let width = tensor.shape().last().copied().unwrap_or(1);
        let rows = old.chunks(width).zip(new.chunks(width)).enumerate();
        let moved = rows.filter(|(_, (a, b))| a != b).map(|(row, _)| row).collect();
        (name.clone(), moved)
    };
    let all = before.tensors.iter().map(|(name, tensor)| rows(name, tensor));
    all.filter(|(_, rows): &(String, Vec<usize>)| !rows.is_empty()).collect()
}

/// The same text and seed make the same picture, whatever stands beside it.
fn one_picture_is_one_picture(generators: &Generators) {
    assert_eq!(generators.modalities(), [Modality::Image]);
    let sampler = |seed| Sampler { seed, steps: 3, ..Sampler::default() };
    let draw = |texts: &[&str], seed| -> Vec<f32> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        match generators.generate(Modality::Image, &texts, sampler(seed)).unwrap().unwrap() {
            Output::Image(x) => read(x),
            other => panic!("expected pictures, got {other:?}"),
        }
    };
    let two = draw(&["a red circle", "two blue stars above a green square"], 7);
    let [first, second] = [&two[..two.len() / 2], &two[two.len() / 2..]];
    let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4);
    assert!(close(&draw(&["a red circle"], 7), first));
    assert!(close(&draw(&["two blue stars above a green square"], 8), second));
}

const STAGES: [&str; 3] = ["encode", "decode", "instruct"];

#[test]
fn a_model_learns_at_both_ends_in_three_stages() {
    let trial = Trial(TempDir::new().unwrap());
    trial.train("vae", "vae", &["steps=30", "save_every=30"], false).unwrap();
    trial.train("flow", "flow", &["steps=20", "save_every=20"], false).unwrap();
    trial.train("next_gpt", "whole", &[], false).unwrap();
    for stage in STAGES {
        let losses = trial.losses(&format!("whole/{stage}"));
        let [early, late] = [&losses[..6], &losses[losses.len() - 6..]].map(mean);
        assert!(late < 0.9 * early, "{stage}: {losses:?}");
    }
    stays_what_no_stage_teaches(&trial);
    a_request_is_answered_with_a_picture(&trial.path("whole/instruct/final"));

    // A run that is stopped in each of them goes on to the same bits.
    let sets = ["encode.steps=2", "decode.steps=2", "instruct.steps=2", "optim.ema=0.5"];
    trial.train("next_gpt", "once", &sets, false).unwrap();
    for (resume, stage) in [(false, "encode"), (true, "decode"), (true, "instruct")] {
        let options = RunOptions { strict: true, resume, ..RunOptions::new(trial.path("parts")) };
        options.stop.store(true, Ordering::Relaxed);
        let error = trial.run("next_gpt", &sets, &options).unwrap_err();
        assert!(error.contains("after step 1 of 2") && error.contains(stage), "{error}");
    }
    trial.train("next_gpt", "parts", &sets, true).unwrap();
    for file in ["backbone", "projector", "audio_projector", "image_mapper"] {
        let file = format!("{file}.safetensors");
        let [once, parts] =
            ["once/instruct", "parts/instruct"].map(|run| trial.component(run, &file));
        assert!(once.tensors == parts.tensors, "{file}");
    }
}

/// What a plan counts is what the stages have trained, and of the table no more than the signal tokens' rows.
#[test]
fn stages_are_counted_and_answers_in_words_and_pictures_learned() {
    let trial = Trial(TempDir::new().unwrap());
    trial.train("vae", "vae", &["steps=1", "save_every=1"], false).unwrap();
    trial.train("flow", "flow", &["steps=1", "save_every=1"], false).unwrap();
    let from = format!("model.from={:?}", trial.path("flow/final"));
    let planned = recipes::dry_run(&root("recipes/next_gpt/tiny.toml"), &[from]).unwrap();
    let counts = planned.iter().map(|stage| (stage.name.as_str(), stage.trainable()));
    let (projectors, mapper, lora) = (1_038_848, 533_184 + 2 * 256, 149_504);
    let all = projectors + mapper + lora;
    let wanted = [("encode", projectors), ("decode", mapper), ("instruct", all)];
    assert_eq!(counts.collect::<Vec<_>>(), wanted);

    std::fs::copy(root("examples/pictures/scene.png"), trial.path("scene.png")).unwrap();
    let talk = r#"{"messages": [
        {"role": "user", "content": "what is a circle?"},
        {"role": "assistant", "content": [
            {"type": "text", "text": "here is a circle"},
            {"type": "image", "image": "scene.png"}]}]}"#;
    let talk = talk.replace('\n', "");
    std::fs::write(trial.path("talks.jsonl"), talk).unwrap();
    let data =
        format!("instruct.data.train=[{{kind='messages',path={:?}}}]", trial.path("talks.jsonl"));
    let sets = ["encode.steps=1", "decode.steps=1", "instruct.steps=6", &data];
    trial.train("next_gpt", "talks", &sets, false).unwrap();
    let steps = log::read(&trial.path("talks/instruct")).unwrap();
    let said: Vec<f64> = steps.iter().map(|step| step.extra["image_said"]).collect();
    assert!(steps.iter().all(|step| step.extra.contains_key("image_told")));
    assert!(said[5] < said[0], "{said:?}");
}

/// The model decides so by itself, and its generator makes what it is told.
fn a_request_is_answered_with_a_picture(path: &Path) {
    let model = Model::open(path, &Options::on(&Device::flex())).unwrap();
    let asked = [Message::text(Role::User, "draw a red circle")];
    let (chat, options) = (model.chat().unwrap(), GenerateOptions::default());
    let reply = chat.answer(&asked, &[], &options, &mut |_| ControlFlow::Continue(()));
    let wanted = reply.unwrap().wanted.unwrap();
    let sampler = Sampler { seed: 7, steps: 3, ..Sampler::default() };
    let made = model.media().unwrap().make(&wanted, 1, sampler).unwrap();
    assert!(matches!(made[..], [Media::Image(_)]), "{made:?}");
}

/// Each stage moves what learns in it and not a bit of anything else.
fn stays_what_no_stage_teaches(trial: &Trial) {
    let mut before = trial.path("flow/final");
    for (stage, learns) in STAGES.into_iter().zip([
        &["projector", "audio_projector"][..],
        &["backbone", "image_mapper"],
        // Nothing is heard.
        &["backbone", "image_mapper", "projector"],
    ]) {
        let after = trial.path(&format!("whole/{stage}/final"));
        let [old, new] = [&before, &after].map(|path| Directory::open(path).unwrap());
        for name in SensoriumConfig::read(&new).unwrap().components() {
            let new = new.component(name).unwrap();
            let Ok(old) = old.component(name) else {
                assert_eq!((stage, name), ("decode", "image_mapper"));
                continue;
            };
            let moved = moved(&old, &new);
            assert_eq!(!moved.is_empty(), learns.contains(&name), "{stage}: {name}");
            let rows = |part: &str| -> Vec<Vec<usize>> {
                let below = moved.iter().filter(|(name, _)| name.starts_with(part));
                below.map(|(_, rows)| rows.clone()).collect()
            };
            if name == "backbone" {
                let signals: &[Vec<usize>] = match stage {
                    "encode" => &[],
                    _ => &[vec![3877, 3878]],
                };
                assert_eq!(rows("embedding"), signals, "{stage}");
                assert_eq!(rows("norm").len(), 0, "{stage}");
                // What was learned beside the matrices is in them.
                let matrices = new
                    .tensors
                    .iter()
                    .filter(|(name, one)| name.starts_with("layers.") && one.shape().len() == 2);
                let wanted = if stage == "instruct" { matrices.count() } else { 0 };
                assert_eq!(rows("layers").len(), wanted, "{stage}");
            }
        }
        before = after;
    }
}

#[test]
fn every_kind_of_generator_makes_pictures() {
    let trial = Trial(TempDir::new().unwrap());
    trial.train("vae", "vae", &["steps=30", "save_every=30"], false).unwrap();
    for recipe in ["gan", "conditional_vae"] {
        trial.train(recipe, recipe, &[], false).unwrap();
        one_picture_is_one_picture(&generators(&trial.path(recipe).join("final")));
        trial.train(recipe, "again", &["steps=10", "save_every=10"], false).unwrap();
        trial.train(recipe, "again", &[], true).unwrap();
        let file = "image_generator.safetensors";
        let [once, twice] = [recipe, "again"].map(|run| trial.component(run, file));
        assert!(once.tensors == twice.tensors, "{recipe}");
        std::fs::remove_dir_all(trial.path("again")).unwrap();
    }
    let losses = trial.losses("conditional_vae");
    let [early, late] = [&losses[..10], &losses[losses.len() - 10..]].map(mean);
    assert!(late < 0.9 * early, "{losses:?}");
    // Who learns from whom: the discriminator has told them apart at some time, and been fooled since.
    let told = log::read(&trial.path("gan")).unwrap();
    assert!(told.iter().any(|step| step.loss < 1.9), "{:?}", trial.losses("gan"));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let trial = Trial(TempDir::new().unwrap());
    trial.train("vae", "vae", &["steps=1", "save_every=1"], false).unwrap();
    for (recipe, set, want) in [
        ("vae", "image_size=30", "expected a multiple of 8 pixels, got 30"),
        ("vae", "vae.channels=[]", "channels, blocks and latent channels of at least 1"),
        ("flow", "modality=table", "expected image, video or audio, got table"),
        ("flow", "generator.image_size=36", "a multiple of 8 pixels, got 36"),
        ("flow", "drop_text=1.5", "a share from 0 to 1"),
        ("flow", "generator.patch=[1,3,1]", "in whole patches"),
        ("flow", "generator.uvit.n_layers=4", "an odd number of blocks"),
        ("flow", "generator.pixels=true", "expected no autoencoder beside pixels"),
        ("gan", "generator.prediction=data", "of what is no flow"),
    ] {
        let error = trial.train(recipe, "wrong", &[set], false).unwrap_err();
        assert!(error.contains(want), "{set}: {error}");
    }
}

#[test]
fn stages_that_make_no_sense_are_refused() {
    let trial = Trial(TempDir::new().unwrap());
    trial.train("vae", "vae", &["steps=1", "save_every=1"], false).unwrap();
    trial.train("flow", "flow", &["steps=1", "save_every=1"], false).unwrap();
    for (set, key) in [
        ("outputs=[]", "outputs: expected [[outputs]] for [decode] and [instruct]"),
        (
            "outputs=[{modality='audio',requests=['{}']}]",
            "outputs: expected a model with a generator of kind audio",
        ),
        ("model.train=['backbone']", "model.train: expected stages"),
        ("lora.quantization='q8_0'", "lora.quantization: expected whole matrices"),
        ("lora.from='somewhere'", "lora.from: expected a new adapter"),
        ("lora.target_modules=['frames']", "lora.target_modules: expected ends of matrices' names"),
        ("encode.projector_rate=-1", "encode.projector_rate: expected a factor of 0 or more"),
        ("decode.steps=0", "steps: expected 1 or more"),
        ("encode.data.train=[{kind='documents'}]", "media that the model has towers for"),
        ("decode.data.train=[{kind='sounds'}]", "of a kind in [[outputs]]"),
        ("media=[{kind='text'}]", "media"),
        ("model.from='models/none'", "models/none"),
    ] {
        let error = trial.train("next_gpt", "wrong", &[set], false).unwrap_err();
        assert!(error.contains(key), "{set}: {error}");
    }
}
