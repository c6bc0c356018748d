//! A new BLIP-2: a Q-Former behind a published image encoder, and what is left of its two stages in the
//! files of transformers' `Blip2ForImageTextRetrieval` and `Blip2ForConditionalGeneration`.

use sensorium_backbone::{Backbone, BackboneConfig};
use sensorium_checkpoint::Tensors;
use sensorium_encoder::image::{FeatureSelect, Pooling, Vit, VitConfig};
use sensorium_encoder::{Encoder, EncoderConfig, image};
use sensorium_input_projector::qformer::{
    MatchingConfig, QFormer, QFormerConfig, QFormerProjector, Words,
};
use sensorium_input_projector::{Projector, ProjectorConfig};
use sensorium_media::{ImageProcessor, Tokenizer};
use sensorium_model::blip2::{Blip2Matcher, Blip2MatcherConfig, Blip2Pretraining};
use sensorium_model::llava::{Llava, LlavaConfig, Tower, TowerConfig};
use sensorium_model::weights;
use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::bert::Bert;
use super::matcher::Matcher;
use super::writer::LANGUAGE;
use super::{FAMILY, LED, OWN_FAMILY};
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::families::llava::parts::{grown, language_config, tokenizer_settings, with_marker};
use crate::families::tower::{self, ImageTower};
use crate::families::{Files, Frozen};
use crate::names::{self, BLIP2, BLIP2_PRETRAINING, BLIP2_TOWER};
use crate::text::TextProcessor;

/// Sizes of a new Q-Former; without any, those of the paper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NewQFormer {
    /// Queries.
    pub queries: usize,
    /// Width.
    pub hidden_size: usize,
    /// Layers.
    pub n_layers: usize,
    /// Heads; a divisor of the width.
    pub n_heads: usize,
    /// Width inside the MLPs.
    pub intermediate_size: usize,
    /// The first of so many layers asks the picture.
    pub every: usize,
    /// Width of the space of contrast.
    pub embed: usize,
    /// Longest text that there is a position for.
    pub context: usize,
    /// Entries of the token table, where there are more than the tokenizer has.
    pub vocab_size: usize,
}

impl Default for NewQFormer {
    fn default() -> Self {
        Self {
            queries: 32,
            hidden_size: 768,
            n_layers: 12,
            n_heads: 12,
            intermediate_size: 3072,
            every: 2,
            embed: 256,
            context: 512,
            vocab_size: 0,
        }
    }
}

/// What every norm of a Q-Former adds to the variance.
pub(super) const EPS: f64 = 1e-12;

/// The token that stands before a text that is told.
pub const BEGIN: &str = "[DEC]";

/// The shape of the model of the first stage, whose texts have `vocabulary` tokens.
///
/// # Errors
/// The encoder is of a kind that is not built in; the Q-Former's sizes make no sense.
pub fn config(
    encoder: &Directory,
    new: &NewQFormer,
    vocabulary: usize,
) -> Result<Blip2MatcherConfig> {
    let NewQFormer { queries, hidden_size, n_layers, n_heads, intermediate_size, every, .. } = *new;
    let sizes = [queries, n_layers, n_heads, intermediate_size, every, new.embed, new.context];
    if sizes.contains(&0) || hidden_size == 0 || !hidden_size.is_multiple_of(n_heads) {
        return Err(Error::Setting {
            file: "recipe".into(),
            key: "qformer".into(),
            expected: "sizes above 0, and heads that divide the width".into(),
            got: format!("{new:?}"),
            hint: "leave [qformer] out for the paper's sizes",
        });
    }
    let image = match encoder.model_type() {
        Some(FAMILY | OWN_FAMILY) => super::image(&encoder.config())?,
        _ => tower::image_config(encoder)?,
    };
    let qformer = QFormerConfig {
        features: image.hidden_size,
        queries,
        hidden_size,
        n_layers,
        n_heads,
        intermediate_size,
        activation: Activation::Gelu,
        every,
        text: true,
        eps: EPS,
    };
    let words = Words { vocabulary: vocabulary.max(new.vocab_size), context: new.context };
    Ok(Blip2MatcherConfig { image, projector: MatchingConfig { qformer, words, embed: new.embed } })
}

/// The model of the first stage and what makes its inputs.
#[derive(Debug)]
pub struct NewMatcher {
    /// The model.
    pub model: Blip2Pretraining,
    /// Its shape.
    pub config: Blip2MatcherConfig,
    /// Pictures to pixels.
    pub processor: ImageProcessor,
    /// Texts to ids.
    pub tokenizer: Tokenizer,
    /// Stands before a text that is told.
    pub begin: u32,
    /// The settings of the image processor, as they stand.
    pub pictures: Value,
}

impl NewMatcher {
    /// A Q-Former with seeded weights behind an encoder, whose layers `init` makes.
    ///
    /// # Errors
    /// As [`config`]; a file is missing or damaged.
    pub fn new(
        encoder: &Directory,
        new: &NewQFormer,
        tokenizer: Tokenizer,
        init: &mut Init,
        seeded: &mut Init,
    ) -> Result<Self> {
        let (tokenizer, begin) = with_begin(tokenizer)?;
        let config = config(encoder, new, tokenizer.vocabulary())?;
        let (vit, processor) = encoder_of(encoder, init)?;
        let mut model = Blip2Pretraining::init(&config, seeded);
        model.matcher.image = vit;
        let pictures = tower::processor_settings(encoder)?;
        Ok(Self { model, config, processor, tokenizer, begin, pictures })
    }

    /// The same, whose Q-Former begins with `bert`.
    ///
    /// # Errors
    /// A file is missing or damaged.
    pub fn begin_with(mut self, bert: &Bert<'_>) -> Result<Self> {
        self.model = bert.begin(self.model)?;
        Ok(self)
    }

    /// One that goes on from a published model that compares; what tells texts, which no published file
    /// has, is read where one that was trained here has it, else seeded.
    ///
    /// # Errors
    /// A file is missing or damaged, or is of another class.
    pub fn from(directory: &Directory, init: &mut Init, seeded: &mut Init) -> Result<Self> {
        let Matcher { model: matcher, processor, tokenizer, config, .. } =
            Matcher::trainable(directory, init)?;
        let (tokenizer, begin) = with_begin(tokenizer)?;
        if tokenizer.vocabulary() > config.projector.words.vocabulary {
            let expected = format!("a tokenizer with {BEGIN}, as LAVIS's has it");
            let hint = "begin with an encoder and a tokenizer instead";
            return Err(directory.config().wrong("qformer_config.vocab_size", &expected, hint));
        }
        let mut model = Blip2Pretraining::init(&config, seeded);
        model.matcher = matcher;
        if let Some(bytes) = directory.bytes(BESIDE)? {
            let mut all = weights::tensors(&model)?;
            for (name, tensor) in sensorium_checkpoint::safetensors::read(&bytes)?.tensors {
                let ours = BLIP2_PRETRAINING.from_hf(&name).unwrap_or(name);
                all.tensors.insert(ours, tensor);
            }
            model = weights::load(model, &all)?;
        }
        let pictures = tower::processor_settings(directory)?;
        Ok(Self { model, config, processor, tokenizer, begin, pictures })
    }

    /// All files of what `model` has become, and beside them what tells texts, to go on with.
    ///
    /// # Errors
    /// Never in practice: all of it can be written down.
    pub fn files(&self, model: &Blip2Pretraining) -> Result<Vec<(String, Tensors)>> {
        let matcher = led(names::save(&model.matcher, &BLIP2)?)?;
        let mut beside = names::save(model, &BLIP2_PRETRAINING)?;
        beside.tensors.retain(|name, _| name.starts_with("cls.") || name == "temp");
        Ok(vec![("model.safetensors".to_owned(), matcher), (BESIDE.to_owned(), beside)])
    }

    /// What stands beside the weights.
    ///
    /// # Errors
    /// Never in practice: all of it can be written down.
    pub fn beside(&self) -> Result<Files> {
        let Blip2MatcherConfig { image, projector } = &self.config;
        let mut qformer = qformer_settings(&projector.qformer);
        qformer["use_qformer_text_input"] = true.into();
        qformer["vocab_size"] = projector.words.vocabulary.into();
        qformer["max_position_embeddings"] = projector.words.context.into();
        let config = json!({
            "architectures": ["Blip2ForImageTextRetrieval"],
            "model_type": model_type(image),
            "dtype": "float32",
            "num_query_tokens": projector.qformer.queries,
            "image_text_hidden_size": projector.embed,
            "qformer_config": qformer,
            "vision_config": vision_settings(image),
        });
        let processor = json!({"processor_class": "Blip2Processor"});
        let tokenizer = json!({
            "tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", "unk_token": "[UNK]",
            "cls_token": "[CLS]", "sep_token": "[SEP]", "bos_token": BEGIN,
        });
        let mut files = vec![("tokenizer.json".to_owned(), written(&self.tokenizer)?)];
        for (name, value) in [
            ("config.json", &config),
            ("preprocessor_config.json", &self.pictures),
            ("processor_config.json", &processor),
            ("tokenizer_config.json", &tokenizer),
        ] {
            files.push((name.to_owned(), format!("{value:#}\n").into_bytes()));
        }
        Ok(files)
    }
}

/// What the class that compares has no place for, under the names that LAVIS has.
const BESIDE: &str = "pretraining.safetensors";

/// The encoder, read at all its positions after the last norm.
fn encoder_of(directory: &Directory, init: &mut Init) -> Result<(Vit, ImageProcessor)> {
    if let Some(FAMILY | OWN_FAMILY) = directory.model_type() {
        let matcher = Matcher::trainable(directory, init)?;
        return Ok((matcher.model.image, matcher.processor));
    }
    let ImageTower { vit, processor, .. } = tower::image(directory, init)?;
    Ok((vit, processor))
}

/// The same tokenizer, which knows the token before what is told.
fn with_begin(tokenizer: Tokenizer) -> Result<(Tokenizer, u32)> {
    crate::text::with_token(tokenizer, BEGIN)
}

fn written(tokenizer: &Tokenizer) -> Result<Vec<u8>> {
    let media = |source| Error::Media { path: "tokenizer.json".into(), source };
    tokenizer.to_bytes().map_err(media)
}

/// transformers' class has one kind of vision tower, which DINOv2's can be written as; models with
/// another are of a type of ours, so that nobody takes them for what they are not.
fn model_type(image: &VitConfig) -> &'static str {
    let theirs = image.pooling == Pooling::Class && !image.pre_norm && image.stem_bias;
    if theirs { FAMILY } else { OWN_FAMILY }
}

fn vision_settings(image: &VitConfig) -> Value {
    let act = match image.activation {
        image::ActivationName::QuickGelu => "quick_gelu",
        image::ActivationName::GeluTanh => "gelu_pytorch_tanh",
        _ => "gelu",
    };
    let mut settings = json!({
        "model_type": "blip_2_vision_model",
        "hidden_size": image.hidden_size,
        "intermediate_size": image.intermediate_size,
        "num_hidden_layers": image.n_layers,
        "num_attention_heads": image.n_heads,
        "image_size": image.image,
        "patch_size": image.stem.first().map_or(1, |conv| conv.kernel),
        "hidden_act": act,
        "layer_norm_eps": image.eps,
        "qkv_bias": true,
    });
    if model_type(image) == OWN_FAMILY {
        settings["class_token"] = (image.pooling == Pooling::Class).into();
        settings["pre_norm"] = image.pre_norm.into();
        settings["patch_bias"] = image.stem_bias.into();
    }
    settings
}

fn qformer_settings(config: &QFormerConfig) -> Value {
    json!({
        "model_type": "blip_2_qformer",
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.n_layers,
        "num_attention_heads": config.n_heads,
        "intermediate_size": config.intermediate_size,
        "cross_attention_frequency": config.every,
        "encoder_hidden_size": config.features,
        "layer_norm_eps": config.eps,
        "hidden_act": "gelu",
        "use_qformer_text_input": config.text,
    })
}

/// With the leading sizes of 1 that files have.
fn led(mut tensors: Tensors) -> Result<Tensors> {
    for (name, ones) in LED {
        if let Some(tensor) = tensors.tensors.remove(name) {
            let (shape, values) = tensor.into_parts();
            let shape = std::iter::repeat_n(1, ones).chain(shape).collect();
            let tensor = sensorium_checkpoint::Tensor::new(shape, values)?;
            tensors.tensors.insert(name.to_owned(), tensor);
        }
    }
    Ok(tensors)
}

/// The shape of the model of the second stage.
///
/// # Errors
/// The language model is of a kind that is not built in.
pub fn writer_config(matcher: &Blip2MatcherConfig, backbone: &Directory) -> Result<LlavaConfig> {
    let backbone = language_config(backbone)?;
    let qformer = QFormerConfig { text: false, ..matcher.projector.qformer.clone() };
    let projector = ProjectorConfig::Qformer { qformer, width: backbone.width() };
    let features = FeatureSelect { layers: Vec::new(), class: true };
    let encoder = EncoderConfig::Vit { vit: matcher.image.clone(), features };
    let towers = vec![TowerConfig { encoder, projector }];
    Ok(LlavaConfig { towers, backbone, prefix: false })
}

/// What the encoder and the language model give to a model of the second stage.
///
/// # Errors
/// As [`writer_config`]; a file is missing or damaged.
pub(crate) fn frozen(encoder: &Directory, backbone: &Directory) -> Result<Frozen> {
    let init = &mut Init::empty(&Device::flex());
    let (vit, _) = encoder_of(encoder, init)?;
    let mut tensors = led(names::save_part(&vit, "encoder", &BLIP2_TOWER)?)?;
    let (text, marker) = with_marker(TextProcessor::read(backbone)?)?;
    let mut config = language_config(backbone)?;
    let language = grown(backbone, &mut config, marker, init)?;
    tensors.tensors.extend(publish(&language, &config)?.tensors);
    Ok(Frozen { tensors, tokenizer: written(&text.tokenizer)? })
}

/// The model of the second stage and what makes its inputs.
#[derive(Debug)]
pub struct NewWriter {
    /// The model.
    pub model: Llava,
    /// Its shape.
    pub config: LlavaConfig,
    /// What makes ids of its texts.
    pub text: TextProcessor,
    /// The token whose places a picture takes.
    pub marker: u32,
    /// Ends what is told.
    pub end: u32,
    /// What stands beside the weights.
    pub beside: Files,
}

impl NewWriter {
    /// The queries of a model of the first stage before a language model, whose layers `init` makes.
    ///
    /// # Errors
    /// As [`writer_config`]; a file is missing or damaged.
    pub fn new(
        matcher: &NewMatcher,
        trained: Blip2Matcher,
        backbone: &Directory,
        init: &mut Init,
        seeded: &mut Init,
    ) -> Result<Self> {
        let mut config = writer_config(&matcher.config, backbone)?;
        let (text, marker) = with_marker(TextProcessor::read(backbone)?)?;
        let language = grown(backbone, &mut config.backbone, marker, init)?;
        let features = FeatureSelect { layers: Vec::new(), class: true };
        let ProjectorConfig::Qformer { qformer, width } = &config.towers[0].projector else {
            return Err(Error::NoPictures { family: "a BLIP-2 without a Q-Former" });
        };
        let mut projector = QFormerProjector::init(qformer, *width, seeded);
        projector.qformer = without_text(&trained.projector.qformer, projector.qformer)?;
        let tower = Tower {
            encoder: Encoder::Image(image::Encoder::Vit(trained.image.with_features(features))),
            projector: Projector::Qformer(projector),
        };
        let end = end(&config.backbone, &text);
        let beside = writer_files(matcher, &config, backbone, &text, [marker, end])?;
        let model = Llava::of(vec![tower], language);
        Ok(Self { model, config, text, marker, end, beside })
    }

    /// The tensors of what `model` has become.
    ///
    /// # Errors
    /// Never in practice: a parameter's shape always fits its values.
    pub fn tensors(&self, model: &Llava) -> Result<Tensors> {
        let mut tensors = led(names::save(&model.towers[0], &BLIP2_TOWER)?)?;
        let language: Tensors = publish(&model.backbone, &self.config.backbone)?;
        tensors.tensors.extend(language.tensors);
        Ok(tensors)
    }
}

fn publish(backbone: &Backbone, config: &BackboneConfig) -> Result<Tensors> {
    LANGUAGE.publish(backbone, config)
}

/// The token that ends what is told: a new line in OPT's texts (LAVIS), else the tokenizer's own.
fn end(backbone: &BackboneConfig, text: &TextProcessor) -> u32 {
    let line = text.tokenizer.encode_within("\n", false, usize::MAX).unwrap_or_default();
    match (backbone, line.as_slice(), text.eos_token_ids.first()) {
        (BackboneConfig::Opt(_), [line], _) => *line,
        (_, _, Some(end)) => *end,
        (_, [line, ..], None) => *line,
        (_, [], None) => 0,
    }
}

/// The second stage's Q-Former reads no texts.
fn without_text(trained: &QFormer, fresh: QFormer) -> Result<QFormer> {
    let mut tensors = weights::tensors(trained)?;
    tensors.tensors.retain(|name, _| !name.contains(".text_mlp."));
    Ok(weights::load(fresh, &tensors)?)
}

fn writer_files(
    matcher: &NewMatcher,
    config: &LlavaConfig,
    backbone: &Directory,
    text: &TextProcessor,
    [marker, end]: [u32; 2],
) -> Result<Files> {
    let mut qformer = matcher.config.projector.qformer.clone();
    qformer.text = false;
    let mut language = backbone.settings().clone();
    language["vocab_size"] = config.backbone.vocabulary().into();
    language["eos_token_id"] = end.into();
    let image = &matcher.config.image;
    let settings = json!({
        "architectures": ["Blip2ForConditionalGeneration"],
        "model_type": model_type(image),
        "dtype": "float32",
        "num_query_tokens": qformer.queries,
        "image_token_index": marker,
        "use_decoder_only_language_model": true,
        "tie_word_embeddings": language.get("tie_word_embeddings").cloned(),
        "qformer_config": qformer_settings(&qformer),
        "vision_config": vision_settings(image),
        "text_config": language,
    });
    let processor = json!({
        "processor_class": "Blip2Processor",
        "num_query_tokens": qformer.queries,
    });
    let mut generation = backbone.json("generation_config.json")?.unwrap_or_else(|| json!({}));
    generation["eos_token_id"] = end.into();
    let mut tokenizer = tokenizer_settings(backbone, marker)?;
    tokenizer["processor_class"] = "Blip2Processor".into();
    let mut files = vec![("tokenizer.json".to_owned(), written(&text.tokenizer)?)];
    for (name, value) in [
        ("config.json", &settings),
        ("preprocessor_config.json", &matcher.pictures),
        ("processor_config.json", &processor),
        ("tokenizer_config.json", &tokenizer),
        ("generation_config.json", &generation),
    ] {
        files.push((name.to_owned(), format!("{value:#}\n").into_bytes()));
    }
    Ok(files)
}
