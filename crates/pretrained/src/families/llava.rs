//! Models whose pictures become tokens of a Llama's prompt: LLaVA 1.5, Idefics3, SmolVLM.
//!
//! ```text
//! config.json ──▶ LlavaConfig, layout ──▶ Plan ──compared with the tensors──▶ Llava
//! ```

use std::path::PathBuf;
use std::sync::LazyLock;

use sensorium_backbone::{BackboneConfig, LlamaConfig};
use sensorium_encoder::EncoderConfig;
use sensorium_encoder::image::{FeatureSelect, Pooling, VitConfig};
use sensorium_input_projector::ProjectorConfig;
use sensorium_media::{ImageProcessor, Layout as Parts, Medium, Modality, Style};
use sensorium_nn::prelude::*;
use serde_json::{Value, json};

use super::{clip, language, siglip};
use crate::config::Config;
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::names::{self, IDEFICS3, LLAVA, LLAVA_LEGACY, LLAVA_SAVED, LLAVA_TOWER, Layout};
use crate::plan::Plan;
use crate::{positions, vision};
use sensorium_checkpoint::{Tensor as Stored, Tensors};
use sensorium_model::llava::{Llava, LlavaConfig, TowerConfig};

/// `model_type` of the encoders that LLaVA is built with.
const CLIP: &str = "clip_vision_model";
const SIGLIP: &str = "siglip_vision_model";

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
    /// The token whose places pictures take.
    pub marker: u32,
    /// Tokens in front of a picture's and behind them.
    pub frame: [String; 2],
    /// Whether prompts tell when a video's frames are shown (SmolVLM).
    pub timed: bool,
    /// The directory that it is of.
    pub path: PathBuf,
    /// Where it computes.
    pub device: Device,
    /// How its tensors are published.
    pub published: Published,
}

/// How a model's tensors are published.
#[derive(Clone, Debug)]
pub struct Published {
    pub(super) layout: Layout,
    /// The table of positions as it was read, where tiles look up only some of it.
    pub(super) table: Option<Stored>,
}

impl Published {
    /// The name that transformers has for our parameter `name`, however the files spell it.
    pub fn module(&self, name: &str) -> String {
        let projector = self.layout.to_hf("towers.0.projector.mlp.fc1.weight");
        let layout = if projector.contains("multi_modal") { &LLAVA } else { &self.layout };
        layout.to_hf(name)
    }

    /// The tensors of `llava`, which began as the model that was read, as they are published.
    ///
    /// # Errors
    /// Never in practice: a parameter's shape always fits its values.
    pub fn tensors(&self, llava: &Llava) -> Result<Tensors> {
        let mut tensors = names::save(llava, &self.layout)?;
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
        _ => markers,
    };
    Medium { modality: Modality::Image, marker: marker.to_owned(), text, len: tokens }
}

/// What the weights in a directory must be.
///
/// # Errors
/// A setting is missing, out of range, or asks for what is not supported.
pub fn plan(directory: &Directory) -> Result<Plan> {
    let (family, config) = config(directory)?;
    Ok(plan_of(family, &config, directory))
}

fn plan_of(family: &'static str, config: &LlavaConfig, directory: &Directory) -> Plan {
    let layout = layout(family, directory);
    let mut plan = Plan::new(family, "language", layout, config.parameters());
    if let BackboneConfig::Llama(LlamaConfig { tied: true, .. }) = config.backbone {
        plan.copies = HEADS;
    }
    plan
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
    let processor = match family {
        "llava" => {
            let VitConfig { image, pooling, .. } = *vit(&mut config);
            let style = if pooling == Pooling::Class { Style::Clip } else { Style::Siglip };
            vision::square(directory, style, image)?
        }
        _ => vision::processor(directory, Style::Idefics3)?,
    };
    let plan = plan_of(family, &config, directory);
    let strays = plan.check(directory)?;
    let mut tensors =
        directory.tensors_but(|name| plan.is_ignorable(name) || strays.contains(name))?;
    let tile = processor.size().filter(|_| family != "llava");
    let table = tile.and_then(|_| tensors.tensors.get(POSITIONS).cloned());
    let published = Published { layout: plan.layout, table };
    if let Some([side, _]) = tile {
        let vit = vit(&mut config);
        let table = vit.grid();
        vit.image = side as usize;
        let (grid, width) = (vit.grid(), vit.hidden_size);
        check_shuffle(&mut config)?;
        place(&mut tensors, table, grid, width)?;
    }
    let llava = Llava::init(&config, init);
    let llava = names::take(llava, tensors, &plan.layout)?;
    let top = directory.config();
    let key = if family == "llava" { "image_token_index" } else { "image_token_id" };
    let default = if family == "llava" { 32_000 } else { 128_257 };
    // Newer files of LLaVA have either name.
    let marker = top.id_or(key, top.id_or("image_token_id", default)?)?;
    let (path, device) = (directory.path().to_owned(), init.device().clone());
    let frame = [String::new(), String::new()];
    let timed = family == "smolvlm";
    Ok(Spliced { llava, config, processor, marker, frame, timed, path, device, published })
}

/// Of what is published in several ways, the one that the files have.
fn layout(family: &str, directory: &Directory) -> Layout {
    if family != "llava" {
        return IDEFICS3;
    }
    let names = directory.shapes().unwrap_or_default();
    let any = |prefix: &str| names.keys().any(|name| name.starts_with(prefix));
    // Without weights, that of nearly all files on the hub.
    match (any("model."), any("vision_tower.embeddings."), any("model.vision_tower.vision_model."))
    {
        (false, true, _) => LLAVA_SAVED,
        (false, false, _) => LLAVA_LEGACY,
        (true, _, true) => LLAVA_TOWER,
        (true, _, false) => LLAVA,
    }
}

fn config(directory: &Directory) -> Result<(&'static str, LlavaConfig)> {
    let top = directory.config();
    top.only_null("quantization_config")?;
    match top.text_or("model_type", "llava")? {
        "llava" => Ok(("llava", llava(&top)?)),
        "smolvlm" => Ok(("smolvlm", idefics3(&top)?)),
        _ => Ok(("idefics3", idefics3(&top)?)),
    }
}

/// Defaults are those of `LlavaConfig`.
fn llava(top: &Config<'_>) -> Result<LlavaConfig> {
    static VISION: LazyLock<Value> = LazyLock::new(|| {
        json!({"model_type": "clip_vision_model", "hidden_size": 1024, "intermediate_size": 4096,
            "patch_size": 14, "image_size": 336, "num_hidden_layers": 24,
            "num_attention_heads": 16})
    });
    top.only("projector_hidden_act", &json!("gelu"))?;
    top.only("multimodal_projector_bias", &json!(true))?;
    let vision = top.find("vision_config")?;
    let given = vision.is_some();
    let vision = vision.map_or_else(|| top.find_or_empty("vision_config"), Ok)?;
    let vision = if given { vision } else { vision.or(&VISION) };
    let image = match vision.text_or("model_type", CLIP)? {
        CLIP => clip::image(&vision)?,
        SIGLIP => siglip::headed(&vision)?,
        _ => return Err(vision.wrong("model_type", &format!("{CLIP} or {SIGLIP}"), FOREIGN)),
    };
    let class = reads_class(top, &image)?;
    let layers = levels(top, image.n_layers)?;
    // Said again in `text_config`; of a text tower; of SigLIP's head where the tower is CLIP's.
    top.without_effect(&["vocab_size"]);
    vision.without_effect(&["vocab_size", "vision_use_head"]);
    let backbone = backbone(top, top.flag_or("tie_word_embeddings", false)?)?;
    let (features, width) = (image.hidden_size * layers.len(), backbone.hidden_size);
    let projector = ProjectorConfig::Mlp {
        features,
        shuffle: 1,
        norm: None,
        hidden: width,
        width,
        places: None,
    };
    let features = FeatureSelect { layers, class };
    Ok(one_tower(image, features, projector, backbone))
}

/// `vision_feature_select_strategy`: whether the encoder's first position is read.
fn reads_class(top: &Config<'_>, image: &VitConfig) -> Result<bool> {
    const KEY: &str = "vision_feature_select_strategy";
    const DROPS: &str = "of an encoder without a class token the other one drops a patch";
    match (top.text_or(KEY, "default")?, image.pooling) {
        ("default", Pooling::Class) => Ok(false),
        ("full", pooling) => Ok(pooling == Pooling::Class),
        (_, Pooling::Class) => Err(top.wrong(KEY, "\"default\" or \"full\"", FOREIGN)),
        _ => Err(top.wrong(KEY, "\"full\"", DROPS)),
    }
}

/// `vision_feature_layer`, one level or several, counted from the end where it is negative; each as
/// the number of blocks after it.
fn levels(top: &Config<'_>, n_layers: usize) -> Result<Vec<usize>> {
    const KEY: &str = "vision_feature_layer";
    let default = json!(-2);
    let value = top.get(KEY).unwrap_or(&default);
    let list = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    let skip = |value: &Value| {
        let at = value.as_i64()?;
        let n = i64::try_from(n_layers).ok()?;
        let skip = if at < 0 { -1 - at } else { n - at };
        (0..=n).contains(&skip).then_some(skip as usize)
    };
    let skips: Option<Vec<usize>> = list.iter().map(skip).collect();
    let skips = skips.filter(|skips| (1..=vision::MAX_LAYERS).contains(&skips.len()));
    skips.ok_or_else(|| {
        let expected = format!("a level of {n_layers} blocks, or a list of levels");
        top.wrong(KEY, &expected, FOREIGN)
    })
}

/// Defaults are those of `Idefics3Config` and `SmolVLMConfig`.
fn idefics3(top: &Config<'_>) -> Result<LlavaConfig> {
    let vision = top.find_or_empty("vision_config")?;
    let image = siglip::tower(&vision, [1152, 224, 32, 16])?;
    // Said again in `text_config` and by the image processor.
    top.without_effect(&["vocab_size"]);
    vision.without_effect(&["size", "max_image_size"]);
    let backbone = backbone(top, false)?;
    let backbone = LlamaConfig { tied: top.flag_or("tie_word_embeddings", false)?, ..backbone };
    let shuffle = top.size_or("scale_factor", 2)?;
    if shuffle > image.grid() {
        return Err(top.wrong("scale_factor", "at most the patches of an edge", FOREIGN));
    }
    let (features, width) = (image.hidden_size, backbone.hidden_size);
    let projector = ProjectorConfig::Linear { features, shuffle, bias: false, width };
    Ok(one_tower(image, FeatureSelect::default(), projector, backbone))
}

/// The language model. What `text_config` of a Llama leaves out is as `LlamaConfig` has it.
fn backbone(top: &Config<'_>, tied: bool) -> Result<LlamaConfig> {
    static LLAMA: LazyLock<Value> = LazyLock::new(|| {
        json!({"model_type": "llama", "vocab_size": 32000, "hidden_size": 4096,
            "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
            "max_position_embeddings": 2048})
    });
    let text = top.find_or_empty("text_config")?;
    let text = if text.text_or("model_type", "llama")? == "llama" { text.or(&LLAMA) } else { text };
    // Their files are prepared in ways that LLaVA's are not.
    if matches!(text.text_or("model_type", "")?, "gemma" | "phi3") {
        return Err(text.wrong("model_type", "llama, mistral, qwen2 or qwen3", FOREIGN));
    }
    match language::config(&text)? {
        BackboneConfig::Llama(config) if config.n_layers <= vision::MAX_LAYERS => {
            Ok(LlamaConfig { tied: config.tied || tied, ..config })
        }
        BackboneConfig::Llama(_) => {
            let expected = format!("at most {} layers", vision::MAX_LAYERS);
            Err(text.wrong("num_hidden_layers", &expected, FOREIGN))
        }
        _ => Err(text.wrong("model_type", "llama, mistral, qwen2 or qwen3", FOREIGN)),
    }
}

/// A language model that reads one kind of medium: pictures, by a Vision Transformer.
fn one_tower(
    vit: VitConfig,
    features: FeatureSelect,
    projector: ProjectorConfig,
    backbone: LlamaConfig,
) -> LlavaConfig {
    let towers = vec![TowerConfig { encoder: EncoderConfig::Vit { vit, features }, projector }];
    LlavaConfig { towers, backbone: BackboneConfig::Llama(backbone), prefix: false }
}

/// The encoder of [`one_tower`].
fn vit(config: &mut LlavaConfig) -> &mut VitConfig {
    match &mut config.towers[0].encoder {
        EncoderConfig::Vit { vit, .. } => vit,
        other => unreachable!("published towers are Vision Transformers, got {other:?}"),
    }
}

/// That a tile's positions can be made fewer.
fn check_shuffle(config: &mut LlavaConfig) -> Result<()> {
    let ProjectorConfig::Linear { shuffle, .. } = config.towers[0].projector else { return Ok(()) };
    let vit = vit(config);
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
