//! BLIP-2's two stages: they learn one batch, move what they may, and leave what opens.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};

use sensorium_nn::prelude::Device;
use sensorium_pretrained::{Directory, Pretrained, bridge};
use sensorium_train::log;
use sensorium_train::recipes;
use sensorium_train::run::RunOptions;
use tempfile::TempDir;

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

struct Trial(TempDir);

impl Trial {
    fn train(&self, sets: &[String]) -> Result<(), String> {
        let options = RunOptions { strict: true, ..RunOptions::new(self.0.path()) };
        let recipe = root("recipes/blip2/tiny.toml");
        recipes::train(&recipe, &settings(sets), &options).map_err(|error| error.to_string())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn losses(&self, stage: &str) -> Vec<f64> {
        log::read(&self.path(stage)).unwrap().iter().map(|metrics| metrics.loss).collect()
    }
}

/// The tiny recipe on two pictures, wherever it is run.
fn settings(sets: &[String]) -> Vec<String> {
    let folder = root("crates/data/tests/samples/folder-csv");
    let mut all = vec![
        format!("data.train=[{{kind=\"folder\",path={folder:?}}}]"),
        format!("model.tokenizer={:?}", root("goldens/blip2_matching/tokenizer.json")),
        "represent.batch_size=2".into(),
        "generate.batch_size=2".into(),
        "represent.steps=200".into(),
        "represent.schedule={kind=\"constant\",learning_rate=5e-3}".into(),
        "generate.steps=500".into(),
        "generate.schedule={kind=\"constant\",learning_rate=1e-2}".into(),
    ];
    if !sets.iter().any(|set| set.starts_with("model.encoder")) {
        all.push(part("encoder", "published_dinov2"));
    }
    if !sets.iter().any(|set| set.starts_with("model.backbone")) {
        all.push(part("backbone", "parts/chat_opt"));
    }
    all.extend_from_slice(sets);
    all
}

fn part(part: &str, golden: &str) -> String {
    format!("model.{part}={:?}", root(&format!("goldens/{golden}")))
}

#[test]
fn both_stages_learn_a_batch_and_leave_models() {
    for (encoder, backbone) in [
        ("published_dinov2", "parts/chat_opt"),
        ("published_clip", "parts/chat_qwen2"),
        ("published_siglip", "chatting"),
    ] {
        let trial = Trial(TempDir::new().unwrap());
        trial.train(&[part("encoder", encoder), part("backbone", backbone)]).unwrap();
        for (stage, share) in [("represent", 0.2), ("generate", 0.8)] {
            let losses = trial.losses(stage);
            let (first, last) = (losses[0], losses[losses.len() - 1]);
            assert!(last < share * first, "{encoder}, {stage}: {first} then {last}");
        }
        let last = log::read(&trial.path("represent")).unwrap().pop().unwrap();
        assert_eq!(last.extra["accuracy"], 1.0, "{encoder}");
        assert_eq!(last.extra["matched"], 1.0, "{encoder}");
        let [matcher, writer] = ["represent/final", "generate/final"].map(|dir| trial.path(dir));
        let open = |dir: &Path| Pretrained::open(dir, &Device::flex()).unwrap();
        assert!(matches!(open(&matcher), Pretrained::Matcher(_)), "{encoder}");
        assert!(matches!(open(&writer), Pretrained::Blip2(..)), "{encoder}");
        only_the_bridge_moves(&matcher, &writer, backbone);
    }
}

/// Between the stages: the encoder but for its last norm, and the language model, stay as they were.
fn only_the_bridge_moves(matcher: &Path, writer: &Path, backbone: &str) {
    let tensors = |dir: &Path| Directory::open(dir).unwrap().tensors().unwrap().tensors;
    let (before, after) = (tensors(matcher), tensors(writer));
    for (name, tensor) in &after {
        match before.get(name) {
            Some(old) if name.starts_with("vision_model.") => {
                assert_eq!(old == tensor, !name.contains("post_layernorm"), "{name}");
            }
            Some(old) => assert_ne!(old, tensor, "{name}"),
            None => assert!(name.starts_with("language_"), "{name}"),
        }
    }
    for (name, tensor) in tensors(&root(&format!("goldens/{backbone}"))) {
        let same = &after[&format!("language_model.{name}")];
        // A row for the picture's token may have come.
        assert_eq!(same.data()[..tensor.data().len()], *tensor.data(), "{name}");
    }
}

#[test]
fn stage_one_goes_on_from_what_it_left_and_stage_two_may_stand_alone() {
    let first = Trial(TempDir::new().unwrap());
    first.train(&["represent.steps=40".into(), "generate.steps=1".into()]).unwrap();
    let last = *first.losses("represent").last().unwrap();
    let again = Trial(TempDir::new().unwrap());
    let file = again.path("recipe.toml");
    let text = std::fs::read_to_string(root("recipes/blip2/tiny.toml")).unwrap();
    let from = format!("from = {:?}", first.path("represent/final"));
    let text = text
        .replace("encoder = \"goldens/published_dinov2\"", &from)
        .replace("tokenizer = \"goldens/blip2_matching/tokenizer.json\"\n", "");
    std::fs::write(&file, text).unwrap();
    let mut sets = settings(&["represent.steps=2".into(), "generate.steps=1".into()]);
    sets.retain(|set| !set.starts_with("model.encoder") && !set.starts_with("model.tokenizer"));
    recipes::train(&file, &sets, &RunOptions::new(again.path("run"))).unwrap();
    let losses = log::read(&again.path("run/represent")).unwrap();
    assert!(losses[0].loss < 1.2 * last, "{} after {last}", losses[0].loss);
}

#[test]
fn both_stages_begin_with_a_bert() {
    let trial = Trial(TempDir::new().unwrap());
    let bert = trial.path("bert");
    std::fs::create_dir(&bert).unwrap();
    for (from, name) in [
        ("bert", "config.json"),
        ("bert", "model.safetensors"),
        ("blip2_matching", "tokenizer.json"),
    ] {
        std::fs::copy(root("goldens").join(from).join(name), bert.join(name)).unwrap();
    }
    let text = std::fs::read_to_string(root("recipes/blip2/tiny.toml")).unwrap();
    let file = trial.path("recipe.toml");
    let tokenizer = "tokenizer = \"goldens/blip2_matching/tokenizer.json\"";
    std::fs::write(&file, text.replace(tokenizer, &format!("bert = {bert:?}"))).unwrap();
    let mut sets = settings(&["represent.steps=2".into(), "generate.steps=1".into()]);
    sets.retain(|set| !set.starts_with("model.tokenizer"));
    let options = RunOptions::new(trial.path("run"));
    let refused = recipes::train(&file, &sets, &options).unwrap_err().to_string();
    assert!(refused.contains("hidden_size") && refused.contains("32"), "{refused}");

    let sizes = [("hidden_size", 30), ("n_heads", 3), ("intermediate_size", 44), ("context", 16)];
    sets.extend(sizes.map(|(key, size)| format!("qformer.{key}={size}")));
    assert_eq!(recipes::dry_run(&file, &sets).unwrap().len(), 2);
    recipes::train(&file, &sets, &options).unwrap();
    let [began, words] = [bert, trial.path("run/represent/final")].map(|dir| {
        let tensors = Directory::open(&dir).unwrap().tensors().unwrap();
        tensors.get("embeddings.word_embeddings.weight").unwrap().clone()
    });
    assert_eq!(words.shape(), began.shape());
    let moved = words.data().iter().zip(began.data()).map(|(a, b)| (a - b).abs());
    assert!(moved.fold(0.0, f32::max) < 0.05, "two steps from the BERT's words");
}

#[test]
fn a_bridge_is_read_as_the_whole_model_and_features_are_kept_through_both_stages() {
    let features = TempDir::new().unwrap();
    let steps = ["represent.steps=20", "generate.steps=20"].map(str::to_owned);
    let run = |more: &[String]| {
        let trial = Trial(TempDir::new().unwrap());
        trial.train(&[&steps[..], more].concat()).unwrap();
        trial
    };
    let keeps = format!("feature_cache={:?}", features.path());
    let [whole, alone] =
        [run(std::slice::from_ref(&keeps)), run(&[keeps.clone(), "trained_only=true".into()])];
    for stage in ["represent", "generate"] {
        assert_eq!(whole.losses(stage), alone.losses(stage));
    }
    assert_eq!(std::fs::read_dir(features.path()).unwrap().count(), 1);
    let tensors = |trial: &Trial| {
        bridge::open(&trial.path("generate/final"), true).unwrap().tensors().unwrap().tensors
    };
    let (wanted, found) = (tensors(&whole), tensors(&alone));
    assert_eq!(wanted.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>());
    for (name, tensor) in &wanted {
        let pairs = tensor.data().iter().zip(found[name].data());
        let off = pairs.map(|(a, b)| (a - b).abs() / a.abs().max(1e-2)).fold(0.0, f32::max);
        let part = name.starts_with("language_model.")
            || name.starts_with("vision_model.") && !name.contains("post_layernorm");
        assert!(if part { off == 0.0 } else { off < 1e-3 }, "{name}: {off}");
    }
    let writer = bridge::open(&alone.path("generate/final"), true).unwrap();
    let writer = Pretrained::load(&writer, &Device::flex()).unwrap();
    assert!(matches!(writer, Pretrained::Blip2(..)));
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (set, says) in [
        ("represent.batch_size=1", "at least 2 pairs"),
        ("qformer.n_heads=5", "heads that divide"),
        ("qformer.queries=0", "above 0"),
        ("model.from=\"x\"", "encoder and bert, or from"),
        ("model.bert=\"x\"", "encoder and bert, or from"),
    ] {
        let trial = Trial(TempDir::new().unwrap());
        let error = trial.train(&[set.into()]).unwrap_err();
        assert!(error.contains(says) && error.contains("hint:"), "{set}: {error}");
    }
    let whisper = Trial(TempDir::new().unwrap()).train(&[part("encoder", "whisper")]).unwrap_err();
    assert!(whisper.contains("one of clip"), "{whisper}");
}

/// The counts of recipes.md and of the paper, from settings alone.
#[test]
fn the_papers_setting_has_the_papers_counts() {
    let sets = [("encoder", "encoder"), ("backbone", "backbone")]
        .map(|(key, dir)| format!("model.{key}={:?}", root(&format!("recipes/blip2/paper/{dir}"))));
    let planned = recipes::dry_run(&root("recipes/blip2/paper.toml"), &sets).unwrap();
    let counts: Vec<(&str, u64)> =
        planned.iter().map(|stage| (stage.name.as_str(), stage.trainable())).collect();
    assert_eq!(counts, [("represent", 186_705_470), ("generate", 107_133_696)]);
    let text = planned[0].to_string();
    assert!(text.contains("186705470") && text.contains("250000 steps of 1680"), "{text}");
}

/// `reference/blip2_trained.py`: what transformers makes of our `final/`s.
#[test]
fn transformers_reads_what_is_saved() {
    let files = std::fs::read_dir(root("goldens/blip2_trained")).unwrap();
    let files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 3);
    for file in files {
        let golden: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let recipe = golden["recipe"].as_str().unwrap();
        let at = |dir: &str| format!("'{}/", root(dir).display());
        let recipe = recipe.replace("'goldens/", &at("goldens"));
        let recipe = recipe.replace("'crates/", &at("crates"));
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("recipe.toml");
        std::fs::write(&path, recipe).unwrap();
        recipes::train(&path, &[], &RunOptions::new(dir.path().join("run"))).unwrap();
        let last = log::read(&dir.path().join("run/generate")).unwrap().pop().unwrap();
        let (ours, theirs) = (last.extra["val_loss"], golden["generate"].as_f64().unwrap());
        assert!((ours - theirs).abs() < 1e-3 * theirs, "{}: {ours}, {theirs}", file.display());

        let matcher = Pretrained::open(&dir.path().join("run/represent/final"), &Device::flex());
        let Pretrained::Matcher(matcher) = matcher.unwrap() else { panic!("{}", file.display()) };
        let samples = root("crates/data/tests/samples/folder-csv");
        let rows = [("red.png", "a red square, nothing else"), ("more/blue.png", "a blue square")];
        let texts: Vec<Vec<u32>> = rows.map(|(_, text)| matcher.ids(text).unwrap()).to_vec();
        for (i, (name, _)) in rows.iter().enumerate() {
            let picture = sensorium_media::Picture::read(&samples.join(name)).unwrap();
            let found = matcher.matching(&matcher.encode(&picture), &texts);
            for (j, logits) in found.iter().enumerate() {
                for (k, logit) in logits.iter().enumerate() {
                    let theirs = golden["matching"][i][j][k].as_f64().unwrap();
                    let off = (f64::from(*logit) - theirs).abs();
                    assert!(off < 1e-3, "{}: {i} {j} {k}: {logit}, {theirs}", file.display());
                }
            }
        }
    }
}
