//! `goldens/clip` (QuickGELU, text read at its largest id) and `goldens/clip_eos` (exact GELU, text
//! read at the first end token).

use sensorium_encoder::image::{ActivationName, Encoder, EncoderConfig, VitConfig};
use sensorium_encoder::text::{TextConfig, Texts};
use sensorium_model::clip::{Clip, ClipConfig};
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use sensorium_pretrained::names::{self, CLIP};
use sensorium_testkit::{Golden, Report, assert_losses};

use crate::twin::{
    CURVE, STACK, assert_same_gradients, curve, device, ids, input, number, size, weights,
};

struct Twin {
    golden: Golden,
    model: Clip,
    images: Tensor<4>,
    texts: Texts,
}

fn config(golden: &Golden, activation: ActivationName) -> ClipConfig {
    let vision = |key: &str| size(golden, &format!("/vision_config/{key}"));
    let text = |key: &str| size(golden, &format!("/text_config/{key}"));
    let embed = size(golden, "/projection_dim");
    let image = EncoderConfig::Vit(VitConfig {
        n_heads: vision("num_attention_heads"),
        intermediate_size: vision("intermediate_size"),
        activation,
        eps: number(golden, "/vision_config/layer_norm_eps"),
        ..VitConfig::clip(
            vision("image_size"),
            vision("patch_size"),
            vision("hidden_size"),
            vision("num_hidden_layers"),
            embed,
        )
    });
    let text = TextConfig {
        vocab_size: text("vocab_size"),
        waves: false,
        pairs: 0,
        context: text("max_position_embeddings"),
        hidden_size: text("hidden_size"),
        n_layers: text("num_hidden_layers"),
        n_heads: text("num_attention_heads"),
        intermediate_size: text("intermediate_size"),
        activation,
        causal: true,
        embed,
        proj: true,
        proj_bias: false,
        eps: number(golden, "/text_config/layer_norm_eps"),
    };
    ClipConfig { image, text, bias: false }
}

impl Twin {
    /// `end` picks the position at which a row of ids is read.
    fn open(name: &str, activation: ActivationName, end: impl Fn(&[u32]) -> Option<usize>) -> Self {
        let golden = Golden::open(name);
        let model =
            Clip::init(&config(&golden, activation), &mut Init::new(1, &device().autodiff()));
        let model = names::load(model, &weights(&golden), &CLIP).expect("the names fit");
        let (ids, shape) = ids(&golden, "input_ids");
        let ends = ids.chunks(shape[1]).map(|row| end(row).expect("every text ends")).collect();
        let images = input(&golden, "pixel_values");
        Self { golden, model, images, texts: Texts { ids, shape, ends } }
    }

    fn loss(&self, model: &Clip) -> Tensor<1> {
        let images = model.embed_images(self.images.clone());
        loss::info_nce(images, model.embed_texts(&self.texts), model.scale.val())
    }

    fn outputs(&self) {
        let mut report = Report::new(&self.golden, STACK);
        let mut check = |name: &str, x: Tensor<2>| report.check(name, &x.dims(), &read(x));
        let images = self.model.embed_images(self.images.clone());
        let texts = self.model.embed_texts(&self.texts);
        check("visual_projection", self.model.image.embed(self.images.clone()));
        check("text_projection", self.model.text.embed(&self.texts));
        check("image_embeds", images.clone());
        check("text_embeds", texts.clone());
        let scale = self.model.scale.val().exp().unsqueeze();
        check("logits_per_image", images.matmul(texts.transpose()) * scale);
        report.check("loss", &[1], &read(self.loss(&self.model)));
        report.finish();
    }

    /// Both towers' positions before the blocks and after each.
    fn layers(&self) {
        let Clip { image, text, .. } = &self.model;
        let Encoder::Vit(image) = image else { panic!("a Vision Transformer") };
        let mut report = Report::new(&self.golden, STACK);
        let mut check = |name: &str, x: Tensor<3>| report.check(name, &x.dims(), &read(x));
        check("vision_model.pre_layrnorm", image.positions_before(self.images.clone(), 2));
        check("text_model.embeddings", text.hidden(&self.texts, 0));
        for i in 0..2 {
            let layer = format!("encoder.layers.{i}");
            let x = image.positions_before(self.images.clone(), 1 - i);
            check(&format!("vision_model.{layer}"), x);
            check(&format!("text_model.{layer}"), text.hidden(&self.texts, i + 1));
        }
        check("text_model.final_layer_norm", text.positions(&self.texts));
        report.finish();
    }

    fn check(&self) {
        self.layers();
        self.outputs();
        let published = |name: &str| CLIP.to_hf(name);
        assert_same_gradients(&self.golden, &self.model, self.loss(&self.model), published);
        let got = curve(self.model.clone(), |model| self.loss(model));
        assert_losses(&got, &self.golden.losses(), CURVE);
    }
}

#[test]
fn clip() {
    let largest = |row: &[u32]| row.iter().position(|id| Some(id) == row.iter().max());
    Twin::open("clip", ActivationName::QuickGelu, largest).check();
}

#[test]
fn clip_eos() {
    let first_end = |row: &[u32]| row.iter().position(|&id| id == 50);
    Twin::open("clip_eos", ActivationName::Gelu, first_end).check();
}

/// The wrong GELU lowers accuracy silently (recipes' traps), so it must show here.
#[test]
fn the_wrong_gelu_shows() {
    let first_end = |row: &[u32]| row.iter().position(|&id| id == 50);
    let twin = Twin::open("clip_eos", ActivationName::QuickGelu, first_end);
    let got = read(twin.model.embed_images(twin.images.clone()));
    let want = &twin.golden.outputs()["image_embeds"].1;
    let off = got.iter().zip(want).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
    assert!(off > 10.0 * STACK, "largest difference {off}");
}

/// Every parameter there and back, and a key that is gone or renamed is named.
#[test]
fn published_keys_make_the_round_trip() {
    let largest = |row: &[u32]| row.iter().position(|id| Some(id) == row.iter().max());
    let twin = Twin::open("clip", ActivationName::QuickGelu, largest);
    let published = weights(&twin.golden);
    let saved = names::save(&twin.model, &CLIP).expect("it can be written");
    assert_eq!(saved.tensors, published.tensors);
    for key in published.tensors.keys() {
        let ours = CLIP.from_hf(key).expect("every published key is known");
        assert_eq!(&CLIP.to_hf(&ours), key);
    }

    let key = "vision_model.pre_layrnorm.weight";
    let mut removed = published.clone();
    removed.tensors.remove(key);
    let message = fails(&twin.model, &removed);
    assert!(message.contains("1 missing, 0 unexpected") && message.contains(key), "{message}");

    let mut renamed = removed;
    let other = "vision_model.pre_layernorm.weight";
    renamed.tensors.insert(other.into(), published.tensors[key].clone());
    let message = fails(&twin.model, &renamed);
    assert!(message.contains(key) && message.contains(other), "{message}");

    let mut reshaped = published.clone();
    let wrong = sensorium_checkpoint::Tensor::new(vec![1, 32], vec![0.0; 32]);
    reshaped.tensors.insert(key.into(), wrong.expect("32 values"));
    let message = fails(&twin.model, &reshaped);
    assert!(message.contains(&format!("{key}: expected [32], got [1, 32]")), "{message}");
}

/// Numbers of positions, as older files carry them, hold nothing to learn.
#[test]
fn ignorable_keys_are_ignored() {
    let largest = |row: &[u32]| row.iter().position(|id| Some(id) == row.iter().max());
    let twin = Twin::open("clip", ActivationName::QuickGelu, largest);
    let mut published = weights(&twin.golden);
    let numbers = sensorium_checkpoint::Tensor::new(vec![1, 2], vec![0.0, 1.0]);
    let key = "text_model.embeddings.position_ids".to_string();
    published.tensors.insert(key, numbers.expect("two values"));
    assert!(names::load(twin.model, &published, &CLIP).is_ok());
}

fn fails(model: &Clip, tensors: &sensorium_checkpoint::Tensors) -> String {
    names::load(model.clone(), tensors, &CLIP).expect_err("the keys do not fit").to_string()
}
