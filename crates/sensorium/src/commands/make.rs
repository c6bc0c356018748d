//! `draw`, `animate` and `sound`: media of what a text says.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use clap::Args;
use sensorium_inference::{Model, Sampler, SamplerOptions, Scheduler, Solver, TextToMedia};
use sensorium_media::write::{self, terminal};
use sensorium_media::{Media, Modality, Picture};
use sensorium_train::progress::Progress;
use serde::Serialize;

use crate::commands::Global;
use crate::commands::precision::Packing;
use crate::{open, print};

/// Draw a picture of what a text says.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  sensorium draw \"a red circle left of a blue star\" --out answer.png\n  sensorium draw \"a lighthouse at dusk\" --model stable-diffusion-v1-5 --steps 25 --out lighthouse.png\n  sensorium draw \"in winter\" --image house.png --strength 0.6 --model stable-diffusion-v1-5 --out winter.png"
)]
pub struct Draw {
    #[command(flatten)]
    making: Making,
    #[command(flatten)]
    diffusion: Diffusion,
    #[command(flatten)]
    redrawing: Redrawing,
}

/// Make a short clip of what a text says.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  sensorium animate \"a red circle moves to the right\" --out clip.gif"
)]
pub struct Animate {
    #[command(flatten)]
    making: Making,
}

/// Make a sound of what a text says.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  sensorium sound \"a low bell, twice\" --out bell.wav")]
pub struct SoundCommand {
    #[command(flatten)]
    making: Making,
}

impl SoundCommand {
    pub fn run(&self, global: &Global) -> Result<()> {
        self.making.run(Modality::Audio, Diffusion::default(), None, global)
    }
}

impl Draw {
    pub fn run(&self, global: &Global) -> Result<()> {
        self.making.run(Modality::Image, self.diffusion, self.redrawing.read()?, global)
    }
}

impl Animate {
    pub fn run(&self, global: &Global) -> Result<()> {
        self.making.run(Modality::Video, Diffusion::default(), None, global)
    }
}

/// What is made, and how.
#[derive(Args, Debug)]
struct Making {
    /// What it is to show.
    #[arg(value_name = "TEXT")]
    prompt: String,
    /// The file that is written; its ending says the kind. Without one, a picture is shown in the terminal.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    sampling: MediaSampling,
    #[command(flatten)]
    gallery: Gallery,
    #[command(flatten)]
    packing: Packing,
    /// Print JSON: the file, the seed, and how well it fits the text.
    #[arg(long)]
    json: bool,
}

/// How a medium is made of noise.
#[derive(Args, Debug)]
pub struct MediaSampling {
    /// Steps from noise to the medium: more are slower and truer [default: 24; of Stable Diffusion, 50; of
    /// consistency models, 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    steps: Option<u16>,
    /// How much further to go than the text says: 1 goes as far; more follows it more closely and varies less
    /// [default: 2; of Stable Diffusion, 7.5]
    #[arg(long, value_name = "X", value_parser = guidance)]
    guidance: Option<f32>,
    /// How a step is taken: euler, or heun, which does twice the work.
    #[arg(long, value_name = "NAME", default_value = "euler", value_parser = solver)]
    solver: Solver,
    /// Make so many, and keep the one that fits the text best.
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    best_of: u16,
}

/// What only published diffusion models can be told.
#[derive(Args, Clone, Copy, Debug, Default)]
struct Diffusion {
    /// By which steps Stable Diffusion goes in place of its own: euler, ddim or pndm.
    #[arg(long, value_name = "NAME", value_parser = scheduler)]
    scheduler: Option<Scheduler>,
    /// Width and height of a picture of Stable Diffusion in place of its own, such as 512x768.
    #[arg(long, value_name = "WxH", value_parser = size)]
    size: Option<Size>,
}

impl Diffusion {
    /// The same way to make a medium, with what is told here.
    fn told(self, sampler: Sampler) -> Sampler {
        let size = self.size.map(|Size(size)| size);
        Sampler { scheduler: self.scheduler, size, ..sampler }
    }
}

/// A picture that is drawn anew.
#[derive(Args, Debug)]
struct Redrawing {
    /// A picture that Stable Diffusion draws anew, as the text says.
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// How much of that picture may become another: above 0, up to 1 [default: 0.8]
    #[arg(long, value_name = "X", requires = "image", value_parser = strength)]
    strength: Option<f64>,
}

/// What is usual for it.
const STRENGTH: f64 = 0.8;

impl Redrawing {
    /// The picture and its strength, if there is one.
    fn read(&self) -> Result<Option<(Picture, f64)>> {
        let Some(path) = &self.image else { return Ok(None) };
        match open::media(std::slice::from_ref(path), &open::decoder())?.pop() {
            Some(Media::Image(picture)) => Ok(Some((picture, self.strength.unwrap_or(STRENGTH)))),
            _ => Err(anyhow!(
                "expected a picture to draw anew, got {}\nhint: PNG, JPEG, WebP or BMP",
                path.display()
            )),
        }
    }
}

/// Height and width.
#[derive(Clone, Copy, Debug)]
struct Size([usize; 2]);

/// Where a medium may be found instead of being made.
#[derive(Args, Debug)]
pub struct Gallery {
    /// A folder of pictures: the one in it that fits the text better than what is drawn is the answer instead.
    #[arg(long, value_name = "DIR")]
    gallery: Option<PathBuf>,
}

fn guidance(text: &str) -> Result<f32, String> {
    let fits = |x: &f32| (0.0..=100.0).contains(x);
    let wrong = || format!("expected a number from 0 to 100, got {text:?}");
    text.parse().ok().filter(fits).ok_or_else(wrong)
}

fn strength(text: &str) -> Result<f64, String> {
    let wrong = || format!("expected a number above 0, up to 1, got {text:?}");
    text.parse().ok().filter(|&x: &f64| x > 0.0 && x <= 1.0).ok_or_else(wrong)
}

fn solver(text: &str) -> Result<Solver, String> {
    match text {
        "euler" => Ok(Solver::Euler),
        "heun" => Ok(Solver::Heun),
        _ => Err(format!("expected euler or heun, got {text:?}")),
    }
}

fn scheduler(text: &str) -> Result<Scheduler, String> {
    let known = Scheduler::ALL.into_iter().find(|scheduler| scheduler.name() == text);
    known.ok_or_else(|| format!("expected euler, ddim or pndm, got {text:?}"))
}

fn size(text: &str) -> Result<Size, String> {
    let sides = text.split_once('x').and_then(|(w, h)| Some([h.parse().ok()?, w.parse().ok()?]));
    sides.map(Size).ok_or_else(|| format!("expected a size such as 512x768, got {text:?}"))
}

/// What was made.
#[derive(Clone, Debug)]
pub struct Made {
    /// The medium.
    pub medium: Media,
    /// The seed that makes it again.
    pub seed: u64,
    /// How it was made.
    pub sampler: Sampler,
    /// Cosine to the text, where several were compared.
    pub similarity: Option<f32>,
    /// The file that it was found in, if it was not made.
    pub retrieved: Option<PathBuf>,
}

impl MediaSampling {
    /// From noise of this seed.
    pub fn sampler(&self, seed: u64) -> SamplerOptions {
        let Self { steps, guidance, solver, .. } = *self;
        let steps = steps.map(usize::from);
        SamplerOptions { seed, steps, guidance, solver, ..SamplerOptions::default() }
    }

    /// How many are made.
    pub fn best_of(&self) -> usize {
        self.best_of.into()
    }

    /// Of as many media as `make` is to make, the one that fits the prompt best, or what fits better in the gallery.
    ///
    /// # Errors
    /// The model does not make such media, or cannot compare; the gallery holds no pictures.
    pub fn best(
        &self,
        model: &Model,
        (prompt, gallery): (&str, &Gallery),
        seed: u64,
        make: impl FnOnce(&dyn TextToMedia, usize, Sampler) -> Result<Vec<Media>>,
    ) -> Result<Made> {
        let maker = model.media()?;
        if self.best_of() > 1 || gallery.gallery.is_some() {
            // Not after the work of making several.
            model.score()?;
        }
        let sampler = self.sampler(seed).or(maker.usual());
        let media = make(maker, self.best_of(), sampler)?;
        let fits = |media: &[Media]| -> Result<Vec<f32>> {
            Ok(model.score()?.similarities(media, prompt)?)
        };
        let compared = media.len() > 1 || gallery.gallery.is_some();
        let similarities = match compared {
            true => fits(&media)?.into_iter().map(Some).collect(),
            false => vec![None; media.len()],
        };
        let made = media.into_iter().zip(similarities).enumerate();
        let made = made.map(|(i, (medium, similarity))| Made {
            medium,
            seed: seed.wrapping_add(i as u64),
            sampler,
            similarity,
            retrieved: None,
        });
        let best = made.max_by(better).ok_or_else(|| anyhow!("nothing was made"))?;
        let found = match &gallery.gallery {
            Some(folder) if best.medium.modality() == Modality::Image => found(folder, fits)?,
            _ => None,
        };
        Ok(match found {
            Some(found) if better(&found, &best).is_gt() => found,
            _ => best,
        })
    }

    /// What is written beside a medium: what it is, and how to make it again.
    pub fn notes(&self, model: &str, prompt: &str, made: &Made) -> Vec<(&'static str, String)> {
        let Sampler { steps, guidance, .. } = made.sampler;
        let how = match &made.retrieved {
            Some(path) => format!("found in {}", path.display()),
            None => format!(
                "synthetic: made by a model; seed {}, {steps} steps, guidance {guidance}",
                made.seed
            ),
        };
        vec![
            ("Software", format!("sensorium {}, model {model}", env!("CARGO_PKG_VERSION"))),
            ("Description", prompt.to_owned()),
            ("Comment", how),
        ]
    }
}

/// Which of two fits better.
fn better(a: &Made, b: &Made) -> std::cmp::Ordering {
    let of = |made: &Made| made.similarity.unwrap_or(f32::MIN);
    of(a).total_cmp(&of(b))
}

/// The picture in a folder that fits best, if there is one.
fn found(folder: &Path, fits: impl Fn(&[Media]) -> Result<Vec<f32>>) -> Result<Option<Made>> {
    let entries = std::fs::read_dir(folder).with_context(|| {
        format!("expected a folder of pictures, got {}\nhint: --gallery DIR", folder.display())
    })?;
    let mut paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    let known = ["png", "jpg", "jpeg", "gif", "webp", "bmp"];
    paths.retain(|path| {
        let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        known.contains(&ending.as_str())
    });
    paths.sort();
    let media = open::media(&paths, &open::decoder())?;
    if media.is_empty() {
        return Err(anyhow!(
            "expected pictures in {}, got none\nhint: PNG, JPEG, GIF, WebP or BMP",
            folder.display()
        ));
    }
    let fits = fits(&media)?;
    let all = media.into_iter().zip(fits).zip(paths).map(|((medium, fit), path)| Made {
        medium,
        seed: 0,
        sampler: Sampler::default(),
        similarity: Some(fit),
        retrieved: Some(path),
    });
    Ok(all.max_by(better))
}

#[derive(Serialize)]
struct Output<'a> {
    file: Option<&'a Path>,
    seed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    similarity: Option<f32>,
    /// The file that it was found in, if it was not made.
    #[serde(skip_serializing_if = "Option::is_none")]
    retrieved: Option<PathBuf>,
}

impl Making {
    fn run(
        &self,
        modality: Modality,
        diffusion: Diffusion,
        redrawn: Option<(Picture, f64)>,
        global: &Global,
    ) -> Result<()> {
        if self.prompt.trim().is_empty() {
            return Err(anyhow!(
                "expected words that say what is to be made, got none\nhint: sensorium draw \"a red circle\""
            ));
        }
        self.checked(modality)?;
        let (model, _) = open::open(global, self.packing.precision)?;
        let told = (&*self.prompt, &self.gallery);
        let progress = Progress::items("draw");
        let made = self.sampling.best(&model, told, global.seed(), |maker, count, sampler| {
            let (texts, sampler) = (vec![self.prompt.clone(); count], diffusion.told(sampler));
            let mut shown = |done, all| progress.set(done, all);
            Ok(match &redrawn {
                Some((picture, strength)) => {
                    maker.redraw(picture, *strength, &texts, sampler, &mut shown)?
                }
                None => maker.generate(modality, &texts, sampler, &mut shown)?,
            })
        });
        progress.finish();
        let made = made?;
        let notes = self.sampling.notes(&global.model, &self.prompt, &made);
        keep(&made, self.out.as_deref(), &notes)?;
        let Made { seed, similarity, retrieved, .. } = made;
        if self.json {
            let file = self.out.as_deref();
            return print::json(&Output { file, seed, similarity, retrieved });
        }
        if let Some(path) = retrieved {
            eprintln!("note: not drawn, but found: {} fits the text better", path.display());
        }
        match &self.out {
            Some(path) => print::line(path.display()),
            None => Ok(()),
        }
    }

    /// Refuses what could not be kept before anything is made.
    fn checked(&self, modality: Modality) -> Result<()> {
        match &self.out {
            Some(path) => Ok(write::check(path, modality).map(|_| ())?),
            None if modality == Modality::Image
                && std::io::stdout().is_terminal()
                && !self.json =>
            {
                Ok(())
            }
            None => Err(anyhow!(
                "expected a file to write to, got none\nhint: pass --out FILE; a picture alone is shown, in a terminal"
            )),
        }
    }
}

/// Writes what was made to its file; without one, shows it in the terminal.
pub fn keep(made: &Made, out: Option<&Path>, notes: write::Notes<'_>) -> Result<()> {
    match out {
        Some(path) => Ok(write::write(&made.medium, path, notes)?),
        None if std::io::stdout().is_terminal() => {
            made.medium.pictures().take(1).try_for_each(show)
        }
        None => Err(anyhow!("expected a file to write to, got none\nhint: pass --out FILE")),
    }
}

/// That a medium of some kind can be written to a path.
pub fn writable(path: &Path) -> Result<()> {
    let kinds = [Modality::Image, Modality::Video, Modality::Audio, Modality::Table];
    let known = |modality: &Modality| {
        !matches!(write::check(path, *modality), Err(sensorium_media::Error::Extension { .. }))
    };
    let modality = kinds.into_iter().find(known).unwrap_or(Modality::Image);
    Ok(write::check(path, modality).map(|_| ())?)
}

/// Columns of a terminal that a picture takes.
const COLUMNS: u32 = 40;

/// Shows a picture in the terminal.
pub fn show(picture: &sensorium_media::Picture) -> Result<()> {
    let protocol = terminal::Protocol::detect(|name| std::env::var(name).ok());
    print::line(terminal::terminal(picture, protocol, COLUMNS))
}
