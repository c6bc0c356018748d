//! `goldens/clip_resnet`: CLIP with a ResNet while it learns, and with its norms frozen.

use sensorium_encoder::image::{ActivationName, EncoderConfig, ResnetConfig};
use sensorium_encoder::text::{TextConfig, Texts};
use sensorium_model::clip::{Clip, ClipConfig};
use sensorium_nn::params::{self, gradients, read};
use sensorium_nn::prelude::*;
use sensorium_pretrained::names::{self, OPEN_CLIP_RESNET};
use sensorium_testkit::{Golden, assert_close, assert_losses};

use crate::twin::{
    CURVE, GRADIENT, STACK, assert_same_gradients, curve, device, ids, size, weights,
};

struct Twin {
    golden: Golden,
    images: Tensor<4>,
    texts: Texts,
}

fn config(golden: &Golden) -> ClipConfig {
    let vision = |key: &str| size(golden, &format!("/vision_cfg/{key}"));
    let text = |key: &str| size(golden, &format!("/text_cfg/{key}"));
    let embed = size(golden, "/embed_dim");
    let hidden_size = vision("width");
    let image = EncoderConfig::Resnet(ResnetConfig {
        image: vision("image_size"),
        layers: [0, 1, 2, 3].map(|i| vision(&format!("layers/{i}"))),
        hidden_size,
        n_heads: 32 * hidden_size / vision("head_width"),
        embed,
    });
    let text = TextConfig {
        vocab_size: text("vocab_size"),
        context: text("context_length"),
        hidden_size: text("width"),
        n_layers: text("layers"),
        n_heads: text("heads"),
        intermediate_size: 4 * text("width"),
        activation: ActivationName::QuickGelu,
        embed,
        ..TextConfig::clip_base()
    };
    ClipConfig { image, text, bias: false }
}

impl Twin {
    fn open() -> Self {
        let golden = Golden::open("clip_resnet");
        let (ids, shape) = ids(&golden, "input_ids");
        let largest = |row: &[u32]| row.iter().position(|id| Some(id) == row.iter().max());
        let ends = ids.chunks(shape[1]).map(|row| largest(row).expect("a row has a largest id"));
        let texts = Texts { ends: ends.collect(), ids, shape };
        let (shape, squares) = golden.inputs().remove("squares").expect("the golden has squares");
        let (small, side) = (shape[2], size(&golden, "/vision_cfg/image_size"));
        let square = side / small;
        let at = |i: usize| {
            let [plane, y, x] = [i / (side * side), i / side % side, i % side];
            squares[(plane * small + y / square) * small + x / square]
        };
        let shape = [shape[0], 3, side, side];
        let pixels: Vec<f32> = (0..shape.iter().product()).map(at).collect();
        let images = Tensor::from_data(TensorData::new(pixels, shape), &device().autodiff());
        Self { golden, images, texts }
    }

    /// The model before its first step, of which some parameters are trained.
    fn model(&self, trained: impl Fn(&str) -> bool) -> Clip {
        let mut all = weights(&self.golden);
        for (name, (shape, values)) in self.golden.inputs() {
            if let Some(name) = name.strip_prefix("before.") {
                let tensor = sensorium_checkpoint::Tensor::new(shape, values);
                all.tensors.insert(name.to_owned(), tensor.expect("the golden is sound"));
            }
        }
        let model = Clip::init(&config(&self.golden), &mut Init::new(1, &device().autodiff()));
        let model = names::load(model, &all, &OPEN_CLIP_RESNET).expect("the names fit");
        params::set_trainable(model, trained)
    }

    fn loss(&self, model: &Clip) -> Tensor<1> {
        let images = model.embed_images(self.images.clone());
        loss::info_nce(images, model.embed_texts(&self.texts), model.scale.val())
    }

    fn check(&self, name: &str, got: &[f32], tolerance: f32) {
        assert_close(name, got, &self.golden.outputs()[name].1, tolerance);
    }

    /// Running statistics under their published names.
    fn statistics(&self, model: &Clip) -> Vec<(String, Vec<f32>)> {
        let all = params::values(model).into_iter();
        let all = all.filter(|(name, _)| params::is_statistic(name));
        all.map(|(name, values)| (OPEN_CLIP_RESNET.to_hf(&name), values.data)).collect()
    }
}

#[test]
fn norms_that_learn_go_by_the_batch() {
    let twin = Twin::open();
    let model = twin.model(|_| true);
    twin.check("train.images", &read(model.embed_images(twin.images.clone())), STACK);
    twin.check("train.texts", &read(model.embed_texts(&twin.texts)), STACK);
    let loss = twin.loss(&model);
    twin.check("train.loss", &read(loss.clone()), STACK);
    assert_same_gradients(&twin.golden, &model, loss, |name| OPEN_CLIP_RESNET.to_hf(name));

    let model = twin.model(|_| true);
    let got = curve(model.clone(), |model| twin.loss(model));
    assert_losses(&got, &twin.golden.losses(), CURVE);
    let statistics = twin.statistics(&model);
    assert_eq!(statistics.len(), 2 * (3 + 5 * 3 + 4));
    for (name, values) in statistics {
        twin.check(&format!("after.{name}"), &values, GRADIENT);
    }
}

#[test]
fn frozen_norms_go_by_their_running_statistics_and_keep_them() {
    let twin = Twin::open();
    let model = twin.model(|name| !name.contains(".norm."));
    let before = twin.statistics(&model);
    twin.check("eval.images", &read(model.embed_images(twin.images.clone())), STACK);
    twin.check("eval.texts", &read(model.embed_texts(&twin.texts)), STACK);
    let loss = twin.loss(&model);
    twin.check("eval.loss", &read(loss.clone()), STACK);
    let mut slopes = gradients(&model, loss.backward()).expect("all that is trained is used");
    let conv1 = slopes.remove("image.conv1.conv.weight").expect("it is trained");
    twin.check("eval.conv1", &conv1.into_vec(), GRADIENT);
    assert_eq!(twin.statistics(&model), before);

    let folded = Clip { image: model.image.folded(), ..model };
    twin.check("eval.images", &read(folded.embed_images(twin.images.clone())), STACK);
}
