//! Published chat templates: the Jinja program beside a model that turns messages into its prompt.
//!
//! Rendered as transformers renders them: blocks trimmed, `tojson` without HTML escapes,
//! `raise_exception`, `strftime_now`; nothing can be loaded or changed by a template. It runs on a
//! thread of its own, with a limit on its work, so that whatever it does ends in a text or an error.
//!
//! ```text
//! chat_template.jinja > chat_template.json > tokenizer_config.json ──▶ ChatTemplate
//! Conversation { messages, tools, .. } ──render──▶ text
//! ```

mod environment;
mod json;
mod methods;
mod percent;
mod repr;
mod source;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::SystemTime;

use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind};
use serde_json::{Map, Value, json};

use crate::{Error, Modality, Result};
use environment::Raised;

pub use source::special_tokens;

/// The template for all conversations, and the one for those with tools where a model has two.
const NAMES: [&str; 2] = ["default", "tool_use"];

/// Work of one rendering that does not depend on the conversation. An instruction costs 1, 64 bytes
/// of text as much; the longest published templates spend 10,000 on a short conversation.
const FUEL: u64 = 100_000;

/// Stack of the thread that renders. A template can nest values as deep as its fuel lasts.
const STACK: usize = 256 << 20;

/// Stand around what the assistant says. Noncharacters: no text has them.
pub(crate) const ANSWER: [char; 2] = ['\u{FDD0}', '\u{FDD1}'];

/// Calls within calls; published templates have three.
const DEPTH: usize = 64;

/// The text of the template for all conversations as a checkpoint's files hold it, if any does; see
/// [`ChatTemplate::find`].
///
/// # Errors
/// [`Error::Template`] if what is there is no text.
pub fn published<'a>(
    jinja: Option<&'a [u8]>,
    json: Option<&'a Value>,
    tokenizer_config: Option<&'a Value>,
) -> Result<Option<&'a str>> {
    let named = source::find(jinja, json, tokenizer_config)?;
    Ok(named.and_then(|named| named.first().map(|(_, text)| *text)))
}

/// How a template wants the content of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// As a text.
    Text,
    /// As a list of parts: `{"type": "text", "text": ...}`, `{"type": "image"}`.
    Parts,
}

/// A published chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    source: String,
    content: Content,
}

/// What a template is given.
#[derive(Clone, Debug)]
pub struct Conversation {
    /// `{"role": ..., "content": ...}`, content a text or a list of parts, and what else the
    /// template reads.
    pub messages: Vec<Value>,
    /// JSON schemas of functions that the model may call.
    pub tools: Option<Vec<Value>>,
    /// Texts to answer from, `{"title": ..., "text": ...}`.
    pub documents: Option<Vec<Value>>,
    /// The prompt ends where the assistant is to begin.
    pub add_generation_prompt: bool,
    /// Special tokens (see [`special_tokens`]) and the template's own switches, as `enable_thinking`.
    pub variables: Map<String, Value>,
    /// What `strftime_now` takes for now, in UTC.
    pub now: SystemTime,
}

impl Conversation {
    /// These messages and nothing more.
    pub fn whole(messages: Vec<Value>, variables: Map<String, Value>) -> Self {
        Self {
            messages,
            tools: None,
            documents: None,
            add_generation_prompt: false,
            variables,
            now: SystemTime::now(),
        }
    }

    /// These messages, the last of which is to be answered.
    pub fn to_answer(messages: Vec<Value>, variables: Map<String, Value>) -> Self {
        Self { add_generation_prompt: true, ..Self::whole(messages, variables) }
    }
}

impl ChatTemplate {
    /// A template from its text.
    ///
    /// # Errors
    /// [`Error::Template`] if it is too long or no template.
    pub fn parse(source: &str) -> Result<Self> {
        Self::from_named(&[(NAMES[0], source)])
    }

    /// The template that a checkpoint's files hold, if any does: the text of `chat_template.jinja`,
    /// before `chat_template.json`, before `tokenizer_config.json`.
    ///
    /// # Errors
    /// [`Error::Template`] if what is there is no template.
    pub fn find(
        jinja: Option<&[u8]>,
        json: Option<&Value>,
        tokenizer_config: Option<&Value>,
    ) -> Result<Option<Self>> {
        let named = source::find(jinja, json, tokenizer_config)?;
        named.map(|named| Self::from_named(&named)).transpose()
    }

    fn from_named(named: &[(&'static str, &str)]) -> Result<Self> {
        let named: Vec<(&'static str, String)> = named
            .iter()
            .map(|(name, text)| Ok((*name, source::prepare(text)?)))
            .collect::<Result<_>>()?;
        let source = named.first().map_or(String::new(), |(_, text)| text.clone());
        apart(|| {
            let mut environment = environment::new();
            environment.set_recursion_limit(DEPTH);
            for (name, text) in named {
                environment.add_template_owned(name, text).map_err(|error| explain(&error))?;
            }
            let mut template = Self { environment, source, content: Content::Text };
            template.content = template.wanted();
            Ok(template)
        })
    }

    /// How it wants the content of a message.
    pub fn content(&self) -> Content {
        self.content
    }

    /// Whether it says itself which part of a conversation is the assistant's, by blocks called
    /// `generation`.
    pub fn marks_answers(&self) -> bool {
        self.source.contains("filter generation")
    }

    /// The prompt of a conversation.
    ///
    /// # Errors
    /// [`Error::Refused`] with the template's message where it raises one, [`Error::Template`] where
    /// it fails or does more work than a template may.
    pub fn render(&self, conversation: &Conversation) -> Result<String> {
        apart(|| self.run(conversation, self.content, false))
    }

    /// The text of a conversation, with every `generation` block between [`ANSWER`].
    pub(crate) fn render_marked(&self, conversation: &Conversation) -> Result<String> {
        apart(|| self.run(conversation, self.content, true))
    }

    fn run(&self, conversation: &Conversation, content: Content, marks: bool) -> Result<String> {
        let messages = conversation.messages.iter();
        let messages: Vec<Value> = messages.map(|message| converted(message, content)).collect();
        let mut given = conversation.variables.clone();
        given.insert("messages".into(), messages.into());
        given.insert("add_generation_prompt".into(), conversation.add_generation_prompt.into());
        let optional = [("tools", &conversation.tools), ("documents", &conversation.documents)];
        let mut with_none = given.clone();
        for (name, value) in optional {
            with_none.insert(name.into(), value.clone().into());
            given.extend(value.clone().map(|value| (name.to_owned(), value.into())));
        }
        // transformers tells a template that there are no tools by none. Some were only ever tried with
        // programs that say nothing of them.
        match self.render_with(&with_none, conversation, marks) {
            Err(Error::Template { .. }) if given.len() < with_none.len() => {
                self.render_with(&given, conversation, marks)
            }
            rendered => rendered,
        }
    }

    fn render_with(
        &self,
        given: &Map<String, Value>,
        conversation: &Conversation,
        marks: bool,
    ) -> Result<String> {
        let has = |name: &str| self.environment.get_template(name).is_ok();
        let name = if conversation.tools.is_some() && has(NAMES[1]) { NAMES[1] } else { NAMES[0] };
        let length = serde_json::to_string(given).map_or(0, |text| text.len() as u64);
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(FUEL + 2 * length));
        environment::set_now(&mut environment, conversation.now);
        environment::set_marks(&mut environment, marks.then_some(ANSWER));
        let template = environment.get_template(name).map_err(|error| explain(&error))?;
        template.render(minijinja::Value::from(Serde(given))).map_err(|error| explain(&error))
    }

    /// What shows a probing text: a template that wants parts leaves out a text, one that wants a
    /// text fails over parts or prints them as a list.
    fn wanted(&self) -> Content {
        let shows = |content| self.shown(json!(PROBE), content).is_some();
        if !shows(Content::Text) && shows(Content::Parts) { Content::Parts } else { Content::Text }
    }

    /// Whether it writes a part of this kind as `marker`, beside a text: one that takes texts too may.
    pub fn writes(&self, modality: Modality, marker: &str) -> bool {
        let parts = json!([{"type": modality}, {"type": "text", "text": PROBE}]);
        let shown = apart(|| Ok(self.shown(parts, Content::Parts)));
        shown.is_ok_and(|text| text.is_some_and(|text| text.contains(marker)))
    }

    /// The prompt of a user who says this, with [`PROBE`] in it, if that is shown as a text.
    fn shown(&self, content: Value, wanted: Content) -> Option<String> {
        let user = json!({"role": "user", "content": content});
        let conversation = Conversation::to_answer(vec![user], Map::new());
        let text = self.run(&conversation, wanted, false).unwrap_or_default();
        let is_text = !text.contains("'type'") && !text.contains("\"type\"");
        (text.contains(PROBE) && is_text).then_some(text)
    }
}

/// What is said to learn how a template shows it.
const PROBE: &str = "a probing text";

/// The message with its content as the template wants it, and its reasoning under the name that
/// templates read.
fn converted(message: &Value, content: Content) -> Value {
    let mut message = message.clone();
    let Some(fields) = message.as_object_mut() else { return message };
    let changed = match (content, fields.get("content")) {
        (Content::Parts, Some(Value::String(text))) => {
            Some(json!([{"type": "text", "text": text}]))
        }
        (Content::Text, Some(Value::Array(parts))) => joined(parts),
        _ => None,
    };
    if let Some(changed) = changed {
        fields.insert("content".into(), changed);
    }
    let reasoning = ["reasoning_content", "thinking", "reasoning"].iter();
    if let Some(text) = reasoning.filter_map(|name| fields.get(*name)).find(|text| !text.is_null())
    {
        let text = text.clone();
        fields.entry("thinking").or_insert_with(|| text.clone());
        fields.insert("reasoning_content".into(), text);
    }
    message
}

/// The text of parts that are all text.
fn joined(parts: &[Value]) -> Option<Value> {
    let texts = parts.iter().map(|part| part.get("text").and_then(Value::as_str));
    texts.collect::<Option<String>>().map(Value::String)
}

thread_local! {
    /// Whether this thread's stack is deep enough to render on.
    static DEEP: Cell<bool> = const { Cell::new(false) };
}

/// Does work that renders many conversations on one thread with a deep stack, where each rendering
/// would start one of its own. What panics there panics here.
///
/// # Errors
/// The system gives no thread.
pub fn on_deep_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T> {
    Ok(deep(work)?.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
}

/// Runs on a thread with a deep stack; what panics there is an error.
fn apart<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let done = if DEEP.get() { catch_unwind(AssertUnwindSafe(work)) } else { deep(work)? };
    done.unwrap_or_else(|_| Err(failed("one that breaks its engine")))
}

fn deep<T: Send>(work: impl FnOnce() -> T + Send) -> Result<std::thread::Result<T>> {
    let work = || {
        DEEP.set(true);
        work()
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("chat template".into()).stack_size(STACK);
        let thread = thread.spawn_scoped(scope, work);
        let thread = thread.map_err(|error| failed(&format!("no thread for it: {error}")))?;
        Ok(thread.join())
    })
}

fn failed(got: &str) -> Error {
    Error::Template {
        place: String::new(),
        expected: "a template that can be run".into(),
        got: got.into(),
    }
}

/// The engine's error as ours.
fn explain(error: &minijinja::Error) -> Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    let mut detail = error.to_string();
    let mut kind = error.kind();
    let mut line = error.line();
    while let Some(source) = cause {
        if let Some(Raised(message)) = source.downcast_ref::<Raised>() {
            return Error::Refused { message: short(message) };
        }
        if let Some(inner) = source.downcast_ref::<minijinja::Error>() {
            (detail, kind, line) = (inner.to_string(), inner.kind(), inner.line().or(line));
        }
        cause = source.source();
    }
    let place = line.map_or(String::new(), |line| format!(" line {line}"));
    let expected = match kind {
        ErrorKind::OutOfFuel => "a template that ends soon",
        ErrorKind::SyntaxError => "Jinja",
        _ => "a template that fits this conversation",
    };
    Error::Template { place, expected: expected.into(), got: short(&detail) }
}

/// At most 300 characters: a template does not choose how long our messages are.
fn short(text: &str) -> String {
    match text.char_indices().nth(300) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
