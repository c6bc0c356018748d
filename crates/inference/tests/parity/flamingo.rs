//! Flamingo's resampler and gated blocks in a GPT-2, as OpenFlamingo has them.

use sensorium_backbone::{BackboneConfig, GatedBackbone, GatedBackboneConfig, Gpt2Config};
use sensorium_flow::{Features, Forward, Sequence};
use sensorium_input_projector::{Perceiver, PerceiverConfig};
use sensorium_model::flamingo::latest;
use sensorium_model::llava::answers_loss;
use sensorium_model::prompt::{Batch, IGNORED};
use sensorium_nn::params::{read, set_trainable};
use sensorium_nn::prelude::*;
use sensorium_pretrained::names::{self, PLAIN};
use sensorium_testkit::{Golden, Report, assert_losses};

use crate::twin::{CURVE, STACK, assert_same_gradients, curve, device, ids, input, size, weights};

/// What a Flamingo has behind its image encoder.
#[derive(Module, Debug)]
struct Bridge {
    projector: Perceiver,
    language: GatedBackbone,
}

fn configs(golden: &Golden) -> (PerceiverConfig, GatedBackboneConfig) {
    let at = |key: &str| size(golden, &format!("/{key}"));
    let (features, d) = (at("features"), at("hidden_size"));
    let [n_heads, head_dim] = ["n_heads", "head_dim"].map(at);
    let projector = PerceiverConfig {
        latents: at("latents"),
        hidden_size: features,
        n_layers: at("depth"),
        n_heads,
        head_dim,
        intermediate_size: 4 * features,
        qk_norm: false,
        activation: Activation::Gelu,
        frames: 0,
    };
    let backbone = BackboneConfig::Gpt2(Gpt2Config {
        vocab_size: at("vocab_size"),
        context: 16,
        hidden_size: d,
        n_layers: 4,
        n_heads: 3,
        intermediate_size: 4 * d,
        eps: 1e-5,
        tied: true,
    });
    let interval = at("interval");
    (projector, GatedBackboneConfig { backbone, features, interval, n_heads, head_dim })
}

fn batch(golden: &Golden) -> Batch {
    let (ids, shape) = ids(golden, "input_ids");
    let learned: Tensor<2> = input(golden, "learned");
    let learned = read(learned);
    // The label of a position is the token after it.
    let label = |i: usize| {
        let next = !(i + 1).is_multiple_of(shape[1]) && learned[i + 1] == 1.0;
        if next { ids[i + 1] as i32 } else { IGNORED }
    };
    let labels = (0..ids.len()).map(label).collect();
    let spans = vec![sensorium_flow::Span::None; ids.len()].into();
    Batch { ids, labels, spans, positions: None, slots: Vec::new(), shape }
}

#[test]
fn flamingo() {
    let golden = Golden::open("flamingo");
    let (projector, language) = configs(&golden);
    let init = &mut Init::new(1, &device().autodiff());
    let bridge = Bridge {
        projector: Perceiver::init(&projector, init),
        language: GatedBackbone::init(&language, init),
    };
    let bridge = names::take(bridge, weights(&golden), &PLAIN).expect("the names fit");
    let bridge = set_trainable(bridge, |name| !name.starts_with("language.backbone."));
    let batch = batch(&golden);
    let seen = latest(&batch.ids, batch.shape, language.picture());
    let positions: Tensor<3> = input(&golden, "positions");
    let hidden = |bridge: &Bridge| {
        let features = Some(bridge.projector.resample(&Features(positions.clone())));
        let cross_attention = Some(seen.clone().into());
        let sequence = Sequence { features, cross_attention, ..Sequence::default() };
        let embeds = bridge.language.embed(&batch.ids, batch.shape);
        bridge.language.forward(embeds, &sequence, None)
    };
    let loss = |bridge: &Bridge| {
        answers_loss(|x| bridge.language.logits(x), hidden(bridge), &batch.labels, 0.0)
    };

    let mut report = Report::new(&golden, STACK);
    let latents = bridge.projector.resample(&Features(positions.clone())).0;
    report.check("latents", &latents.dims(), &read(latents));
    let x = hidden(&bridge).0;
    let [b, t, d] = x.dims();
    let logits = bridge.language.logits(x.reshape([b * t, d]));
    let v = logits.dims()[1];
    report.check("logits", &[b, t, v], &read(logits));
    report.check("loss", &[1], &read(loss(&bridge)));
    report.finish();
    assert_same_gradients(&golden, &bridge, loss(&bridge), str::to_owned);
    assert_losses(&curve(bridge, loss), &golden.curve("loss"), CURVE);
}
