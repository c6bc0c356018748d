//! The recipes end to end at their tiny size: they learn, they freeze what they say they freeze,
//! and they refuse what they cannot do exactly.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sensorium_checkpoint::{Tensor, safetensors};
use sensorium_nn::prelude::Device;
use sensorium_pretrained::Pretrained;
use sensorium_train::log::{self, Metrics};
use sensorium_train::recipes;
use sensorium_train::run::RunOptions;
use tempfile::TempDir;

struct Trial {
    dir: TempDir,
}

impl Trial {
    fn new() -> Self {
        let trial = Self { dir: TempDir::new().unwrap() };
        trial.train("tokenizer", "tokenizer", &["samples=400", "vocabulary=700"], false).unwrap();
        trial
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn train(&self, recipe: &str, out: &str, sets: &[&str], resume: bool) -> Result<(), String> {
        let recipes = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes");
        let file = match recipe.contains('/') {
            true => recipes.join(recipe).with_extension("toml"),
            false => recipes.join(recipe).join("tiny.toml"),
        };
        let mut sets: Vec<String> = sets.iter().map(|set| (*set).to_string()).collect();
        sets.push(format!("tokenizer={:?}", self.path("tokenizer.json")));
        if recipe == "llava" {
            sets.push(format!("image={:?}", self.path("clip/final/image.safetensors")));
            sets.push(format!("backbone={:?}", self.path("text/final/backbone.safetensors")));
        }
        let options = RunOptions { resume, strict: true, ..RunOptions::new(self.path(out)) };
        recipes::train(&file, &sets, &options).map_err(|error| error.to_string())
    }

    fn component(&self, file: &str) -> BTreeMap<String, Tensor> {
        safetensors::load(&self.path(file)).unwrap().tensors
    }

    fn losses(&self, run: &str) -> Vec<f64> {
        log::read(&self.path(run)).unwrap().iter().map(|m: &Metrics| m.loss).collect()
    }
}

fn mean(losses: &[f64]) -> f64 {
    losses.iter().sum::<f64>() / losses.len() as f64
}

#[test]
fn stages_learn_and_move_only_their_parts() {
    let trial = Trial::new();
    trial.train("clip", "clip", &["steps=6", "batch=8"], false).unwrap();
    trial.train("text", "text", &["steps=40", "batch=8", "tokens=48"], false).unwrap();
    let text = trial.losses("text");
    assert!(mean(&text[35..]) < 0.8 * text[0], "text learns: {text:?}");

    let sets = [
        "align.steps=4",
        "align.batch=4",
        "instruct.steps=30",
        "instruct.batch=8",
        "instruct.save_every=10",
    ];
    trial.train("llava", "llava", &sets, false).unwrap();
    let instruct = trial.losses("llava/instruct");
    assert!(mean(&instruct[25..]) < 0.8 * instruct[0], "llava learns: {instruct:?}");

    // What a run ends with is a model.
    for run in ["clip", "text", "llava/align", "llava/instruct"] {
        Pretrained::open(&trial.path(run).join("final"), &Device::flex()).unwrap();
    }

    // Stage 1 moves the projector only, stage 2 projector and backbone, the encoder never moves.
    let image = trial.component("clip/final/image.safetensors");
    let backbone = trial.component("text/final/backbone.safetensors");
    assert_eq!(image, trial.component("llava/align/final/image.safetensors"));
    assert_eq!(image, trial.component("llava/instruct/final/image.safetensors"));
    assert_eq!(backbone, trial.component("llava/align/final/backbone.safetensors"));
    let tuned = trial.component("llava/instruct/final/backbone.safetensors");
    assert!(backbone.keys().eq(tuned.keys()));
    assert!(backbone.iter().all(|(name, tensor)| tuned[name] != *tensor), "all of it is trained");
    let aligned = trial.component("llava/align/final/projector.safetensors");
    assert_ne!(aligned, trial.component("llava/instruct/final/projector.safetensors"));
}

#[test]
fn clip_learns_with_either_loss() {
    let trial = Trial::new();
    for loss in ["sigmoid", "info_nce"] {
        let loss_is = format!("loss={loss}");
        let sets = ["steps=60", "batch=16", "save_every=60", &loss_is];
        trial.train("clip", loss, &sets, false).unwrap();
        let log = log::read(&trial.path(loss)).unwrap();
        for part in ["contrast", "caption", "gist", "regions", "places", "sides"] {
            let losses: Vec<f64> = log.iter().map(|m| m.extra[part]).collect();
            let (early, late) = (mean(&losses[5..15]), mean(&losses[50..]));
            assert!(late < early, "{loss}, {part}: {early} then {late}");
        }
    }
}

#[test]
fn a_resnet_learns_from_scratch_and_is_read_again() {
    let trial = Trial::new();
    let recipe = "clip/resnet";
    let sets = ["steps=60", "batch=16", "save_every=30"];
    trial.train(recipe, "whole", &sets, false).unwrap();
    let losses = trial.losses("whole");
    assert!(mean(&losses[50..]) < mean(&losses[5..15]), "{losses:?}");
    std::fs::remove_dir_all(trial.path("whole/step-000000060")).unwrap();
    std::fs::rename(trial.path("whole/final"), trial.path("once")).unwrap();
    trial.train(recipe, "whole", &sets, true).unwrap();
    assert_eq!(trial.losses("whole"), losses);
    let image = trial.component("once/image.safetensors");
    assert!(image == trial.component("whole/final/image.safetensors"), "resumed in other bits");
    assert_ne!(image["conv1.norm.running_mean"].data(), [0.0; 4]);
    Pretrained::open(&trial.path("once"), &Device::flex()).unwrap();

    let start = format!("start={:?}", trial.path("once"));
    trial.train(recipe, "longer", &["steps=2", "batch=4", &start], false).unwrap();
    for wrong in ["caption_weight=1.0", "region_weight=1.0", "accumulate=2", "from='x'"] {
        let refused = trial.train(recipe, "refused", &["batch=4", wrong], false).unwrap_err();
        assert!(refused.contains("hint:"), "{wrong}: {refused}");
    }
}

/// The count of recipes.md, which open_clip's RN50 has.
#[test]
fn the_papers_setting_has_the_papers_count() {
    let root = |path: &str| format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR"));
    let from = format!("model.from={:?}", root("recipes/clip/paper"));
    let recipe = root("recipes/clip/paper.toml");
    let planned = recipes::dry_run(recipe.as_ref(), &[from]).unwrap();
    assert_eq!([planned[0].total(), planned[0].trainable()], [102_007_137; 2]);
}

#[test]
fn a_text_tower_learns_from_captions_alone() {
    let trial = Trial::new();
    trial.train("clip", "clip", &["steps=2", "batch=8"], false).unwrap();
    let start = format!("start={:?}", trial.path("clip/final"));
    let sets = [
        "pictures=false",
        "train=[\"clip.text\", \"captioner.vector\", \"captioner.decoder\"]",
        "steps=40",
        "batch=16",
        "data.curriculum=[0.4, 1.0]",
        &start,
    ];
    trial.train("clip", "alone", &sets, false).unwrap();
    let log = log::read(&trial.path("alone")).unwrap();
    for part in ["sides", "gist"] {
        let losses: Vec<f64> = log.iter().map(|m| m.extra[part]).collect();
        let (early, late) = (mean(&losses[..5]), mean(&losses[35..]));
        assert!(late < early, "{part}: {early} then {late}");
    }
    assert!(!log[0].extra.contains_key("contrast"));
    // The head too is the one that the first run has left.
    for part in ["image", "clip", "places"] {
        let [before, after] = ["clip", "alone"]
            .map(|run| trial.component(&format!("{run}/final/{part}.safetensors")));
        assert_eq!(before, after, "{part}");
    }
    let [before, after] =
        ["clip", "alone"].map(|run| trial.component(&format!("{run}/final/text.safetensors")));
    assert_ne!(before, after);
}

#[test]
fn a_run_is_resumed_as_it_began_or_not_at_all() {
    let trial = Trial::new();
    let sets = ["steps=2", "batch=2", "tokens=16", "save_every=1"];
    trial.train("text", "text", &sets, false).unwrap();

    let again = trial.train("text", "text", &sets, false).unwrap_err();
    assert!(again.contains("hint:"), "{again}");
    let other = ["steps=2", "batch=3", "tokens=16", "save_every=1"];
    let changed = trial.train("text", "text", &other, true).unwrap_err();
    assert!(changed.contains("batch") && changed.contains("hint:"), "{changed}");
    // The length may change: the run goes on.
    let longer = ["steps=3", "batch=2", "tokens=16", "save_every=1"];
    trial.train("text", "text", &longer, true).unwrap();
    assert_eq!(trial.losses("text").len(), 3);
    assert!(
        trial.path("text/final-000000002/backbone.safetensors").is_file(),
        "the older end stays"
    );
}

#[test]
fn a_cosine_is_not_prolonged() {
    let trial = Trial::new();
    let run = |steps: &str, resume| {
        let cosine = "schedule={kind='cosine', rate=1e-3, warmup=1}";
        trial.train("text", "text", &[steps, cosine, "batch=2", "tokens=16"], resume)
    };
    run("steps=2", false).unwrap();
    let error = run("steps=3", true).unwrap_err();
    assert!(error.contains("steps: 2 -> 3") && error.contains("hint:"), "{error}");
}

#[test]
fn bfloat16_learns_as_f32_does() {
    let trial = Trial::new();
    for precision in ["f32", "bf16"] {
        let precision_is = format!("precision={precision:?}");
        let sets = ["steps=40", "batch=8", "tokens=48", &precision_is];
        trial.train("text", precision, &sets, false).unwrap();
    }
    let (f32, bf16) = (trial.losses("f32"), trial.losses("bf16"));
    assert_ne!(f32, bf16, "products were rounded");
    for (at, (f32, bf16)) in f32.iter().zip(&bf16).enumerate() {
        assert!((bf16 / f32 - 1.0).abs() < 0.01, "step {at}: {f32} and {bf16}");
    }
}

#[test]
fn activations_made_again_change_no_bit() {
    let trial = Trial::new();
    for (recipe, size, file) in
        [("text", "tokens=16", "backbone"), ("clip", "save_every=3", "image")]
    {
        let sets = ["steps=3", "batch=2", size];
        trial.train(recipe, recipe, &sets, false).unwrap();
        let (run, again) = (recipe.to_string(), format!("{recipe}-again"));
        trial.train(recipe, &again, &[&sets[..], &["recompute=true"]].concat(), false).unwrap();
        assert_eq!(trial.losses(&run), trial.losses(&again), "{recipe}");
        let weights = |run: &str| trial.component(&format!("{run}/final/{file}.safetensors"));
        assert_eq!(weights(&run), weights(&again), "{recipe}");
    }
}

#[test]
fn a_bad_recipe_names_its_key() {
    let trial = Trial::new();
    let unknown = trial.train("text", "text", &["stepz=2"], false).unwrap_err();
    assert!(unknown.contains("stepz") && unknown.contains("hint:"), "{unknown}");
    let missing = trial.train("llava", "llava", &[], false).unwrap_err();
    assert!(missing.contains("image.safetensors") && missing.contains("hint:"), "{missing}");
    let sets = ["pictures=false", "place_weight=0.0", "gist_weight=0.0"];
    let idle = trial.train("clip", "clip", &sets, false).unwrap_err();
    assert!(idle.contains("pictures") && idle.contains("hint:"), "{idle}");
}
