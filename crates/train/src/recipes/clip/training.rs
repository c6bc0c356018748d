//! What one of CLIP's steps learns, and what is kept of the model.

use std::collections::BTreeMap;
use std::sync::Arc;

use sensorium_checkpoint::safetensors::Dtype;
use sensorium_encoder::text::Texts;
use sensorium_media::Tokenizer;
use sensorium_model::clip::{Clip, ClipConfig, unit};
use sensorium_model::prompt::Batch;
use sensorium_model::weights;
use sensorium_nn::params::{self, read};
use sensorium_nn::prelude::*;
use sensorium_pretrained::families::sensorium::SensoriumConfig;
use sensorium_pretrained::{self as pretrained, names};

use super::pairs::{PairBatch, Pairs};
use super::{ClipRecipe, ClipWithHeads, accuracies, chunked, loss, recall};
use crate::batch::{images, mean};
use crate::error::Result;
use crate::heads::captioner::CaptionerConfig;
use crate::model::{self, Files};
use crate::optim::Gradients;

/// What is trained, and how.
pub struct Training<'a> {
    pub recipe: &'a ClipRecipe,
    pub pairs: Arc<Pairs>,
    pub shape: ClipConfig,
    pub captioner_config: Option<CaptionerConfig>,
    pub home: Home,
}

/// Where a model's files come from.
pub enum Home {
    /// Made here, with this tokenizer.
    Own(Box<Tokenizer>),
    /// What a directory holds beside its weights, what these are called, and the file they are in.
    Published { beside: Files, layout: names::Layout, file: &'static str },
}

/// What a step learns from: the sum of its losses, what is logged of them, and the operations of the
/// forward pass.
struct Losses {
    loss: Tensor<1>,
    extra: BTreeMap<String, f64>,
    flops: f64,
}

impl Losses {
    /// Nothing to learn yet, after `flops` operations.
    fn new(flops: f64, device: &Device) -> Self {
        Self { loss: Tensor::zeros([1], device), extra: BTreeMap::new(), flops }
    }

    fn add(&mut self, name: &str, part: Tensor<1>, weight: f32) {
        self.extra.insert(name.into(), f64::from(read(part.clone())[0]));
        self.loss = self.loss.clone() + part.mul_scalar(weight);
    }
}

/// What a step has learned.
pub struct Learned {
    pub value: f64,
    pub gradients: Gradients,
    pub extra: BTreeMap<String, f64>,
    pub flops: f64,
}

impl Training<'_> {
    pub fn learn(&self, model: &ClipWithHeads, batch: PairBatch) -> Result<Learned> {
        if self.recipe.accumulate > 1 {
            return self.learn_in_chunks(model, &batch);
        }
        let Losses { loss, extra, flops } = self.losses(model, batch);
        let value = f64::from(read(loss.clone())[0]);
        let gradients = params::gradients(model, loss.backward())?;
        Ok(Learned { value, gradients, extra, flops })
    }

    fn learn_in_chunks(&self, model: &ClipWithHeads, batch: &PairBatch) -> Result<Learned> {
        let (recipe, side) = (self.recipe, self.shape.image.side());
        let (pairs, device) = (batch.groups.len(), model.clip.scale.val().device());
        let values = pairs.div_ceil(recipe.accumulate) * 3 * side * side;
        let pictures = chunked::Tower {
            prefix: "clip.image.",
            chunks: batch.planes.chunks(values).map(<[f32]>::to_vec).collect(),
            embed: &|model: &ClipWithHeads, planes: &Vec<f32>| {
                model.clip.embed_images(images(planes.clone(), [side; 2], &device))
            },
        };
        let texts = chunked::Tower {
            prefix: "clip.text.",
            chunks: chunked::split(&batch.texts, recipe.accumulate),
            embed: &|model: &ClipWithHeads, texts: &Texts| model.clip.embed_texts(texts),
        };
        let compares = |name: &str| ["clip.scale", "clip.bias"].contains(&name);
        let loss = |model: &ClipWithHeads, images, texts| {
            loss(&model.clip, recipe.loss, images, texts, batch)
        };
        let (value, gradients) =
            chunked::gradients(model, &pictures, &texts, compares, &device, loss)?;
        let extra = BTreeMap::from([("contrast".to_owned(), value)]);
        let flops = self.shape.image.flops() * pairs as f64;
        Ok(Learned { value, gradients, extra, flops })
    }

    /// Mean loss of batches that are not learned from, and recall among all of their pairs.
    pub fn val(
        &self,
        model: &ClipWithHeads,
        batches: impl Iterator<Item = Result<PairBatch>>,
    ) -> Result<(f64, BTreeMap<String, f64>)> {
        let (mut losses, mut gallery) = (Vec::new(), recall::Gallery::default());
        for batch in batches {
            let batch = batch?;
            if self.recipe.pictures {
                let side = [self.shape.image.side(); 2];
                let device = model.clip.scale.val().device();
                let seen = model.clip.embed_images(images(batch.planes.clone(), side, &device));
                let told = model.clip.embed_texts(&batch.texts);
                let t = batch.texts.shape[1];
                let captions = batch.texts.ids.chunks(t).take(batch.groups.len());
                gallery.add(&read(seen), &read(told), captions.map(<[u32]>::to_vec).collect());
            }
            losses.push((f64::from(read(self.losses(model, batch).loss)[0]), 1.0));
        }
        let recall = if self.recipe.pictures { gallery.recall() } else { BTreeMap::new() };
        Ok((mean(losses), recall))
    }

    fn losses(&self, model: &ClipWithHeads, batch: PairBatch) -> Losses {
        match self.recipe.pictures {
            true => self.paired(model, batch),
            false => self.text_only(model, &batch),
        }
    }

    /// Pictures and their captions.
    fn paired(&self, model: &ClipWithHeads, mut batch: PairBatch) -> Losses {
        let Self { recipe, shape, captioner_config, .. } = self;
        let device = model.clip.scale.val().device();
        let side = [shape.image.side(); 2];
        let images = images(std::mem::take(&mut batch.planes), side, &device);
        let skip = captioner_config.as_ref().map_or(0, |captioner_config| captioner_config.skip);
        let (features, images) = model.clip.image.encode_and_embed(images, skip); // [B, N, E], [B, C]
        let images = unit(images);
        let (texts, flops) = self.embed_texts(&model.clip, &batch.texts); // [M, C]
        let pairs = batch.groups.len();
        let captions = texts.clone().narrow(0, 0, pairs);

        let mut losses = Losses::new(flops + shape.image.flops() * pairs as f64, &device);
        let [accuracy, true_above_false] = accuracies(images.clone(), texts.clone(), &batch.owners);
        losses.extra.insert("accuracy".into(), accuracy);
        losses.extra.insert("true_above_false".into(), true_above_false);
        let contrast = loss(&model.clip, recipe.loss, images.clone(), texts, &batch);
        losses.add("contrast", contrast, 1.0);
        if let Some(regions) = &model.regions {
            let named = regions.loss(features.clone(), &batch.regions);
            losses.add("regions", named, recipe.region_weight);
        }
        if let Some(places) = &model.places {
            let seen = places.loss(images.clone(), &batch.places[0]);
            losses.add("places", seen, recipe.place_weight);
        }
        self.add_sides(&mut losses, model, &batch, captions.clone());
        if let (Some(captioner), Some(captioner_config), Some(answers)) =
            (&model.captioner, captioner_config, &batch.answers)
        {
            losses.flops += decoding(captioner_config, answers);
            losses.add("caption", captioner.loss(answers, features), recipe.caption_weight);
        }
        self.add_gists(&mut losses, model, &batch, Tensor::cat(vec![images, captions], 0));
        losses
    }

    /// Captions alone.
    fn text_only(&self, model: &ClipWithHeads, batch: &PairBatch) -> Losses {
        let (captions, flops) = self.embed_texts(&model.clip, &batch.texts); // [B, C]
        let mut losses = Losses::new(flops, &captions.device());
        self.add_sides(&mut losses, model, batch, captions.clone());
        self.add_gists(&mut losses, model, batch, captions);
        losses
    }

    /// What captions `[B, C]` tell of places and sizes.
    fn add_sides(
        &self,
        losses: &mut Losses,
        model: &ClipWithHeads,
        batch: &PairBatch,
        captions: Tensor<2>,
    ) {
        if let Some(places) = &model.places {
            let sides = places.loss(captions, &batch.places[1]);
            losses.add("sides", sides, self.recipe.place_weight);
        }
    }

    /// What the captioner is to write from `vectors [·, C]`.
    fn add_gists(
        &self,
        losses: &mut Losses,
        model: &ClipWithHeads,
        batch: &PairBatch,
        vectors: Tensor<2>,
    ) {
        if let (Some(captioner), Some(captioner_config), Some(gists)) =
            (&model.captioner, &self.captioner_config, &batch.gists)
        {
            losses.flops += decoding(captioner_config, gists);
            losses.add("gist", captioner.gist_loss(gists, vectors), self.recipe.gist_weight);
        }
    }

    /// Texts as vectors `[M, C]`, and the operations that took.
    fn embed_texts(&self, model: &Clip, texts: &Texts) -> (Tensor<2>, f64) {
        let [m, t] = texts.shape;
        (model.embed_texts(texts), self.shape.text.flops(t) * m as f64)
    }

    /// The model's files.
    pub fn files(
        &self,
        ClipWithHeads { clip, captioner, places, .. }: &ClipWithHeads,
    ) -> Result<Files> {
        let tokenizer = match &self.home {
            Home::Own(tokenizer) => tokenizer,
            Home::Published { beside, layout, file } => {
                return model::published_as(
                    file,
                    beside,
                    &pretrained::published(clip, layout)?,
                    Dtype::F32,
                );
            }
        };
        let mut scalars = weights::tensors(clip)?;
        scalars.tensors.retain(|name, _| ["scale", "bias"].contains(&name.as_str()));
        let mut components = vec![
            ("image", weights::tensors(&clip.image)?),
            ("text", weights::tensors(&clip.text)?),
            ("clip", scalars),
        ];
        if let Some(captioner) = captioner {
            components.push(("captioner", weights::tensors(captioner)?));
        }
        if let Some(places) = places {
            components.push(("places", weights::tensors(places)?));
        }
        let settings =
            SensoriumConfig { clip: Some(self.shape.clone()), ..SensoriumConfig::default() };
        model::own(&components, &settings, tokenizer, Some(&self.pairs.processor))
    }
}

/// Operations of the captioner's forward pass.
fn decoding(config: &CaptionerConfig, batch: &Batch) -> f64 {
    let [b, t] = batch.shape;
    config.decoder.flops(t, 0) * b as f64 + config.decoder.flops(0, batch.learned())
}
