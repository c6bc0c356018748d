//! Published decoders from their directories: `goldens/{llama3, yarn, longrope, phi3, gemma, gemma2, gemma3, mistral, qwen2, qwen2_tied, qwen3, opt,
//! opt_post, gpt2}` as `save_pretrained` wrote them.

use sensorium_backbone::{Backbone, BackboneConfig, Cache, Sampler, Sampling};
use sensorium_flow::{Forward, Hidden, Sequence};
use sensorium_nn::device::is_cpu;
use sensorium_nn::params::read;
use sensorium_nn::prelude::{Pack, pack};
use sensorium_pretrained::families::language;
use sensorium_pretrained::{Config, Directory};
use sensorium_testkit::{Golden, Report};
use serde_json::{Value, json};

use crate::twin::{STACK, device, ids};

const NAMES: [&str; 14] = [
    "llama3",
    "yarn",
    "longrope",
    "phi3",
    "gemma",
    "gemma2",
    "gemma3",
    "mistral",
    "qwen2",
    "qwen2_tied",
    "qwen3",
    "opt",
    "opt_post",
    "gpt2",
];

fn open(name: &str) -> (Golden, BackboneConfig, Backbone) {
    let golden = Golden::open(name);
    let directory = Directory::open(&golden.path("")).expect("the golden is a checkpoint");
    let (config, mut backbone) = language::load(&directory, &device()).expect("it loads");
    backbone.pack_as(pack::Format::F32);
    (golden, config, backbone)
}

fn logits(backbone: &Backbone, Hidden(x): Hidden) -> (Vec<usize>, Vec<f32>) {
    let [b, t, d] = x.dims();
    let logits = backbone.logits(x.reshape([b * t, d]));
    (vec![b, t, logits.dims()[1]], read(logits))
}

#[test]
fn logits_and_hidden_states_are_those_of_transformers() {
    for name in NAMES {
        let (golden, config, backbone) = open(name);
        let (tokens, shape) = ids(&golden, "input_ids");
        // Whatever joins its stream is normed, which makes roundings larger: transformers' own f32 is 2.3e-5 off the
        // same in double precision.
        let allowed = if name == "gemma3" || !is_cpu(&device()) { 2.0 * STACK } else { STACK };
        let mut report = Report::new(&golden, allowed);
        let embeds = backbone.embed(&tokens, shape);
        let n = config.n_layers();
        for i in 0..n {
            let x = backbone.hidden(embeds.clone(), i);
            report.check(&format!("hidden.{i}"), &x.dims(), &read(x));
        }
        let hidden = backbone.forward(embeds, &Sequence::default(), None);
        report.check(&format!("hidden.{n}"), &hidden.0.dims(), &read(hidden.0.clone()));
        let (shape, got) = logits(&backbone, hidden);
        report.check("logits", &shape, &got);
        report.finish();
    }
}

#[test]
fn greedy_tokens_are_those_of_transformers_and_cached_is_uncached() {
    for name in NAMES {
        let (golden, config, backbone) = open(name);
        let mut all = ids(&golden, "prompt").0;
        let (mut cache, mut sampler) = (Cache::default(), Sampler::new(Sampling::default()));
        let (mut next, mut chosen) = (all.clone(), Vec::new());
        let v = config.vocabulary();
        while chosen.len() < 16 {
            let embeds = backbone.embed(&next, [1, next.len()]);
            let (shape, got) =
                logits(&backbone, backbone.forward(embeds, &Sequence::default(), Some(&mut cache)));
            let got = &got[(shape[1] - 1) * v..];
            let whole =
                backbone.forward(backbone.embed(&all, [1, all.len()]), &Sequence::default(), None);
            let (shape, want) = logits(&backbone, whole);
            let want = &want[(shape[1] - 1) * v..];
            let apart = got.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(apart < 1e-4, "{name}: {apart} after {} tokens", all.len());
            next = vec![sampler.pick(got)];
            all.extend(&next);
            chosen.push(next[0] as f32);
        }
        assert_eq!(chosen, golden.outputs()["greedy"].1, "{name}");
    }
}

/// The golden's configuration with one change.
fn changed(name: &str, change: impl Fn(&mut Value)) -> Result<BackboneConfig, String> {
    let mut value = Golden::open(name).config();
    change(&mut value);
    language::config(&Config::new("config.json", &value)).map_err(|error| error.to_string())
}

#[test]
fn files_of_before_transformers_5_mean_the_same() {
    let now = changed("llama3", |_| ()).expect("it is read");
    let before = changed("llama3", |value| {
        let rope = value["rope_parameters"].take();
        value["rope_theta"] = rope["rope_theta"].clone();
        value["rope_scaling"] = json!({"type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 64});
        value["torch_dtype"] = value["dtype"].take();
    });
    assert_eq!(before.expect("it is read"), now);
    // A window as long as a text, or shorter, is the longest text.
    let context = |value: Value| {
        let config = changed("mistral", |config| config["sliding_window"] = value.clone());
        config.expect("it is read").context()
    };
    assert_eq!([context(json!(32)), context(json!(null)), context(json!(99))], [32, 64, 64]);
}

#[test]
fn what_the_backbone_does_not_do_is_refused_by_its_key() {
    let cases = [
        ("llama3", "/model_type", json!("mamba")),
        ("llama3", "/model_type", json!(null)),
        ("llama3", "/hidden_act", json!("gelu")),
        ("llama3", "/num_key_value_heads", json!(3)),
        ("llama3", "/head_dim", json!(7)),
        ("llama3", "/head_dim", json!(1 << 20)),
        ("llama3", "/hidden_size", json!(0)),
        ("llama3", "/hidden_size", json!(-1)),
        ("llama3", "/hidden_size", json!("32")),
        ("llama3", "/vocab_size", json!(1_u64 << 40)),
        ("llama3", "/rms_norm_eps", json!(-1.0)),
        ("llama3", "/rope_parameters/rope_type", json!("ntk")),
        ("yarn", "/rope_parameters/factor", json!(0.0)),
        ("yarn", "/rope_parameters/beta_fast", json!("32")),
        ("yarn", "/rope_parameters/original_max_position_embeddings", json!(1)),
        ("longrope", "/rope_parameters/short_factor", json!([1.0])),
        ("longrope", "/rope_parameters/long_factor", json!([1, 1, 1, 1, 1, 1, 1, -1])),
        ("llama3", "/rope_parameters/rope_theta", json!(0)),
        ("llama3", "/rope_parameters/factor", json!(null)),
        ("llama3", "/rope_parameters/high_freq_factor", json!(1.0)),
        ("llama3", "/attention_bias", json!("yes")),
        ("phi3", "/hidden_act", json!("gelu")),
        ("gemma", "/hidden_act", json!("silu")),
        ("gemma2", "/final_logit_softcapping", json!("30")),
        ("gemma2", "/layer_types", json!(["sliding_attention"])),
        ("gemma3", "/sliding_window", json!(0)),
        ("gemma3", "/rope_parameters/full_attention/factor", json!(-1)),
        ("gemma3", "/rope_parameters/sliding_attention/rope_type", json!("linear")),
        ("opt", "/activation_function", json!("gelu")),
        ("opt", "/enable_bias", json!(false)),
        ("opt", "/num_attention_heads", json!(5)),
        ("gpt2", "/activation_function", json!("gelu")),
        ("gpt2", "/scale_attn_by_inverse_layer_idx", json!(true)),
        ("gpt2", "/n_head", json!(4)),
    ];
    for (name, path, value) in cases {
        let error = changed(name, |config| {
            *config.pointer_mut(path).expect("the key is there") = value.clone();
        });
        let error = error.expect_err(path);
        let key = path.trim_start_matches('/').replace('/', ".");
        assert!(error.contains(&key) && error.contains("hint: "), "{path}: {error}");
    }
    let quantised = changed("llama3", |config| config["quantization_config"] = json!({}));
    assert!(quantised.unwrap_err().contains("quantization_config"));
}
