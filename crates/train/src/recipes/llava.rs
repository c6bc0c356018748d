//! LLaVA: a frozen image encoder, a projector, a language model.
//!
//! Liu et al. 2023, <https://arxiv.org/abs/2304.08485>, and LLaVA 1.5,
//! <https://arxiv.org/abs/2310.03744>. Stage 1, align: descriptions, only the projector learns. Stage
//! 2, instruct: conversations, projector and backbone learn. The encoder is frozen, unless a stage gives
//! it a rate (as LLaVA-OneVision does, Li et al. 2024, <https://arxiv.org/abs/2408.03326>, section 3.4).
//!
//! ```text
//! sensorium train recipes/llava/nano.toml
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;

use rayon::prelude::*;
use sensorium_checkpoint as checkpoint;
use sensorium_data::conversation::{self, Conversation, Focus, Turn};
use sensorium_data::easy_vqa::EasyVqa;
use sensorium_data::rng::Rng;
use sensorium_data::scene::Split;
use sensorium_encoder::EncoderConfig;
use sensorium_media::{ImageProcessor, Picture, Special, Tokenizer};
use sensorium_model::llava::{Llava, LlavaConfig};
use sensorium_model::prompt::Batch;
use sensorium_model::weights;
use sensorium_nn::params::{self, read};
use sensorium_nn::prelude::*;
use sensorium_nn::training_device;
use serde::{Deserialize, Serialize};

use crate::batch::{conversation, gather, images, questions, side};
use crate::config;
use crate::error::Result;
use crate::freeze::thaw_only;
use crate::optim::{self, AdamW, Gradients, OptimConfig};
use crate::recipes::Recipe;
use crate::run::{Run, RunOptions, Step};
use crate::schedule::{self, Schedule};
use crate::size::Size;
use crate::tokenizer;

/// A LLaVA training: both stages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LlavaRecipe {
    /// `"llava"`.
    pub recipe: Recipe,
    /// Seed of weights and samples.
    pub seed: u64,
    /// Size of the model.
    pub size: Size,
    /// Numbers that are multiplied: `"f32"`, `"bf16"` or `"auto"`, the faster on this CPU.
    #[serde(default, with = "crate::precision")]
    pub precision: Precision,
    /// Whether every block makes its activations again in the backward pass: less memory, about a
    /// third more time, the same bits.
    #[serde(default)]
    pub recompute: bool,
    /// The tokenizer's file.
    pub tokenizer: PathBuf,
    /// The image encoder that the CLIP recipe made.
    pub image: PathBuf,
    /// The language model that the text recipe made.
    pub backbone: PathBuf,
    /// A trained projector to go on with; stage 1 is then left out.
    pub projector: Option<PathBuf>,
    /// easy-VQA's directory; without it the instruct stage asks about drawn scenes only.
    pub easy_vqa: Option<PathBuf>,
    /// Stage 1.
    pub align: Stage,
    /// Stage 2.
    pub instruct: Stage,
    /// Weight of the z-loss.
    #[serde(default)]
    pub z_loss: f32,
    /// The optimiser.
    #[serde(default)]
    pub optim: OptimConfig,
}

/// One stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Steps.
    pub steps: u64,
    /// Samples a step.
    pub batch: usize,
    /// Micro-batches a step is made of, each of `batch / accumulate` samples: less memory, the same
    /// gradient.
    #[serde(default = "whole")]
    pub accumulate: usize,
    /// Steps between checkpoints.
    pub save_every: u64,
    /// How much of the way from easy to full scenes (0 to 1) lies behind at the first step: 0.4 goes
    /// on with all that scenes can hold.
    #[serde(default)]
    pub begin: f32,
    /// How much of that way lies behind at the end: below 0.4, scenes hold two objects at most.
    #[serde(default = "all_the_way")]
    pub end: f32,
    /// What is asked more often about scenes, in stage 2.
    #[serde(default)]
    pub focus: Focus,
    /// Learning rate over the stage.
    pub schedule: Schedule,
    /// Factor on the projector's learning rate (nanoVLM trains its 100 times faster).
    #[serde(default = "one")]
    pub projector_rate: f64,
    /// Factor on the learning rate of the image encoder, as far as the projector reads it; 0
    /// freezes it.
    #[serde(default)]
    pub image_rate: f64,
}

fn all_the_way() -> f32 {
    1.0
}

fn one() -> f64 {
    1.0
}

fn whole() -> usize {
    1
}

/// Trains the projector, then projector and backbone, in `align/` and `instruct/` of the run.
///
/// # Errors
/// Whatever goes wrong, before or after the first step.
pub fn train(recipe: &LlavaRecipe, options: &RunOptions) -> Result<()> {
    let device = training_device();
    let tokenizer = tokenizer::load(&recipe.tokenizer)?;
    let config = recipe.size.llava(tokenizer.vocabulary());
    let mut model = Llava::init(
        &config,
        &mut Init::new(recipe.seed, &device).with(recipe.precision).recomputing(recipe.recompute),
    );
    // One tower: that of pictures.
    let mut tower = model.towers.remove(0);
    tower.encoder = weights::load(tower.encoder, &checkpoint::load(&recipe.image)?)?;
    model.backbone = weights::load(model.backbone, &checkpoint::load(&recipe.backbone)?)?;
    let corpus = Corpus::open(recipe)?;

    let align = Training { recipe, stage: &recipe.align, config: &config, tokenizer: &tokenizer };
    let detail = |index, progress| corpus.detail(index, progress);
    let model = match &recipe.projector {
        Some(file) => {
            tower.projector = weights::load(tower.projector, &checkpoint::load(file)?)?;
            model.towers.push(tower);
            model
        }
        None => {
            model.towers.push(tower);
            align.run("align", &[PROJECTOR], model, options, &detail)?
        }
    };

    let instruct = Training { stage: &recipe.instruct, ..align };
    let talk = |index, progress| corpus.sample(index, progress);
    instruct.run("instruct", &[PROJECTOR, "backbone"], model, options, &talk)?;
    Ok(())
}

/// Names of the tower's parts, as a module has them.
const ENCODER: &str = "towers.0.encoder.";
const PROJECTOR: &str = "towers.0.projector.";

/// One stage and what it reads.
#[derive(Clone, Copy)]
struct Training<'a> {
    recipe: &'a LlavaRecipe,
    stage: &'a Stage,
    config: &'a LlavaConfig,
    tokenizer: &'a Tokenizer,
}

impl Training<'_> {
    fn run(
        &self,
        name: &str,
        parts: &[&str],
        model: Llava,
        options: &RunOptions,
        sample: &(impl Fn(u64, f32) -> Sample + Send + Sync),
    ) -> Result<Llava> {
        let device = training_device();
        let stage = self.stage;
        let image = if stage.image_rate > 0.0 { read_by_projector(self.config) } else { vec![] };
        let parts: Vec<&str> =
            parts.iter().copied().chain(image.iter().map(String::as_str)).collect();
        let (model, trained) = thaw_only(model, &parts)?;
        eprintln!("{name}: {trained}");
        let options = RunOptions { dir: options.dir.join(name), ..options.clone() };
        let mut optim = AdamW::new(self.recipe.optim.clone());
        let plan = [stage.steps, stage.save_every];
        let resolved = config::resolved(self.recipe)?;
        let (mut run, mut model) = Run::open(name, &options, &resolved, plan, model, &mut optim)?;

        for step in run.steps() {
            let progress = schedule::progress([stage.begin, stage.end], step, stage.steps);
            let first = step * stage.batch as u64;
            let samples = gather(stage.batch, |i| sample(first + i, progress));
            let micro: Vec<Micro<'_>> = samples
                .chunks(stage.batch.div_ceil(stage.accumulate.max(1)))
                .map(|samples| self.micro(samples))
                .collect::<Result<_>>()?;
            let learned: usize = micro.iter().map(|micro| micro.batch.learned()).sum();

            let (mut gradients, mut value, mut flops) = (Gradients::new(), 0.0, 0.0);
            for Micro { batch, pictures } in &micro {
                let images = images(pictures, &ImageProcessor::nano(), &device);
                let features = model.encode(images); // [M, N, E]
                let loss = model.loss(batch, Some(features), self.recipe.z_loss);
                // A mean over all answers' tokens, whichever micro-batch they are in.
                let weight = batch.learned() as f64 / learned.max(1) as f64;
                value += weight * f64::from(read(loss.clone())[0]);
                let new = params::gradients(&model, loss.backward())?;
                optim::accumulate(&mut gradients, new, weight as f32);
                flops += self.flops(batch, pictures.len());
            }
            let rate = schedule::rate(&stage.schedule, step, stage.steps);
            let (updated, norm) =
                run.update(model, &mut optim, &gradients, step, value, |name| match name {
                    _ if name.starts_with(PROJECTOR) => rate * stage.projector_rate,
                    _ if name.starts_with(ENCODER) => rate * stage.image_rate,
                    _ => rate,
                })?;
            model = updated;

            let extra = BTreeMap::from([("tokens".to_string(), learned as f64)]);
            let samples = samples.len();
            run.log(Step { step, loss: value, rate, samples, flops, extra }, norm)?;
            run.checkpoint(step, &model, &optim)?;
        }
        let best = optim.averaged(model.clone());
        let components = [
            ("image", weights::tensors(&best.towers[0].encoder)?),
            ("projector", weights::tensors(&best.towers[0].projector)?),
            ("backbone", weights::tensors(&best.backbone)?),
        ];
        run.finish(&model, &components)?;
        Ok(best)
    }

    fn micro<'s>(&self, samples: &'s [Sample]) -> Result<Micro<'s>> {
        let tokens = self.config.towers[0].tokens();
        let prompts = samples
            .par_iter()
            .map(|Sample { turns, apart, .. }| match apart {
                true => questions(turns, self.tokenizer, tokens),
                false => conversation(turns, self.tokenizer, tokens),
            })
            .collect::<Result<Vec<_>>>()?;
        let batch = Batch::new(&prompts, self.tokenizer.special(Special::Pad)?);
        let pictures = samples.iter().map(|sample| &sample.picture).collect();
        Ok(Micro { batch, pictures })
    }

    /// Of what is trained, three passes; where only the projector is, two of the backbone; of a
    /// frozen encoder, one.
    fn flops(&self, batch: &Batch, pictures: usize) -> f64 {
        let [b, t] = batch.shape;
        let passes = if std::ptr::eq(self.stage, &self.recipe.align) { 2.0 } else { 3.0 };
        let backbone = self.config.backbone.flops(t, 0) * b as f64
            + self.config.backbone.flops(0, batch.learned());
        let image = if self.stage.image_rate > 0.0 { 3.0 } else { 1.0 };
        image * self.config.towers[0].encoder.flops() * pictures as f64 + passes * backbone
    }
}

/// Names of the image encoder's parameters that the projector's input depends on.
fn read_by_projector(config: &LlavaConfig) -> Vec<String> {
    let EncoderConfig::Vit { vit, features } = &config.towers[0].encoder else {
        return vec![ENCODER.to_owned()];
    };
    let last = features.layers.iter().min().copied().unwrap_or_default();
    let unread: Vec<String> = (vit.n_layers - last..vit.n_layers)
        .map(|block| format!("blocks.{block}."))
        .chain(["norm.", "pool.", "proj."].map(str::to_owned))
        .collect();
    let names = vit.parameters().into_iter().map(|(name, _)| name);
    let read = names.filter(|name| !unread.iter().any(|part| name.starts_with(part)));
    read.map(|name| format!("{ENCODER}{name}")).collect()
}

/// Part of a step.
struct Micro<'a> {
    batch: Batch,
    pictures: Vec<&'a Picture>,
}

/// A picture and what is said about it.
pub(crate) struct Sample {
    pub picture: Picture,
    pub turns: Vec<Turn>,
    /// Whether no turn sees another.
    pub apart: bool,
}

/// Where samples come from.
pub(crate) struct Corpus {
    seed: u64,
    easy_vqa: Option<EasyVqa>,
    focus: Focus,
}

/// Questions about one picture of easy-VQA.
const EASY_VQA_TURNS: usize = 8;

impl Corpus {
    pub(crate) fn open(recipe: &LlavaRecipe) -> Result<Self> {
        let open = |dir: &PathBuf| EasyVqa::open(dir, Split::Train);
        let easy_vqa = recipe.easy_vqa.as_ref().map(open).transpose()?;
        Ok(Self { seed: recipe.seed, easy_vqa, focus: recipe.instruct.focus.clone() })
    }

    fn detail(&self, index: u64, progress: f32) -> Sample {
        Sample::of(conversation::detail(Split::Train, self.seed ^ 0xCAFE, index, progress), true)
    }

    /// Conversations about easy-VQA's pictures 18 %, the rest about scenes.
    pub(crate) fn sample(&self, index: u64, progress: f32) -> Sample {
        let mut rng = Rng::new(self.seed, 0x1A5C, index);
        let easy = rng.chance(0.18);
        // A conversation is what `chat` needs; a question apart must be answered from the picture.
        let apart = rng.chance(0.8);
        let talk = match &self.easy_vqa {
            Some(easy_vqa) if easy => {
                let picture = rng.below(easy_vqa.pictures());
                easy_vqa.conversation(picture, EASY_VQA_TURNS, &mut rng)
            }
            _ => {
                let (seed, focus) = (self.seed, &self.focus);
                conversation::about_scene(Split::Train, seed, index, progress, focus)
            }
        };
        Sample::of(talk, apart)
    }
}

impl Sample {
    fn of(Conversation { view, turns }: Conversation, apart: bool) -> Self {
        Self { picture: view.picture(side(&ImageProcessor::nano())), turns, apart }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_projector_reads_all_but_the_last_block() {
        let nano = Size::Nano.llava(4096);
        let read = read_by_projector(&nano);
        let has =
            |part: &str| read.iter().any(|name| name.starts_with(&format!("{ENCODER}{part}")));
        assert!(has("stem.") && has("position") && has("blocks.3."));
        assert!(!has("blocks.4.") && !has("norm.") && !has("pool."));
        let all = nano.parameters();
        assert!(read.iter().all(|name| all.iter().any(|(known, _)| known == name)));
    }
}
