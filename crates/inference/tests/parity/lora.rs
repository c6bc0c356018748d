//! `goldens/lora`: adapters as peft saves them, on models of other goldens.

use std::path::Path;

use sensorium_backbone::Backbone;
use sensorium_flow::{Forward, Hidden, Sequence};
use sensorium_inference::{Model, Options};
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use sensorium_pretrained::families::language;
use sensorium_pretrained::{Directory, Pretrained, Towers};
use sensorium_testkit::{Golden, Report};
use serde_json::{Value, json};

use crate::twin::{STACK, device, ids};

fn adapted(base: &str, adapter: &Path) -> sensorium_pretrained::Result<Directory> {
    let base = Golden::open(base).path("");
    Directory::open(&base).expect("a directory").adapted(Some(adapter))
}

fn check_logits(golden: &Golden, backbone: &Backbone) {
    let (tokens, [b, t]) = ids(golden, "input_ids");
    let embeds = backbone.embed(&tokens, [b, t]);
    let Hidden(x) = backbone.forward(embeds, &Sequence::default(), None);
    let d = x.dims()[2];
    let logits = backbone.logits(x.reshape([b * t, d]));
    let mut report = Report::new(golden, STACK);
    report.check("logits", &[b, t, logits.dims()[1]], &read(logits));
    report.finish();
}

#[test]
fn adapted_models_say_what_they_say_with_peft() {
    for name in ["qwen2", "qwen2_rank_stabilised", "qwen2_dora", "qwen2_tables", "gpt2"] {
        let golden = Golden::open(&format!("lora/{name}"));
        let base = name.split('_').next().unwrap();
        let directory = adapted(base, &golden.path("")).expect("an adapter");
        let (_, backbone) = language::load(&directory, &device()).expect("it fits");
        check_logits(&golden, &backbone);
    }
    let golden = Golden::open("lora/seeing_llava");
    let directory = adapted("seeing_llava", &golden.path("")).expect("an adapter");
    let llava = Pretrained::load(&directory, &device()).expect("it fits");
    let Pretrained::Llava(_, spliced) = llava else { panic!("a LLaVA") };
    check_logits(&golden, &spliced.llava.backbone);
}

#[test]
fn an_adapted_clip_sees_what_it_sees_with_peft() {
    let golden = Golden::open("lora/published_clip");
    let directory = adapted("published_clip", &golden.path("")).expect("an adapter");
    let clip = Pretrained::load(&directory, &device()).expect("it fits");
    let Pretrained::DualEncoder(Towers { image, .. }) = clip else { panic!("two towers") };
    let (shape, values) = golden.inputs().remove("pixel_values").expect("pixels");
    let pixels = Tensor::from_data(TensorData::new(values, shape), &device());
    let x = image.embed(pixels);
    let mut report = Report::new(&golden, STACK);
    report.check("image_embeds", &x.dims(), &read(x));
    report.finish();
}

/// An adapter that names what is wrong with it.
#[test]
fn adapters_of_other_models_are_refused() {
    let of = |base: &str, adapter: &Path| {
        let base = Directory::open(&Golden::open(base).path("")).expect("a directory");
        let directory = base.strict(true).adapted(Some(adapter))?;
        language::load(&directory, &device()).map(|_| ())
    };
    let lora = Golden::open("lora/qwen2").path("");
    let error = of("gpt2", &lora).unwrap_err().to_string();
    assert!(error.contains("a model that has model.layers.0.mlp.down_proj.weight"), "{error}");
    let error = of("llama3", &lora).unwrap_err().to_string();
    assert!(error.contains("A and B of model.layers.0"), "{error}");
    let error = of("qwen2", &Golden::open("qwen2").path("")).unwrap_err().to_string();
    assert!(error.contains("expected adapter_config.json"), "{error}");

    let folder = tempfile::tempdir().unwrap();
    let weights = "adapter_model.safetensors";
    std::fs::copy(lora.join(weights), folder.path().join(weights)).unwrap();
    let config = std::fs::read(lora.join("adapter_config.json")).unwrap();
    for (key, value) in [
        ("peft_type", json!("IA3")),
        ("use_qalora", json!(true)),
        ("layer_replication", json!([[0, 1]])),
        ("alpha_pattern", json!({"^model.*q_proj": 2})),
        ("lora_alpha", json!(-1)),
        ("init_lora_weights", json!("pissa")),
        ("a_setting_of_tomorrow", json!(2)),
    ] {
        let mut config: Value = serde_json::from_slice(&config).unwrap();
        config[key] = value;
        std::fs::write(folder.path().join("adapter_config.json"), config.to_string()).unwrap();
        let error = of("qwen2", folder.path()).unwrap_err().to_string();
        assert!(error.contains(key), "{key}: {error}");
    }
    let gguf = Golden::open("gguf").path("");
    let file = std::fs::read_dir(gguf).unwrap().flatten().map(|entry| entry.path());
    let file = file.filter(|path| path.extension().is_some_and(|end| end == "gguf")).min();
    let options = Options { adapter: Some(lora), ..Options::on(&device()) };
    let error = Model::open(&file.unwrap(), &options).unwrap_err().to_string();
    assert!(error.contains("sensorium merge"), "{error}");
}
