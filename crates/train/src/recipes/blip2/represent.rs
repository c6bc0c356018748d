//! Stage 1: contrast, matching and generation.

use std::collections::BTreeMap;

use sensorium_checkpoint::safetensors::{self, Dtype};
use sensorium_data::{Example, Examples};
use sensorium_encoder::text::Texts;
use sensorium_flow::Features;
use sensorium_media::{ImageProcessor, Tokenizer};
use sensorium_model::blip2::Blip2Pretraining;
use sensorium_nn::params::{self, read};
use sensorium_nn::prelude::*;
use sensorium_nn::rng::Rng;
use sensorium_pretrained::families::blip2::new::NewMatcher;

use super::{Blip2Recipe, Stage, caption, lacks};
use crate::batch::{draw, mean, pictures};
use crate::config;
use crate::error::Result;
use crate::feature_cache::{FeatureCache, before_norm};
use crate::feed::{self, Feed};
use crate::freeze::thaw_only;
use crate::model::{self, Files};
use crate::optim::AdamW;
use crate::provenance;
use crate::run::{Plan, Run, RunOptions, Step};
use crate::schedule;

/// What learns: all but the encoder, of which the last norm does (LAVIS's `ln_vision`).
pub(super) const TRAINED: [&str; 4] =
    ["matcher.projector", "matcher.image.norm", "words", "temperature"];

pub(super) fn train(
    recipe: &Blip2Recipe,
    stage: &Stage,
    new: &NewMatcher,
    options: &RunOptions,
) -> Result<Blip2Pretraining> {
    if stage.batch_size < 2 {
        let message = format!("expected at least 2 pairs a step, got {}", stage.batch_size);
        let hint = "a picture is compared with the other captions of its batch";
        return Err(model::config("represent.batch_size", &message, hint));
    }
    let (model, trained) = thaw_only(new.model.clone(), &TRAINED)?;
    eprintln!("represent: {trained}");
    let options = RunOptions { dir: options.dir.join("represent"), ..options.clone() };
    let data = recipe.data(stage)?;
    feed::steps(stage.steps, None, stage.batch_size, data, &options)?;
    let pairs = Pairs::new(recipe, stage, new);
    let make = move |examples: &Examples, step, progress| pairs.make(examples, step, progress);
    let side = new.config.image.image as u32;
    let feed = Feed::open(data, [recipe.seed, stage.steps], side, &options, lacks, make)?;
    let mut optim = AdamW::new(recipe.optim.clone());
    let Stage { steps, save_every, eval_every, patience, .. } = *stage;
    let resolved = config::resolved(recipe)?;
    let parts = &recipe.model;
    let start = [&parts.encoder, &parts.bert, &parts.from];
    let start: Vec<_> = start.into_iter().flatten().cloned().collect();
    let provenance = provenance::begin("blip2, represent", &resolved, recipe.seed, &start, data);
    let plan = Plan { steps, save_every, eval_every, patience, provenance };
    let (mut run, mut model) =
        Run::open("represent", &options, &resolved, plan, model, &mut optim)?;
    let cache = recipe.cache(&model.matcher.image, data, new.config.image.image)?;
    let learns = Losses { new, cache, device: recipe.device.open() };

    let mut batches = feed.train(run.steps());
    for step in run.steps() {
        let Some(batch) = batches.next().transpose()? else { break };
        let (loss, extra) = learns.of(&model, batch)?;
        let value = f64::from(read(loss.clone())[0]);
        let gradients = params::gradients(&model, loss.backward())?;
        let rate = schedule::rate(&stage.schedule, step, stage.steps);
        let (updated, norm) = run.update(model, &mut optim, &gradients, step, value, |_| rate)?;
        model = updated;

        if let Some(batches) = feed.val(stage.eval_batches).filter(|_| run.validates_after(step)) {
            let best = params::set_trainable(optim.averaged(model.clone()), |_| false);
            let loss = |batch| Ok((f64::from(read(learns.of(&best, batch)?.0)[0]), 1.0));
            let losses = batches.map(|batch| loss(batch?)).collect::<Result<Vec<_>>>()?;
            run.keep_best(step, mean(losses), || files(new, &best))?;
        }
        let samples = stage.batch_size;
        let flops = learns.flops(samples);
        run.log(Step { step, loss: value, learning_rate: rate, samples, flops, extra }, norm)?;
        run.checkpoint(step, &model, &optim)?;
        if run.ends_after(step) {
            break;
        }
    }
    let best = optim.averaged(model.clone());
    run.finish(&model, files(new, &best)?)?;
    Ok(best)
}

/// The model's files: transformers' class that compares, and what only trains.
fn files(new: &NewMatcher, model: &Blip2Pretraining) -> Result<Files> {
    let mut files = new.beside()?;
    for (name, tensors) in new.files(model)? {
        files.push((name, safetensors::write(&tensors, Dtype::F32)?));
    }
    Ok(files)
}

/// What makes a step's batch.
struct Pairs {
    processor: ImageProcessor,
    tokenizer: Tokenizer,
    batch: usize,
    tokens: usize,
    seed: u64,
}

/// What a step reads.
struct PairBatch {
    /// `[B, 3, h, w]`.
    planes: Vec<f32>,
    texts: Texts,
    /// Which captions are no false ones of which pictures, for they may mean the same, `[B*B]`.
    allowed: Vec<bool>,
    rng: Rng,
}

impl Pairs {
    fn new(recipe: &Blip2Recipe, stage: &Stage, new: &NewMatcher) -> Self {
        Self {
            processor: new.processor.clone(),
            tokenizer: new.tokenizer.clone(),
            batch: stage.batch_size,
            tokens: stage.tokens.min(new.config.projector.words.context),
            seed: recipe.seed,
        }
    }

    fn make(&self, examples: &Examples, step: u64, progress: f32) -> Result<PairBatch> {
        let pairs = draw(examples, step, self.batch, progress)?;
        let seen = pairs.iter().flat_map(pictures);
        let planes = seen.flat_map(|picture| self.processor.process(picture)).collect();
        let captions: Vec<String> = pairs.iter().map(caption).collect();
        let ids = captions.iter().map(|text| self.tokenizer.encode_within(text, true, self.tokens));
        let ids = ids.collect::<sensorium_media::Result<Vec<_>>>()?;
        let allowed = allowed(&pairs, &captions);
        let rng = Rng::at(self.seed, NEGATIVES, step);
        Ok(PairBatch { planes, texts: Texts::pad(&ids, 0), allowed, rng })
    }
}

/// The stream of random numbers that negatives are drawn from.
const NEGATIVES: u64 = 0xb11b;

fn allowed(pairs: &[Example], captions: &[String]) -> Vec<bool> {
    let b = pairs.len();
    let same = |i: usize, j: usize| pairs[i].group == pairs[j].group || captions[i] == captions[j];
    (0..b * b).map(|k| k / b == k % b || !same(k / b, k % b)).collect()
}

/// What a step learns from.
struct Losses<'a> {
    new: &'a NewMatcher,
    cache: Option<FeatureCache>,
    device: Device,
}

impl Losses<'_> {
    /// The sum of the three, and what is logged of them.
    fn of(
        &self,
        model: &Blip2Pretraining,
        batch: PairBatch,
    ) -> Result<(Tensor<1>, BTreeMap<String, f64>)> {
        let PairBatch { planes, texts, allowed, mut rng } = batch;
        let (vit, size) = (&model.matcher.image, [self.new.config.image.image; 2]);
        let seen = before_norm(self.cache.as_ref(), vit, planes, size, &self.device)?;
        let features = Features(vit.normed(seen));
        let (itc, similarities) = model.contrast(&features, &texts, &allowed);
        let similarities = read(similarities.detach());
        let others = negatives(&similarities, &allowed, &mut rng);
        let [other_pictures, other_texts] = &others;
        let (itm, matches) = model.matching(&features, &texts, [other_pictures, other_texts]);
        let itg = model.telling(&features, &texts, self.new.begin);
        let number = |x: &Tensor<1>| f64::from(read(x.clone())[0]);
        let extra = BTreeMap::from([
            ("itc".to_owned(), number(&itc)),
            ("itm".to_owned(), number(&itm)),
            ("itg".to_owned(), number(&itg)),
            ("accuracy".to_owned(), nearest(&similarities)),
            ("matched".to_owned(), matched(&read(matches.detach()))),
            ("temperature".to_owned(), f64::from(read(model.temperature.val())[0])),
        ]);
        Ok((itc + itm + itg, extra))
    }

    /// The encoder once; the Q-Former's body, which is what most is spent on, five batches long and three
    /// times for its gradient.
    fn flops(&self, samples: usize) -> f64 {
        let qformer = &self.new.config.projector.qformer;
        let count: usize =
            qformer.parameters().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
        let tokens = qformer.queries as f64;
        (self.new.config.image.flops() + 3.0 * 5.0 * 2.0 * count as f64 * tokens) * samples as f64
    }
}

/// For each text another picture and for each picture another text, drawn as often as they are taken for
/// each other: softmax of the similarities `[B*B]`, of those that are `allowed`.
fn negatives(similarities: &[f32], allowed: &[bool], rng: &mut Rng) -> [Vec<usize>; 2] {
    let b = allowed.len().isqrt();
    let mut draw = |i: usize, at: &dyn Fn(usize) -> usize| {
        let candidates: Vec<usize> = (0..b).filter(|&j| j != i && allowed[at(j)]).collect();
        let top = candidates.iter().map(|&j| similarities[at(j)]).fold(f32::MIN, f32::max);
        let weight = |j: usize| f64::from((similarities[at(j)] - top).exp());
        let whole: f64 = candidates.iter().map(|&j| weight(j)).sum();
        let mut left = rng.uniform() * whole;
        let found = candidates.iter().find(|&&j| {
            left -= weight(j);
            left <= 0.0
        });
        // Where all mean the same, one of them.
        found.or(candidates.last()).copied().unwrap_or((i + 1) % b)
    };
    let pictures = (0..b).map(|text| draw(text, &|picture| picture * b + text)).collect();
    let texts = (0..b).map(|picture| draw(picture, &|text| picture * b + text)).collect();
    [pictures, texts]
}

/// Share of pictures whose own caption is the nearest of the batch.
fn nearest(similarities: &[f32]) -> f64 {
    let b = similarities.len().isqrt();
    let is_best = |(i, row): &(usize, &[f32])| row.iter().all(|x| *x <= row[*i]);
    similarities.chunks(b).enumerate().filter(is_best).count() as f64 / b as f64
}

/// Share of pairs and false pairs that are told apart, each half of it: logits `[3·B, 2]`, pairs first.
fn matched(logits: &[f32]) -> f64 {
    let pairs = logits.len() / 6;
    let says = |row: &[f32]| row[1] > row[0];
    let rows: Vec<bool> = logits.chunks(2).map(says).collect();
    let right = rows[..pairs].iter().filter(|yes| **yes).count() as f64 / pairs as f64;
    let wrong = rows[pairs..].iter().filter(|yes| !**yes).count() as f64 / (2 * pairs) as f64;
    (right + wrong) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negatives_are_hard_and_never_what_is_meant() {
        // Picture 0 is taken for text 1; texts 0 and 2 mean the same.
        let similarities = [9.0, 8.0, 9.0, -9.0, 9.0, -9.0, 9.0, 0.0, 9.0];
        let allowed = [true, true, false, true, true, true, false, true, true];
        let mut rng = Rng::new(1);
        for _ in 0..100 {
            let [pictures, texts] = negatives(&similarities, &allowed, &mut rng);
            assert_eq!((texts[0], texts[2]), (1, 1));
            assert_eq!((pictures[0], pictures[2], pictures[1]), (1, 1, 0));
        }
        let [_, texts] = negatives(&[0.0; 4], &[true, false, false, true], &mut rng);
        assert_eq!(texts, [1, 0]);
        assert!((nearest(&similarities) - 1.0).abs() < 1e-9);
        assert!((matched(&[0.0, 1.0, 1.0, 0.0, 0.0, 1.0]) - 0.75).abs() < 1e-9);
    }
}
