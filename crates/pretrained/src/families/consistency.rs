//! Consistency models as diffusers publishes them: `ConsistencyModelPipeline`, told the number of a class, or an amount.
//!
//! ```text
//! model_index.json          the classes of the parts
//! scheduler/                how much noise there is at which step
//! unet/                     noisy picture, time, label ──▶ what it is without noise
//! ```
//! diffusers' `UNet2DModel` is told classes. One that is told an amount says so as `UNet2DConditionModel` does:
//! `class_embed_type` is `projection`, and `projection_class_embeddings_input_dim` is 1.

use sensorium_flow::{Output, Sampler, Solver};
use sensorium_generator::diffusion::{ConsistencyConfig, Labels, UNet2DConfig, UNet2DModel};
use sensorium_generator::noise;
use sensorium_nn::prelude::*;
use serde_json::{Value, json};

use super::stable_diffusion::settings::{
    FOREIGN, blocks, class, freq_shift, groups, layers, only, sample_size, sizes,
};
use super::stable_diffusion::{asked, sides};
use crate::config::Config;
use crate::directory::Directory;
use crate::error::Result;
use crate::names;
use crate::plan::Plan;
use crate::towers::tensors;

/// The class of the pipeline.
pub const FAMILY: &str = "ConsistencyModelPipeline";

/// The classes of its parts.
const UNET: &str = "UNet2DModel";
const SCHEDULER: &str = "CMStochasticIterativeScheduler";

/// More steps of training than any model had.
const MAX_STEPS: usize = 100_000;

/// A model that draws what a label says, in a step or a few.
#[derive(Debug)]
pub struct ConsistencyDrawer {
    /// A noisy picture to what it is without noise.
    pub unet: UNet2DModel,
    /// How much noise there is at which step.
    pub scheduler: ConsistencyConfig,
    config: UNet2DConfig,
    device: Device,
}

/// What the weights must be.
///
/// # Errors
/// A setting is missing, out of range, or asks for what is not supported.
pub fn plan(directory: &Directory) -> Result<Plan> {
    let (unet, _) = config(directory)?;
    let named = |(name, shape)| (format!("unet.{name}"), shape);
    let parameters = unet.parameters().into_iter().map(named).collect();
    Ok(Plan::new(FAMILY, "unet", names::CONSISTENCY, parameters))
}

/// The model in a directory.
///
/// # Errors
/// A file is missing, damaged, or not of a supported model; the weights are not those of the settings.
pub fn open(directory: &Directory, device: &Device) -> Result<ConsistencyDrawer> {
    let (config, scheduler) = config(directory)?;
    let tensors = tensors(directory, &plan(directory)?)?;
    let unet = UNet2DModel::init(&config, &mut Init::empty(device));
    let unet = names::take_part(unet, "unet", tensors, &names::CONSISTENCY)?;
    Ok(ConsistencyDrawer { unet, scheduler, config, device: device.clone() })
}

/// Both parts' settings, whose classes are known; one is told of what they ask for and is not done.
fn config(directory: &Directory) -> Result<(UNet2DConfig, ConsistencyConfig)> {
    let index = directory.config();
    for (part, known) in [("unet", UNET), ("scheduler", SCHEDULER)] {
        let class = index.get(part).and_then(|both| both.get(1)?.as_str());
        if class != Some(known) {
            return Err(index.wrong(part, known, "pipelines of other parts cannot be run yet"));
        }
    }
    let [unet, scheduler] = [directory.part("unet")?, directory.part("scheduler")?];
    let both = (unet2d(&unet.config())?, steps(&scheduler.config())?);
    [unet, scheduler].iter().try_for_each(|part| part.tell(&part.config()))?;
    Ok(both)
}

fn unet2d(config: &Config<'_>) -> Result<UNet2DConfig> {
    class(config, &[UNET])?;
    supported(config)?;
    let channels = sizes(config, "block_out_channels", &[224, 448, 672, 896])?;
    let n = channels.len();
    let kinds = |key: &str, names: [&str; 2]| blocks(config, key, names, n, &vec![true; n]);
    let attends_down = kinds("down_block_types", ["ResnetDownsampleBlock2D", "AttnDownBlock2D"])?;
    let mut attends_up = kinds("up_block_types", ["ResnetUpsampleBlock2D", "AttnUpBlock2D"])?;
    attends_up.reverse();
    Ok(UNet2DConfig {
        sample_size: sample_size(config)?,
        channels: picture_channels(config)?,
        layers_per_block: layers(config, "layers_per_block", 2, 1)?[0],
        attention_head_dim: head_dim(config, &channels, [&attends_down, &attends_up])?,
        attends_down,
        attends_up,
        labels: labels(config)?,
        norm_num_groups: norm_groups(config, &channels)?,
        norm_eps: config.positive_or("norm_eps", 1e-5)?,
        flip_sin_to_cos: config.flag_or("flip_sin_to_cos", true)?,
        freq_shift: freq_shift(config, channels[0])?,
        block_out_channels: channels,
    })
}

/// What no consistency model has otherwise.
fn supported(config: &Config<'_>) -> Result<()> {
    only(
        config,
        &[
            ("act_fn", json!("silu")),
            ("add_attention", json!(true)),
            ("center_input_sample", json!(false)),
            ("mid_block_scale_factor", json!(1)),
            ("mid_block_type", json!("UNetMidBlock2D")),
            ("time_embedding_type", json!("positional")),
        ],
    )?;
    config.only_null("time_embedding_dim")?;
    // Whose defaults are others.
    for (key, want) in [
        ("downsample_type", "resnet"),
        ("upsample_type", "resnet"),
        ("resnet_time_scale_shift", "scale_shift"),
    ] {
        if config.text_or(key, "")? != want {
            return Err(config.wrong(key, want, FOREIGN));
        }
    }
    // Of convolutions that there are not, and of a table of times.
    config.without_effect(&["downsample_padding", "num_train_timesteps"]);
    Ok(())
}

/// Channels of pictures, which are grey or have three colours.
fn picture_channels(config: &Config<'_>) -> Result<usize> {
    let [in_, out] = ["in_channels", "out_channels"].map(|key| config.size_or(key, 3));
    match (in_?, out?) {
        (n @ (1 | 3), out) if n == out => Ok(n),
        _ => Err(config.wrong("out_channels", "1 or 3, as in_channels", FOREIGN)),
    }
}

/// Channels of a head, of which the levels that attend have whole ones, and the smallest size always does.
fn head_dim(config: &Config<'_>, channels: &[usize], attends: [&[bool]; 2]) -> Result<usize> {
    let size = config.size_or("attention_head_dim", 8)?;
    let last = channels.len() - 1;
    let attending = |i: &usize| *i == last || attends.iter().any(|attends| attends[*i]);
    let channels: Vec<usize> = (0..=last).filter(attending).map(|i| channels[i]).collect();
    match channels.iter().all(|c| c.is_multiple_of(size)) {
        true => Ok(size),
        false => {
            let expected = format!("a divisor of {channels:?}");
            Err(config.wrong("attention_head_dim", &expected, FOREIGN))
        }
    }
}

/// Groups of every norm; that of the smallest size's attention says its own.
fn norm_groups(config: &Config<'_>, channels: &[usize]) -> Result<usize> {
    const KEY: &str = "attn_norm_num_groups";
    let groups = groups(config, channels)?;
    match config.get(KEY).and_then(Value::as_u64) == Some(groups as u64) {
        true => Ok(groups),
        false => Err(config.wrong(KEY, &format!("{groups}, as norm_num_groups"), FOREIGN)),
    }
}

fn labels(config: &Config<'_>) -> Result<Labels> {
    const AMOUNT: &str = "projection";
    match config.text_or("class_embed_type", "")? {
        "" => Ok(Labels::Classes(config.size("num_class_embeds")?)),
        AMOUNT => {
            config.only_null("num_class_embeds")?;
            match config.size("projection_class_embeddings_input_dim")? {
                1 => Ok(Labels::Amount),
                _ => Err(config.wrong("projection_class_embeddings_input_dim", "1", FOREIGN)),
            }
        }
        _ => {
            let expected = format!("nothing beside num_class_embeds, or {AMOUNT}");
            Err(config.wrong("class_embed_type", &expected, FOREIGN))
        }
    }
}

/// The scheduler, whose defaults are those of diffusers' class.
fn steps(config: &Config<'_>) -> Result<ConsistencyConfig> {
    class(config, &[SCHEDULER])?;
    let num_train_timesteps = config.size_or("num_train_timesteps", 40)?;
    let (sigma_min, sigma_max) =
        (config.positive_or("sigma_min", 0.002)?, config.positive_or("sigma_max", 80.0)?);
    if num_train_timesteps > MAX_STEPS {
        let expected = format!("at most {MAX_STEPS} steps");
        return Err(config.wrong("num_train_timesteps", &expected, FOREIGN));
    }
    if sigma_min >= sigma_max {
        return Err(config.wrong("sigma_min", "less than sigma_max", FOREIGN));
    }
    Ok(ConsistencyConfig {
        num_train_timesteps,
        sigma_min,
        sigma_max,
        sigma_data: config.positive_or("sigma_data", 0.5)?,
        s_noise: config.positive_or("s_noise", 1.0)?,
        rho: config.positive_or("rho", 7.0)?,
        clip_denoised: config.flag_or("clip_denoised", true)?,
    })
}

impl ConsistencyDrawer {
    /// As diffusers draws where nobody says otherwise.
    pub fn usual(&self) -> Sampler {
        Sampler { steps: 1, guidance: 1.0, ..Sampler::default() }
    }

    /// A picture of each label, one after the other; `progress` sees how many of how many steps are done.
    ///
    /// # Errors
    /// A text is no label of the model's; the sampler asks for a size, for steps, for guidance or for a solver that
    /// there are not.
    pub fn draw(
        &self,
        texts: &[String],
        sampler: Sampler,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<Output>> {
        self.takes(&sampler)?;
        let [h, w] = sides(sampler.size.unwrap_or(self.config.sample_size), self.config.factor())?;
        let labels = texts.iter().map(|text| self.label(text)).collect::<Result<Vec<_>>>()?;
        let all = labels.len() * sampler.steps;
        let one = |(i, label): (usize, f32)| {
            let noises = self.noises(sampler.seed.wrapping_add(i as u64), sampler.steps, [h, w]);
            let mut on_step = |step, _: &Tensor<4>| progress(i * sampler.steps + step, all);
            let picture = self.scheduler.denoise(&self.unet, label, noises, &mut on_step);
            picture.map(|x| Output::Image(coloured(x)))
        };
        Ok(labels.into_iter().enumerate().filter_map(one).collect())
    }

    /// What a text asks for: the number of a class, or an amount.
    fn label(&self, text: &str) -> Result<f32> {
        let hint = "this model draws what a number says, and reads no words";
        let (expected, label) = match self.config.labels {
            Labels::Classes(n) => {
                let fits = |class: &usize| *class < n;
                let class = text.trim().parse().ok().filter(fits).map(|class| class as f32);
                (format!("the number of a class, 0 to {}", n - 1), class)
            }
            Labels::Amount => {
                let fits = |amount: &f32| (0.0..=1.0).contains(amount);
                ("a number from 0 to 1".to_owned(), text.trim().parse().ok().filter(fits))
            }
        };
        label.ok_or_else(|| asked("text", &expected, format!("{text:?}"), hint))
    }

    /// That a sampler asks for no more than there is.
    fn takes(&self, sampler: &Sampler) -> Result<()> {
        let most = self.scheduler.num_train_timesteps;
        let hint = "leave it out: a consistency model is asked once a step";
        if !(1..=most).contains(&sampler.steps) {
            let expected = format!("1 to {most}, as the scheduler has times");
            return Err(asked("steps", &expected, sampler.steps.to_string(), "1 is usual"));
        }
        if sampler.guidance != 1.0 {
            return Err(asked("guidance", "1", sampler.guidance.to_string(), hint));
        }
        if sampler.solver != Solver::Euler {
            return Err(asked("solver", "euler", "heun".to_owned(), hint));
        }
        match sampler.scheduler {
            Some(other) => Err(asked("scheduler", "its own", other.name().to_owned(), hint)),
            None => Ok(()),
        }
    }

    /// Normal numbers for each step, of a seed.
    fn noises(&self, seed: u64, steps: usize, [h, w]: [usize; 2]) -> Vec<Tensor<4>> {
        let shape = [1, self.config.channels, h, w];
        let n: usize = shape.iter().product();
        let tensor = |values: &[f32]| {
            Tensor::from_data(TensorData::new(values.to_vec(), shape), &self.device)
        };
        noise(seed, steps * n).chunks(n).map(tensor).collect()
    }

    /// Lays out every matrix for running; convolutions stay as they are.
    pub fn pack(&mut self, format: pack::Format) {
        self.unet.pack_as(format);
    }
}

/// A grey picture in three colours.
fn coloured(x: Tensor<4>) -> Tensor<4> {
    if x.dims()[1] == 1 { x.repeat_dim(1, 3) } else { x }
}
