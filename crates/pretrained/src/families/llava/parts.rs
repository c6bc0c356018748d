//! A new LLaVA of a published image encoder, a new projector and a published language model, in the
//! files of transformers' `LlavaForConditionalGeneration`.

use std::path::PathBuf;

use sensorium_backbone::{Backbone, BackboneConfig};
use sensorium_checkpoint::Tensor;
use sensorium_encoder::image::{FeatureSelect, Pooling};
use sensorium_encoder::{Encoder, image};
use sensorium_input_projector::{Projector, ProjectorConfig};
use sensorium_media::ChatTemplate;
use sensorium_model::llava::{Llava, LlavaConfig, Tower};
use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::settings::{SHUFFLE, mlp, one_tower};
use super::{BODY, Bidirectional, FOREIGN, Published, Spliced};
use crate::config::Config;
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::families::language::{self, Place};
use crate::families::tower::{self, ImageTower};
use crate::families::{Files, Frozen};
use crate::names::{LLAVA, LLAVA_DINOV2};
use crate::text::TextProcessor;

/// Which new projector stands between the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NewProjector {
    /// One map (LLaVA 1.0).
    Linear,
    /// Two maps with GELU between them (LLaVA 1.5).
    Mlp,
    /// The same, of squares of four positions: a quarter of the tokens. transformers' class has none.
    PixelShuffle,
    /// The same of squares of sixteen, as SmolVLM's `scale_factor` of 4.
    #[serde(rename = "pixel_shuffle_4")]
    PixelShuffle4,
}

impl NewProjector {
    /// Positions along the edge of the square that becomes one token.
    fn shuffle(self) -> usize {
        match self {
            Self::Linear | Self::Mlp => 1,
            Self::PixelShuffle => 2,
            Self::PixelShuffle4 => 4,
        }
    }
}

/// `model_type` of the language models that a new one may have.
pub const BACKBONES: [&str; 6] = ["llama", "mistral", "qwen2", "qwen3", "opt", "gpt2"];

/// The token whose places pictures take.
const MARKER: &str = "<image>";

/// Blocks of the encoder that are not read (LLaVA's `vision_feature_layer` of -2).
const SKIPPED: usize = 1;

/// A new model.
#[derive(Debug)]
pub struct NewLlava {
    /// The model.
    pub spliced: Spliced,
    /// What makes its prompts.
    pub text: TextProcessor,
    /// Names and contents of all files but the weights.
    pub files: Files,
}

/// What a new model is, by the settings of its parts alone.
///
/// # Errors
/// A part is of a kind that is not built in, or its settings are damaged.
pub fn config(
    encoder: &Directory,
    projector: NewProjector,
    backbone: &Directory,
) -> Result<LlavaConfig> {
    let vit = tower::image_config(encoder)?;
    let language = language_config(backbone)?;
    let sizes = [vit.hidden_size, language.width()];
    let shuffle = projector.shuffle();
    if !vit.grid().is_multiple_of(shuffle) {
        let expected = format!("a grid that {shuffle} divides, got {0}x{0} patches", vit.grid());
        let hint = "pixel_shuffle makes one token of a square of patches; mlp keeps all";
        return Err(encoder.config().wrong("image_size", &expected, hint));
    }
    let projector = match projector {
        NewProjector::Linear => {
            let [features, width] = sizes;
            ProjectorConfig::Linear { features, shuffle, bias: true, width }
        }
        _ => mlp(sizes, shuffle),
    };
    let features = FeatureSelect { layers: vec![SKIPPED], class: false };
    Ok(one_tower(vit, features, projector, language))
}

/// The language model's shape.
pub(crate) fn language_config(directory: &Directory) -> Result<BackboneConfig> {
    let top = directory.config();
    if !directory.model_type().is_some_and(|kind| BACKBONES.contains(&kind)) {
        let hint = "a language model of another kind cannot be given pictures yet";
        return Err(top.wrong("model_type", &format!("one of {}", BACKBONES.join(", ")), hint));
    }
    let config = language::config(&top)?;
    spliceable(&top, &config)?;
    Ok(config)
}

/// That the tokens of a language model with these settings are as wide as its stream.
pub(crate) fn spliceable(settings: &Config<'_>, config: &BackboneConfig) -> Result<()> {
    match config {
        BackboneConfig::Opt(opt) if opt.embed != opt.hidden_size => {
            let hint = "pictures are put among tokens, which must be as wide as the stream";
            Err(settings.wrong("word_embed_proj_dim", &opt.hidden_size.to_string(), hint))
        }
        _ => Ok(()),
    }
}

/// A new model: `init` makes the layers that are read, `seeded` the projector.
///
/// # Errors
/// As [`config`]; a file of a part is missing or damaged.
pub fn assemble(
    encoder: &Directory,
    projector: NewProjector,
    backbone: &Directory,
    init: &mut Init,
    seeded: &mut Init,
) -> Result<NewLlava> {
    let mut config = config(encoder, projector, backbone)?;
    let ImageTower { vit, processor, settings: vision, .. } = tower::image(encoder, init)?;
    let (text, marker) = with_marker(TextProcessor::read(backbone)?)?;
    let language = grown(backbone, &mut config.backbone, marker, init)?;
    let tower = &config.towers[0];
    let features = FeatureSelect { layers: vec![SKIPPED], class: false };
    let llava = Llava::of(
        vec![Tower {
            encoder: Encoder::Image(image::Encoder::Vit(vit.with_features(features))),
            projector: Projector::init(&tower.projector, seeded),
        }],
        language,
    );
    let files = files(encoder, backbone, &config, vision, &text, marker)?;
    let dinov2 = tower::is_dinov2(encoder);
    let layout = if dinov2 { LLAVA_DINOV2 } else { LLAVA };
    let place = Place::Body(BODY);
    let published = Published { layout, place, config: config.clone(), dinov2, table: None };
    let (path, device) = (PathBuf::from("a new model"), init.device().clone());
    let frame = [String::new(), String::new()];
    let (timed, interleaved) = (false, false);
    let spliced = Spliced {
        llava,
        config,
        processor,
        processors: Vec::new(),
        marker,
        frame,
        begin_and_end: None,
        bidirectional: Bidirectional::Never,
        anyres: None,
        video: None,
        painter: None,
        timed,
        interleaved,
        path,
        device,
        published,
    };
    Ok(NewLlava { spliced, text, files })
}

/// What the encoder and the language model give to a model of them.
///
/// # Errors
/// As [`assemble`].
pub(crate) fn frozen(encoder: &Directory, backbone: &Directory) -> Result<Frozen> {
    let [init, seeded] = &mut [(); 2].map(|()| Init::empty(&Device::flex()));
    let NewLlava { spliced, text, .. } =
        assemble(encoder, NewProjector::Linear, backbone, init, seeded)?;
    let tensors = spliced.published.tensors(&spliced.llava)?;
    Ok(Frozen { tensors, tokenizer: written(&text)? })
}

/// `tokenizer.json`.
fn written(text: &TextProcessor) -> Result<Vec<u8>> {
    let media = |source| Error::Media { path: "tokenizer.json".into(), source };
    text.tokenizer.to_bytes().map_err(media)
}

/// The language model with a row for the token `marker` in its table and its head: the mean of all, for
/// nothing is known of it.
pub(crate) fn grown(
    directory: &Directory,
    config: &mut BackboneConfig,
    marker: u32,
    init: &mut Init,
) -> Result<Backbone> {
    let plan = language::plan(directory)?;
    let strays = plan.check(directory)?;
    let mut tensors =
        directory.tensors_but(|name| plan.is_ignorable(name) || strays.contains(name))?;
    let (from, to) = (config.vocabulary(), config.vocabulary().max(marker as usize + 1));
    if to > from {
        *config.vocabulary_mut() = to;
        let is_table = |name: &str| {
            ["embed_tokens.weight", "wte.weight", "lm_head.weight"]
                .iter()
                .any(|end| name.ends_with(end))
        };
        for (name, tensor) in &mut tensors.tensors {
            if is_table(name) {
                *tensor = with_rows(tensor.clone(), to)?;
            }
        }
    }
    language::fill(config, tensors, init)
}

/// A table of more rows, the new ones its rows' mean.
fn with_rows(table: Tensor, rows: usize) -> Result<Tensor> {
    let (mut shape, mut values) = table.into_parts();
    let (old, width) = (shape[0], values.len() / shape[0].max(1));
    let sum = |j: usize| values.iter().skip(j).step_by(width).map(|x| f64::from(*x)).sum::<f64>();
    let mean: Vec<f32> = (0..width).map(|j| (sum(j) / old as f64) as f32).collect();
    values.extend(mean.iter().cycle().take((rows - old) * width));
    shape[0] = rows;
    Ok(Tensor::new(shape, values)?)
}

/// The same texts, whose tokenizer knows the token for pictures and whose template writes it.
pub(crate) fn with_marker(text: TextProcessor) -> Result<(TextProcessor, u32)> {
    let (tokenizer, id) = crate::text::with_token(text.tokenizer, MARKER)?;
    let template = template(text.chat.text()?)?;
    let chat = text.chat.with_template(template);
    Ok((TextProcessor { tokenizer, chat, ..text }, id))
}

/// Writes pictures as their token, and then does what a template for texts does.
const FLAT: &str = concat!(
    "{% set flat = namespace(messages=[]) %}{% for message in messages %}",
    "{% if message['content'] is string %}{% set flat.messages = flat.messages + [message] %}",
    "{% else %}{% set said = namespace(text='') %}{% for part in message['content'] %}",
    "{% set said.text = said.text + ('<image>\\n' if part['type'] == 'image' else part['text']) %}",
    "{% endfor %}{% set flat.messages = flat.messages + ",
    "[{'role': message['role'], 'content': said.text}] %}{% endif %}{% endfor %}",
    "{% set messages = flat.messages %}",
);

/// LLaVA 1.5's, for a language model that has none.
pub const PLAIN: &str = concat!(
    "{% for message in messages %}{% if message['role'] == 'assistant' %}",
    "{{ ' ASSISTANT: ' + message['content'] + (eos_token if eos_token else '') }}",
    "{% else %}{{ message['role'].upper() + ': ' + message['content'] }}{% endif %}{% endfor %}",
    "{% if add_generation_prompt %}{{ ' ASSISTANT:' }}{% endif %}",
);

/// The template of the new model, from that of its language model.
fn template(own: Option<&str>) -> Result<String> {
    let text = format!("{FLAT}{}", own.unwrap_or(PLAIN));
    ChatTemplate::parse(&text)
        .map_err(|source| Error::Media { path: "chat_template.jinja".into(), source })?;
    Ok(text)
}

/// All files but the weights.
fn files(
    encoder: &Directory,
    backbone: &Directory,
    config: &LlavaConfig,
    vision: Value,
    text: &TextProcessor,
    marker: u32,
) -> Result<Files> {
    let tokenizer = written(text)?;
    let template = text.chat.text()?.unwrap_or_default().as_bytes().to_vec();
    let mut files = vec![
        ("tokenizer.json".to_owned(), tokenizer),
        ("chat_template.jinja".to_owned(), template),
    ];
    let mut json = |name: &str, value: Value| {
        files.push((name.to_owned(), format!("{value:#}\n").into_bytes()));
    };
    json("config.json", settings(backbone, config, vision, marker));
    json("tokenizer_config.json", tokenizer_settings(backbone, marker)?);
    json("preprocessor_config.json", tower::processor_settings(encoder)?);
    json("processor_config.json", processor_settings(config));
    if let Some(generation) = backbone.json("generation_config.json")? {
        json("generation_config.json", generation);
    }
    Ok(files)
}

fn settings(backbone: &Directory, config: &LlavaConfig, vision: Value, marker: u32) -> Value {
    let mut language = backbone.settings().clone();
    language["vocab_size"] = config.backbone.vocabulary().into();
    let tied = matches!(&config.backbone, BackboneConfig::Llama(llama) if llama.tied);
    language["tie_word_embeddings"] = tied.into();
    let tower = &config.towers[0];
    let (act, shuffle) = match tower.projector {
        ProjectorConfig::Linear { shuffle, .. } => ("linear", shuffle),
        ProjectorConfig::Mlp { shuffle, .. } => ("gelu", shuffle),
        _ => ("gelu", 1),
    };
    let mut all = json!({
        "architectures": ["LlavaForConditionalGeneration"],
        "model_type": "llava",
        "dtype": "float32",
        "image_token_index": marker,
        "image_seq_length": tower.tokens(),
        "multimodal_projector_bias": true,
        "projector_hidden_act": act,
        "vision_feature_layer": -1 - SKIPPED as i64,
        "vision_feature_select_strategy": strategy(config),
        "tie_word_embeddings": tied,
        "text_config": language,
        "vision_config": vision,
    });
    if shuffle > 1 {
        all[SHUFFLE] = shuffle.into();
    }
    all
}

/// Whether transformers drops the encoder's first position: of an encoder that has a class token.
fn strategy(config: &LlavaConfig) -> &'static str {
    match super::vit(config).map(|vit| vit.pooling) {
        Some(Pooling::Class) => "default",
        _ => "full",
    }
}

pub(crate) fn tokenizer_settings(backbone: &Directory, marker: u32) -> Result<Value> {
    let mut settings = backbone.json("tokenizer_config.json")?.unwrap_or_else(|| json!({}));
    let fields = settings.as_object_mut().ok_or_else(|| {
        let (key, hint) = ("tokenizer_config.json", FOREIGN);
        backbone.config().wrong(key, "an object", hint)
    })?;
    // The template is a file of its own.
    fields.remove("chat_template");
    if let Some(added) = fields.get_mut("added_tokens_decoder").and_then(Value::as_object_mut) {
        added.insert(marker.to_string(), json!({"content": MARKER, "special": true}));
    }
    fields.insert("processor_class".into(), "LlavaProcessor".into());
    Ok(settings)
}

fn processor_settings(config: &LlavaConfig) -> Value {
    let vit = super::vit(config);
    let patch = vit.and_then(|vit| vit.stem.first()).map_or(1, |conv| conv.kernel);
    let strategy = strategy(config);
    let mut fields = Map::new();
    fields.insert("processor_class".into(), "LlavaProcessor".into());
    fields.insert("image_token".into(), MARKER.into());
    fields.insert("patch_size".into(), patch.into());
    fields.insert("vision_feature_select_strategy".into(), strategy.into());
    fields.insert("num_additional_image_tokens".into(), usize::from(strategy == "default").into());
    Value::Object(fields)
}
