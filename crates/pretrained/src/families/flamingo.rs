//! Flamingo as it is trained here: `model_type` `sensorium_flamingo`. No class of transformers has gated
//! blocks in any language model, so the files are ours, with the names that parameters have here.
//!
//! ```text
//! config.json  tokenizer.json  tokenizer_config.json  preprocessor_config.json  model.safetensors
//! ```

use sensorium_backbone::{Backbone, GatedBackboneConfig};
use sensorium_checkpoint::Tensors;
use sensorium_encoder::image::Vit;
use sensorium_input_projector::PerceiverConfig;
use sensorium_media::{ImageProcessor, Message, Part, Prompt, Role, Style, Tokenizer};
use sensorium_model::flamingo::{Flamingo, FlamingoConfig};
use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Files, language, tower};
use crate::Pretrained;
use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::families::llava::parts::BACKBONES;
use crate::names::{self, PLAIN};
use crate::plan::Plan;
use crate::text::TextProcessor;
use crate::vision;

/// `model_type`.
pub const FAMILY: &str = "sensorium_flamingo";

/// Sizes of the new parts; without any, those of OpenFlamingo-9B.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NewFlamingo {
    /// Latents of a picture.
    pub latents: usize,
    /// Layers of the resampler.
    pub depth: usize,
    /// Heads of the resampler and of the gated blocks.
    pub n_heads: usize,
    /// Width of each.
    pub head_dim: usize,
    /// Every so manieth layer has a gated block before it.
    pub interval: usize,
    /// Frames of a video that have a learned vector each; of 0, their order is not seen.
    pub frames: usize,
}

impl Default for NewFlamingo {
    fn default() -> Self {
        Self { latents: 64, depth: 6, n_heads: 8, head_dim: 64, interval: 4, frames: 0 }
    }
}

/// The model and what makes its inputs.
#[derive(Debug)]
pub struct Parts {
    /// Sizes.
    pub config: FlamingoConfig,
    /// Pictures to pixels.
    pub processor: ImageProcessor,
    /// Texts to ids.
    pub text: TextProcessor,
    /// The model.
    pub model: Flamingo,
    /// Where it computes.
    pub device: Device,
}

/// Writes Flamingo's prompts.
#[derive(Clone, Debug)]
pub struct Prompts {
    tokenizer: Tokenizer,
    /// Opens every text, if the language model was trained so.
    bos: Option<u32>,
    picture: u32,
    end: u32,
}

/// Stands before the answer to a question.
const ASKED: &str = " Short answer:";

/// Stands before what is said of a picture that nothing is asked about.
const SHOWN: &str = "Output:";

impl Prompts {
    /// Of a model of this shape.
    pub fn new(text: &TextProcessor, config: &GatedBackboneConfig) -> Self {
        let (picture, end) = (config.picture(), config.end());
        Self { tokenizer: text.tokenizer.clone(), bos: text.bos_token_id, picture, end }
    }

    /// A conversation: `<image>Question:{} Short answer:{}<|endofchunk|>` for each turn, where nothing is
    /// asked `<image>Output:{}<|endofchunk|>`, or a document of pictures and texts:
    /// `<image>{}<|endofchunk|><image>{}<|endofchunk|>`; with `open`, it ends where the next answer begins.
    /// What is learned is what stands between a picture and the end of what is said of it.
    ///
    /// # Errors
    /// The tokenizer has no ids for a text.
    pub fn conversation(&self, messages: &[Message], open: bool) -> Result<Prompt> {
        let mut ids: Vec<u32> = self.bos.into_iter().collect();
        let mut answer = ASKED;
        for Message { role, parts } in messages {
            let is_media = |part: &Part| matches!(part, Part::Media(_));
            let document = *role == Role::Assistant && parts.iter().any(is_media);
            if *role == Role::User {
                answer = if parts.iter().all(is_media) { SHOWN } else { ASKED };
            }
            for (i, part) in parts.iter().enumerate() {
                let opening = match role {
                    _ if document => "",
                    Role::User => "Question:",
                    Role::Assistant => answer,
                    Role::System => "",
                };
                match part {
                    Part::Media(_) => {
                        // What a document says of one picture ends where the next one comes.
                        ids.extend((document && i > 0).then_some(self.end));
                        ids.push(self.picture);
                    }
                    Part::Text(text) => ids.extend(self.ids(&format!("{opening}{text}"))?),
                }
            }
            if *role == Role::Assistant {
                ids.push(self.end);
            }
        }
        if open {
            ids.extend(self.ids(answer)?);
        }
        Ok(self.prompt(ids))
    }

    /// Texts and pictures as they stand.
    ///
    /// # Errors
    /// As [`conversation`](Self::conversation).
    pub fn raw(&self, parts: &[Part]) -> Result<Prompt> {
        let mut ids: Vec<u32> = self.bos.into_iter().collect();
        for part in parts {
            match part {
                Part::Media(_) => ids.push(self.picture),
                Part::Text(text) => ids.extend(self.ids(text)?),
            }
        }
        Ok(self.prompt(ids))
    }

    /// A picture's caption: `<image>{prompt}{caption}<|endofchunk|>`.
    ///
    /// # Errors
    /// As [`conversation`](Self::conversation).
    pub fn caption(&self, prompt: &str, caption: &str) -> Result<Prompt> {
        let mut ids: Vec<u32> = self.bos.into_iter().collect();
        ids.push(self.picture);
        ids.extend(self.ids(&format!("{prompt}{caption}"))?);
        ids.push(self.end);
        Ok(self.prompt(ids))
    }

    fn ids(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.tokenizer.encode_within(text, false, usize::MAX)?)
    }

    /// OpenFlamingo's labels: nothing before the first picture, no picture's token, and nothing between the
    /// end of what is said of one and the next.
    fn prompt(&self, ids: Vec<u32>) -> Prompt {
        let mut said = false;
        let learns = |&id: &u32| {
            let (is_picture, learned) = (id == self.picture, said && id != self.picture);
            said = is_picture || said && id != self.end;
            learned
        };
        let answer = ids.iter().map(learns).collect();
        let spans = vec![0; ids.len()];
        Prompt { ids, answer, spans, slots: Vec::new() }
    }
}

/// The shape of a new model, by the settings of its parts alone.
///
/// # Errors
/// A part is of a kind that is not built in, or the sizes make no sense.
pub fn config(
    encoder: &Directory,
    new: &NewFlamingo,
    backbone: &Directory,
) -> Result<FlamingoConfig> {
    let image = tower::image_config(encoder)?;
    let top = backbone.config();
    if !backbone.model_type().is_some_and(|kind| BACKBONES.contains(&kind)) {
        let hint = "a language model of another kind cannot be given gated blocks yet";
        return Err(top.wrong("model_type", &format!("one of {}", BACKBONES.join(", ")), hint));
    }
    let language = language::config(&top)?;
    let NewFlamingo { latents, depth, n_heads, head_dim, interval, frames } = *new;
    let layers = language.n_layers();
    if [latents, depth, n_heads, head_dim].contains(&0) || interval == 0 || interval > layers {
        return Err(Error::Setting {
            file: "recipe".into(),
            key: "flamingo".into(),
            expected: format!("sizes above 0, and an interval of at most {layers} layers"),
            got: format!("{new:?}"),
            hint: "leave [flamingo] out for OpenFlamingo-9B's sizes",
        });
    }
    let features = image.hidden_size;
    let projector = PerceiverConfig {
        latents,
        hidden_size: features,
        n_layers: depth,
        n_heads,
        head_dim,
        intermediate_size: 4 * features,
        qk_norm: false,
        activation: Activation::Gelu,
        frames,
    };
    let language =
        GatedBackboneConfig { backbone: language, features, interval, n_heads, head_dim };
    Ok(FlamingoConfig { image, projector, language })
}

/// A new model of a published encoder and a published language model: `init` makes the layers that are
/// read, `seeded` the others. Beside it, names and contents of all files but the weights.
///
/// # Errors
/// As [`config`]; a file of a part is missing or damaged.
pub fn assemble(
    encoder: &Directory,
    new: &NewFlamingo,
    backbone: &Directory,
    init: &mut Init,
    seeded: &mut Init,
) -> Result<(Parts, Files)> {
    let config = config(encoder, new, backbone)?;
    let (text, device) = (TextProcessor::read(backbone)?, init.device().clone());
    let tower::ImageTower { vit, processor, .. } = tower::image(encoder, init)?;
    let (_, language) = language::trainable(backbone, init)?;
    let model = with(Flamingo::init(&config, seeded), vit, language);
    let files = files(encoder, backbone, &config, &text)?;
    Ok((Parts { config, processor, text, model, device }, files))
}

fn with(mut model: Flamingo, vit: Vit, backbone: Backbone) -> Flamingo {
    model.image = vit;
    model.language.backbone = backbone;
    model
}

fn files(
    encoder: &Directory,
    backbone: &Directory,
    config: &FlamingoConfig,
    text: &TextProcessor,
) -> Result<Files> {
    let media = |source| Error::Media { path: "tokenizer.json".into(), source };
    let settings = json!({"model_type": FAMILY, "flamingo": config});
    let mut files = vec![("tokenizer.json".to_owned(), text.tokenizer.to_bytes().map_err(media)?)];
    let tokenizer = backbone.json("tokenizer_config.json")?.unwrap_or_else(|| json!({}));
    for (name, value) in [
        ("config.json", settings),
        ("tokenizer_config.json", tokenizer),
        ("preprocessor_config.json", tower::processor_settings(encoder)?),
    ] {
        files.push((name.to_owned(), format!("{value:#}\n").into_bytes()));
    }
    Ok(files)
}

/// The tensors of a model as its directory holds them.
///
/// # Errors
/// Never in practice: a parameter's shape always fits its values.
pub fn tensors(model: &Flamingo) -> Result<Tensors> {
    Ok(names::save(model, &PLAIN)?)
}

/// What the weights must be.
///
/// # Errors
/// The settings are damaged.
pub fn plan(directory: &Directory) -> Result<Plan> {
    Ok(Plan::new(FAMILY, "language", PLAIN, read_config(directory)?.parameters()))
}

/// The model in a directory.
///
/// # Errors
/// A file is missing or damaged; the weights are not those of the settings.
pub fn open(directory: &Directory, device: &Device) -> Result<Pretrained> {
    let config = read_config(directory)?;
    let processor = vision::processor(directory, Style::Clip)?;
    let text = TextProcessor::read(directory)?;
    let plan = plan(directory)?;
    let strays = plan.check(directory)?;
    let tensors = directory.tensors_but(|name| strays.contains(name))?;
    let model = Flamingo::init(&config, &mut Init::empty(device));
    let model = names::take(model, tensors, &PLAIN)?;
    Ok(Pretrained::Flamingo(Parts { config, processor, text, model, device: device.clone() }))
}

fn read_config(directory: &Directory) -> Result<FlamingoConfig> {
    let top = directory.config();
    let whole: Value = top.get("flamingo").cloned().unwrap_or_default();
    top.without_effect(&["flamingo"]);
    serde_json::from_value(whole).map_err(|error| Error::Setting {
        file: "config.json".into(),
        key: "flamingo".into(),
        expected: "the sizes of a Flamingo that was trained here".into(),
        got: error.to_string(),
        hint: "the file may be damaged, or of a newer version",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// recipes, check E10.
    #[test]
    fn what_is_said_of_a_picture_is_learned() {
        let json = json!({
            "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1, "[UNK]": 2}, "unk_token": "[UNK]"},
            "pre_tokenizer": {"type": "Whitespace"},
        });
        let tokenizer = Tokenizer::from_bytes(json.to_string().as_bytes()).expect("a tokenizer");
        let prompts = Prompts { tokenizer, bos: Some(1), picture: 3, end: 4 };
        let (no, yes) = (false, true);
        let prompt = prompts.prompt(vec![1, 0, 3, 0, 4, 1, 0, 3, 1, 0, 4]);
        assert_eq!(prompt.answer, [no, no, no, yes, yes, no, no, no, yes, yes, yes]);
        let media = || Part::Media(sensorium_media::Modality::Image);
        let text = |text: &str| Part::Text(text.to_owned());
        let parts = vec![text("b"), media(), text("a"), media(), text("b a")];
        let document = [Message { role: Role::Assistant, parts }];
        let document = prompts.conversation(&document, false).expect("known words");
        assert_eq!(document.ids, [1, 1, 4, 3, 0, 4, 3, 1, 0, 4]);
        assert_eq!(document.answer, [no, no, no, no, yes, yes, no, yes, yes, yes]);
        let caption = prompts.caption("", "a b").expect("known words");
        assert_eq!(caption.ids, [1, 3, 0, 1, 4]);
        assert_eq!(caption.answer, [no, no, yes, yes, yes]);
    }

    /// OpenFlamingo's prompts: exemplars of answers or of captions, those without pictures too, and the one
    /// that is open.
    #[test]
    fn exemplars_stand_before_what_is_to_be_answered() {
        let words = ["[UNK]", "Question", ":", "Short", "answer", "Output", "what", "red"];
        let vocab: std::collections::BTreeMap<_, _> = words.iter().zip(0..).collect();
        let json = json!({
            "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "[UNK]"},
            "pre_tokenizer": {"type": "Whitespace"},
        });
        let tokenizer = Tokenizer::from_bytes(json.to_string().as_bytes()).expect("a tokenizer");
        let prompts = Prompts { tokenizer, bos: None, picture: 8, end: 9 };
        let user = |picture: bool, words: &str| {
            let mut parts = vec![Part::Media(sensorium_media::Modality::Image)];
            parts.truncate(usize::from(picture));
            parts.extend((!words.is_empty()).then(|| Part::Text(words.to_owned())));
            Message { role: Role::User, parts }
        };
        let said = || Message::text(Role::Assistant, "red");
        for (messages, ids) in [
            (
                vec![user(true, "what"), said(), user(true, "what")],
                vec![8, 1, 2, 6, 3, 4, 2, 7, 9, 8, 1, 2, 6, 3, 4, 2],
            ),
            (
                vec![user(false, "what"), said(), user(true, "what")],
                vec![1, 2, 6, 3, 4, 2, 7, 9, 8, 1, 2, 6, 3, 4, 2],
            ),
            (vec![user(true, ""), said(), user(true, "")], vec![8, 5, 2, 7, 9, 8, 5, 2]),
            (vec![user(false, ""), said(), user(true, "")], vec![5, 2, 7, 9, 8, 5, 2]),
        ] {
            assert_eq!(prompts.conversation(&messages, true).expect("known words").ids, ids);
        }
    }
}
