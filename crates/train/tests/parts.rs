//! New models of a published encoder, a new projector and a published language model: every family by
//! every projector.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use sensorium_nn::prelude::Device;
use sensorium_pretrained::{Directory, Pretrained, TextProcessor, bridge, convert};
use sensorium_train::log;
use sensorium_train::recipes;
use sensorium_train::run::RunOptions;
use tempfile::TempDir;

fn root(path: &str) -> String {
    format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR"))
}

fn recipe(encoder: &str, projector: &str, backbone: &str) -> String {
    let data = root("crates/data/tests/samples/folder-csv");
    format!(
        "recipe = 'llava'\nseed = 1\n[model]\nencoder = {:?}\nprojector = '{projector}'\n\
         backbone = {:?}\n[align]\nsteps = 2\nbatch = 2\nsave_every = 2\n\
         schedule = {{ kind = 'constant', learning_rate = 1e-2 }}\n\
         [instruct]\nsteps = 4\nbatch = 2\nsave_every = 4\n\
         schedule = {{ kind = 'constant', learning_rate = 1e-2 }}\n\
         [[data.train]]\nkind = 'folder'\npath = {data:?}\n",
        root(&format!("goldens/{encoder}")),
        root(&format!("goldens/{backbone}")),
    )
}

fn losses(run: &Path) -> Vec<f64> {
    log::read(run).unwrap().iter().map(|metrics| metrics.loss).collect()
}

fn train(recipe: &str, dir: &Path) -> Result<(), String> {
    let file = dir.join("recipe.toml");
    std::fs::write(&file, recipe).unwrap();
    let options = RunOptions { strict: true, ..RunOptions::new(dir.join("run")) };
    recipes::train(&file, &[], &options).map_err(|error| error.to_string())
}

#[test]
fn every_encoder_meets_every_language_model_by_every_projector() {
    let encoders = ["published_clip", "published_siglip", "published_dinov2"];
    let backbones = ["chatting", "parts/chat_qwen2", "parts/chat_opt", "parts/chat_gpt2"];
    for encoder in encoders {
        for backbone in backbones {
            for projector in ["linear", "mlp", "pixel_shuffle"] {
                let name = format!("{encoder}, {projector}, {backbone}");
                let dir = TempDir::new().unwrap();
                let trained = train(&recipe(encoder, projector, backbone), dir.path());
                // 27 pixels are three patches of 7 an edge.
                if (encoder, projector) == ("published_siglip", "pixel_shuffle") {
                    let error = trained.unwrap_err();
                    assert!(error.contains("that 2 divides"), "{name}: {error}");
                    continue;
                }
                trained.unwrap_or_else(|error| panic!("{name}: {error}"));
                learns_and_keeps_the_encoder(&name, &dir.path().join("run"));
            }
        }
    }
}

fn learns_and_keeps_the_encoder(name: &str, run: &Path) {
    let (align, instruct) = (losses(&run.join("align")), losses(&run.join("instruct")));
    assert!(instruct[3] < align[0], "{name}: {align:?}, {instruct:?}");
    let finals = ["align/final", "instruct/final"].map(|stage| run.join(stage));
    for dir in &finals {
        let model = Pretrained::open(dir, &Device::flex());
        assert!(matches!(model.unwrap(), Pretrained::Llava(..)), "{name}");
    }
    let [aligned, instructed] =
        finals.map(|dir| Directory::open(&dir).unwrap().tensors().unwrap().tensors);
    for (tensor, before) in &aligned {
        let frozen = tensor.contains("vision_tower");
        let identity = name.contains("linear") && tensor.contains("linear_2");
        assert_eq!(frozen || identity, instructed[tensor] == *before, "{name}: {tensor}");
    }
}

#[test]
fn what_cannot_be_a_part_is_refused_with_what_can() {
    let good = ["published_clip", "mlp", "chatting"];
    for (place, part, says) in [
        (0, "whisper", "one of clip, clip_vision_model, siglip, siglip_vision_model, dinov2"),
        (0, "chatting", "one of clip, "),
        (2, "published_clip", "one of llama, mistral, qwen2, qwen3, opt, gpt2"),
        (1, "conv", "linear"),
    ] {
        let mut parts = good;
        parts[place] = part;
        let [encoder, projector, backbone] = parts;
        let dir = TempDir::new().unwrap();
        let error = train(&recipe(encoder, projector, backbone), dir.path()).unwrap_err();
        assert!(error.contains(says) && error.contains("hint:"), "{part}: {error}");
    }
    let whole = recipe("published_clip", "mlp", "chatting");
    let lora = whole.replace("[align]", "[lora]\n[align]");
    let missing = whole.replace("projector = 'mlp'\n", "");
    let template = missing.replace("[model]", "[model]\nchat_template = 'x'");
    for (recipe, says) in [
        (lora, "no model.from"),
        (missing, "encoder and backbone"),
        (template, "encoder, projector and backbone beside it"),
    ] {
        let error = train(&recipe, TempDir::new().unwrap().path()).unwrap_err();
        assert!(error.contains(says) && error.contains("hint:"), "{error}");
    }
}

#[test]
fn a_gguf_file_is_the_directory_that_it_was_made_of() {
    let dir = TempDir::new().unwrap();
    let gguf = dir.path().join("model.gguf");
    convert::convert(root("goldens/chatting").as_ref(), &gguf, None, true, &mut |_, _| {}).unwrap();
    let whole = recipe("published_dinov2", "mlp", "chatting");
    let of_gguf = whole.replace(&root("goldens/chatting"), gguf.to_str().unwrap());
    assert_ne!(whole, of_gguf);
    let [whole, of_gguf] = [("whole", whole), ("gguf", of_gguf)].map(|(name, recipe)| {
        let dir = dir.path().join(name);
        std::fs::create_dir(&dir).unwrap();
        train(&recipe, &dir).unwrap();
        losses(&dir.join("run/instruct"))
    });
    assert_eq!(whole, of_gguf);
}

/// The recipe of which the projector alone learns.
fn frozen(projector: &str, more: &str) -> String {
    let recipe = recipe("published_dinov2", projector, "chatting");
    recipe
        .replace("seed = 1\n", &format!("seed = 1\n{more}\n"))
        .replace("[align]", "train = ['towers.0.projector']\n[align]")
}

#[test]
fn a_bridge_is_read_as_the_whole_model() {
    let [whole, alone] = [(); 2].map(|()| TempDir::new().unwrap());
    train(&frozen("mlp", ""), whole.path()).unwrap();
    train(&frozen("mlp", "trained_only = true"), alone.path()).unwrap();
    let [whole, alone] = [whole, alone].map(|dir| (dir.path().join("run/instruct/final"), dir));
    let tensors = |dir: &Path| bridge::open(dir, true).unwrap().tensors().unwrap().tensors;
    let (wanted, found) = (tensors(&whole.0), tensors(&alone.0));
    assert_eq!(wanted.keys().collect::<Vec<_>>(), found.keys().collect::<Vec<_>>());
    for (name, tensor) in &wanted {
        let pairs = tensor.data().iter().zip(found[name].data());
        let off = pairs.map(|(a, b)| (a - b).abs() / a.abs().max(1e-2)).fold(0.0, f32::max);
        let own = name.contains("multi_modal_projector");
        assert!(if own { off < 1e-3 } else { off == 0.0 }, "{name}: {off}");
    }
    let size = std::fs::metadata(alone.0.join("model.safetensors")).unwrap().len();
    assert!(size < std::fs::metadata(whole.0.join("model.safetensors")).unwrap().len() / 4);
    let opened =
        bridge::open(&alone.0, true).and_then(|dir| Pretrained::load(&dir, &Device::flex()));
    assert!(matches!(opened.unwrap(), Pretrained::Llava(..)));

    let config = alone.0.join("config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    for (from, to, says) in [
        ("\"blake3\": \"", "\"blake3\": \"0", "trained with alone"),
        ("goldens/published_dinov2", "goldens/nowhere", "fetch the frozen model"),
    ] {
        std::fs::write(&config, text.replace(from, to)).unwrap();
        let error = bridge::open(&alone.0, true).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn a_chat_template_takes_the_place_of_the_language_models() {
    let dir = TempDir::new().unwrap();
    let template = dir.path().join("own.jinja");
    let text = "{% for message in messages %}{{ message['content'] }}|{% endfor %}";
    std::fs::write(&template, text).unwrap();
    let own = format!("chat_template = {template:?}\ntrain =");
    train(&frozen("mlp", "trained_only = true").replace("train =", &own), dir.path()).unwrap();
    let model = bridge::open(&dir.path().join("run/instruct/final"), true).unwrap();
    let chat = TextProcessor::read(&model).unwrap().chat;
    assert!(chat.text().unwrap().unwrap().ends_with(text));
}

#[test]
fn features_that_are_kept_are_those_that_were_seen() {
    let dir = TempDir::new().unwrap();
    let cached = format!("feature_cache = {:?}", dir.path().join("features"));
    let run = |more: &str| {
        let dir = TempDir::new().unwrap();
        train(&frozen("mlp", more), dir.path()).unwrap();
        losses(&dir.path().join("run/instruct"))
    };
    let (plain, first, again) = (run(""), run(&cached), run(&cached));
    assert_eq!(first, again);
    let off = plain.iter().zip(&first).map(|(a, b)| (a - b).abs() / a).fold(0.0, f64::max);
    assert!(off < 1e-2, "{plain:?}, {first:?}");
    let files: Vec<_> = std::fs::read_dir(dir.path().join("features")).unwrap().collect();
    assert_eq!(files.len(), 1);
    // Cut as by a kill while a picture was written: what is whole stays.
    let file = files[0].as_ref().unwrap().path();
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    assert_eq!(run(&cached), again);
    assert_eq!(std::fs::read(&file).unwrap().len(), whole.len());
}

#[test]
fn what_cannot_be_kept_or_left_out_is_refused() {
    let cached = "feature_cache = 'features'";
    let augment = "[data]\naugment = { horizontal_flip = 0.5 }\n[[data.train]]";
    let keeps = frozen("mlp", cached);
    for (recipe, says) in [
        (keeps.replace("[[data.train]]", augment), "got augment"),
        (keeps.replace("steps = 4", "image_rate = 0.1\nsteps = 4"), "got one that is trained"),
        (
            recipe("published_dinov2", "mlp", "chatting")
                .replace("seed = 1", "seed = 1\ntrained_only = true"),
            "projector alone",
        ),
    ] {
        let dir = TempDir::new().unwrap();
        let recipe = recipe.replace("'features'", &format!("{:?}", dir.path().join("features")));
        let error = train(&recipe, dir.path()).unwrap_err();
        assert!(error.contains(says) && error.contains("hint:"), "{error}");
    }
}
