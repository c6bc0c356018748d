//! A conversation as token ids, by the model's own chat template, with what training and splicing need
//! to know about each of them.
//!
//! ```text
//! messages ──shield──▶ template ──▶ text, a marker for each medium ──▶ all its tokens ──▶ ids
//!
//! <|bos|> <|user|> <|image|> <|image_token|>* <|image_end|> what is this <|end|>
//!                            slot
//!         <|assistant|> a red circle <|end|>
//!                       ^^^^^^^^^^^^^^^^^^^ answer
//! ```

use std::ops::Range;
use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use crate::chat_template::{ANSWER, ChatTemplate, Content, Conversation};
use crate::tokenizer::SHIELD;
use crate::{Error, Media, Modality, Result, Tokenizer};

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Instructions that hold for the whole conversation.
    System,
    /// The one who asks.
    User,
    /// The model.
    Assistant,
}

/// A piece of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text, always data: it never becomes a special token.
    Text(String),
    /// The place of the next medium.
    Media(Modality),
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// Text and media in order.
    pub parts: Vec<Part>,
}

impl Message {
    /// A message of text only.
    pub fn text(role: Role, text: impl Into<String>) -> Message {
        Message { role, parts: vec![Part::Text(text.into())] }
    }

    /// Its texts, one after the other, without its media.
    pub fn words(&self) -> String {
        let texts = self.parts.iter().filter_map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            Part::Media(_) => None,
        });
        texts.collect()
    }
}

/// A rendered conversation. `ids`, `answer` and `spans` have one entry a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompt {
    /// Token ids.
    pub ids: Vec<u32>,
    /// True for what the assistant says, its end token too: the loss mask. False throughout in a
    /// prompt that is to be answered.
    pub answer: Vec<bool>,
    /// Where the features of media go, in order.
    pub slots: Vec<Slot>,
    /// `n > 0` for the tokens that stand for the n-th medium, which see each other both ways; 0
    /// elsewhere.
    pub spans: Vec<i32>,
}

impl Prompt {
    /// Puts a token before all others.
    pub fn open(&mut self, id: u32) {
        self.ids.insert(0, id);
        self.answer.insert(0, false);
        self.spans.insert(0, 0);
        self.slots.iter_mut().for_each(|slot| slot.at += 1);
    }
}

/// A place in a prompt for the features of a medium, or of a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Index of its first token.
    pub at: usize,
    /// Its tokens.
    pub len: usize,
    /// What is spliced in there.
    pub modality: Modality,
}

/// What stands in a prompt for one medium.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Medium {
    /// What it is.
    pub modality: Modality,
    /// The token that a template writes for it.
    pub marker: String,
    /// The token that stands where its features go: with most models the same.
    pub token: String,
    /// What takes the marker's place: such tokens, and those that tell what they are.
    pub text: String,
    /// Tokens of one slot.
    pub len: usize,
}

impl Medium {
    /// `len` tokens between an opening and a closing one, as the tokenizers trained here name them.
    pub fn framed(modality: Modality, len: usize) -> Self {
        let marker = format!("<|{modality}_token|>");
        let text = format!("<|{modality}|>{}<|{modality}_end|>", marker.repeat(len));
        Self { modality, token: marker.clone(), marker, text, len }
    }
}

/// How a model's conversations are written.
#[derive(Debug)]
pub struct ChatFormat {
    /// The template.
    pub template: ChatTemplate,
    /// `bos_token` and others that it names; its own switches.
    pub variables: Map<String, Value>,
}

impl ChatFormat {
    /// The prompt of messages, the last of which is to be answered. What they say is data; their media
    /// are those given, in order.
    ///
    /// # Errors
    /// There are more or fewer media than the messages hold, or the template leaves some out; it
    /// refuses the messages; the tokenizer has no ids for a text.
    pub fn prompt(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        media: &[Medium],
    ) -> Result<Prompt> {
        let messages = self.messages(tokenizer, messages, media)?;
        let given = Conversation::to_answer(messages, self.variables.clone());
        tokenize(tokenizer, &self.template.render(&given)?, media)
    }

    /// A whole conversation to learn from, with a mask of what the assistant says in it: the
    /// template's `generation` blocks, or, without any, what a prompt gains by the assistant's message.
    ///
    /// # Errors
    /// As [`prompt`](Self::prompt), or the template writes a message otherwise once another follows.
    pub fn lesson(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        media: &[Medium],
    ) -> Result<Prompt> {
        let rendered = self.messages(tokenizer, messages, media)?;
        let whole = Conversation::whole(rendered, self.variables.clone());
        let text = match self.template.marks_answers() {
            true => self.template.render_marked(&whole)?,
            false => self.marked(tokenizer, messages, &whole)?,
        };
        let answers = messages.iter().filter(|message| message.role == Role::Assistant).count();
        if text.matches(ANSWER[0]).count() < answers {
            return Err(unmarked("a generation block for each answer", "fewer"));
        }
        tokenize(tokenizer, &text, media)
    }

    /// Messages as templates read them.
    fn messages(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        media: &[Medium],
    ) -> Result<Vec<Value>> {
        let parts = messages.iter().flat_map(|message| &message.parts);
        let markers = parts.filter(|part| matches!(part, Part::Media(_))).count();
        if markers != media.len() {
            return Err(Error::Markers { modality: Modality::Image, markers, given: media.len() });
        }
        let content = self.content(media);
        let mut media = media.iter();
        Ok(messages.iter().map(|m| as_json(tokenizer, m, content, &mut media)).collect())
    }

    /// How the messages are written that hold these media: as parts where the template names media by itself,
    /// also one that takes texts too (Qwen2-VL's).
    fn content(&self, media: &[Medium]) -> Content {
        let kinds = media.iter().map(|medium| (medium.modality, medium.marker.as_str()));
        let mut kinds: Vec<(Modality, &str)> = kinds.collect();
        kinds.dedup();
        match self.template.content() {
            Content::Text if !kinds.is_empty() => {
                let writes = |(kind, marker): &(Modality, &str)| {
                    self.template.writes(*kind, marker, &self.variables)
                };
                let named = kinds.iter().all(writes);
                if named { Content::Parts } else { Content::Text }
            }
            content => content,
        }
    }

    /// The text of a conversation with [`ANSWER`] around what it gains by each of the assistant's
    /// messages.
    fn marked(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        whole: &Conversation,
    ) -> Result<String> {
        let text = self.template.render(whole)?;
        let (mut out, mut done) = (String::new(), 0);
        for (i, message) in messages.iter().enumerate() {
            if message.role != Role::Assistant {
                continue;
            }
            let until = |n: usize, add_generation_prompt| {
                let messages = whole.messages[..n].to_vec();
                self.template.render(&Conversation {
                    messages,
                    add_generation_prompt,
                    ..whole.clone()
                })
            };
            let (before, after) = (until(i, true)?, until(i + 1, false)?);
            let Some(said) = after.strip_prefix(&before).filter(|_| text.starts_with(&after))
            else {
                let expected = "a template that writes a message alike whatever follows it";
                return Err(unmarked(expected, "one that writes it in two ways"));
            };
            let said = until_end(tokenizer, said);
            out += &format!("{}{}{said}{}", &text[done..before.len()], ANSWER[0], ANSWER[1]);
            done = before.len() + said.len();
        }
        Ok(out + &text[done..])
    }
}

/// What is said, without the line end that templates write after its end token and models never do.
fn until_end<'a>(tokenizer: &Tokenizer, said: &'a str) -> &'a str {
    let trimmed = said.trim_end();
    let ends = tokenizer.control().iter().any(|(name, _)| trimmed.ends_with(name.as_str()));
    if ends { trimmed } else { said }
}

/// A message for a template. A medium is a part, or, where a template wants a text, its marker on a
/// line of its own (LLaVA).
fn as_json<'a>(
    tokenizer: &Tokenizer,
    message: &Message,
    content: Content,
    media: &mut impl Iterator<Item = &'a Medium>,
) -> Value {
    let mut marker = || media.next().map(|medium| medium.marker.as_str()).unwrap_or_default();
    let content = match content {
        Content::Text => {
            let text = message.parts.iter().map(|part| match part {
                Part::Text(text) => tokenizer.shield(text),
                Part::Media(_) => format!("{}\n", marker()),
            });
            Value::String(text.collect())
        }
        Content::Parts => {
            let parts = message.parts.iter().map(|part| match part {
                Part::Text(text) => json!({"type": "text", "text": tokenizer.shield(text)}),
                Part::Media(modality) => {
                    marker();
                    json!({"type": modality})
                }
            });
            parts.collect()
        }
    };
    json!({"role": message.role, "content": content})
}

/// Ids of a rendered template, in which the media's markers become all that stands for them. What of
/// the text is data must have been [shielded](Tokenizer::shield).
///
/// # Errors
/// [`Error::Slots`] if the text does not hold a marker for each medium, or the tokenizer does not know
/// it; as [`Tokenizer::encode`].
pub fn tokenize(tokenizer: &Tokenizer, text: &str, media: &[Medium]) -> Result<Prompt> {
    let (text, [answers, places]) = without_marks(&spelt(text, media)?);
    let tokens = tokenizer.rendered(&text)?;
    let among = |token: &Range<usize>, ranges: &[Range<usize>]| {
        ranges.iter().position(|range| token.start < range.end && range.start < token.end)
    };
    let mut prompt = Prompt::default();
    for (id, token) in tokens {
        let medium = among(&token, &places);
        prompt.ids.push(id);
        prompt.answer.push(medium.is_none() && among(&token, &answers).is_some());
        prompt.spans.push(medium.map_or(0, |medium| medium as i32 + 1));
    }
    for (medium, span) in media.iter().zip(1..) {
        slots(&mut prompt, tokenizer, medium, span)?;
    }
    Ok(prompt)
}

/// Stand around what stands for a medium.
const MEDIUM: [char; 2] = ['\u{FDD2}', '\u{FDD3}'];

/// The text with each medium's marker as all that stands for it, between [`MEDIUM`].
fn spelt(text: &str, media: &[Medium]) -> Result<String> {
    let (mut out, mut rest) = (String::new(), text);
    for medium in media {
        let Some((before, after)) = rest.split_once(&medium.marker) else {
            return Err(missing(text, media, medium));
        };
        out += &format!("{before}{}{}{}", MEDIUM[0], medium.text, MEDIUM[1]);
        rest = after;
    }
    match media.iter().find(|medium| rest.contains(&medium.marker)) {
        Some(medium) => Err(missing(text, media, medium)),
        None => Ok(out + rest),
    }
}

fn missing(text: &str, media: &[Medium], Medium { marker, .. }: &Medium) -> Error {
    let expected = media.iter().filter(|medium| medium.marker == *marker).count();
    Error::Slots { marker: marker.clone(), expected, got: text.matches(marker).count() }
}

/// The text without marks, and what stood between [`ANSWER`] and [`MEDIUM`]: bytes of it without its
/// shields.
fn without_marks(text: &str) -> (String, [Vec<Range<usize>>; 2]) {
    let (mut out, mut ranges, mut at) = (String::new(), [Vec::new(), Vec::new()], 0);
    for c in text.chars() {
        match [ANSWER, MEDIUM].iter().position(|marks| marks.contains(&c)) {
            Some(kind) if c == [ANSWER, MEDIUM][kind][0] => ranges[kind].push(at..at),
            Some(kind) => ranges[kind].iter_mut().last().into_iter().for_each(|r| r.end = at),
            None => {
                out.push(c);
                at += if c == SHIELD { 0 } else { c.len_utf8() };
            }
        }
    }
    (out, ranges)
}

/// The places of a medium's features: its markers, `len` and `len` of them.
fn slots(prompt: &mut Prompt, tokenizer: &Tokenizer, medium: &Medium, span: i32) -> Result<()> {
    let Medium { modality, marker, token, text, len } = medium;
    let id = tokenizer.id(token);
    let is = |at: &usize| prompt.spans[*at] == span && Some(prompt.ids[*at]) == id;
    let markers: Vec<usize> = (0..prompt.ids.len()).filter(is).collect();
    let expected = text.matches(token.as_str()).count();
    let joined = |slot: &[usize]| slot.len() == *len && slot[len - 1] - slot[0] == len - 1;
    let chunks = || markers.chunks((*len).max(1));
    if markers.len() != expected || !chunks().all(joined) {
        return Err(Error::Slots { marker: marker.clone(), expected, got: markers.len() });
    }
    prompt.slots.extend(chunks().map(|slot| Slot { at: slot[0], len: *len, modality: *modality }));
    Ok(())
}

fn unmarked(expected: &str, got: &str) -> Error {
    Error::Template { place: String::new(), expected: expected.into(), got: got.into() }
}

/// The chat template of models made here.
pub const TEMPLATE: &str = include_str!("chat_template/trained.jinja");

/// A conversation as the tokenizers [trained](Tokenizer::train) here have it, each medium as
/// `media_tokens` positions between its markers. With `generate`, it ends where the assistant is to
/// speak; else it is to be learned from.
///
/// # Errors
/// The tokenizer is another's and has no ids for the format's tokens.
pub fn render(
    tokenizer: &Tokenizer,
    messages: &[Message],
    media_tokens: usize,
    generate: bool,
) -> Result<Prompt> {
    static FORMAT: LazyLock<ChatFormat> = LazyLock::new(|| {
        let template = ChatTemplate::parse(TEMPLATE).expect("the template is a constant");
        ChatFormat { template, variables: Map::new() }
    });
    let parts = messages.iter().flat_map(|message| &message.parts);
    let media = parts.filter_map(|part| match part {
        Part::Media(modality) => Some(Medium::framed(*modality, media_tokens)),
        Part::Text(_) => None,
    });
    let media: Vec<Medium> = media.collect();
    match generate {
        true => FORMAT.prompt(tokenizer, messages, &media),
        false => FORMAT.lesson(tokenizer, messages, &media),
    }
}

/// What models that are trained here are asked of a medium that only has a caption.
pub fn caption_request(modality: Modality) -> &'static str {
    match modality {
        Modality::Image | Modality::Text => "describe the picture.",
        Modality::Audio => "what do you hear?",
        Modality::Video => "describe the video.",
        Modality::Table => "describe the table.",
    }
}

/// What marks the places of media in what users write.
const MARKERS: [(&str, Modality); 4] = [
    ("<image>", Modality::Image),
    ("<video>", Modality::Video),
    ("<audio>", Modality::Audio),
    ("<table>", Modality::Table),
];

/// Splits a user's text at its literal `<image>`, `<video>`, `<audio>` and `<table>` markers; spaces around them are dropped.
/// Without a marker the media come first, in their order.
///
/// # Errors
/// [`Error::Markers`] if there are markers, but not one for each medium of its kind.
pub fn parse_markers(text: &str, media: &[Modality]) -> Result<Vec<Part>> {
    let trimmed = |part| match part {
        Part::Text(text) => text_part(&text),
        Part::Media(modality) => Some(Part::Media(modality)),
    };
    let parts: Vec<Part> = pieces(text, media).into_iter().filter_map(trimmed).collect();
    if parts.iter().any(|part| matches!(part, Part::Media(_))) {
        return agreed(parts, media);
    }
    Ok(media.iter().map(|modality| Part::Media(*modality)).chain(parts).collect())
}

/// A text and its media as they stand: nothing is moved, and no space is lost.
///
/// # Errors
/// [`Error::Markers`] if there is not a marker for each medium.
pub fn split_markers(text: &str, media: &[Modality]) -> Result<Vec<Part>> {
    agreed(pieces(text, media), media)
}

/// Media of any order in that of their parts.
pub fn arranged(parts: &[Part], media: Vec<Media>) -> Vec<Media> {
    let mut rest: Vec<Option<Media>> = media.into_iter().map(Some).collect();
    let take = |part: &Part| {
        let Part::Media(modality) = part else { return None };
        let fits = |medium: &&mut Option<Media>| {
            medium.as_ref().is_some_and(|medium| medium.modality() == *modality)
        };
        rest.iter_mut().find(fits)?.take()
    };
    parts.iter().filter_map(take).collect()
}

/// Texts and the media that are marked between them. Where no video is given, `<video>` is a word, and so
/// are `<audio>` and `<table>`.
fn pieces(text: &str, media: &[Modality]) -> Vec<Part> {
    let known = MARKERS
        .iter()
        .filter(|(_, modality)| *modality == Modality::Image || media.contains(modality));
    let first = |text: &str| {
        let found = known.clone().filter_map(|&(marker, modality)| {
            text.find(marker).map(|at| (at, at + marker.len(), modality))
        });
        found.min_by_key(|(at, ..)| *at)
    };
    let (mut parts, mut rest) = (Vec::new(), text);
    while let Some((at, behind, modality)) = first(rest) {
        parts.extend([Part::Text(rest[..at].to_owned()), Part::Media(modality)]);
        rest = &rest[behind..];
    }
    parts.push(Part::Text(rest.to_owned()));
    parts.retain(|part| *part != Part::Text(String::new()));
    parts
}

/// The parts, if each kind of medium has as many places as there are of it.
fn agreed(parts: Vec<Part>, media: &[Modality]) -> Result<Vec<Part>> {
    for (_, modality) in MARKERS {
        let markers = parts.iter().filter(|part| **part == Part::Media(modality)).count();
        let given = media.iter().filter(|given| **given == modality).count();
        if markers != given {
            return Err(Error::Markers { modality, markers, given });
        }
    }
    Ok(parts)
}

fn text_part(text: &str) -> Option<Part> {
    let text = text.trim();
    (!text.is_empty()).then(|| Part::Text(text.to_owned()))
}
