//! Domain: what pictures that a model was trained on are like, so that it can say of one that is unlike them.
//!
//! Lee et al. 2018, <https://arxiv.org/abs/1807.03888>: a Gaussian of the features of `data.train`; what is
//! further away than nearly all of `data.val` is outside. Nothing learns: it is one look at each picture.
//!
//! ```text
//! sensorium train recipes/domain/nano.toml
//! ```

use sensorium_checkpoint::directory::save_dir;
use sensorium_checkpoint::file::{Disk, write_atomic};
use sensorium_data::{Config, Example, Examples};
use sensorium_flow::{Encode, Input};
use sensorium_media::ImageProcessor;
use sensorium_model::domain::{Domain, pooled};
use sensorium_nn::prelude::*;
use sensorium_pretrained::Directory;
use sensorium_pretrained::families::sensorium::{self, SensoriumConfig};
use serde::{Deserialize, Serialize};

use crate::batch::{draw, images, pictures};
use crate::config;
use crate::device::DeviceName;
use crate::dry::Planned;
use crate::error::{Result, TrainError};
use crate::feed::Feed;
use crate::model::{self, Files, ModelConfig, pretty};
use crate::progress::Progress;
use crate::provenance;
use crate::recipes::Recipe;
use crate::run::RunOptions;

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DomainRecipe {
    /// `"domain"`.
    pub recipe: Recipe,
    /// Seed of the samples.
    pub seed: u64,
    /// Where it computes.
    #[serde(default)]
    pub device: DeviceName,
    /// Pictures to look at, of `data.train` and of `data.val` each.
    pub samples: usize,
    /// Share (above 0, below 1) of `data.val` that is to lie outside.
    pub false_alarms: f64,
    /// A model that was trained here and answers, in `from`.
    pub model: ModelConfig,
    /// Pictures that it was trained on, and others of the same kinds.
    pub data: Config,
}

/// Where such a model may be.
const HINT: &str = "model.from = \"runs/llava/instruct/final\"";

/// Pictures that are looked at together.
const BATCH: usize = 32;

/// Looks at the pictures, and writes the model with what they are like.
///
/// # Errors
/// The settings make no sense, data do not open, or the files cannot be written.
pub fn train(recipe: &DomainRecipe, options: &RunOptions) -> Result<()> {
    let wrong = |key, message: &str, hint| Err(model::config(key, message, hint));
    if !(recipe.false_alarms > 0.0 && recipe.false_alarms < 1.0) {
        return wrong("false_alarms", "expected a share above 0 and below 1", "0.01 is one in 100");
    }
    if recipe.samples < BATCH || recipe.data.val.is_empty() && recipe.data.val_share == 0.0 {
        let message = "expected at least 32 samples, and data.val to set the limit by";
        return wrong("samples, data.val", message, "samples = 4000 and [[data.val]]");
    }
    let directory = recipe.model.trained_here(options, HINT)?;
    let device = recipe.device.open().without_autodiff();
    let parts = sensorium::trainable(&directory, &mut Init::empty(&device))?;
    let (encoder, processor) = (&parts.spliced.llava.towers[0].encoder, parts.spliced.processor);
    let [side, _] = processor.size().unwrap_or_default();
    let steps = recipe.samples.div_ceil(BATCH) as u64;
    let make = {
        let processor = processor.clone();
        move |examples: &Examples, step, progress| planes(&processor, examples, step, progress)
    };
    let feed = Feed::open(&recipe.data, [recipe.seed, steps], side, options, lacks, make)?;
    let progress = Progress::items("domain");
    let look = |batches: &mut dyn Iterator<Item = Result<Vec<f32>>>, before: u64| {
        let mut all = Vec::new();
        for (i, planes) in (1..).zip(batches) {
            let seen = images(planes?, [side as usize; 2], &device);
            all.extend(pooled(encoder.encode(Input::Image(seen))));
            progress.set((before + i) as usize, 2 * steps as usize);
        }
        Result::Ok(all)
    };
    let seen = look(&mut feed.train(0..steps), 0)?;
    let others = match feed.val(steps) {
        Some(mut batches) => look(&mut batches, steps)?,
        None => Vec::new(),
    };
    progress.finish();
    let domain = Domain::fit(&seen, &others, recipe.false_alarms);
    let width = seen[0].len();
    write(recipe, options, &directory, &parts.settings, (domain, width))
}

/// What the one stage trains: nothing.
///
/// # Errors
/// The model is not one that was trained here.
pub fn stages(recipe: &DomainRecipe) -> Result<Vec<Planned>> {
    recipe.model.trained_here(&RunOptions::new("."), HINT)?;
    Ok(Vec::new())
}

fn lacks(example: &Example) -> Option<&'static str> {
    (pictures(example).count() != 1).then_some("one picture each")
}

/// Pixels of a batch, `[32, 3, h, w]`.
fn planes(
    processor: &ImageProcessor,
    examples: &Examples,
    step: u64,
    progress: f32,
) -> Result<Vec<f32>> {
    let examples = draw(examples, step, BATCH, progress)?;
    let fitted = examples.iter().flat_map(pictures).flat_map(|one| processor.fit(one).pictures);
    Ok(fitted.flat_map(|picture| processor.planes(&picture)).collect())
}

/// The model's files as they were, with one more.
fn write(
    recipe: &DomainRecipe,
    options: &RunOptions,
    directory: &Directory,
    settings: &SensoriumConfig,
    (domain, width): (Domain, usize),
) -> Result<()> {
    let mut components = sensorium::components_but(directory, settings, &["domain"])?;
    components.push(("domain", domain.tensors()?));
    let tokenizer = sensorium_pretrained::text::tokenizer(directory)?;
    let processor = sensorium::processor(directory)?;
    let settings = SensoriumConfig { domain: Some(width), ..settings.clone() };
    let mut files: Files = model::own(&components, &settings, &tokenizer, Some(&processor))?;
    let resolved = config::resolved(recipe)?;
    let start: Vec<_> = recipe.model.published().cloned().collect();
    let provenance = provenance::begin("domain", &resolved, recipe.seed, &start, &recipe.data);
    files.push(("provenance.json".into(), pretty(&provenance::end(provenance, 0, [None; 2]))?));
    let files: Vec<(&str, &[u8])> =
        files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    let dir = &options.dir;
    std::fs::create_dir_all(dir).map_err(TrainError::io("create", dir))?;
    write_atomic(&Disk, &dir.join("config.toml"), resolved.as_bytes())?;
    let to = dir.join("final");
    save_dir(&Disk, &to, &files)?;
    eprintln!("{} pictures looked at; wrote {}", 2 * recipe.samples, to.display());
    Ok(())
}
