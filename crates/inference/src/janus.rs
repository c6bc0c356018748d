//! Janus: a model that answers about pictures, and says pictures token by token.
//!
//! ```text
//! text ──template──▶ ids, and as many that say nothing ──▶ language model ──head──▶ logits, both apart by guidance
//!                              ▲                                                   │
//!                              └──────table, aligner──────── token ◀──draw─────────┘
//! tokens ──decoder──▶ picture
//! ```

use sensorium_backbone::{Cache, Sampler as Draws};
use sensorium_flow::{Embeds, Forward, Hidden, Output, Sampler, Sequence, Solver};
use sensorium_media::chat::tokenize;
use sensorium_media::{Media, Message, Modality, Part, Role};
use sensorium_nn::params::read;
use sensorium_nn::prelude::*;
use sensorium_pretrained::families::llava::Spliced;
use sensorium_pretrained::families::llava::janus::Painter;
use sensorium_pretrained::{Error as Missing, TextProcessor};

use crate::error::{Error, Result};
use crate::generate::room;
use crate::generated::media;
use crate::{Sampling, TextToMedia, VisionLanguageModel};

/// A Janus as its users meet it.
#[derive(Debug)]
pub struct JanusModel {
    /// What answers, about pictures too.
    pub chat: VisionLanguageModel,
    /// What draws.
    pub painter: Painter,
    /// The token after which a picture is said.
    begin: u32,
}

impl JanusModel {
    /// A loaded model as one that answers and draws.
    ///
    /// # Errors
    /// The tokenizer does not know a token that stands around pictures.
    pub(crate) fn new(text: TextProcessor, spliced: Spliced, painter: Painter) -> Result<Self> {
        let begin = text.tokenizer.id(&painter.begin).ok_or_else(|| Missing::Missing {
            file: format!("token {}, after which pictures are said,", painter.begin),
            path: spliced.path.join("tokenizer.json"),
            found: "none of that name".into(),
            hint: "tokenizer_config.json and tokenizer.json must be of the same model",
        })?;
        Ok(Self { chat: VisionLanguageModel::spliced(text, spliced)?, painter, begin })
    }

    pub(crate) fn pack(&mut self, format: pack::Format) {
        self.chat.pack(format);
        self.painter.model.pack_as(format);
    }

    /// Ids of a text after which a picture of it is said.
    ///
    /// # Errors
    /// The template is broken or refuses it; the tokenizer has no ids for it, or no token that opens a picture.
    pub fn prompt(&self, text: &str) -> Result<Vec<u32>> {
        let (llm, chat) = (&self.chat.llm, &self.painter.chat);
        let tokenizer = &llm.lm.text.tokenizer;
        let parts = vec![Part::Text(text.to_owned())];
        let prompt = match chat.format() {
            Ok(format) => format.prompt(tokenizer, &[Message { role: Role::User, parts }], &[])?,
            Err(Missing::NoChat) => tokenize(tokenizer, &tokenizer.shield(text), &[])?,
            Err(error) => return Err(error.into()),
        };
        let mut ids = llm.opened(prompt)?.ids;
        ids.push(self.begin);
        llm.known(ids)
    }

    /// The same prompt with nothing asked for: only the tokens that open a text and a picture are left.
    fn unasked(&self, prompt: &[u32]) -> impl Iterator<Item = u32> {
        let kept = [self.chat.llm.lm.text.bos_token_id, Some(self.begin)];
        prompt.iter().map(move |id| if kept.contains(&Some(*id)) { *id } else { self.painter.pad })
    }

    /// All tokens of a picture after a prompt; `on_token` hears of how many there are. Logits are
    /// `unasked + guidance · (asked - unasked)`.
    ///
    /// # Errors
    /// There is no room behind the prompt; the logits are not finite.
    pub fn say(
        &self,
        prompt: &[u32],
        guidance: f32,
        sampling: Sampling,
        on_token: &mut dyn FnMut(usize),
    ) -> Result<Vec<u32>> {
        let (n, lm) = (self.painter.config.tokens(), &self.chat.llm.lm);
        let context = lm.config.context();
        if room(context, prompt.len())? < n {
            let (limit, got) = (context.saturating_sub(n), prompt.len());
            return Err(Error::TooLong { limit, got });
        }
        let guided = guidance != 1.0;
        let rows = if guided { 2 } else { 1 };
        let mut ids = prompt.to_vec();
        if guided {
            ids.extend(self.unasked(prompt));
        }
        let mut embeds = lm.backbone.embed(&ids, [rows, prompt.len()]);
        let (mut draws, mut cache) = (Draws::new(sampling), Cache::default());
        let mut tokens = Vec::with_capacity(n);
        while tokens.len() < n {
            let logits = self.logits(embeds, &mut cache);
            let logits = apart(&logits, rows, guidance);
            if !logits.iter().all(|logit| logit.is_finite()) {
                return Err(Error::NotFinite { tokens: tokens.len() });
            }
            let token = draws.pick(&logits);
            tokens.push(token);
            on_token(tokens.len());
            embeds = Embeds(self.painter.model.embed(&vec![token; rows]));
        }
        Ok(tokens)
    }

    /// Logits `[rows, V]` of a picture's token after `embeds [rows, T, D]`.
    fn logits(&self, embeds: Embeds, cache: &mut Cache) -> Vec<f32> {
        let backbone = &self.chat.llm.lm.backbone;
        let Hidden(x) = backbone.forward(embeds, &Sequence::default(), Some(cache));
        let [rows, t, d] = x.dims();
        read(self.painter.model.logits(x.narrow(1, t - 1, 1).reshape([rows, d])))
    }

    /// The picture of so many tokens, `[1, 3, h, w]` from -1 to 1, its levels cut off as the published processor
    /// cuts them.
    pub fn picture(&self, tokens: &[u32]) -> Tensor<4> {
        let x = self.painter.model.decode(tokens);
        let [mean, std] = self
            .painter
            .scale
            .map(|three| Tensor::<1>::from_floats(three, &x.device()).reshape([1, 3, 1, 1]));
        ((x * std + mean) * 255.0).clamp(0.0, 255.0).floor() / 127.5 - 1.0
    }

    /// That nothing is asked for but what the model can do.
    fn check(&self, sampler: &Sampler) -> Result<()> {
        let fixed = |what, got: String| Err(Error::Fixed { what, got });
        let side = self.painter.config.pixels();
        match *sampler {
            Sampler { scheduler: Some(scheduler), .. } => {
                fixed("scheduler", scheduler.name().to_owned())
            }
            Sampler { size: Some([h, w]), .. } if [h, w] != [side; 2] => {
                fixed("size", format!("{w}x{h}"))
            }
            Sampler { solver: Solver::Heun, .. } => fixed("solver", "heun".to_owned()),
            Sampler { steps, .. } if steps != self.painter.config.tokens() => {
                fixed("number of steps", steps.to_string())
            }
            _ => Ok(()),
        }
    }
}

/// Rows `[asked, unasked]` of logits to those that a token is drawn from; of one row, itself.
fn apart(logits: &[f32], rows: usize, guidance: f32) -> Vec<f32> {
    let (asked, unasked) = logits.split_at(logits.len() / rows);
    match unasked {
        [] => asked.to_vec(),
        _ => asked.iter().zip(unasked).map(|(a, u)| u + (a - u) * guidance).collect(),
    }
}

impl TextToMedia for JanusModel {
    fn makes(&self) -> Vec<Modality> {
        vec![Modality::Image]
    }

    /// A step is a token.
    fn usual(&self) -> Sampler {
        let (steps, guidance) = (self.painter.config.tokens(), self.painter.guidance);
        Sampler { steps, guidance, ..Sampler::default() }
    }

    fn generate(
        &self,
        modality: Modality,
        texts: &[String],
        sampler: Sampler,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Vec<Media>> {
        if modality != Modality::Image {
            return Err(Error::Makes { wanted: modality, known: self.makes() });
        }
        self.check(&sampler)?;
        let mut made = Vec::new();
        let n = self.painter.config.tokens();
        for (i, text) in texts.iter().enumerate() {
            // The published model is asked to draw from all it thinks possible.
            let seed = sampler.seed.wrapping_add(i as u64);
            let sampling = Sampling { temperature: 1.0, seed, ..Sampling::default() };
            let mut on_token = |token| progress(i * n + token, texts.len() * n);
            let tokens =
                self.say(&self.prompt(text)?, sampler.guidance, sampling, &mut on_token)?;
            let picture = self.picture(&tokens);
            if !read(picture.clone()).iter().all(|x| x.is_finite()) {
                return Err(Error::NotFinitePicture);
            }
            made.extend(media(Output::Image(picture))?);
        }
        Ok(made)
    }
}
