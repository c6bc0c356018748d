//! Stage 2: a frozen language model writes captions behind the queries' answers.

use std::collections::BTreeMap;

use sensorium_checkpoint::safetensors::Dtype;
use sensorium_data::{Example, Examples};
use sensorium_media::{ImageProcessor, Modality, Prompt, Slot, Tokenizer};
use sensorium_model::blip2::Blip2Matcher;
use sensorium_model::llava::Llava;
use sensorium_model::prompt::Batch;
use sensorium_nn::params::{self, read};
use sensorium_pretrained::families::blip2::new::{NewMatcher, NewWriter};

use super::{Blip2Model, Blip2Recipe, Stage, caption, lacks};
use crate::batch::{draw, mean, pictures};
use crate::config;
use crate::error::Result;
use crate::feature_cache::encode;
use crate::feed::{self, Feed};
use crate::freeze::thaw_only;
use crate::model::{self, Files};
use crate::optim::AdamW;
use crate::provenance;
use crate::run::{Plan, Run, RunOptions, Step};
use crate::schedule;

/// What learns: the Q-Former with its map, and the last norm of the encoder.
pub(super) const TRAINED: [&str; 2] = ["towers.0.projector", "towers.0.encoder.norm"];

pub(super) fn train(
    recipe: &Blip2Recipe,
    stage: &Stage,
    matcher: &NewMatcher,
    trained: Blip2Matcher,
    options: &RunOptions,
) -> Result<()> {
    let [mut init, mut seeded] = recipe.inits();
    let backbone = recipe.backbone(options.strict)?;
    let new = NewWriter::new(matcher, trained, &backbone, &mut init, &mut seeded)?;
    let (model, parts) = thaw_only(new.model.clone(), &TRAINED)?;
    eprintln!("generate: {parts}");
    let options = RunOptions { dir: options.dir.join("generate"), ..options.clone() };
    let data = recipe.data(stage)?;
    feed::steps(stage.steps, None, stage.batch_size, data, &options)?;
    let captions = Captions::new(recipe, stage, matcher, &new)?;
    let make = move |examples: &Examples, step, progress| captions.make(examples, step, progress);
    let side = matcher.config.image.image;
    let feed = Feed::open(data, [recipe.seed, stage.steps], side as u32, &options, lacks, make)?;
    let mut optim = AdamW::new(recipe.optim.clone());
    let Stage { steps, save_every, eval_every, patience, .. } = *stage;
    let resolved = config::resolved(recipe)?;
    let Blip2Model { encoder, bert, from, backbone, .. } = &recipe.model;
    let parts = [encoder, bert, from, backbone];
    let start: Vec<_> = parts.into_iter().flatten().cloned().collect();
    let provenance = provenance::begin("blip2, generate", &resolved, recipe.seed, &start, data);
    let plan = Plan { steps, save_every, eval_every, patience, provenance };
    let (mut run, mut model) = Run::open("generate", &options, &resolved, plan, model, &mut optim)?;
    let device = recipe.device.open();
    let cache = match model.towers[0].encoder.vit() {
        Some(vit) => recipe.cache(vit, data, side)?,
        None => None,
    };
    let loss = |model: &Llava, CaptionBatch { batch, planes }: CaptionBatch| -> Result<_> {
        let seen = encode(model, cache.as_ref(), planes, [side; 2], &device)?;
        Ok(model.loss(&batch, &[seen], 0.0))
    };

    let mut batches = feed.train(run.steps());
    for step in run.steps() {
        let Some(batch) = batches.next().transpose()? else { break };
        let (learned, flops) = (batch.batch.learned(), flops(&new, &batch));
        let loss_of_step = loss(&model, batch)?;
        let value = f64::from(read(loss_of_step.clone())[0]);
        let gradients = params::gradients(&model, loss_of_step.backward())?;
        let rate = schedule::rate(&stage.schedule, step, stage.steps);
        let (updated, norm) = run.update(model, &mut optim, &gradients, step, value, |_| rate)?;
        model = updated;

        if let Some(batches) = feed.val(stage.eval_batches).filter(|_| run.validates_after(step)) {
            let best = params::set_trainable(optim.averaged(model.clone()), |_| false);
            let one = |batch: CaptionBatch| {
                let learned = batch.batch.learned() as f64;
                Ok((f64::from(read(loss(&best, batch)?)[0]), learned))
            };
            let losses = batches.map(|batch| one(batch?)).collect::<Result<Vec<_>>>()?;
            run.keep_best(step, mean(losses), || files(recipe, &new, &best))?;
        }
        let extra = BTreeMap::from([("tokens".to_owned(), learned as f64)]);
        let samples = stage.batch_size;
        run.log(Step { step, loss: value, learning_rate: rate, samples, flops, extra }, norm)?;
        run.checkpoint(step, &model, &optim)?;
        if run.ends_after(step) {
            break;
        }
    }
    let best = optim.averaged(model.clone());
    run.finish(&model, files(recipe, &new, &best)?)
}

/// The files of transformers' class that writes, or of what was learned of it.
fn files(recipe: &Blip2Recipe, new: &NewWriter, model: &Llava) -> Result<Files> {
    let tensors = new.tensors(model)?;
    match (recipe.trained_only, &recipe.model.encoder, &recipe.model.backbone) {
        (true, Some(encoder), Some(backbone)) => {
            model::bridge(&new.beside, tensors, [encoder, backbone])
        }
        _ => model::published(&new.beside, &tensors, Dtype::F32),
    }
}

/// Two passes through the language model, and one through the encoder.
fn flops(new: &NewWriter, CaptionBatch { batch, .. }: &CaptionBatch) -> f64 {
    let ([b, t], backbone) = (batch.shape, &new.config.backbone);
    let read = backbone.flops(t, 0) * b as f64 + backbone.flops(0, batch.learned());
    2.0 * read + new.config.towers[0].encoder.flops() * b as f64
}

/// What makes a step's batch.
struct Captions {
    processor: ImageProcessor,
    tokenizer: Tokenizer,
    /// Before the caption: the picture's places, the opening token, and a prompt.
    before: Vec<u32>,
    queries: usize,
    end: u32,
    batch: usize,
    tokens: usize,
    /// Whether a space stands between prompt and caption.
    prompted: bool,
}

/// What a step reads.
struct CaptionBatch {
    batch: Batch,
    /// `[B, 3, h, w]`.
    planes: Vec<f32>,
}

impl Captions {
    fn new(
        recipe: &Blip2Recipe,
        stage: &Stage,
        matcher: &NewMatcher,
        new: &NewWriter,
    ) -> Result<Self> {
        let (tokenizer, queries) = (new.text.tokenizer.clone(), new.config.towers[0].tokens());
        let mut before = vec![new.marker; queries];
        before.extend(new.text.bos_token_id);
        before.extend(tokenizer.encode_within(&recipe.prompt, false, usize::MAX)?);
        let (processor, end) = (matcher.processor.clone(), new.end);
        let (batch, tokens, prompted) = (stage.batch_size, stage.tokens, !recipe.prompt.is_empty());
        Ok(Self { processor, tokenizer, before, queries, end, batch, tokens, prompted })
    }

    fn make(&self, examples: &Examples, step: u64, progress: f32) -> Result<CaptionBatch> {
        let pairs = draw(examples, step, self.batch, progress)?;
        let seen = pairs.iter().flat_map(pictures);
        let planes = seen.flat_map(|picture| self.processor.process(picture)).collect();
        let prompts = pairs.iter().map(|pair| self.prompt(pair)).collect::<Result<Vec<_>>>()?;
        Ok(CaptionBatch { batch: Batch::new(&prompts, self.end), planes })
    }

    fn prompt(&self, pair: &Example) -> Result<Prompt> {
        let space = if self.prompted { " " } else { "" };
        let text = format!("{space}{}", caption(pair));
        let mut ids = self.before.clone();
        ids.extend(self.tokenizer.encode_within(&text, false, self.tokens)?);
        ids.push(self.end);
        let answer = (0..ids.len()).map(|at| at >= self.before.len()).collect();
        let slots = vec![Slot { at: 0, len: self.queries, modality: Modality::Image }];
        let spans = vec![0; ids.len()];
        Ok(Prompt { ids, answer, slots, spans })
    }
}
