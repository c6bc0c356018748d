//! New models of a published encoder, a new projector and a published language model: every family by
//! every projector.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use sensorium_nn::prelude::Device;
use sensorium_pretrained::{Directory, Pretrained};
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
                    assert!(error.contains("even number of patches"), "{name}: {error}");
                    continue;
                }
                trained.unwrap_or_else(|error| panic!("{name}: {error}"));
                learns_and_keeps_the_encoder(&name, &dir.path().join("run"));
            }
        }
    }
}

fn learns_and_keeps_the_encoder(name: &str, run: &Path) {
    let losses = |stage: &str| {
        let read = log::read(&run.join(stage)).unwrap();
        read.iter().map(|metrics| metrics.loss).collect::<Vec<f64>>()
    };
    let (align, instruct) = (losses("align"), losses("instruct"));
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
    for (recipe, says) in [(lora, "no model.from"), (missing, "encoder and backbone")] {
        let error = train(&recipe, TempDir::new().unwrap().path()).unwrap_err();
        assert!(error.contains(says) && error.contains("hint:"), "{error}");
    }
}
