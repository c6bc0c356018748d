//! Models whose pictures become tokens of a language model's prompt: LLaVA 1.5, LLaVA-NeXT,
//! LLaVA-OneVision, Gemma 3, PaliGemma, InternVL, Janus, Idefics3, SmolVLM.
//!
//! ```text
//! config.json ──▶ LlavaConfig, layout ──▶ Plan ──compared with the tensors──▶ Llava
//! an encoder's directory, a language model's ──parts──▶ Llava, new, and its files
//! ```

mod anyres;
mod frames;
mod gemma;
mod internvl;
pub mod janus;
pub mod parts;
mod projector;
mod settings;

use std::path::PathBuf;

use sensorium_backbone::BackboneConfig;
use sensorium_encoder::EncoderConfig;
use sensorium_encoder::image::{Pooling, VitConfig};
use sensorium_input_projector::{Anyres, ProjectorConfig};
use sensorium_media::{ImageProcessor, Layout as Parts, Medium, Modality, Style};
use sensorium_nn::prelude::*;

use super::dinov2;
use super::language::{self, Place};
use super::spelling::{Spelling, Spellings};
use crate::config::Config;
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::names::{
    self, IDEFICS3, LLAVA, LLAVA_DINOV2, LLAVA_LEGACY, LLAVA_SAVED, LLAVA_TOWER, Layout,
};
use crate::plan::Plan;
use crate::{MediaProcessor, positions, vision};
pub use internvl::INTERNVL;
use sensorium_checkpoint::{Tensor as Stored, Tensors};
use sensorium_model::assistant::AssistantConfig;
use sensorium_model::llava::{Llava, LlavaConfig, Tower, TowerConfig};
use settings::config;

/// `model_type` of LLaVA.
pub const FAMILY: &str = "llava";

const FOREIGN: &str = "the file may be damaged, or of a model that is not supported";

/// The table of positions that is looked up by place.
const POSITIONS: &str = "model.vision_model.embeddings.position_embedding.weight";

/// A head that is the token table again.
const HEADS: &[&str] = &["lm_head.weight", "language_model.lm_head.weight"];

/// A loaded model and what makes its inputs.
#[derive(Debug)]
pub struct Spliced {
    /// The model.
    pub llava: Llava,
    /// Its shape.
    pub config: LlavaConfig,
    /// Pictures to pixels.
    pub processor: ImageProcessor,
    /// What makes the input of each tower behind that of pictures.
    pub processors: Vec<MediaProcessor>,
    /// The token whose places pictures take.
    pub marker: u32,
    /// Tokens in front of a picture's and behind them.
    pub frame: [String; 2],
    /// The tokens around a picture's, by their ids: the first stands in a text for the picture (Gemma 3).
    pub begin_and_end: Option<[u32; 2]>,
    /// Which tokens of a prompt see each other both ways.
    pub bidirectional: Bidirectional,
    /// What makes a picture's tokens of those of its tiles (LLaVA-NeXT, LLaVA-OneVision).
    pub anyres: Option<Anyres>,
    /// How a video stands in a prompt, where it is more than its frames as pictures.
    pub video: Option<VideoMarker>,
    /// What draws what it says (Janus).
    pub painter: Option<janus::Painter>,
    /// Whether prompts tell when a video's frames are shown (SmolVLM).
    pub timed: bool,
    /// Whether it was taught texts with several pictures among them (Idefics3, SmolVLM).
    pub interleaved: bool,
    /// The directory that it is of.
    pub path: PathBuf,
    /// Where it computes.
    pub device: Device,
    /// How its tensors are published.
    pub published: Published,
}

/// How a video stands in a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VideoMarker {
    /// As one medium, in the places of the token of this id (LLaVA-OneVision).
    Whole(u32),
    /// As pictures with their numbers, where a text has the token of this name (InternVL).
    Numbered(String),
}

/// Which tokens of a prompt see each other both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bidirectional {
    /// None: text and pictures are read from left to right.
    Never,
    /// Those that stand for one picture, its opening and closing token too.
    Framed,
    /// A picture's own, between those (Gemma 3).
    Slots,
    /// All of a prompt (PaliGemma).
    Prompt,
}

/// How a model's tensors are published.
#[derive(Clone, Debug)]
pub struct Published {
    pub(super) layout: Layout,
    /// Where those of its language model are.
    pub(super) place: Place,
    pub(super) config: LlavaConfig,
    /// DINOv2's encoder, whose files differ from the model in more than names.
    pub(super) dinov2: bool,
    /// The table of positions as it was read, where tiles look up only some of it.
    pub(super) table: Option<Stored>,
}

impl Published {
    /// The name that transformers has for our parameter `name`, however the files spell it.
    pub fn module(&self, name: &str) -> String {
        let projector = self.layout.to_hf("towers.0.projector.mlp.fc1.weight");
        let llava = projector.contains("multi_modal");
        let prefix = if llava { BODY } else { IDEFICS3_BODY };
        match name.strip_prefix("backbone.") {
            Some(name) => {
                let config = &self.config.backbone;
                Place::Body(prefix).outer(config, &language::published_name(config, name))
            }
            None if llava && !self.dinov2 => LLAVA.to_hf(name),
            None => self.layout.to_hf(name),
        }
    }

    /// The tensors of `llava`, which began as the model that was read, as they are published.
    ///
    /// # Errors
    /// Never in practice: a parameter's shape always fits its values.
    pub fn tensors(&self, llava: &Llava) -> Result<Tensors> {
        let mut tensors = names::save_part(&llava.towers[0], "towers.0", &self.layout)?;
        projector::publish(&mut tensors, &self.layout, &self.config.towers[0].projector)?;
        if let (true, Some(vit)) = (self.dinov2, vit(&self.config)) {
            dinov2::publish(&mut tensors, DINOV2_TOWER, vit)?;
        }
        let language = self.place.publish(&llava.backbone, &self.config.backbone)?;
        tensors.tensors.extend(language.tensors);
        if let Some(table) = table(&self.config.backbone) {
            let table = self.place.outer(&self.config.backbone, table);
            if let Some(table) = tensors.tensors.get(&table).cloned() {
                tensors.tensors.insert(HEADS[0].to_owned(), table);
            }
        }
        let trained = tensors.tensors.remove(POSITIONS);
        match (trained, self.table.clone()) {
            (Some(tile), Some(table)) => {
                tensors.tensors.insert(POSITIONS.to_owned(), replace(table, &tile)?);
            }
            (Some(tile), None) => drop(tensors.tensors.insert(POSITIONS.to_owned(), tile)),
            (None, _) => {}
        }
        Ok(tensors)
    }
}

/// The token table that is the head too, of models whose head transformers' LLaVA wants by itself: it
/// finds the table of a Llama's kind alone.
fn table(config: &BackboneConfig) -> Option<&'static str> {
    match config {
        BackboneConfig::Opt(opt) if opt.tied => Some("model.decoder.embed_tokens.weight"),
        BackboneConfig::Gpt2(gpt2) if gpt2.tied => Some("transformer.wte.weight"),
        _ => None,
    }
}

/// What the names of the decoder begin with where the head stands by itself.
const BODY: &str = "model.language_model.";
const IDEFICS3_BODY: &str = "model.text_model.";

/// What those of DINOv2's encoder begin with.
const DINOV2_TOWER: &str = "model.vision_tower.";

/// What stands in a prompt for a picture: `tokens` of the token `marker` for each of its parts, and what
/// tells where a tile is.
pub fn medium(marker: &str, layout: Parts, tokens: usize) -> Medium {
    const AROUND: &str = "<fake_token_around_image>";
    let markers = marker.repeat(tokens);
    let text = match layout {
        Parts::Tiles { rows, columns } => {
            let tile = |row, column| format!("{AROUND}<row_{row}_col_{column}>{markers}");
            let row =
                |row| (1..=columns).map(|column| tile(row, column)).collect::<String>() + "\n";
            let rows: String = (1..=rows).map(row).collect();
            let gap = if rows.is_empty() { "" } else { "\n" };
            format!("{rows}{gap}{AROUND}<global-img>{markers}{AROUND}")
        }
        Parts::Row { tiles } => markers.repeat(tiles as usize),
        _ => markers,
    };
    let token = marker.to_owned();
    Medium { modality: Modality::Image, marker: token.clone(), token, text, len: tokens }
}

/// What the weights in a directory must be.
///
/// # Errors
/// A setting is missing, out of range, or asks for what is not supported.
pub fn plan(directory: &Directory) -> Result<Plan> {
    let (family, config) = config(directory)?;
    plan_of(family, &config, directory)
}

/// The shape by the settings alone.
///
/// # Errors
/// As [`plan`].
pub fn shape(directory: &Directory) -> Result<LlavaConfig> {
    Ok(config(directory)?.1)
}

fn plan_of(family: &'static str, config: &LlavaConfig, directory: &Directory) -> Result<Plan> {
    let (layout, place) = layout(family, directory);
    let tower = params::shapes(|init| Tower::init(&config.towers[0], init)).into_iter();
    let tower = tower.map(|(name, shape)| (format!("towers.0.{name}"), shape)).collect();
    let mut plan = Plan::new(family, "language", layout, tower);
    projector::as_published(&mut plan.tensors, &layout, &config.towers[0].projector);
    gemma::as_published(&mut plan.tensors, &layout, &config.towers[0]);
    if family == internvl::INTERNVL {
        internvl::as_published(&mut plan.tensors, &layout, config);
    }
    if let (true, Some(vit)) = (is_dinov2(directory), vit(config)) {
        dinov2::as_published(&mut plan.tensors, DINOV2_TOWER, vit);
    }
    let names: Vec<String> = directory.shapes().map_or(Vec::new(), |all| all.into_keys().collect());
    let language = place.plan(&config.backbone, names.iter().map(String::as_str));
    if !language.copies.is_empty() {
        plan.copies = HEADS;
    }
    plan.tensors.extend(language.tensors);
    if family == janus::JANUS {
        janus::as_published(&mut plan, &directory.config(), config)?;
    }
    if anyres::is_cut(family) {
        anyres::plan(&mut plan, anyres::config(family, &directory.config(), config)?);
    }
    Ok(plan)
}

/// Whether the encoder is DINOv2's.
fn is_dinov2(directory: &Directory) -> bool {
    let kind = directory.settings().pointer("/vision_config/model_type");
    kind.is_some_and(|kind| kind == settings::DINOV2)
}

/// The shape of a model that is trained as an assistant, and how its tensors are called.
pub(super) fn spelt(directory: &Directory) -> Result<(AssistantConfig, Spellings)> {
    let (family, config) = config(directory)?;
    let anyres = match anyres::is_cut(family) {
        true => Some(anyres::config(family, &directory.config(), &config)?),
        false => None,
    };
    let tower = match family {
        gemma::GEMMA3 => names::GEMMA3[3],
        gemma::PALIGEMMA => names::PALIGEMMA[3],
        internvl::INTERNVL => names::INTERNVL[1],
        _ => LLAVA,
    };
    let spelling = |(tower, place)| Spelling { tower, part: "", place };
    let (files, memory) = (layout(family, directory), (tower, Place::Body(BODY)));
    let spellings = Spellings { files: spelling(files), memory: spelling(memory) };
    let LlavaConfig { towers, backbone, .. } = config;
    Ok((AssistantConfig { towers, patches: None, anyres, backbone }, spellings))
}

/// The projector's tensors as files have them.
pub(super) fn publish(
    tensors: &mut Tensors,
    layout: &Layout,
    towers: &[TowerConfig],
) -> Result<()> {
    towers.iter().try_for_each(|tower| gemma::publish(tensors, layout, tower))
}

/// The model in a directory.
///
/// # Errors
/// As [`plan`]; the weights are missing, damaged, or not those of the configuration.
pub fn open(directory: &Directory, device: &Device) -> Result<Spliced> {
    trainable(directory, &mut Init::empty(device))
}

/// The model in a directory, to be trained, with layers as `init` makes them.
///
/// # Errors
/// As [`open`].
pub fn trainable(directory: &Directory, init: &mut Init) -> Result<Spliced> {
    let (family, mut config) = config(directory)?;
    let processor = processor(directory, family, &config)?;
    let plan = plan_of(family, &config, directory)?;
    let strays = plan.check(directory)?;
    let mut tensors =
        directory.tensors_but(|name| plan.is_ignorable(name) || strays.contains(name))?;
    let tile = processor.size().filter(|_| is_tiled(family));
    let table = tile.and_then(|_| tensors.tensors.get(POSITIONS).cloned());
    if let (Some([side, _]), Some(vit)) = (tile, vit_mut(&mut config)) {
        let table = vit.grid();
        vit.image = side as usize;
        let (grid, width) = (vit.grid(), vit.hidden_size);
        check_shuffle(&config)?;
        place(&mut tensors, table, grid, width)?;
    }
    let (layout, place) = (plan.layout, layout(family, directory).1);
    let top = directory.config();
    let anyres = match anyres::is_cut(family) {
        true => {
            let config = anyres::config(family, &top, &config)?;
            Some(anyres::take(&config, &mut tensors, &layout, init)?)
        }
        false => None,
    };
    let language = place.take(&config.backbone, &mut tensors);
    let backbone = language::fill(&config.backbone, language, init)?;
    projector::prepare(&mut tensors, &layout, &config.towers[0].projector)?;
    gemma::prepare(&mut tensors, &layout, &config.towers[0])?;
    if family == internvl::INTERNVL {
        internvl::prepare(&mut tensors, &layout, &config)?;
    }
    let painter = match family {
        janus::JANUS => Some(janus::take(directory, &config, &processor, &mut tensors, init)?),
        _ => None,
    };
    let dinov2 = is_dinov2(directory);
    if let (true, Some(vit)) = (dinov2, vit(&config)) {
        dinov2::prepare(&mut tensors, DINOV2_TOWER, vit, vit.grid())?;
    }
    let tower = Tower::init(&config.towers[0], init);
    let tower = names::take_part(tower, "towers.0", tensors, &layout)?;
    let llava = Llava::of(vec![tower], backbone);
    let marker = marker(family, &top)?;
    let ([before, after], video) = match family {
        settings::ONEVISION => {
            let id = top.id_or("video_token_index", top.id_or("video_token_id", 151_647)?)?;
            ([String::new(), String::new()], Some(VideoMarker::Whole(id)))
        }
        internvl::INTERNVL => {
            let (frame, video) = internvl::frame(directory)?;
            (frame, Some(VideoMarker::Numbered(video)))
        }
        janus::JANUS => (janus::frame(directory)?, None),
        _ => ([String::new(), String::new()], None),
    };
    let (path, device) = (directory.path().to_owned(), init.device().clone());
    let begin_and_end = if family == gemma::GEMMA3 { Some(gemma::frame(&top)?) } else { None };
    let bidirectional = match family {
        gemma::GEMMA3 => Bidirectional::Slots,
        gemma::PALIGEMMA => Bidirectional::Prompt,
        _ => Bidirectional::Never,
    };
    let (timed, interleaved) = (family == "smolvlm", !matches!(family, "llava" | settings::NEXT));
    let published = Published { layout, place, config: config.clone(), dinov2, table };
    Ok(Spliced {
        llava,
        config,
        processor,
        processors: Vec::new(),
        marker,
        frame: [before, after],
        begin_and_end,
        bidirectional,
        anyres,
        video,
        painter,
        timed,
        interleaved,
        path,
        device,
        published,
    })
}

/// Whether pictures are cut into tiles that look up their places in a table (Idefics3, SmolVLM).
fn is_tiled(family: &str) -> bool {
    matches!(family, "idefics3" | "smolvlm")
}

/// What makes pixels of pictures.
fn processor(directory: &Directory, family: &str, config: &LlavaConfig) -> Result<ImageProcessor> {
    let seen = vit(config).map(|vit| (vit.pooling, vit.image));
    let (pooling, image) = seen.unwrap_or((Pooling::Mean, 0));
    match family {
        _ if is_tiled(family) => vision::processor(directory, Style::Idefics3),
        _ if anyres::is_cut(family) => anyres::processor(directory, family, image),
        _ if gemma::is_gemma(family) => gemma::processor(directory, family, image),
        internvl::INTERNVL => internvl::processor(directory, image),
        janus::JANUS => janus::processor(directory, image),
        _ => {
            let style = if pooling == Pooling::Class { Style::Clip } else { Style::Siglip };
            vision::square(directory, style, image)
        }
    }
}

/// The token whose places pictures take. Newer files of LLaVA have either name.
fn marker(family: &str, top: &Config<'_>) -> Result<u32> {
    let (key, default) = match family {
        settings::ONEVISION => ("image_token_index", 151_646),
        gemma::GEMMA3 => ("image_token_index", 262_144),
        gemma::PALIGEMMA => ("image_token_index", 256_000),
        internvl::INTERNVL => ("image_token_id", 151_667),
        janus::JANUS => ("image_token_id", 100_581),
        _ if is_tiled(family) => ("image_token_id", 128_257),
        _ => ("image_token_index", 32_000),
    };
    top.id_or(key, top.id_or("image_token_id", default)?)
}

/// Of what is published in several ways, the one that the files have.
fn layout(family: &str, directory: &Directory) -> (Layout, Place) {
    if is_tiled(family) {
        return (IDEFICS3, Place::Body(IDEFICS3_BODY));
    }
    if family == janus::JANUS {
        return (names::JANUS, Place::Body(BODY));
    }
    if is_dinov2(directory) {
        return (LLAVA_DINOV2, Place::Body(BODY));
    }
    let names = directory.shapes().unwrap_or_default();
    let any = |prefix: &str| names.keys().any(|name| name.starts_with(prefix));
    const WHOLE: Place = Place::Whole("language_model.");
    let [old, saved, tower, new] = match family {
        gemma::GEMMA3 => names::GEMMA3,
        gemma::PALIGEMMA => names::PALIGEMMA,
        internvl::INTERNVL => {
            let [saved, new] = names::INTERNVL;
            [saved, saved, new, new]
        }
        _ => [LLAVA_LEGACY, LLAVA_SAVED, LLAVA_TOWER, LLAVA],
    };
    // Without weights, that of nearly all files on the hub.
    match (any("model."), any("vision_tower.embeddings."), any("model.vision_tower.vision_model."))
    {
        (false, true, _) => (saved, WHOLE),
        (false, false, _) => (old, WHOLE),
        (true, _, true) => (tower, Place::Body(BODY)),
        (true, _, false) => (new, Place::Body(BODY)),
    }
}

/// The encoder of a published model, which is a Vision Transformer.
fn vit(config: &LlavaConfig) -> Option<&VitConfig> {
    match &config.towers.first()?.encoder {
        EncoderConfig::Vit { vit, .. } => Some(vit),
        _ => None,
    }
}

fn vit_mut(config: &mut LlavaConfig) -> Option<&mut VitConfig> {
    match &mut config.towers.first_mut()?.encoder {
        EncoderConfig::Vit { vit, .. } => Some(vit),
        _ => None,
    }
}

/// That a tile's positions can be made fewer.
fn check_shuffle(config: &LlavaConfig) -> Result<()> {
    let ProjectorConfig::Linear { shuffle, .. } = config.towers[0].projector else { return Ok(()) };
    let Some(vit) = vit(config) else { return Ok(()) };
    let grid = vit.grid();
    let patch = vit.stem.first().map_or(1, |conv| conv.kernel);
    if vit.image >= patch && grid.is_multiple_of(shuffle) && grid <= MAX_GRID {
        return Ok(());
    }
    Err(Error::Setting {
        file: "preprocessor_config.json".into(),
        key: "max_image_size.longest_edge".into(),
        expected: format!(
            "tiles of at most {MAX_GRID} patches of {patch} pixels an edge, a multiple of \
             scale_factor {shuffle}"
        ),
        got: vit.image.to_string(),
        hint: "the files may be of different models",
    })
}

/// Patches along an edge: attention over more than the square of it costs gigabytes.
const MAX_GRID: usize = 128;

/// The table of positions of `from`² places as the patches of a tile of `to`² look it up.
fn place(tensors: &mut Tensors, from: usize, to: usize, e: usize) -> Result<()> {
    // It is there: the plan has been checked.
    let Some(table) = tensors.tensors.remove(POSITIONS) else { return Ok(()) };
    let rows = looked_up(from, to);
    let values = rows.into_iter().flat_map(|row| &table.data()[row * e..][..e]).copied().collect();
    tensors.tensors.insert(POSITIONS.to_owned(), Stored::new(vec![to * to, e], values)?);
    Ok(())
}

/// The row of a table of `from`² places for each patch of a tile of `to`².
fn looked_up(from: usize, to: usize) -> Vec<usize> {
    let places = positions::buckets(from, to);
    places.iter().flat_map(|&y| places.iter().map(move |&x| y * from + x)).collect()
}

/// The table with the rows that a tile's patches look up as they are in `tile`; of a row that several
/// look up, their mean. The rows that none does stay.
fn replace(table: Stored, tile: &Stored) -> Result<Stored> {
    let &[rows, e] = table.shape() else { return Ok(table) };
    let patches = tile.shape().first().copied().unwrap_or_default();
    let mut found = vec![0_u32; rows];
    let (shape, mut values) = table.into_parts();
    for (row, new) in
        looked_up(rows.isqrt(), patches.isqrt()).into_iter().zip(tile.data().chunks(e))
    {
        found[row] += 1;
        let values = &mut values[row * e..][..e];
        match found[row] {
            1 => values.copy_from_slice(new),
            n => values.iter_mut().zip(new).for_each(|(v, new)| *v += (new - *v) / n as f32),
        }
    }
    Ok(Stored::new(shape, values)?)
}
