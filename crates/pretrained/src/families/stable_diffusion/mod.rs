//! Stable Diffusion 1.x, 2.x and Turbo as diffusers publishes them: `StableDiffusionPipeline`, and its autoencoders
//! alone.
//!
//! ```text
//! model_index.json          the classes of the parts
//! tokenizer/, text_encoder/ text ──▶ [T, C]
//! scheduler/                by which steps
//! unet/                     latents, time, [T, C] ──▶ what is wrong with them
//! vae/                      latents ──▶ picture
//! ```

mod scheduler;
pub(super) mod settings;

use sensorium_encoder::text::{TextConfig, Texts};
use sensorium_flow::{Output, Sampler, Solver};
use sensorium_generator::diffusion::{Autoencoder, Denoising};
use sensorium_generator::noise;
use sensorium_media::{Filter, Picture, Tokenizer};
use sensorium_model::stable_diffusion::{StableDiffusion, StableDiffusionConfig};
use sensorium_nn::prelude::*;

use super::clip;
use crate::config::Config;
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::names::{self, Layout};
use crate::plan::Plan;
use crate::towers::tensors;
use crate::{text, vision};
use scheduler::Schedulers;

/// The class of the pipeline.
pub const FAMILY: &str = "StableDiffusionPipeline";

/// The classes of the autoencoders.
pub const AUTOENCODERS: [&str; 2] = [settings::KL, settings::TINY];

/// Longest edge of a picture that is drawn, in pixels.
const MAX_SIDE: usize = 2048;

/// What diffusers takes where nobody says otherwise.
const USUAL: (usize, f32) = (50, 7.5);

/// A model that draws with all that makes its inputs.
#[derive(Debug)]
pub struct Drawer {
    /// Texts and noise to pictures.
    pub model: StableDiffusion,
    config: StableDiffusionConfig,
    words: Prompts,
    schedulers: Schedulers,
    device: Device,
}

/// A picture that is drawn anew.
#[derive(Clone, Copy, Debug)]
pub struct Redrawn<'a> {
    /// The picture.
    pub picture: &'a Picture,
    /// The share of the steps that are taken, from as much noise as there is before them: 0 leaves it, 1 goes by the
    /// text almost alone.
    pub strength: f64,
}

/// What makes the text tower's input: every text has as many tokens.
#[derive(Debug)]
struct Prompts {
    tokenizer: Tokenizer,
    config: TextConfig,
    /// Tokens of a text.
    length: usize,
    /// What fills it up.
    pad: u32,
}

/// What the weights must be.
///
/// # Errors
/// A setting is missing, out of range, or asks for what is not supported.
pub fn plan(directory: &Directory) -> Result<Plan> {
    let config = config(directory)?;
    Ok(Plan::new(FAMILY, "unet", layout(directory), config.parameters()))
}

/// As [`plan`], of an autoencoder alone.
///
/// # Errors
/// As [`plan`].
pub fn autoencoder_plan(directory: &Directory) -> Result<Plan> {
    let config = settings::autoencoder(&directory.config())?;
    Ok(Plan::new("autoencoder", "vae", names::AUTOENCODER, config.parameters()))
}

/// An autoencoder alone, in a directory of its own.
///
/// # Errors
/// A file is missing, damaged, or not of a supported model; the weights are not those of the settings.
pub fn autoencoder(directory: &Directory, device: &Device) -> Result<Autoencoder> {
    let config = settings::autoencoder(&directory.config())?;
    let tensors = tensors(directory, &autoencoder_plan(directory)?)?;
    let vae = Autoencoder::init(&config, &mut Init::empty(device));
    Ok(names::take(vae, tensors, &names::AUTOENCODER)?)
}

/// The model in a directory.
///
/// # Errors
/// A file is missing, damaged, or not of a supported model; the weights are not those of the settings.
pub fn open(directory: &Directory, device: &Device) -> Result<Drawer> {
    let config = config(directory)?;
    let words = Prompts::read(directory, &config.text)?;
    let schedulers = Schedulers::read(directory)?;
    let tensors = tensors(directory, &plan(directory)?)?;
    let model = StableDiffusion::init(&config, &mut Init::empty(device));
    let model = names::take(model, tensors, &layout(directory))?;
    Ok(Drawer { model, config, words, schedulers, device: device.clone() })
}

/// Older files of the text tower say twice what they are of.
fn layout(directory: &Directory) -> Layout {
    const BARE: &str = "text_encoder.embeddings.position_embedding.weight";
    match directory.shapes().is_ok_and(|shapes| shapes.contains_key(BARE)) {
        true => names::STABLE_DIFFUSION_BARE,
        false => names::STABLE_DIFFUSION,
    }
}

/// The shape of all parts, whose classes are known; one is told of what their settings ask for and is not done.
fn config(directory: &Directory) -> Result<StableDiffusionConfig> {
    classes(directory)?;
    let [text, unet, vae] =
        [directory.part("text_encoder")?, directory.part("unet")?, directory.part("vae")?];
    let config = StableDiffusionConfig {
        text: text_config(&text.config())?,
        unet: settings::unet(&unet.config())?,
        vae: settings::autoencoder(&vae.config())?,
    };
    fits(&config, &unet.config())?;
    [text, unet, vae].iter().try_for_each(|part| part.tell(&part.config()))?;
    Ok(config)
}

/// That parts are of classes that are built here.
fn classes(directory: &Directory) -> Result<()> {
    let index = directory.config();
    let known: [(&str, &[&str]); 4] = [
        ("text_encoder", &["CLIPTextModel"]),
        ("tokenizer", &["CLIPTokenizer", "CLIPTokenizerFast"]),
        ("unet", &[settings::UNET]),
        ("vae", &AUTOENCODERS),
    ];
    for (part, classes) in known {
        let class = index.get(part).and_then(|both| both.get(1)?.as_str()).unwrap_or_default();
        if !classes.contains(&class) {
            let expected = format!("a class of {}", classes.join(", "));
            return Err(index.wrong(part, &expected, "pipelines of other parts cannot be run yet"));
        }
    }
    // The scheduler says itself what it is; what looks at pictures afterwards is told of by the checker's own key.
    index.without_effect(&["scheduler", "feature_extractor", "requires_safety_checker"]);
    for part in ["safety_checker", "image_encoder"] {
        if directory.settings()[part][1].is_null() {
            index.without_effect(&[part]);
        }
    }
    Ok(())
}

/// The tower of `CLIPTextModel`.
fn text_config(config: &Config<'_>) -> Result<TextConfig> {
    let width = config.size_or("hidden_size", 512)?;
    config.only("use_attention_mask", &false.into())?;
    Ok(TextConfig { proj: false, ..clip::text(config, width)? })
}

/// That one part reads what the other writes.
fn fits(config: &StableDiffusionConfig, unet: &Config<'_>) -> Result<()> {
    const OTHERS: &str = "the files may be of different models; those that fill in parts of a picture take more channels";
    let (latents, width) = (config.vae.latent_channels(), config.text.hidden_size);
    for (key, got, want) in [
        ("in_channels", config.unet.in_channels, latents),
        ("out_channels", config.unet.out_channels, latents),
        ("cross_attention_dim", config.unet.cross_attention_dim, width),
    ] {
        if got != want {
            return Err(unet.wrong(key, &format!("{want}, as the other parts have it"), OTHERS));
        }
    }
    Ok(())
}

impl Prompts {
    fn read(directory: &Directory, config: &TextConfig) -> Result<Self> {
        const END: &str = "<|endoftext|>";
        let part = directory.part("tokenizer")?;
        let tokenizer = text::tokenizer(&part)?;
        let settings = part.config();
        let length = settings.size_or("model_max_length", config.context)?;
        if length > config.context {
            let expected = format!("at most {}, as text_encoder has positions", config.context);
            return Err(settings.wrong(
                "model_max_length",
                &expected,
                "the files may be of different models",
            ));
        }
        let variables = text::chat(&part)?.variables;
        let name = variables.get("pad_token").and_then(|name| name.as_str()).unwrap_or(END);
        let pad = tokenizer.id(name).filter(|&id| (id as usize) < config.vocab_size);
        let pad = pad.ok_or_else(|| {
            settings.wrong(
                "pad_token",
                "a token of the vocabulary",
                "tokenizer and text_encoder may be of different models",
            )
        })?;
        text::tell_ignored(&part, &tokenizer, length)?;
        Ok(Self { tokenizer, config: config.clone(), length, pad })
    }

    /// Ids of a text, cut and filled up to one length.
    fn ids(&self, text: &str) -> Result<Texts> {
        let mut ids = vision::ids(&self.tokenizer, text, self.length, self.config.vocab_size)?;
        ids.resize(self.length, self.pad);
        Ok(Texts { ids, shape: [1, self.length], ends: vec![self.length - 1] })
    }
}

impl Drawer {
    /// As diffusers draws where nobody says otherwise.
    pub fn usual(&self) -> Sampler {
        let (steps, guidance) = USUAL;
        Sampler { steps, guidance, ..Sampler::default() }
    }

    /// A picture for each text, one after the other, of noise or of a picture that is there; `progress` sees how many of
    /// how many steps are done.
    ///
    /// # Errors
    /// The tokenizer fails at a text; the sampler asks for a size, for steps or for a scheduler that there are not; the
    /// strength leaves no step.
    pub fn draw(
        &self,
        texts: &[String],
        redrawn: Option<Redrawn<'_>>,
        sampler: Sampler,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<Output>> {
        let shape = self.latents(&sampler, redrawn)?;
        let pixels = redrawn.map(|redrawn| self.pixels(redrawn.picture, shape));
        let one = |(i, text): (usize, &String)| {
            let run = self.run(&sampler, redrawn.map(|redrawn| redrawn.strength))?;
            let steps = run.times().len();
            let seed = sampler.seed.wrapping_add(i as u64);
            let x = match &pixels {
                Some(pixels) => self.noised(pixels.clone(), &run, self.noise(seed, shape)),
                None => {
                    let [noise] = self.noise(seed, shape);
                    noise * run.init_noise_sigma()
                }
            };
            let all = texts.len() * steps;
            let mut on_step = |step, _: &Tensor<4>| progress(i * steps + step, all);
            let x = self.denoise(text, x, run, sampler.guidance, &mut on_step)?;
            Ok(Output::Image(self.model.vae.decode(x).clamp(-1.0, 1.0)))
        };
        texts.iter().enumerate().map(one).collect()
    }

    /// Normal numbers of a seed, so many of a shape.
    fn noise<const N: usize>(&self, seed: u64, shape: [usize; 4]) -> [Tensor<4>; N] {
        let n = shape.iter().product();
        let all = noise(seed, N * n);
        std::array::from_fn(|i| {
            let values = all[i * n..][..n].to_vec();
            Tensor::from_data(TensorData::new(values, shape), &self.device)
        })
    }

    /// What a run begins with of pictures `[1, 3, h, w]`: one noise chooses among the latents that they may be, the other
    /// is added to them.
    pub fn noised(
        &self,
        pixels: Tensor<4>,
        run: &Denoising,
        [choice, noise]: [Tensor<4>; 2],
    ) -> Tensor<4> {
        run.noised(self.model.vae.sample(pixels, choice), noise)
    }

    /// A picture as the autoencoder reads it, scaled to what latents of a shape stand for: `[1, 3, h, w]` from -1 to 1.
    pub fn pixels(&self, picture: &Picture, [_, _, h, w]: [usize; 4]) -> Tensor<4> {
        let factor = self.config.vae.factor();
        let [h, w] = [h * factor, w * factor];
        let scaled = picture.resize_by(Filter::Lanczos, w as u32, h as u32);
        let values = scaled.pixels.iter().map(|&level| f32::from(level) / 127.5 - 1.0);
        let pixels = TensorData::new(values.collect::<Vec<_>>(), [1, h, w, 3]);
        Tensor::<4>::from_data(pixels, &self.device).permute([0, 3, 1, 2])
    }

    /// Latents `[1, c, h, w]` of a text by a run, from those that it begins with; `on_step` sees how many steps are done,
    /// and the latents.
    ///
    /// # Errors
    /// The tokenizer fails at the text.
    pub fn denoise(
        &self,
        text: &str,
        latents: Tensor<4>,
        run: Denoising,
        guidance: f32,
        on_step: &mut dyn FnMut(usize, &Tensor<4>),
    ) -> Result<Tensor<4>> {
        let told = self.model.told(&self.ids(text)?, &self.ids("")?, guidance);
        Ok(self.model.denoise(&told, latents, run, on_step))
    }

    /// Ids of a text as the text tower reads it.
    ///
    /// # Errors
    /// The tokenizer fails at it, or gives an id that the tower has no row for.
    pub fn ids(&self, text: &str) -> Result<Texts> {
        self.words.ids(text)
    }

    /// The steps that a sampler asks for; of a picture that is drawn anew, the last, by its strength.
    ///
    /// # Errors
    /// More than there are times, steps of two looks, or a scheduler that is not built here; a strength that leaves none.
    pub fn run(&self, sampler: &Sampler, strength: Option<f64>) -> Result<Denoising> {
        if sampler.solver != Solver::Euler {
            let hint =
                "leave --solver out; --scheduler says by which steps a published model draws";
            return Err(asked("solver", "euler", "heun".to_owned(), hint));
        }
        let config = self.schedulers.config(sampler.scheduler)?;
        let most = config.most_steps();
        if !(1..=most).contains(&sampler.steps) {
            let expected = format!("1 to {most}, as the scheduler has times");
            return Err(asked("steps", &expected, sampler.steps.to_string(), "20 to 50 are usual"));
        }
        let run = Denoising::new(&config, sampler.steps);
        let Some(strength) = strength else { return Ok(run) };
        let left = (sampler.steps as f64 * strength) as usize;
        if left == 0 || strength > 1.0 {
            let expected = format!("1 / {} to 1, so that a step is taken", sampler.steps);
            let hint = "0.8 is usual; more steps allow for less";
            return Err(asked("strength", &expected, strength.to_string(), hint));
        }
        Ok(run.after(sampler.steps - left))
    }

    /// The shape of the latents of the picture that a sampler asks for; one that is drawn anew keeps its own size, but
    /// for what of it is no whole latent.
    fn latents(&self, sampler: &Sampler, redrawn: Option<Redrawn<'_>>) -> Result<[usize; 4]> {
        let factor = self.config.factor();
        let own = redrawn.map(|Redrawn { picture, .. }| {
            [picture.height, picture.width].map(|side| side as usize / factor * factor)
        });
        let size = sampler.size.or(own).unwrap_or_else(|| self.config.size());
        let [h, w] = sides(size, factor)?;
        let factor = self.config.vae.factor();
        Ok([1, self.config.vae.latent_channels(), h / factor, w / factor])
    }

    /// Lays out every matrix for running; convolutions stay as they are.
    pub fn pack(&mut self, format: pack::Format) {
        self.model.pack_as(format);
    }
}

/// Height and width of a picture, which are multiples of a factor.
pub(super) fn sides([h, w]: [usize; 2], factor: usize) -> Result<[usize; 2]> {
    let fits = |side: usize| side.is_multiple_of(factor) && (1..=MAX_SIDE).contains(&side);
    if fits(h) && fits(w) {
        return Ok([h, w]);
    }
    let expected = format!("multiples of {factor} up to {MAX_SIDE}");
    let hint = "models draw best at the size that they were trained with, which is the default";
    Err(asked("size", &expected, format!("{w}x{h}"), hint))
}

/// The error for what a sampler asks for.
pub(super) fn asked(what: &'static str, expected: &str, got: String, hint: &'static str) -> Error {
    Error::Sampler { what, expected: expected.to_owned(), got, hint }
}
