//! `goldens/vae`, `goldens/flow`, `goldens/gan`, `goldens/conditional_vae`, `goldens/mapper`: what makes media, and what tells it, as PyTorch has them.

use std::sync::Arc;

use sensorium_flow::{Condition, Hidden, Sampler, Solver};
use sensorium_generator::{
    ConditionalVae, Discriminator, Flow, Gan, Noised, Prediction, R1, Tokens, UvitConfig, Vae,
    VaeConfig,
};
use sensorium_model::weights as load;
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use sensorium_output_projector::{Mapper, MapperConfig};
use sensorium_testkit::{Golden, Report, assert_losses};
use serde::de::DeserializeOwned;

use crate::twin::{CURVE, STACK, assert_same_gradients, curve, device, input, size, weights};

fn setting<T: DeserializeOwned>(golden: &Golden, key: &str) -> T {
    serde_json::from_value(golden.config()[key].clone()).expect("a setting of the golden")
}

fn init() -> Init {
    Init::new(1, &device().autodiff())
}

#[test]
fn vae() {
    check_vae();
}

/// As on a device without kernels.
#[test]
fn vae_by_twins() {
    fused::with_twins(check_vae);
}

fn check_vae() {
    let golden = Golden::open("vae");
    let config = VaeConfig {
        patch: size(&golden, "/patch"),
        channels: setting(&golden, "channels"),
        n_blocks: size(&golden, "/n_blocks"),
        latent_channels: size(&golden, "/latent_channels"),
    };
    let vae = Vae::init(&config, &mut init());
    let vae = load::load(vae, &weights(&golden)).expect("the golden's names are ours");
    let (pictures, noise): (Tensor<4>, Tensor<4>) =
        (input(&golden, "pictures"), input(&golden, "noise"));
    let weight: f64 = setting(&golden, "kl_weight");
    let parts = |vae: &Vae| {
        let posterior = vae.encode(pictures.clone());
        let made = vae.decode(posterior.sample(noise.clone()));
        let off = (made.clone() - pictures.clone()).abs().mean();
        let differences = |x: &Tensor<4>, axis: usize| {
            let n = x.dims()[axis] - 1;
            x.clone().narrow(axis, 1, n) - x.clone().narrow(axis, 0, n)
        };
        let edges = [2, 3]
            .map(|axis| (differences(&made, axis) - differences(&pictures, axis)).abs().mean());
        let [down, right] = edges;
        let divergence = posterior.divergence();
        let loss = off + (down + right) * 0.25 + divergence.clone() * weight;
        (posterior, made, divergence, loss)
    };
    let (posterior, made, divergence, loss) = parts(&vae);
    let mut report = Report::new(&golden, STACK);
    let mut check = |name: &str, x: &Tensor<4>| report.check(name, &x.dims(), &read(x.clone()));
    check("mean", &posterior.mean);
    check("log_variance", &posterior.log_variance);
    check("made", &made);
    report.check("divergence", &[1], &read(divergence));
    report.check("loss", &[1], &read(loss.clone()));
    report.finish();
    assert_same_gradients(&golden, &vae, loss, str::to_owned);
    assert_losses(&curve(vae, |vae| parts(vae).3), &golden.losses(), CURVE);
}

#[test]
fn flow() {
    check_flow();
}

/// As on a device without kernels.
#[test]
fn flow_by_twins() {
    fused::with_twins(check_flow);
}

fn check_flow() {
    let golden = Golden::open("flow");
    let (config, tokens) = uvit(&golden);
    let size = |key: &str| size(&golden, &format!("/{key}"));
    let flow = Flow::init(&config, tokens, Prediction::Velocity, &mut init());
    let flow = load::load(flow, &weights(&golden)).expect("the golden's names are ours");
    let [latents, noise, conditions] =
        ["latents", "noise", "conditions"].map(|name| input::<3>(&golden, name));
    let noised = Noised {
        noise: noise.clone(),
        times: setting(&golden, "times"),
        dropped: setting(&golden, "dropped"),
    };
    let loss = |flow: &Flow| flow.loss(latents.clone(), conditions.clone(), noised.clone());
    let made = |solver| {
        let (steps, guidance) = (size("steps"), setting(&golden, "guidance"));
        let sampler = Sampler { steps, guidance, solver, ..Sampler::default() };
        flow.sample(noise.clone(), conditions.clone(), sampler)
    };
    let velocity = flow.velocity(latents.clone(), conditions.clone(), &noised);
    let mut report = Report::new(&golden, STACK);
    let mut check = |name: &str, x: Tensor<3>| report.check(name, &x.dims(), &read(x));
    check("velocity", velocity);
    report.check("loss", &[1], &read(loss(&flow)));
    let mut check = |name: &str, x: Tensor<3>| report.check(name, &x.dims(), &read(x));
    check("euler", made(Solver::Euler));
    check("heun", made(Solver::Heun));
    report.finish();
    assert_same_gradients(&golden, &flow, loss(&flow), str::to_owned);
    assert_losses(&curve(flow, loss), &golden.losses(), CURVE);
}

/// The shape of a golden's U-ViTs.
fn uvit(golden: &Golden) -> (UvitConfig, Tokens) {
    let size = |key: &str| size(golden, &format!("/{key}"));
    let config = UvitConfig {
        hidden_size: size("hidden_size"),
        n_layers: size("num_hidden_layers"),
        n_heads: size("num_attention_heads"),
        intermediate_size: size("intermediate_size"),
    };
    let tokens = Tokens {
        latents: size("latents"),
        size: size("size"),
        out: size("size"),
        conditions: size("conditions"),
        width: size("width"),
    };
    (config, tokens)
}

#[derive(Module, Debug)]
struct Opponents {
    generator: Gan,
    discriminator: Discriminator,
}

#[test]
fn gan() {
    check_gan();
}

/// As on a device without kernels.
#[test]
fn gan_by_twins() {
    fused::with_twins(check_gan);
}

fn check_gan() {
    let golden = Golden::open("gan");
    let (config, tokens) = uvit(&golden);
    let init = &mut init();
    let generator = Gan::init(&config, tokens, init);
    let discriminator = Discriminator::init(&config, tokens, init);
    let opponents = Opponents { generator, discriminator };
    let opponents = load::load(opponents, &weights(&golden)).expect("the golden's names are ours");
    let [latents, noise, near, conditions] =
        ["latents", "noise", "near", "conditions"].map(|name| input::<3>(&golden, name));
    let Opponents { generator, discriminator } = &opponents;
    let made = generator.sample(noise, conditions.clone());
    let real = discriminator.judge(latents.clone(), conditions.clone());
    let still = params::set_trainable(discriminator.clone(), |_| false);
    let fooled = still.fooled(made.clone(), conditions.clone());
    let (penalty, sigma) = (setting(&golden, "penalty"), setting(&golden, "sigma"));
    let r1 = R1 { penalty, sigma, noise: near };
    let loss = discriminator.loss(latents, made.clone().detach(), conditions, r1);
    let mut report = Report::new(&golden, STACK);
    report.check("made", &made.dims(), &read(made));
    report.check("real", &[3], &read(real));
    report.check("fooled", &[1], &read(fooled.clone()));
    report.check("loss", &[1], &read(loss.clone()));
    report.finish();
    assert_same_gradients(&golden, &opponents, loss + fooled, str::to_owned);
}

#[test]
fn conditional_vae() {
    check_conditional_vae();
}

/// As on a device without kernels.
#[test]
fn conditional_vae_by_twins() {
    fused::with_twins(check_conditional_vae);
}

fn check_conditional_vae() {
    let golden = Golden::open("conditional_vae");
    let (config, tokens) = uvit(&golden);
    let vae = ConditionalVae::init(&config, tokens, &mut init());
    let vae = load::load(vae, &weights(&golden)).expect("the golden's names are ours");
    let [latents, noise, conditions] =
        ["latents", "noise", "conditions"].map(|name| input::<3>(&golden, name));
    let losses =
        |vae: &ConditionalVae| vae.losses(latents.clone(), conditions.clone(), noise.clone());
    let loss = |vae: &ConditionalVae| {
        let [off, divergence] = losses(vae);
        off + divergence
    };
    let [off, divergence] = losses(&vae);
    let mut report = Report::new(&golden, STACK);
    report.check("off", &[1], &read(off));
    report.check("divergence", &[1], &read(divergence));
    report.finish();
    assert_same_gradients(&golden, &vae, loss(&vae), str::to_owned);
    assert_losses(&curve(vae, loss), &golden.losses(), CURVE);
}

#[test]
fn mapper() {
    check_mapper();
}

/// As on a device without kernels.
#[test]
fn mapper_by_twins() {
    fused::with_twins(check_mapper);
}

fn check_mapper() {
    let golden = Golden::open("mapper");
    let size = |key: &str| size(&golden, &format!("/{key}"));
    let config = MapperConfig {
        input: size("input"),
        hidden_size: size("hidden_size"),
        queries: size("queries"),
        n_encoder_layers: size("encoder_layers"),
        n_decoder_layers: size("decoder_layers"),
        n_heads: size("num_attention_heads"),
        intermediate_size: size("intermediate_size"),
        activation: Activation::Relu,
        width: size("width"),
    };
    let mapper = Mapper::init(&config, &mut init());
    let mapper = load::load(mapper, &weights(&golden)).expect("the golden's names are ours");
    let [hidden, wanted] = ["hidden", "wanted"].map(|name| input::<3>(&golden, name));
    let lengths: Arc<[usize]> = setting::<Vec<usize>>(&golden, "lengths").into();
    let told = |mapper: &Mapper| mapper.condition(Hidden(hidden.clone()), Some(&lengths)).0;
    let loss = |mapper: &Mapper| loss::mse(told(mapper), wanted.clone());
    let mut report = Report::new(&golden, STACK);
    let conditions = told(&mapper);
    report.check("conditions", &conditions.dims(), &read(conditions));
    report.check("loss", &[1], &read(loss(&mapper)));
    report.finish();
    assert_same_gradients(&golden, &mapper, loss(&mapper), str::to_owned);
    assert_losses(&curve(mapper, loss), &golden.losses(), CURVE);
}
