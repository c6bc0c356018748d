//! BLIP-2's first stage: contrast, matching and generation of one batch.

use sensorium_encoder::image::{Conv, Pooling, VitConfig};
use sensorium_encoder::text::Texts;
use sensorium_flow::Features;
use sensorium_input_projector::qformer::{MatchingConfig, QFormerConfig, Words};
use sensorium_model::blip2::{Blip2MatcherConfig, Blip2Pretraining};
use sensorium_nn::params::{read, set_trainable};
use sensorium_nn::prelude::*;
use sensorium_pretrained::names::{self, BLIP2_PRETRAINING};
use sensorium_testkit::{Golden, Report, assert_losses};

use crate::twin::{CURVE, STACK, assert_same_gradients, curve, device, ids, input, size, weights};

fn config(golden: &Golden) -> Blip2MatcherConfig {
    let at = |path: &str| size(golden, path);
    let [e, patch] = ["hidden_size", "patch_size"].map(|key| at(&format!("/vision_config/{key}")));
    let image = VitConfig {
        image: at("/vision_config/image_size"),
        stem: vec![Conv { channels: e, kernel: patch, stride: patch, padding: 0 }],
        stem_bias: true,
        hidden_size: e,
        n_layers: at("/vision_config/num_hidden_layers"),
        n_heads: at("/vision_config/num_attention_heads"),
        intermediate_size: at("/vision_config/intermediate_size"),
        activation: Activation::Gelu,
        pre_norm: false,
        pooling: Pooling::Class,
        proj: false,
        embed: e,
        eps: 1e-6,
        ..VitConfig::clip_base_patch32()
    };
    let qformer = QFormerConfig {
        features: e,
        queries: at("/num_query_tokens"),
        hidden_size: at("/qformer_config/hidden_size"),
        n_layers: at("/qformer_config/num_hidden_layers"),
        n_heads: at("/qformer_config/num_attention_heads"),
        intermediate_size: at("/qformer_config/intermediate_size"),
        activation: Activation::Gelu,
        every: 2,
        text: true,
        eps: 1e-12,
    };
    let words = Words {
        vocabulary: at("/qformer_config/vocab_size"),
        context: at("/qformer_config/max_position_embeddings"),
    };
    let embed = at("/image_text_hidden_size");
    Blip2MatcherConfig { image, projector: MatchingConfig { qformer, words, embed } }
}

/// As `reference/blip2_stage1.py` has them: with whom each is not a pair, and who means the same.
const OTHERS: [&[usize]; 2] = [&[3, 2, 1, 0], &[1, 3, 3, 2]];
const SAME: [usize; 2] = [0, 2];
const BEGIN: u32 = 22;

#[test]
fn blip2_stage1() {
    let golden = Golden::open("blip2_stage1");
    let model = Blip2Pretraining::init(&config(&golden), &mut Init::new(1, &device().autodiff()));
    let model = names::take(model, weights(&golden), &BLIP2_PRETRAINING).expect("the names fit");
    let frozen = |name: &str| name.starts_with("matcher.image.") && !name.contains("image.norm.");
    let model = set_trainable(model, |name| !frozen(name));

    let images: Tensor<4> = input(&golden, "pixel_values");
    let (ids, shape) = ids(&golden, "input_ids");
    let mask: Tensor<2> = input(&golden, "attention_mask");
    let ends = read(mask.sum_dim(1)).into_iter().map(|n| n as usize - 1).collect();
    let texts = Texts { ids, shape, ends };
    let b = shape[0];
    let same = |k: usize| k / b != k % b && SAME.contains(&(k / b)) && SAME.contains(&(k % b));
    let allowed: Vec<bool> = (0..b * b).map(|k| !same(k)).collect();
    let losses = |model: &Blip2Pretraining| {
        let features: Features = model.matcher.encode(images.clone());
        let (itc, similarities) = model.contrast(&features, &texts, &allowed);
        let (itm, matches) = model.matching(&features, &texts, OTHERS);
        (itc, similarities, itm, matches, model.telling(&features, &texts, BEGIN))
    };

    let (itc, similarities, itm, matches, itg) = losses(&model);
    let mut report = Report::new(&golden, STACK);
    report.check("similarities", &similarities.dims(), &read(similarities));
    report.check("matches", &matches.dims(), &read(matches));
    for (name, loss) in [("itc", itc), ("itm", itm), ("itg", itg)] {
        report.check(name, &[1], &read(loss));
    }
    report.finish();
    let loss = |model: &Blip2Pretraining| {
        let (itc, _, itm, _, itg) = losses(model);
        itc + itm + itg
    };
    assert_same_gradients(&golden, &model, loss(&model), |name| BLIP2_PRETRAINING.to_hf(name));
    assert_losses(&curve(model, loss), &golden.curve("loss"), CURVE);
}
