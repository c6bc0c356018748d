//! Models that draw, against diffusers (`reference/stable_diffusion.py`), and what can be wrong with their directories.

use std::fs;
use std::path::Path;

use sensorium_generator::diffusion::Autoencoder;
use sensorium_inference::{Model, Sampler, Scheduler, Solver};
use sensorium_media::{Media, Modality, Picture};
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use sensorium_nn::rng::Rng;
use sensorium_pretrained::{Directory, Drawer, Pretrained, plan};
use sensorium_testkit::assert_close;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bad_inputs::{edit, fails};
use crate::configs::mutated;
use crate::golden;
use crate::open::{device, model, pretrained};

/// Largest difference of a value of a stack in f32.
const STACK: f32 = 1e-4;

/// Pipelines of all kinds.
const CASES: [&str; 3] = ["v1", "v2", "turbo"];

/// What diffusers gave for a pipeline.
struct Twin {
    drawer: Drawer,
    expected: Value,
    outputs: sensorium_testkit::Tensors,
}

impl Twin {
    fn open(name: &str) -> Self {
        let folder = golden("stable_diffusion").join(name);
        let Ok(Pretrained::StableDiffusion(drawer)) = pretrained(&folder) else {
            panic!("{name} is a pipeline: {:?}", pretrained(&folder).err())
        };
        let expected = fs::read(folder.join("expected.json")).unwrap();
        let expected = serde_json::from_slice(&expected).unwrap();
        Self { drawer, expected, outputs: outputs(&folder) }
    }

    fn tensor(&self, name: &str) -> Tensor<4> {
        tensor(&self.outputs, name)
    }

    fn prompt(&self) -> &str {
        self.expected["prompt"].as_str().unwrap()
    }

    /// As the golden was made.
    fn sampler(&self) -> Sampler {
        let number = |key: &str| self.expected[key].as_f64().unwrap();
        let size = serde_json::from_value(self.expected["size"].clone()).unwrap();
        let (steps, guidance) = (number("steps") as usize, number("guidance") as f32);
        Sampler { steps, guidance, size: Some(size), ..Sampler::default() }
    }
}

pub fn outputs(folder: &Path) -> sensorium_testkit::Tensors {
    let outputs = fs::read(folder.join("outputs.safetensors")).unwrap();
    let outputs = sensorium_checkpoint::safetensors::read(&outputs).unwrap();
    outputs.tensors.into_iter().map(|(name, t)| (name, t.into_parts())).collect()
}

pub fn tensor(outputs: &sensorium_testkit::Tensors, name: &str) -> Tensor<4> {
    let (shape, values) = outputs[name].clone();
    let shape: [usize; 4] = shape.try_into().unwrap();
    Tensor::from_data(TensorData::new(values, shape), &device())
}

#[test]
fn texts_latents_and_pictures_are_those_of_diffusers() {
    for name in CASES {
        let twin = Twin::open(name);
        let (model, want) = (&twin.drawer.model, |key: &str| &twin.outputs[key].1);
        let texts = [twin.prompt(), ""].map(|text| twin.drawer.ids(text).unwrap());
        let ids: Vec<Vec<u32>> = serde_json::from_value(twin.expected["ids"].clone()).unwrap();
        assert_eq!(texts.each_ref().map(|text| text.ids.clone()).to_vec(), ids, "{name}");
        let told = Tensor::cat(texts.iter().map(|text| model.text.positions(text)).collect(), 0);
        assert_close(&format!("{name}: texts"), &read(told.clone()), want("texts"), STACK);

        let latents = twin.tensor("latents");
        let both = Tensor::cat(vec![latents.clone(), latents.clone()], 0);
        for time in ["999.0", "501.0", "250.5", "1.0"] {
            let got = model.unet.forward(both.clone(), time.parse().unwrap(), &told);
            let key = format!("unet.{time}");
            assert_close(&format!("{name}: {key}"), &read(got), want(&key), STACK);
        }

        let image = twin.tensor("image");
        let (got, scale) = match &model.vae {
            Autoencoder::Kl(vae) => (vae.moments(image), 0.18215),
            Autoencoder::Tiny(vae) => (vae.encode(image), 1.0),
        };
        assert_close(&format!("{name}: encoded"), &read(got), want("encoded"), STACK);
        let decoded = model.vae.decode(latents * scale);
        assert_close(&format!("{name}: decoded"), &read(decoded), want("decoded"), STACK);
    }
}

#[test]
fn ten_steps_by_every_scheduler_are_those_of_diffusers() {
    for name in CASES {
        let twin = Twin::open(name);
        for scheduler in Scheduler::ALL {
            let key = format!("steps.{}", scheduler.name());
            let sampler = Sampler { scheduler: Some(scheduler), ..twin.sampler() };
            steps(&twin, &sampler, &format!("{name}: {key}"), &key);
        }
        steps(
            &twin,
            &twin.sampler(),
            &format!("{name}: its own"),
            &format!("steps.{}", twin.expected["scheduler"].as_str().unwrap()),
        );
        let plain = Sampler { steps: 2, guidance: 0.0, ..twin.sampler() };
        steps(&twin, &plain, &format!("{name}: without guidance"), "untold");
    }
}

/// The latents after each step.
fn steps(twin: &Twin, sampler: &Sampler, name: &str, key: &str) {
    let mut seen = Vec::new();
    let run = twin.drawer.run(sampler, None).unwrap();
    // diffusers scales latents that it is given, too.
    let noise = twin.tensor("latents") * run.init_noise_sigma();
    let mut on_step = |_: usize, x: &Tensor<4>| seen.extend(read(x.clone()));
    let last = twin.drawer.denoise(twin.prompt(), noise, run, sampler.guidance, &mut on_step);
    assert_eq!(read(last.unwrap())[..], seen[seen.len() - twin.outputs["latents"].1.len()..]);
    assert_close(name, &seen, &twin.outputs[key].1, 5e-4);
}

#[test]
fn pictures_are_within_a_grey_level_of_those_of_diffusers() {
    for name in CASES {
        let twin = Twin::open(name);
        let sampler = twin.sampler();
        let run = twin.drawer.run(&sampler, None).unwrap();
        let x = twin.drawer.denoise(
            twin.prompt(),
            twin.tensor("latents") * run.init_noise_sigma(),
            run,
            sampler.guidance,
            &mut |_, _| (),
        );
        let picture = read(twin.drawer.model.vae.decode(x.unwrap()).permute([0, 2, 3, 1]));
        let want =
            Picture::read(&golden("stable_diffusion").join(name).join("picture.png")).unwrap();
        let level = |x: &f32| ((x / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round();
        let off = |(got, want): (&f32, &u8)| (level(got) - f32::from(*want)).abs();
        let most = picture.iter().zip(&want.pixels).map(off).fold(0.0, f32::max);
        assert_eq!(picture.len(), want.pixels.len());
        assert!(most <= 1.0, "{name}: {most} grey levels");
    }
}

/// Latents after each step that a strength leaves, by every scheduler, and the picture by the model's own.
#[test]
fn pictures_are_drawn_anew_as_diffusers_does() {
    const STRENGTH: f64 = 0.55;
    let before = Picture::read(&golden("stable_diffusion/before.png")).unwrap();
    for name in CASES {
        let twin = Twin::open(name);
        let folder = golden("stable_diffusion").join(name);
        let bytes = fs::read(folder.join("redrawn.safetensors")).unwrap();
        let outputs = sensorium_checkpoint::safetensors::read(&bytes).unwrap().tensors;
        let outputs = outputs.into_iter().map(|(name, t)| (name, t.into_parts())).collect();
        let numbers = ["choice", "noise"].map(|key| tensor(&outputs, key));
        let pixels = twin.drawer.pixels(&before, numbers[0].dims());
        let own = twin.expected["scheduler"].as_str().unwrap();
        for scheduler in Scheduler::ALL {
            let sampler = Sampler { scheduler: Some(scheduler), ..twin.sampler() };
            let run = twin.drawer.run(&sampler, Some(STRENGTH)).unwrap();
            let x = twin.drawer.noised(pixels.clone(), &run, numbers.clone());
            let mut seen = Vec::new();
            let mut on_step = |_: usize, x: &Tensor<4>| seen.extend(read(x.clone()));
            let (prompt, guidance) = (twin.prompt(), sampler.guidance);
            let x = twin.drawer.denoise(prompt, x, run, guidance, &mut on_step).unwrap();
            let key = format!("steps.{}", scheduler.name());
            assert_close(&format!("{name}: {key}"), &seen, &outputs[&key].1, 5e-4);
            if scheduler.name() == own {
                let drawn = read(twin.drawer.model.vae.decode(x).permute([0, 2, 3, 1]));
                let want = Picture::read(&folder.join("redrawn.png")).unwrap();
                let level = |x: &f32| ((x / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round();
                let off = |(got, want): (&f32, &u8)| (level(got) - f32::from(*want)).abs();
                let most = drawn.iter().zip(&want.pixels).map(off).fold(0.0, f32::max);
                assert!(drawn.len() == want.pixels.len() && most <= 1.0, "{name}: {most} levels");
            }
        }
    }
}

#[test]
fn a_picture_drawn_anew_keeps_its_size_and_less_of_itself_with_strength() {
    let model = model(&golden("stable_diffusion/v1"), None).unwrap();
    let maker = model.media().unwrap();
    let before = Picture::read(&golden("stable_diffusion/before.png")).unwrap();
    let sampler = Sampler { seed: 3, steps: 5, ..maker.usual() };
    let redraw = |strength: f64, sampler: Sampler| {
        let texts = ["a cat".to_owned()];
        maker.redraw(&before, strength, &texts, sampler, &mut |_, _| ())
    };
    let drawn = |strength: f64, sampler: Sampler| match &redraw(strength, sampler).unwrap()[..] {
        [Media::Image(picture)] => picture.clone(),
        other => panic!("{other:?}"),
    };
    let (weak, strong) = (drawn(0.2, sampler), drawn(1.0, sampler));
    assert_eq!([weak.height, weak.width, strong.height, strong.width], [24, 16, 24, 16]);
    assert_ne!(weak.pixels, strong.pixels);
    assert_eq!(drawn(0.2, sampler).pixels, weak.pixels);
    let sized = drawn(0.5, Sampler { size: Some([8, 12]), ..sampler });
    assert_eq!([sized.height, sized.width], [8, 12]);
    for (strength, words) in
        [(0.1, "1 / 5 to 1"), (0.0, "got 0"), (1.5, "got 1.5"), (f64::NAN, "NaN")]
    {
        let error = redraw(strength, sampler).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("\nhint: "), "{error}");
    }
}

#[test]
fn a_seed_draws_the_same_whatever_stands_beside_it() {
    let model = model(&golden("stable_diffusion/v1"), None).unwrap();
    let maker = model.media().unwrap();
    assert_eq!(maker.makes(), [Modality::Image]);
    let sampler = Sampler { seed: 3, steps: 3, size: Some([8, 12]), ..maker.usual() };
    let mut seen = Vec::new();
    let mut draw = |texts: &[&str], seed| {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        let mut progress = |done, all| seen.push((done, all));
        let sampler = Sampler { seed, ..sampler };
        maker.generate(Modality::Image, &texts, sampler, &mut progress).unwrap()
    };
    let both = draw(&["a cat", "a cat"], 3);
    let [Media::Image(first), Media::Image(second)] = &both[..] else { panic!("two pictures") };
    assert_eq!([first.height, first.width], [8, 12]);
    assert_ne!(first.pixels, second.pixels);
    for (seed, want) in [(3, first), (4, second)] {
        let [Media::Image(one)] = &draw(&["a cat"], seed)[..] else { panic!("one picture") };
        assert_eq!(one.pixels, want.pixels);
    }
    // PNDM's second step is taken twice.
    assert_eq!(
        seen[..8].iter().map(|(done, _)| *done).collect::<Vec<_>>(),
        [1, 2, 3, 4, 5, 6, 7, 8]
    );
    assert!(seen[..8].iter().all(|(_, all)| *all == 8));
}

#[test]
fn what_a_sampler_cannot_ask_for_is_an_error() {
    let model = model(&golden("stable_diffusion/v1"), None).unwrap();
    let maker = model.media().unwrap();
    let usual = Sampler { steps: 1, ..maker.usual() };
    for (sampler, words) in [
        (Sampler { steps: 0, ..usual }, "steps: expected 1 to 999"),
        (Sampler { steps: 1001, ..usual }, "got 1001"),
        (Sampler { solver: Solver::Heun, ..usual }, "--scheduler"),
        (
            Sampler { size: Some([8, 9]), ..usual },
            "size: expected multiples of 4 up to 2048, got 9x8",
        ),
        (Sampler { size: Some([0, 8]), ..usual }, "got 8x0"),
        (Sampler { size: Some([1 << 40, 8]), ..usual }, "size"),
    ] {
        let made = maker.generate(Modality::Image, &["a cat".to_owned()], sampler, &mut |_, _| ());
        let text = made.unwrap_err().to_string();
        assert!(text.contains(words) && text.contains("\nhint: "), "{text}");
    }
    let made = maker.generate(Modality::Audio, &[], usual, &mut |_, _| ()).unwrap_err().to_string();
    assert!(made.contains("image") && made.contains("audio"), "{made}");
    let error = model.chat().err().unwrap().to_string();
    assert!(error.contains("Stable Diffusion, which draws"), "{error}");
}

/// Times, noise and ten steps of many settings, with something simple for a model.
#[test]
fn schedulers_of_all_settings_go_as_those_of_diffusers() {
    let all = fs::read(golden("stable_diffusion/schedulers.json")).unwrap();
    let all: Value = serde_json::from_slice(&all).unwrap();
    let first = numbers(&all["first"]);
    let cases = all["cases"].as_array().unwrap();
    assert!(cases.len() > 25);
    for case in cases {
        let (config, steps) = (&case["config"], case["steps"].as_u64().unwrap() as usize);
        let name = format!("{steps} steps, {config}");
        let dir = copy_all("v1");
        fs::write(dir.path().join("scheduler/scheduler_config.json"), config.to_string()).unwrap();
        let Pretrained::StableDiffusion(drawer) = pretrained(dir.path()).unwrap() else {
            panic!("a pipeline")
        };
        let mut run = drawer.run(&Sampler { steps, ..Sampler::default() }, None).unwrap();
        assert_close(&format!("times of {name}"), &run.times(), &numbers(&case["timesteps"]), 2e-4);
        if case["sigmas"].is_array() {
            let want = numbers(&case["sigmas"]);
            let relative =
                |all: Vec<f32>| all.into_iter().map(|x| (x + 1.0).ln()).collect::<Vec<_>>();
            assert_close(
                &format!("sigmas of {name}"),
                &relative(run.sigmas()),
                &relative(want),
                1e-4,
            );
        }
        let scale = case["scale"].as_f64().unwrap() as f32;
        assert!((run.init_noise_sigma() / scale - 1.0).abs() < 1e-4, "{name}");
        let start: Vec<f32> = first.iter().map(|x| x * scale).collect();
        let mut x = Tensor::<4>::from_data(TensorData::new(start, [1, 1, 1, 6]), &device());
        for i in 0..run.times().len() {
            let seen = run.model_input(i, x.clone());
            let (told, want) = (predicted(&seen, i), numbers(&case["model_inputs"][i]));
            assert_close(&format!("input {i} of {name}"), &read(seen), &want, 1e-3);
            x = run.step(i, told, x);
            let want = numbers(&case["samples"][i]);
            let size = want.iter().fold(1.0, |most: f32, x| most.max(x.abs()));
            assert_close(&format!("step {i} of {name}"), &read(x.clone()), &want, 1e-3 * size);
        }
    }
}

fn predicted(x: &Tensor<4>, i: usize) -> Tensor<4> {
    x.clone() * 0.3 + (x.clone() * 3.0 + i as f32).sin() * 0.5
}

fn numbers(value: &Value) -> Vec<f32> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn the_autoencoder_of_sd_3_and_flux_is_shifted() {
    let folder = golden("stable_diffusion/shifted");
    let Pretrained::Autoencoder(vae) = pretrained(&folder).unwrap() else { panic!("alone") };
    let outputs = outputs(&folder);
    let decoded = read(vae.decode(tensor(&outputs, "latents")));
    assert_close("decoded", &decoded, &outputs["decoded"].1, STACK);
    let (latents, moments) = (read(vae.encode(tensor(&outputs, "image"))), &outputs["encoded"].1);
    let want: Vec<f32> = moments[..latents.len()].iter().map(|x| (x - 0.1159) * 0.3611).collect();
    assert_close("encoded", &latents, &want, STACK);
    let model = Model::open(&folder, &sensorium_inference::Options::on(&device())).unwrap();
    let error = model.media().err().unwrap().to_string();
    assert!(error.contains("an autoencoder alone"), "{error}");
}

/// The names of an autoencoder's attention in its first files.
#[test]
fn autoencoders_of_the_first_files_are_read() {
    let dir = copy_all("v1");
    let file = dir.path().join("vae/diffusion_pytorch_model.safetensors");
    let mut tensors = sensorium_checkpoint::safetensors::load(&file).unwrap();
    let older = |name: &str| {
        [("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")]
            .iter()
            .fold(name.to_owned(), |name, (now, then)| {
                name.replace(&format!(".{now}."), &format!(".{then}."))
            })
    };
    let renamed = std::mem::take(&mut tensors.tensors).into_iter();
    tensors.tensors = renamed.map(|(name, tensor)| (older(&name), tensor)).collect();
    assert!(tensors.tensors.contains_key("decoder.mid_block.attentions.0.proj_attn.bias"));
    let bytes = sensorium_checkpoint::safetensors::write(
        &tensors,
        sensorium_checkpoint::safetensors::Dtype::F32,
    );
    fs::write(&file, bytes.unwrap()).unwrap();
    pretrained(dir.path()).unwrap();
}

/// A copy of a pipeline to damage.
fn copy_all(name: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    copy_into(&golden("stable_diffusion").join(name), dir.path());
    dir
}

fn copy_into(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            fs::create_dir(&to).unwrap();
            copy_into(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}

#[test]
fn parts_that_are_missing() {
    for part in ["text_encoder", "unet", "vae", "scheduler", "tokenizer"] {
        let dir = copy_all("v2");
        fs::remove_dir_all(dir.path().join(part)).unwrap();
        fails(dir.path(), &[part, "download"]);
    }
    let dir = copy_all("v2");
    fs::remove_file(dir.path().join("unet/diffusion_pytorch_model.safetensors")).unwrap();
    fails(dir.path(), &["diffusion_pytorch_model.safetensors", "unet", "download the weights"]);
}

#[test]
fn tensors_that_do_not_fit() {
    for (part, file, key) in [
        (
            "unet",
            "diffusion_pytorch_model.safetensors",
            "mid_block.attentions.0.transformer_blocks.0.ff.net.2.bias",
        ),
        (
            "vae",
            "diffusion_pytorch_model.safetensors",
            "decoder.mid_block.attentions.0.to_out.0.weight",
        ),
        ("text_encoder", "model.safetensors", "final_layer_norm.bias"),
    ] {
        let change = |change: &dyn Fn(&mut sensorium_checkpoint::Tensors, String),
                      words: &[&str]| {
            let dir = copy_all("v2");
            let path = dir.path().join(part).join(file);
            let mut tensors = sensorium_checkpoint::safetensors::load(&path).unwrap();
            let key = tensors.tensors.keys().find(|name| name.ends_with(key)).unwrap().clone();
            change(&mut tensors, key);
            let dtype = sensorium_checkpoint::safetensors::Dtype::F32;
            fs::write(&path, sensorium_checkpoint::safetensors::write(&tensors, dtype).unwrap())
                .unwrap();
            fails(dir.path(), words);
        };
        change(&|all, key| drop(all.tensors.remove(&key)), &["1 missing, 0 unexpected", part, key]);
        change(
            &|all, key| {
                let tensor = all.tensors[&key].clone();
                all.tensors.insert("a.stray".into(), tensor);
            },
            &["0 missing, 1 unexpected", &format!("{part}.a.stray")],
        );
    }
}

#[test]
fn settings_that_cannot_be() {
    let (index, unet, vae) = ("model_index.json", "unet/config.json", "vae/config.json");
    let (scheduler, text) = ("scheduler/scheduler_config.json", "text_encoder/config.json");
    let cases: [(&str, &str, Value, &[&str]); 34] = [
        (index, "_class_name", json!("StableDiffusionXLPipeline"), &["StableDiffusionPipeline"]),
        (index, "unet", json!(["diffusers", "UNet2DModel"]), &["unet", "UNet2DConditionModel"]),
        (index, "vae", json!(["diffusers", "VQModel"]), &["AutoencoderKL, AutoencoderTiny"]),
        (index, "text_encoder", json!(["transformers", "T5EncoderModel"]), &["CLIPTextModel"]),
        (index, "tokenizer", json!([null, null]), &["CLIPTokenizer"]),
        (
            index,
            "safety_checker",
            json!(["stable_diffusion", "StableDiffusionSafetyChecker"]),
            &["safety_checker", "not heeded"],
        ),
        (unet, "_class_name", json!("UNet2DModel"), &["UNet2DConditionModel"]),
        (unet, "block_out_channels", json!([]), &["block_out_channels"]),
        (unet, "block_out_channels", json!([4, 1u64 << 40]), &["block_out_channels"]),
        (unet, "block_out_channels", json!([4, 1 << 20]), &["another shape"]),
        (unet, "block_out_channels", json!([4, 7]), &["divisors of [4, 7]"]),
        (unet, "attention_head_dim", json!([1, 3]), &["attention_head_dim"]),
        (unet, "attention_head_dim", json!([1, 2, 2]), &["a number for each of 2 levels"]),
        (
            unet,
            "down_block_types",
            json!(["AttnDownBlock2D", "DownBlock2D"]),
            &["CrossAttnDownBlock2D"],
        ),
        (unet, "layers_per_block", json!(1 << 20), &["at most 512 layers"]),
        (unet, "act_fn", json!("mish"), &["silu"]),
        (unet, "class_embed_type", json!("timestep"), &["expected nothing"]),
        (unet, "in_channels", json!(9), &["in_channels", "4, as the other parts"]),
        (unet, "cross_attention_dim", json!(1024), &["cross_attention_dim", "12, as"]),
        (unet, "sample_size", json!([8, 8, 8]), &["one or two numbers"]),
        (unet, "sample_size", json!(1 << 20), &["sample_size"]),
        (unet, "freq_shift", json!(2), &["freq_shift"]),
        (unet, "a_new_key", json!(true), &["a_new_key", "not heeded"]),
        (vae, "_class_name", json!("AutoencoderDC"), &["AutoencoderKL"]),
        (vae, "norm_num_groups", json!(3), &["a divisor of"]),
        (vae, "up_block_types", json!(["UpDecoderBlock2D"]), &["for each of 2 levels"]),
        (vae, "scaling_factor", json!(0), &["scaling_factor"]),
        (vae, "latents_mean", json!([0.0]), &["latents_mean"]),
        (scheduler, "prediction_type", json!("flow"), &["v_prediction"]),
        (scheduler, "timestep_spacing", json!("even"), &["trailing"]),
        (scheduler, "num_train_timesteps", json!(1 << 23), &["at most 100000"]),
        (scheduler, "beta_end", json!(1.5), &["beta_end"]),
        (scheduler, "thresholding", json!(true), &["thresholding"]),
        (text, "num_hidden_layers", json!(1 << 20), &["layers"]),
    ];
    for (file, key, value, words) in cases {
        let dir = copy_all("v2");
        edit(dir.path(), file, |settings| settings[key] = value);
        fails(dir.path(), words);
    }
    let dir = copy_all("v2");
    edit(dir.path(), "tokenizer/tokenizer_config.json", |all| {
        all["pad_token"] = json!("<nothing>")
    });
    fails(dir.path(), &["pad_token"]);
    edit(dir.path(), "tokenizer/tokenizer_config.json", |all| all["model_max_length"] = json!(77));
    fails(dir.path(), &["model_max_length", "at most 10"]);
}

/// No settings, however damaged, end in a panic or in memory that the weights do not fill.
#[test]
fn damaged_settings_are_errors_or_other_settings() {
    let mut rng = Rng::new(13);
    let files = [
        "model_index.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "tokenizer/tokenizer_config.json",
        "unet/config.json",
        "vae/config.json",
    ];
    for name in CASES {
        let dir = copy_all(name);
        for file in files {
            let whole = fs::read(dir.path().join(file)).unwrap();
            let mut opened = 0;
            for _ in 0..100 {
                fs::write(dir.path().join(file), mutated(&whole, &mut rng)).unwrap();
                match pretrained(dir.path()) {
                    Ok(Pretrained::StableDiffusion(drawer)) => {
                        opened += 1;
                        drawn(&drawer);
                    }
                    Ok(_) => panic!("{name} is a pipeline"),
                    Err(error) => assert!(error.to_string().contains("hint: "), "{error}"),
                }
            }
            assert!(opened > 0, "{name} {file}: every mutation was refused");
            fs::write(dir.path().join(file), &whole).unwrap();
        }
    }
}

/// One step, of a small picture where the settings speak of a larger one.
fn drawn(drawer: &Drawer) {
    let sampler = Sampler { steps: 1, size: Some([8, 8]), ..drawer.usual() };
    if let Err(error) = drawer.draw(&["a cat".to_owned()], None, sampler, &mut |_, _| ()) {
        assert!(error.to_string().contains("hint: "), "{error}");
    }
}

#[test]
fn another_scheduler_stands_in_for_one_that_is_not_known() {
    let dir = copy_all("v1");
    edit(dir.path(), "scheduler/scheduler_config.json", |all| {
        all["_class_name"] = json!("DPMSolverMultistepScheduler");
        all["solver_order"] = json!(2);
    });
    let model = model(dir.path(), None).unwrap();
    let maker = model.media().unwrap();
    let draw = |scheduler| {
        let sampler = Sampler { steps: 2, scheduler, ..maker.usual() };
        maker.generate(Modality::Image, &["a cat".to_owned()], sampler, &mut |_, _| ())
    };
    let text = draw(None).unwrap_err().to_string();
    for word in [
        "DPMSolverMultistepScheduler",
        "EulerDiscreteScheduler, DDIMScheduler, PNDMScheduler",
        "--scheduler",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
    for scheduler in Scheduler::ALL {
        assert_eq!(draw(Some(scheduler)).unwrap().len(), 1);
    }
}

/// As diffusers counts them.
#[test]
fn counts_are_the_published_ones() {
    let dir = tempfile::tempdir().unwrap();
    let write = |file: &str, settings: Value| {
        let path = dir.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, settings.to_string()).unwrap();
    };
    let index = fs::read(golden("stable_diffusion/v1/model_index.json")).unwrap();
    fs::write(dir.path().join("model_index.json"), index).unwrap();
    let kl = json!({
        "_class_name": "AutoencoderKL", "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2,
        "down_block_types": vec!["DownEncoderBlock2D"; 4], "up_block_types": vec!["UpDecoderBlock2D"; 4],
    });
    write("vae/config.json", kl);
    let text = |width: usize, layers: usize, heads: usize| {
        json!({"model_type": "clip_text_model", "hidden_size": width, "num_hidden_layers": layers,
            "num_attention_heads": heads, "intermediate_size": 4 * width})
    };
    for (text, unet, counts) in [
        (
            text(768, 12, 12),
            json!({"_class_name": "UNet2DConditionModel", "cross_attention_dim": 768}),
            [123_060_480, 859_520_964, 83_653_863],
        ),
        (
            text(1024, 23, 16),
            json!({"_class_name": "UNet2DConditionModel", "cross_attention_dim": 1024,
                "attention_head_dim": [5, 10, 20, 20], "use_linear_projection": true}),
            [340_387_840, 865_910_724, 83_653_863],
        ),
    ] {
        write("text_encoder/config.json", text);
        write("unet/config.json", unet);
        let plan = plan(&Directory::open(dir.path()).unwrap()).unwrap();
        let got = ["text", "unet", "vae"].map(|part| plan.parameters(Some(part)));
        assert_eq!(got, counts);
    }
    for (config, count) in [
        (json!({"_class_name": "AutoencoderTiny"}), 2_445_063),
        (
            json!({"_class_name": "AutoencoderTiny", "latent_channels": 32, "use_midblock_gn": true}),
            2_677_027,
        ),
    ] {
        write("tiny/config.json", config);
        let plan = plan(&Directory::open(&dir.path().join("tiny")).unwrap()).unwrap();
        assert_eq!(plan.parameters(None), count);
    }
}
