//! A Flamingo of any encoder and any language model: learns a batch of each kind, opens its gates, and moves
//! nothing that it says is frozen.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};

use sensorium_nn::prelude::Device;
use sensorium_pretrained::{Directory, Pretrained};
use sensorium_train::log;
use sensorium_train::recipes;
use sensorium_train::run::RunOptions;
use tempfile::TempDir;

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// Two videos of the same frames, forth and back: only who sees their order tells which is which, and who
/// does not loses ln 2 over the 17 tokens of a caption. The other kinds do not count.
#[test]
fn the_order_of_a_videos_frames_is_learned_where_frames_have_vectors() {
    let videos = root("crates/data/tests/samples/folder-videos");
    for (frames, losses) in [(8, 0.0..0.01), (0, 0.035..0.08)] {
        let mut sets = settings("published_clip", "parts/chat_gpt2");
        sets.extend([
            "prompt=\"\"".into(),
            "steps=200".into(),
            "schedule={kind=\"constant\",learning_rate=1e-2}".into(),
            "pairs.weight=0.0".into(),
            "interleaved.weight=0.0".into(),
            format!("flamingo.frames={frames}"),
            "videos={batch_size=2,weight=1.0,tokens=96,data={}}".into(),
            format!("videos.data.train=[{{kind=\"folder\",path={videos:?},frames=4}}]"),
        ]);
        let dir = TempDir::new().unwrap();
        train(dir.path(), &sets, false).unwrap();
        let last = log::read(dir.path()).unwrap().pop().unwrap();
        assert_eq!(last.loss, last.extra["videos"]);
        assert!(losses.contains(&last.loss), "{frames} vectors: {}", last.loss);
    }
    // Files that are not said to be videos are pictures.
    let mut sets = settings("published_clip", "parts/chat_gpt2");
    sets.extend([
        "videos={batch_size=2,weight=1.0,tokens=96,data={}}".into(),
        format!("videos.data.train=[{{kind=\"folder\",path={videos:?}}}]"),
    ]);
    let error = train(TempDir::new().unwrap().path(), &sets, false).unwrap_err();
    assert!(error.contains("frames = 8") && error.contains("hint:"), "{error}");
}

/// The tiny recipe on two pictures with captions, and on a few conversations.
fn settings(encoder: &str, backbone: &str) -> Vec<String> {
    let samples = |path: &str| root(&format!("crates/data/tests/samples/{path}"));
    vec![
        format!("model.encoder={:?}", root(&format!("goldens/{encoder}"))),
        format!("model.backbone={:?}", root(&format!("goldens/{backbone}"))),
        format!("pairs.data.train=[{{kind=\"folder\",path={:?}}}]", samples("folder-csv")),
        format!(
            "interleaved.data.train=[{{kind=\"llava-json\",path={:?}}}]",
            samples("llava-json/conversations.json")
        ),
        "pairs.batch_size=2".into(),
        "interleaved.batch_size=2".into(),
        "steps=60".into(),
        "save_every=30".into(),
    ]
}

fn train(dir: &Path, sets: &[String], resume: bool) -> Result<(), String> {
    let options = RunOptions { strict: true, resume, ..RunOptions::new(dir) };
    let recipe = root("recipes/flamingo/tiny.toml");
    recipes::train(&recipe, sets, &options).map_err(|error| error.to_string())
}

#[test]
fn every_language_model_learns_to_look() {
    for (encoder, backbone) in [
        ("published_clip", "parts/chat_gpt2"),
        ("published_siglip", "parts/chat_opt"),
        ("published_dinov2", "parts/chat_qwen2"),
        ("published_clip", "chatting"),
    ] {
        let dir = TempDir::new().unwrap();
        let name = format!("{encoder}, {backbone}");
        let trained = train(dir.path(), &settings(encoder, backbone), false);
        trained.unwrap_or_else(|error| panic!("{name}: {error}"));
        let rows = log::read(dir.path()).unwrap();
        for kind in ["pairs", "interleaved"] {
            let mean = |rows: &[log::Metrics]| {
                rows.iter().map(|row| row.extra[kind]).sum::<f64>() / rows.len() as f64
            };
            let [first, last] = [&rows[..6], &rows[54..]].map(mean);
            assert!(last < 0.9 * first, "{name}, {kind}: {first} then {last}");
        }
        for gate in ["cross_gate", "mlp_gate"] {
            assert!(rows[59].extra[gate] > 0.01, "{name}: {gate} {}", rows[59].extra[gate]);
        }
        let dir = dir.path().join("final");
        let model = Pretrained::open(&dir, &Device::flex());
        assert!(matches!(model.unwrap(), Pretrained::Flamingo(_)), "{name}");
    }
}

/// Documents of MMC4 and OBELICS, in which texts and pictures take turns.
#[test]
fn documents_are_learned_from() {
    for document in ["mmc4", "obelics"] {
        let path = format!("crates/data/tests/samples/interleaved-{document}/docs.jsonl");
        let kind = format!("{{kind=\"interleaved\",path={:?}}}", root(&path));
        let mut sets = settings("published_clip", "parts/chat_gpt2");
        sets.retain(|set| !set.starts_with("interleaved.data"));
        sets.push(format!("interleaved.data.train=[{kind}]"));
        let dir = TempDir::new().unwrap();
        let trained = train(dir.path(), &sets, false);
        trained.unwrap_or_else(|error| panic!("{document}: {error}"));
        let rows = log::read(dir.path()).unwrap();
        let [first, last] = [&rows[0], &rows[59]].map(|row| row.loss);
        assert!(last < 0.8 * first, "{document}: {first} then {last}");
    }
}

/// A run that is killed goes on to the same bits, and its frozen parts are those that it began with.
#[test]
fn a_run_goes_on_bit_for_bit_and_its_frozen_parts_stay() {
    let (whole, killed) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let sets = settings("published_clip", "parts/chat_gpt2");
    let sets: Vec<String> = sets
        .into_iter()
        .map(|set| if set == "steps=60" { "steps=6".into() } else { set })
        .map(|set| if set == "save_every=30" { "save_every=2".into() } else { set })
        .chain(["schedule={kind=\"constant\",learning_rate=3e-3}".to_owned()])
        .collect();
    train(whole.path(), &sets, false).unwrap();
    let part: Vec<String> = sets.iter().cloned().chain(["steps=4".to_owned()]).collect();
    train(killed.path(), &part, false).unwrap();
    train(killed.path(), &sets, true).unwrap();
    let tensors =
        |dir: &Path| Directory::open(&dir.join("final")).unwrap().tensors().unwrap().tensors;
    let (a, b) = (tensors(whole.path()), tensors(killed.path()));
    assert!(a == b, "resumed in other bits");
    let base = Directory::open(&root("goldens/parts/chat_gpt2")).unwrap().tensors().unwrap();
    let table = &a["language.backbone.embedding.weight"];
    assert_eq!(table.data(), base.tensors["transformer.wte.weight"].data());
}

#[test]
fn what_makes_no_sense_is_refused() {
    let good = settings("published_clip", "chatting");
    for (set, says) in [
        ("flamingo.interval=9", "an interval of at most"),
        ("flamingo.latents=0", "sizes above 0"),
        ("pairs.data.train=[{kind=\"documents\"}]", "one picture each"),
    ] {
        let sets: Vec<String> = good.iter().cloned().chain([set.to_owned()]).collect();
        let error = train(TempDir::new().unwrap().path(), &sets, false).unwrap_err();
        assert!(error.contains(says) && error.contains("hint:"), "{set}: {error}");
    }
    let sets = settings("chatting", "chatting");
    let error = train(TempDir::new().unwrap().path(), &sets, false).unwrap_err();
    assert!(error.contains("one of clip"), "{error}");
}

/// recipes, check E2: what BLIP-2's second stage trains between an encoder and a language model, and what
/// Flamingo does between the same two, counted by hand.
#[test]
fn flamingo_trains_more_than_blip2_on_the_same_parts() {
    let part = |key: &str, dir: &str| format!("model.{key}={:?}", root(&format!("goldens/{dir}")));
    let parts = [part("encoder", "published_dinov2"), part("backbone", "parts/chat_opt")];
    let trained = |recipe: &str, sets: &[String]| {
        let recipe = root(&format!("recipes/{recipe}/tiny.toml"));
        let planned = recipes::dry_run(&recipe, sets).unwrap();
        let last = planned.last().unwrap();
        println!("{last}");
        assert!(last.to_string().contains(&last.trainable().to_string()));
        last.trainable()
    };
    let tokenizer = part("tokenizer", "blip2_matching/tokenizer.json");
    let blip2 = trained("blip2", &[&parts[..], &[tokenizer]].concat());
    let flamingo = trained("flamingo", &parts);

    // Encoder and language model are 36 and 32 wide, the Q-Former 32, with an MLP of 64.
    let dense = |from: u64, to: u64| from * to + to;
    let norm = |width: u64| 2 * width;
    let attention = |from: u64| 2 * dense(32, 32) + 2 * dense(from, 32) + norm(32);
    let mlp = dense(32, 64) + dense(64, 32) + norm(32);
    // Two layers, the first of which asks the picture, too.
    let qformer = 4 * 32 + norm(32) + 2 * (attention(32) + mlp) + attention(36);
    assert_eq!(blip2, norm(36) + qformer + dense(32, 32));
    // Two heads of 16 are 32 together; no biases but those of norms.
    let (resampler, gated) = (
        8 * 36 + norm(36) + 3 * norm(36) + 4 * 36 * 32 + 2 * 36 * 144,
        2 * norm(32) + 2 * 32 * 32 + 2 * 36 * 32 + 2 * 32 * 128 + 2,
    );
    assert_eq!(flamingo, resampler + 2 * gated + 2 * 32);
    assert!(flamingo > blip2, "{flamingo} and {blip2}");
}

/// The counts of recipes.md: resampler, gated blocks of 9B, and two rows.
#[test]
fn the_papers_setting_has_the_papers_counts() {
    let sets = [("encoder", "encoder"), ("backbone", "backbone")].map(|(key, dir)| {
        format!("model.{key}={:?}", root(&format!("recipes/flamingo/paper/{dir}")))
    });
    let planned = recipes::dry_run(&root("recipes/flamingo/paper.toml"), &sets).unwrap();
    assert_eq!(planned[0].trainable(), 63_019_008 + 1_115_815_952 + 2 * 4096);
    let part = |name: &str| planned[0].parts.iter().find(|(part, _)| part == name).unwrap().1[1];
    assert_eq!(part("language.gated"), 1_115_815_952);
}
