//! Towers of other media beside a model that was trained here: they join its space by captions, and its
//! prompts by a projector; all else stays as it was.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};

use sensorium_checkpoint as checkpoint;
use sensorium_checkpoint::Tensors;
use sensorium_data::scene::{Scene, Split};
use sensorium_flow::Input;
use sensorium_media::{Modality, Picture};
use sensorium_model::clip::batch;
use sensorium_model::domain::pooled;
use sensorium_nn::prelude::Device;
use sensorium_pretrained::Pretrained;
use sensorium_pretrained::families::sensorium::Parts;
use sensorium_train::log;
use sensorium_train::recipes;
use sensorium_train::run::RunOptions;
use tempfile::TempDir;

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

struct Trial(TempDir);

impl Trial {
    /// With a model in `plain` that sees and hears nothing: the embedded one without its other towers.
    fn new() -> Self {
        let trial = Self(TempDir::new().unwrap());
        let (from, to) = (root("models/nano"), trial.path("plain"));
        fs::create_dir(&to).unwrap();
        for name in ["image", "text", "clip", "projector", "backbone"] {
            let file = format!("{name}.gguf");
            fs::copy(from.join(&file), to.join(&file)).unwrap();
        }
        for file in ["tokenizer.json", "preprocessor_config.json", "chat_template.jinja"] {
            fs::copy(from.join(file), to.join(file)).unwrap();
        }
        let config = fs::read(from.join("config.json")).unwrap();
        let mut config: serde_json::Value = serde_json::from_slice(&config).unwrap();
        let fields = config.as_object_mut().unwrap();
        fields.retain(|key, _| !["imagebind", "domain", "talker"].contains(&key.as_str()));
        fields["llava"]["towers"].as_array_mut().unwrap().truncate(1);
        fs::write(to.join("config.json"), config.to_string()).unwrap();
        trial
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The tiny recipe, on the two sounds and a table with what is said of it.
    fn imagebind(&self, out: &str, sets: &[&str], resume: bool) -> Result<(), String> {
        let sounds = root("crates/data/tests/samples/folder-sounds");
        let data = format!("data.train=[{{kind='folder',path={sounds:?}}}]");
        let from = format!("model.from={:?}", self.path("plain"));
        self.train("recipes/imagebind/tiny.toml", out, &[&[&*data, &*from], sets].concat(), resume)
    }

    fn train(&self, recipe: &str, out: &str, sets: &[&str], resume: bool) -> Result<(), String> {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        let options = RunOptions { strict: true, resume, ..RunOptions::new(self.path(out)) };
        recipes::train(&root(recipe), &sets, &options).map_err(|error| error.to_string())
    }

    /// A projector for the sounds that `from` hears, by `recipe` with these settings.
    fn llava(&self, out: &str, from: &Path, sets: &[&str]) -> Result<(), String> {
        let sounds = root("crates/data/tests/samples/folder-sounds");
        let text = format!(
            "recipe = 'llava'\nseed = 1\n[model]\nfrom = {from:?}\ntrain = ['towers.1.projector']\n\
             [instruct]\nsteps = 30\nbatch_size = 2\nsave_every = 30\n\
             schedule = {{ kind = 'constant', learning_rate = 3e-3 }}\n\
             [[media]]\nkind = 'audio'\nsize = 'tiny'\n\
             [[data.train]]\nkind = 'folder'\npath = {sounds:?}\n"
        );
        fs::write(self.path("llava.toml"), text).unwrap();
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        let options = RunOptions { strict: true, ..RunOptions::new(self.path(out)) };
        recipes::train(&self.path("llava.toml"), &sets, &options).map_err(|error| error.to_string())
    }

    fn losses(&self, run: &str) -> Vec<f64> {
        log::read(&self.path(run)).unwrap().iter().map(|metrics| metrics.loss).collect()
    }

    fn parts(&self, run: &str) -> Parts {
        match Pretrained::open(&self.path(run), &Device::flex()).unwrap() {
            Pretrained::Sensorium(parts) => parts,
            other => panic!("{other:?}"),
        }
    }
}

fn weights(path: &Path) -> Tensors {
    checkpoint::load(path).unwrap()
}

/// Older files write a projector's kind before its parameters' names.
fn alike(a: &Tensors, b: &Tensors, component: &str) {
    assert!(a.tensors.values().eq(b.tensors.values()), "{component}");
}

#[test]
fn sounds_join_the_space_and_then_the_prompts() {
    let trial = Trial::new();
    trial.imagebind("bound", &[], false).unwrap();
    let losses = trial.losses("bound");
    assert!(losses[losses.len() - 1] < 0.3 * losses[0], "{losses:?}");
    for name in ["image", "text", "projector", "backbone"] {
        let kept = weights(&trial.path(&format!("bound/final/{name}.safetensors")));
        let nano = weights(&root(&format!("models/nano/{name}.gguf")));
        alike(&kept, &nano, name);
    }
    let parts = trial.parts("bound/final");
    let bound = parts.bound.unwrap();
    assert!(bound.imagebind.tower(Modality::Audio).is_some() && parts.llava.is_some());

    let bound = trial.path("bound/final");
    trial.llava("spoken", &bound, &[]).unwrap();
    let losses = trial.losses("spoken/instruct");
    assert!(losses[losses.len() - 1] < 0.7 * losses[0], "{losses:?}");
    let done = trial.path("spoken/instruct/final");
    for name in ["image", "text", "projector", "backbone", "audio", "audio_head"] {
        let [kept, before] =
            [&done, &bound].map(|dir| weights(&dir.join(format!("{name}.safetensors"))));
        alike(&kept, &before, name);
    }
    let parts = trial.parts("spoken/instruct/final");
    let (_, spliced) = parts.llava.unwrap();
    assert_eq!(spliced.processors.len(), 1);
    assert!(spliced.config.tower(Modality::Audio).is_some() && parts.bound.is_some());
}

#[test]
fn a_run_goes_on_bit_for_bit() {
    let trial = Trial::new();
    trial.imagebind("whole", &["steps=6"], false).unwrap();
    trial.imagebind("parts", &["steps=3", "save_every=3"], false).unwrap();
    trial.imagebind("parts", &["steps=6", "save_every=3"], true).unwrap();
    assert_eq!(trial.losses("parts"), trial.losses("whole"));
}

/// Nearly all held-out scenes are inside, noise is not; nothing else of the model changes.
#[test]
fn pictures_that_are_unlike_all_scenes_are_outside() {
    let trial = Trial::new();
    let from = format!("model.from={:?}", trial.path("plain"));
    trial.train("recipes/domain/tiny.toml", "domain", &[&from], false).unwrap();
    let parts = trial.parts("domain/final");
    let (domain, (_, spliced)) = (parts.domain.unwrap(), parts.llava.unwrap());
    let far = |picture: &Picture| {
        let planes = batch(spliced.processor.process(picture), [96, 96], &Device::flex());
        let seen = spliced.llava.encode(Input::Image(planes)).features;
        domain.distance(&pooled(seen)[0])
    };
    let scenes = (1000..1100).map(|i| Scene::random(Split::Val, 1, i, 3).render(96));
    let outside = scenes.filter(|scene| far(scene).is_outside()).count();
    assert!(outside <= 20, "{outside} of 100 scenes");
    let noise = |i: u32| Picture {
        width: 96,
        height: 96,
        pixels: (0..3 * 96 * 96)
            .map(|j: u32| ((i + j).wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect(),
    };
    assert!((0..10).all(|i| far(&noise(i)).is_outside()));
    for (set, expected) in [("false_alarms=1.0", "below 1"), ("data.val=[]", "data.val")] {
        let error = trial.train("recipes/domain/tiny.toml", "wrong", &[&from, set], false);
        assert!(error.unwrap_err().contains(expected), "{set}");
    }
}

#[test]
fn what_makes_no_sense_is_told() {
    let trial = Trial::new();
    let pictures = root("crates/data/tests/samples/folder-csv");
    let pictures = format!("data.train=[{{kind='folder',path={pictures:?}}}]");
    let clip = format!("model.from={:?}", root("goldens/published_clip"));
    let cases = [
        (pictures.as_str(), "one sound, video or table each"),
        (clip.as_str(), "expected a model of sensorium, got clip"),
        ("steps=0", "steps"),
    ];
    for (set, expected) in cases {
        let error = trial.imagebind("wrong", &[set], false).unwrap_err();
        assert!(error.contains(expected) && error.contains("hint: "), "{set}: {error}");
    }
    let error = trial.llava("wrong", &root("goldens/seeing_llava"), &[]).unwrap_err();
    assert!(error.contains("expected a model that was trained here, got llava"), "{error}");
}
