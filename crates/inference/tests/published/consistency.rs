//! Consistency models, against diffusers (`reference/consistency.py`), and what can be wrong with their directories.

use std::fs;

use sensorium_checkpoint::safetensors::{self, Dtype};
use sensorium_flow::Sampler;
use sensorium_inference::{Scheduler, Solver};
use sensorium_media::{Media, Modality, Picture};
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use sensorium_nn::rng::Rng;
use sensorium_pretrained::{ConsistencyDrawer, Directory, Pretrained, plan};
use sensorium_testkit::assert_close;
use serde_json::{Value, json};

use crate::bad_inputs::{copy, edit, fails};
use crate::configs::mutated;
use crate::golden;
use crate::open::{model, pretrained};
use crate::stable_diffusion::{outputs, tensor};

/// Largest difference of a value of a stack in f32.
const STACK: f32 = 1e-4;

const CASES: [&str; 2] = ["consistency/classes", "consistency/amount"];

const WEIGHTS: &str = "unet/diffusion_pytorch_model.safetensors";

fn drawer(name: &str) -> (ConsistencyDrawer, Value) {
    let Ok(Pretrained::Consistency(drawer)) = pretrained(&golden(name)) else {
        panic!("{name} is one: {:?}", pretrained(&golden(name)).err())
    };
    let expected = fs::read(golden(name).join("expected.json")).unwrap();
    (drawer, serde_json::from_slice(&expected).unwrap())
}

#[test]
fn what_is_told_and_drawn_is_that_of_diffusers() {
    for name in CASES {
        let (drawer, expected) = drawer(name);
        let outputs = outputs(&golden(name));
        let label = expected["label"].as_f64().unwrap() as f32;
        for time in ["1095.5", "250.25", "-10.0"] {
            let noise = tensor(&outputs, "noise.0");
            let told = drawer.unet.forward(noise, time.parse().unwrap(), label);
            let key = format!("unet.{time}");
            assert_close(&format!("{name}: {key}"), &read(told), &outputs[&key].1, STACK);
        }
        for steps in [1, 3] {
            let noises = (0..steps).map(|i| tensor(&outputs, &format!("noise.{i}"))).collect();
            let mut seen = Vec::new();
            let mut on_step = |_: usize, x: &Tensor<4>| seen.extend(read(x.clone()));
            drawer.scheduler.denoise(&drawer.unet, label, noises, &mut on_step).unwrap();
            let key = format!("steps.{steps}");
            assert_close(&format!("{name}: {key}"), &seen, &outputs[&key].1, 5e-4);
        }
    }
}

#[test]
fn pictures_are_within_a_grey_level_of_those_of_diffusers() {
    for name in CASES {
        let (drawer, expected) = drawer(name);
        let outputs = outputs(&golden(name));
        let noises = (0..3).map(|i| tensor(&outputs, &format!("noise.{i}"))).collect();
        let label = expected["label"].as_f64().unwrap() as f32;
        let x = drawer.scheduler.denoise(&drawer.unet, label, noises, &mut |_, _| ()).unwrap();
        let [_, c, h, w] = x.dims();
        let drawn = read(x.repeat_dim(1, 3 / c).permute([0, 2, 3, 1]));
        let want = Picture::read(&golden(name).join("picture.png")).unwrap();
        assert_eq!([want.height as usize, want.width as usize], [h, w]);
        let off = |(got, want): (&f32, &u8)| ((got + 1.0) * 127.5 - f32::from(*want)).abs();
        let most = drawn.iter().zip(&want.pixels).map(off).fold(0.0, f32::max);
        assert!(most <= 1.0, "{name}: {most} grey levels");
    }
}

#[test]
fn a_seed_draws_the_same_whatever_stands_beside_it() {
    let model = model(&golden("consistency/amount"), None).unwrap();
    let maker = model.media().unwrap();
    assert_eq!((maker.makes(), maker.redraws()), (vec![Modality::Image], false));
    let usual = maker.usual();
    assert_eq!((usual.steps, usual.guidance), (1, 1.0));
    let mut seen = Vec::new();
    let mut draw = |texts: &[&str], sampler: Sampler| {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        let mut progress = |done, all| seen.push((done, all));
        maker.generate(Modality::Image, &texts, sampler, &mut progress).unwrap()
    };
    let sampler = Sampler { seed: 3, steps: 2, size: Some([8, 12]), ..usual };
    let both = draw(&["0.5", " 1 "], sampler);
    let [Media::Image(first), Media::Image(second)] = &both[..] else { panic!("two pictures") };
    assert_eq!([first.height, first.width], [8, 12]);
    assert!(first.pixels.chunks(3).all(|rgb| rgb[0] == rgb[1] && rgb[1] == rgb[2]), "grey");
    for (text, seed, want) in [("0.5", 3, first), ("1.0", 4, second)] {
        let [Media::Image(one)] = &draw(&[text], Sampler { seed, ..sampler })[..] else {
            panic!("one picture")
        };
        assert_eq!(one.pixels, want.pixels);
    }
    assert_eq!(seen[..4], [(1, 4), (2, 4), (3, 4), (4, 4)]);
}

#[test]
fn what_it_cannot_be_asked_for_is_an_error() {
    for (name, wrong) in [
        ("consistency/classes", ["5", "the number of a class, 0 to 4"]),
        ("consistency/classes", ["a cat", "reads no words"]),
        ("consistency/classes", ["-1", "got \"-1\""]),
        ("consistency/amount", ["1.5", "a number from 0 to 1"]),
        ("consistency/amount", ["NaN", "got \"NaN\""]),
    ] {
        let model = model(&golden(name), None).unwrap();
        let maker = model.media().unwrap();
        let [text, words] = wrong;
        let usual = maker.usual();
        let made = maker.generate(Modality::Image, &[text.to_owned()], usual, &mut |_, _| ());
        let error = made.unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("\nhint: "), "{error}");
        for (sampler, words) in [
            (Sampler { steps: 0, ..usual }, "steps: expected 1 to 40"),
            (Sampler { steps: 41, ..usual }, "got 41"),
            (Sampler { guidance: 2.0, ..usual }, "guidance: expected 1, got 2"),
            (Sampler { solver: Solver::Heun, ..usual }, "solver"),
            (Sampler { scheduler: Some(Scheduler::Ddim), ..usual }, "scheduler: expected its own"),
            (Sampler { size: Some([8, 6]), ..usual }, "multiples of 4 up to 2048, got 6x8"),
        ] {
            let made = maker.generate(Modality::Image, &["1".to_owned()], sampler, &mut |_, _| ());
            let error = made.unwrap_err().to_string();
            assert!(error.contains(words) && error.contains("\nhint: "), "{error}");
        }
        let error = model.chat().err().unwrap().to_string();
        assert!(error.contains("a consistency model, which draws"), "{error}");
    }
}

#[test]
fn parts_and_tensors_that_do_not_fit() {
    for part in ["unet", "scheduler"] {
        let dir = copy(CASES[0]);
        fs::remove_dir_all(dir.path().join(part)).unwrap();
        fails(dir.path(), &[part, "download"]);
    }
    for key in ["class_embedding.weight", "mid_block.attentions.0.to_out.0.bias"] {
        let dir = copy(CASES[0]);
        let mut tensors = safetensors::load(&dir.path().join(WEIGHTS)).unwrap();
        let tensor = tensors.tensors.remove(key).unwrap();
        tensors.tensors.insert("a.stray".into(), tensor);
        let bytes = safetensors::write(&tensors, Dtype::F32).unwrap();
        fs::write(dir.path().join(WEIGHTS), bytes).unwrap();
        let missing = format!("unet.{key}");
        fails(dir.path(), &["1 missing, 1 unexpected", &missing, "unet.a.stray"]);
    }
}

#[test]
fn settings_that_cannot_be() {
    let (index, unet, scheduler) =
        ("model_index.json", "unet/config.json", "scheduler/scheduler_config.json");
    let cases: [(&str, &str, Value, &[&str]); 22] = [
        (index, "unet", json!(["diffusers", "UNet2DConditionModel"]), &["unet", "UNet2DModel"]),
        (index, "scheduler", json!([null, null]), &["CMStochasticIterativeScheduler"]),
        (unet, "_class_name", json!("UNet1DModel"), &["UNet2DModel"]),
        (unet, "block_out_channels", json!([4, 6, 8]), &["attention_head_dim", "[6, 8]"]),
        (unet, "block_out_channels", json!([4, 8, 1 << 20]), &["another shape"]),
        (unet, "down_block_types", json!(vec!["DownBlock2D"; 3]), &["ResnetDownsampleBlock2D"]),
        (unet, "up_block_types", json!(["AttnUpBlock2D"]), &["for each of 3 levels"]),
        (unet, "layers_per_block", json!(1 << 20), &["at most 512 layers"]),
        (unet, "downsample_type", json!("conv"), &["downsample_type", "resnet"]),
        (unet, "upsample_type", json!(null), &["upsample_type", "resnet"]),
        (unet, "resnet_time_scale_shift", json!("default"), &["scale_shift"]),
        (unet, "add_attention", json!(false), &["add_attention"]),
        (unet, "attn_norm_num_groups", json!(null), &["attn_norm_num_groups", "2, as"]),
        (unet, "in_channels", json!(4), &["out_channels", "1 or 3"]),
        (unet, "num_class_embeds", json!(null), &["num_class_embeds"]),
        (unet, "class_embed_type", json!("timestep"), &["class_embed_type", "projection"]),
        (unet, "class_embed_type", json!("projection"), &["num_class_embeds", "nothing"]),
        (unet, "sample_size", json!(1 << 20), &["sample_size"]),
        (unet, "a_new_key", json!(true), &["a_new_key", "not heeded"]),
        (scheduler, "num_train_timesteps", json!(1 << 23), &["at most 100000"]),
        (scheduler, "sigma_min", json!(80), &["less than sigma_max"]),
        (scheduler, "rho", json!(0), &["rho"]),
    ];
    for (file, key, value, words) in cases {
        let dir = copy(CASES[0]);
        edit(dir.path(), file, |settings| settings[key] = value);
        fails(dir.path(), words);
    }
    let dir = copy(CASES[1]);
    edit(dir.path(), unet, |all| all["projection_class_embeddings_input_dim"] = json!(2));
    fails(dir.path(), &["projection_class_embeddings_input_dim"]);
}

/// No settings, however damaged, end in a panic or in memory that the weights do not fill.
#[test]
fn damaged_settings_are_errors_or_other_settings() {
    let mut rng = Rng::new(17);
    let dir = copy(CASES[1]);
    let mut opened = 0;
    for file in ["model_index.json", "unet/config.json", "scheduler/scheduler_config.json"] {
        let whole = fs::read(dir.path().join(file)).unwrap();
        for _ in 0..100 {
            fs::write(dir.path().join(file), mutated(&whole, &mut rng)).unwrap();
            match pretrained(dir.path()) {
                Ok(Pretrained::Consistency(drawer)) => {
                    opened += 1;
                    let sampler = Sampler { size: Some([8, 8]), ..drawer.usual() };
                    if let Err(error) = drawer.draw(&["0".to_owned()], sampler, &mut |_, _| ()) {
                        assert!(error.to_string().contains("hint: "), "{error}");
                    }
                }
                Ok(_) => panic!("a pipeline"),
                Err(error) => assert!(error.to_string().contains("hint: "), "{error}"),
            }
        }
        fs::write(dir.path().join(file), &whole).unwrap();
    }
    assert!(opened > 0, "every mutation was refused");
}

/// As diffusers counts that of OpenAI's ImageNet, `openai/diffusers-cd_imagenet64_l2`.
#[test]
fn the_count_is_the_published_one() {
    let dir = copy(CASES[0]);
    edit(dir.path(), "unet/config.json", |unet| {
        for (key, value) in [
            ("block_out_channels", json!([192, 384, 576, 768])),
            ("layers_per_block", json!(3)),
            ("attention_head_dim", json!(64)),
            ("norm_num_groups", json!(32)),
            ("attn_norm_num_groups", json!(32)),
            ("num_class_embeds", json!(1000)),
            ("sample_size", json!(64)),
        ] {
            unet[key] = value;
        }
        let attends = ["AttnDownBlock2D", "AttnUpBlock2D"].map(|name| json!(name));
        let [down, up] = attends;
        unet["down_block_types"] = json!(["ResnetDownsampleBlock2D", down, down, down]);
        unet["up_block_types"] = json!([up, up, up, "ResnetUpsampleBlock2D"]);
    });
    let plan = plan(&Directory::open(dir.path()).unwrap()).unwrap();
    assert_eq!(plan.parameters(Some("unet")), 295_899_267);
}
