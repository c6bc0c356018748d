//! `goldens/llama` (tied, grouped), `llama_untied` (a head of its own) and `llama_qknorm` (Qwen3).

use sensorium_backbone::{
    Biases, Cache, GateActivation, Llama, LlamaConfig, RopeScaling, Sampler, Sampling,
};
use sensorium_flow::{Forward, Hidden, Sequence};
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use sensorium_pretrained::names::{self, LLAMA};
use sensorium_testkit::{Golden, Report, assert_losses};

use crate::twin::{
    CURVE, STACK, assert_same_gradients, curve, device, ids, labels, number, size, weights,
};

/// The configuration at `at` of the golden's, as ours.
pub fn config(golden: &Golden, at: &str) -> LlamaConfig {
    let size = |key: &str| size(golden, &format!("{at}/{key}"));
    let text = golden.config();
    let text = text.pointer(at).expect("a configuration");
    LlamaConfig {
        vocab_size: size("vocab_size"),
        context: size("max_position_embeddings"),
        hidden_size: size("hidden_size"),
        n_layers: size("num_hidden_layers"),
        n_heads: size("num_attention_heads"),
        n_kv_heads: size("num_key_value_heads"),
        head_dim: size("head_dim"),
        intermediate_size: size("intermediate_size"),
        theta: number(golden, &format!("{at}/rope_theta")) as f32,
        eps: number(golden, &format!("{at}/rms_norm_eps")),
        qk_norm: text["model_type"] == "qwen3",
        tied: text["tie_word_embeddings"] == true,
        biases: Biases::default(),
        rope_scaling: RopeScaling::None,
        mrope: None,
        gate: GateActivation::Silu,
        embedding_scale: 1.0,
        gemma: None,
    }
}

/// `[B, T, D] -> [B, T, V]`
fn logits(llama: &Llama, Hidden(x): Hidden) -> Tensor<3> {
    let [b, t, d] = x.dims();
    let logits = llama.logits(x.reshape([b * t, d]));
    let v = logits.dims()[1];
    logits.reshape([b, t, v])
}

/// Greedy tokens with a cache.
fn greedy(llama: &Llama, prompt: &[u32], count: usize) -> Vec<u32> {
    let (mut cache, mut sampler) = (Cache::default(), Sampler::new(Sampling::default()));
    let mut chosen: Vec<u32> = Vec::new();
    let mut next = prompt.to_vec();
    while chosen.len() < count {
        let t = next.len();
        let hidden =
            llama.forward(llama.embed(&next, [1, t]), &Sequence::default(), Some(&mut cache)).0;
        let scores = read(logits(llama, Hidden(hidden.narrow(1, t - 1, 1))));
        chosen.push(sampler.pick(&scores));
        next = vec![chosen[chosen.len() - 1]];
    }
    chosen
}

fn check(name: &str) {
    let golden = Golden::open(name);
    let init = &mut Init::new(1, &device().autodiff());
    let llama = Llama::init(&config(&golden, ""), init);
    let llama = names::load(llama, &weights(&golden), &LLAMA).expect("the names fit");
    let saved = names::save(&llama, &LLAMA).expect("it can be written");
    assert_eq!(saved.tensors, weights(&golden).tensors);

    let (tokens, shape) = ids(&golden, "input_ids");
    let read_all =
        |llama: &Llama| llama.forward(llama.embed(&tokens, shape), &Sequence::default(), None);
    let loss =
        |llama: &Llama| loss::next_token(logits(llama, read_all(llama)), labels(&golden), 0.0);

    let mut report = Report::new(&golden, STACK);
    let mut check = |name: &str, x: Tensor<3>| report.check(name, &x.dims(), &read(x));
    check("model.embed_tokens", llama.embed(&tokens, shape).0);
    let n = size(&golden, "/num_hidden_layers");
    for i in 0..n {
        let x = llama.hidden(llama.embed(&tokens, shape), i + 1);
        check(&format!("model.layers.{i}"), x);
    }
    check("model.norm", read_all(&llama).0);
    check("logits", logits(&llama, read_all(&llama)));
    report.check("loss", &[1], &read(loss(&llama)));
    report.finish();

    let want = &golden.outputs()["greedy"].1;
    let got: Vec<f32> =
        greedy(&llama, &ids(&golden, "prompt").0, 16).iter().map(|&id| id as f32).collect();
    assert_eq!(&got, want, "{name}: greedy tokens");

    assert_same_gradients(&golden, &llama, loss(&llama), |name| LLAMA.to_hf(name));
    assert_losses(&curve(llama, loss), &golden.losses(), CURVE);
}

#[test]
fn llama() {
    check("llama");
}

/// As on a device without kernels.
#[test]
fn llama_by_twins() {
    fused::with_twins(|| check("llama"));
}

#[test]
fn llama_untied() {
    check("llama_untied");
}

#[test]
fn llama_qknorm() {
    check("llama_qknorm");
}
