//! Training steps of CLIP ViT-S/32 with its text tower, the model of `bench/peers/open_clip_step.py`:
//! P9.
//!
//! 12 blocks of width 384 each side, pictures of 224 pixels, texts of 77 tokens; forward, InfoNCE,
//! backward and AdamW.

use sensorium_encoder::image::{EncoderConfig, VitConfig};
use sensorium_encoder::text::{TextConfig, Texts};
use sensorium_model::clip::{Clip, ClipConfig, unit};
use sensorium_nn::params::{self, read};
use sensorium_nn::prelude::*;
use sensorium_nn::profile;
use sensorium_train::optim::{AdamW, OptimConfig};
use serde_json::Map;

use crate::{Task, device, timed};

const WIDTH: usize = 384;
const HEADS: usize = 6;
const PARAMETERS: usize = 63_085_825;

fn config() -> ClipConfig {
    let activation = Activation::Gelu;
    let text = TextConfig {
        hidden_size: WIDTH,
        n_heads: HEADS,
        intermediate_size: 4 * WIDTH,
        embed: WIDTH,
        activation,
        ..TextConfig::clip_base()
    };
    let image = VitConfig { activation, ..VitConfig::clip(224, 32, WIDTH, 12, WIDTH) };
    ClipConfig { image: EncoderConfig::Vit(image), text, bias: false }
}

/// A model, its optimiser and the one batch it learns.
struct Training {
    model: Option<Clip>,
    optim: AdamW,
    pictures: Tensor<4>,
    texts: Texts,
}

pub fn task(batch: usize) -> Task {
    let config = config();
    let mut init = Init::new(1, &device().autodiff());
    let model = Clip::init(&config, &mut init);
    assert_eq!(params::count(&model), PARAMETERS);
    let side = config.image.side();
    let pictures = init.normal([batch, 3, side, side], 1.0).val().detach();
    let (t, vocabulary) = (config.text.context, config.text.vocab_size);
    let ids = (0..batch * t).map(|i| (i * 7919 % (vocabulary - 1)) as u32).collect();
    let texts = Texts { ids, shape: [batch, t], ends: vec![t - 1; batch] };
    let optim = AdamW::new(OptimConfig { clip: 0.0, ..OptimConfig::default() });
    let mut training = Training { model: Some(model), optim, pictures, texts };
    let run = Box::new(move || timed(|| training.step()).1);
    Task { facts: Map::new(), run }
}

impl Training {
    fn step(&mut self) {
        let model = self.model.take().expect("a step puts the model back");
        let images = unit(model.image.embed(self.pictures.clone()));
        let texts = unit(model.text.embed(&self.texts));
        let loss = loss::info_nce(images, texts, model.scale.val());
        let value = read(loss.clone())[0];
        assert!(value.is_finite(), "the loss is {value}");
        let backward = loss.backward();
        let gradients = params::gradients(&model, backward).expect("all are trained");
        // Nothing is clipped, so no norm is needed.
        let step = || self.optim.step(model, &gradients, 0.0, |_| 1e-3);
        self.model = Some(profile::time("AdamW", step));
    }
}
