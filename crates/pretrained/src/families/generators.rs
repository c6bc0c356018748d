//! What a model that was trained here makes media with: `vae`, and for each kind of media a generator and what
//! tells it texts, as `image_generator` and `image_text`.

use sensorium_flow::{Condition, Conditions, Generate, Modality, Output, Sampler};
use sensorium_generator::{Generator, Vae};
use sensorium_model::gill::SignalConfig;
use sensorium_model::latent_diffusion::{LatentDiffusion, LatentDiffusionConfig, Thoughts};
use sensorium_model::weights::under;
use sensorium_nn::prelude::*;
use sensorium_output_projector::OutputProjector;

use super::sensorium::{SensoriumConfig, fit};
use crate::Words;
use crate::directory::Directory;
use crate::error::Result;

/// The components of a generator: what tells it texts, and itself.
pub fn components(modality: Modality) -> [&'static str; 2] {
    match modality {
        Modality::Audio => ["audio_text", "audio_generator"],
        Modality::Video => ["video_text", "video_generator"],
        Modality::Image | Modality::Text | Modality::Table => ["image_text", "image_generator"],
    }
}

/// What makes what a generator is told of what the language model thought at its signal tokens.
pub fn mapper(modality: Modality) -> &'static str {
    match modality {
        Modality::Audio => "audio_mapper",
        Modality::Video => "video_mapper",
        Modality::Image | Modality::Text | Modality::Table => "image_mapper",
    }
}

/// Names and shapes of all of it.
pub(super) fn parameters(config: &SensoriumConfig) -> Vec<(String, Vec<usize>)> {
    let vae = config.vae.iter().flat_map(|vae| under("vae", vae.parameters()));
    let generators = config.generators.iter().flat_map(|one| {
        let [text, generator] = components(one.modality());
        let mut all = under(text, one.text.parameters());
        all.extend(under(generator, one.generator.parameters()));
        all
    });
    let signals = config.signals.iter();
    let mappers = signals.flat_map(|one| under(mapper(one.modality), one.mapper.parameters()));
    vae.chain(generators).chain(mappers).collect()
}

/// The generators of a model.
#[derive(Debug)]
pub struct Generators {
    makers: Vec<Maker>,
    words: Words,
    device: Device,
}

/// What makes one kind of media.
#[derive(Debug)]
struct Maker {
    text: OutputProjector,
    generator: Generator,
}

impl Generators {
    /// Those of the model in a directory, whose text tower has made `words`.
    ///
    /// # Errors
    /// A file is missing or damaged.
    pub fn open(
        directory: &Directory,
        config: &SensoriumConfig,
        words: &Words,
        device: &Device,
    ) -> Result<Self> {
        let vae = vae(directory, config, device)?;
        let maker = |one: &LatentDiffusionConfig| -> Result<Maker> {
            let LatentDiffusion { text, generator } = generator(directory, one, device)?;
            let vae = vae.clone().filter(|_| one.generator.decodes());
            Ok(Maker { text, generator: Generator::new(one.modality(), generator, vae) })
        };
        let makers = config.generators.iter().map(maker).collect::<Result<_>>()?;
        Ok(Self { makers, words: words.clone(), device: device.clone() })
    }

    /// What they make.
    pub fn modalities(&self) -> Vec<Modality> {
        self.makers.iter().map(|maker| maker.generator.modality()).collect()
    }

    fn maker(&self, modality: Modality) -> Option<&Maker> {
        self.makers.iter().find(|one| one.generator.modality() == modality)
    }

    /// A medium of this kind for each text; nothing where there is no such generator.
    ///
    /// # Errors
    /// The tokenizer fails at a text.
    pub fn generate(
        &self,
        modality: Modality,
        texts: &[String],
        sampler: Sampler,
    ) -> Result<Option<Output>> {
        let Some(maker) = self.maker(modality) else { return Ok(None) };
        let Words { tower, input } = &self.words;
        let ids = texts.iter().map(|text| input.ids(text)).collect::<Result<Vec<_>>>()?;
        let Thoughts { hidden, lengths } = Thoughts::of(tower, &input.pad(&ids));
        let conditions = maker.text.condition(hidden, Some(&lengths));
        Ok(Some(maker.generator.generate(conditions, sampler)))
    }

    /// Media of this kind for conditions `[B, Q, C]`; nothing where there is no such generator.
    pub fn told(
        &self,
        modality: Modality,
        conditions: TensorData,
        sampler: Sampler,
    ) -> Option<Output> {
        let maker = self.maker(modality)?;
        let conditions = Conditions(Tensor::from_data(conditions, &self.device));
        Some(maker.generator.generate(conditions, sampler))
    }

    /// Lays out every matrix for running.
    pub fn pack(&mut self, format: pack::Format) {
        for Maker { text, generator } in &mut self.makers {
            text.pack_as(format);
            generator.pack_as(format);
        }
    }
}

/// How the language model in a directory asks for media, and what makes conditions of what it then thinks.
///
/// # Errors
/// A file is missing or damaged.
pub(super) fn signals(
    directory: &Directory,
    config: &SensoriumConfig,
    device: &Device,
) -> Result<Vec<(SignalConfig, OutputProjector)>> {
    let open = |one: &SignalConfig| -> Result<_> {
        let mapper = OutputProjector::init(&one.mapper, &mut Init::empty(device));
        Ok((one.clone(), fit(mapper, directory, self::mapper(one.modality))?))
    };
    let known = config.signals.iter().filter(|one| !one.signals.is_empty());
    known.map(open).collect()
}

/// What makes pictures of latents, where the model has it.
///
/// # Errors
/// A file is missing or damaged.
pub fn vae(
    directory: &Directory,
    config: &SensoriumConfig,
    device: &Device,
) -> Result<Option<Vae>> {
    let vae = config.vae.as_ref().map(|vae| Vae::init(vae, &mut Init::empty(device)));
    vae.map(|vae| fit(vae, directory, "vae")).transpose()
}

/// One of a model's generators.
///
/// # Errors
/// A file is missing or damaged.
pub fn generator(
    directory: &Directory,
    config: &LatentDiffusionConfig,
    device: &Device,
) -> Result<LatentDiffusion> {
    let model = LatentDiffusion::init(config, &mut Init::empty(device));
    let [text, generator] = components(config.modality());
    Ok(LatentDiffusion {
        text: fit(model.text, directory, text)?,
        generator: fit(model.generator, directory, generator)?,
    })
}
