//! `/v1/chat/completions`: a conversation, answered at once or piece by piece.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{Stream, StreamExt, stream};
use sensorium_inference::Finish;
use sensorium_inference::speech::SpeakOptions;
use sensorium_media::{Modality, Role};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc::UnboundedReceiver;

use super::tools::{Call, Tools};
use crate::app::{Admitted, App};
use crate::engine::{Ask, Event, Loaded, Media, Outcome, Prompt, Speech, TokenLogprob};
use crate::error::{ApiError, Result};
use crate::fields::Fields;
use crate::ids::{id, now};
use crate::parts::{Conversation, Files};
use crate::sampling::{self, modalities, response_format, sampler};

/// Most answers to one request, and most tokens told beside each.
const ANSWERS: usize = 8;
const TOP: usize = 20;

/// Fields of OpenAI's that say nothing of the answer.
pub(super) const PASSED: [&str; 6] = [
    "user",
    "metadata",
    "safety_identifier",
    "prompt_cache_key",
    "parallel_tool_calls",
    "keep_alive",
];

/// A request that has been read.
struct Request {
    model: Arc<Loaded>,
    ask: Ask,
    n: usize,
    tools: Tools,
    logprobs: bool,
    /// Whether pieces are wanted, and the numbers behind them.
    stream: bool,
    include_usage: bool,
    ignored: Option<HeaderValue>,
}

/// Answers a conversation.
pub async fn completions(State(app): State<Arc<App>>, admitted: Admitted) -> Result<Response> {
    let mut fields = Fields::read(&admitted.bytes)?;
    let conversation = conversation(&mut fields, admitted.files(&app))?;
    let request = request(&app, fields, conversation, &admitted).await?;
    let answers: Vec<_> = (0..request.n)
        .map(|i| {
            let mut ask = request.ask.clone();
            ask.options.sampling.seed = ask.options.sampling.seed.wrapping_add(i as u64);
            app.engine.ask(request.model.clone(), ask, admitted.place.clone())
        })
        .collect();
    let ignored = request.ignored.clone();
    let frame = Frame { id: id("chatcmpl-"), created: now(), model: request.model.name.clone() };
    let mut response = match request.stream {
        true => streamed(request, frame, answers),
        false => whole(&request, &frame, answers).await?,
    };
    if let Some(ignored) = ignored {
        response.headers_mut().insert("x-sensorium-ignored", ignored);
    }
    Ok(response)
}

fn conversation(fields: &mut Fields, files: Files<'_>) -> Result<Conversation> {
    let messages: Vec<Map<String, Value>> = fields.need("messages")?;
    if messages.is_empty() {
        return Err(ApiError::invalid("messages", "expected at least one message, got none"));
    }
    let mut conversation = Conversation::default();
    for (i, message) in messages.into_iter().enumerate() {
        conversation.push(message, &format!("messages[{i}]"), files)?;
    }
    Ok(conversation)
}

async fn request(
    app: &App,
    mut fields: Fields,
    mut conversation: Conversation,
    admitted: &Admitted,
) -> Result<Request> {
    let name: Option<String> = fields.take("model")?;
    let mut options = sampling::options(&mut fields, &["max_tokens", "max_completion_tokens"])?;
    let n = fields.count("n", 1..=ANSWERS)?.unwrap_or(1);
    let logprobs: bool = fields.take("logprobs")?.unwrap_or(false);
    let top = fields.count("top_logprobs", 0..=TOP)?;
    let tools = Tools::take(&mut fields)?;
    options.grammar = response_format(&mut fields, "response_format")?;
    let stream: bool = fields.take("stream")?.unwrap_or(false);
    let mut streaming = fields.object("stream_options")?;
    let include_usage = streaming.as_mut().map(|options| options.take("include_usage"));
    let include_usage = include_usage.transpose()?.flatten().unwrap_or(false);
    let sampler = sampler(&mut fields, options.sampling.seed)?;
    let modalities = modalities(&mut fields)?;
    let speech = speech(&mut fields, modalities.as_deref())?;
    options.modalities = Some(answered(modalities, speech.is_some()));
    options.spoken = speech.is_some();
    options.cache_salt = fields.take("prompt_cache_key")?.unwrap_or_default();
    fields.pass(&PASSED);
    if !tools.is_empty() {
        conversation
            .messages
            .insert(0, sensorium_media::Message::text(Role::System, tools.words()));
        options.grammar = tools.grammar()?.or(options.grammar);
    }
    if options.grammar.is_some() {
        options.modalities = Some(vec![Modality::Text]);
    }
    let model = app.engine.models.able(name.as_deref(), "chat").await?;
    let own = |options: SpeakOptions| SpeakOptions {
        voice: super::audio::mapped(options.voice, &model.info.voices),
        ..options
    };
    let speech = speech.map(own);
    let prompt = prompt(app, &model, conversation).await?;
    let logprobs_top = logprobs.then(|| top.unwrap_or(0));
    let client = admitted.client.name.clone();
    let ask = Ask { client, prompt, options, logprobs: logprobs_top, sampler, speech };
    let ignored = fields.ignored();
    Ok(Request { model, ask, n, tools, logprobs, stream, include_usage, ignored })
}

/// Begins to answer a conversation in words, for dialects that know no other answers.
pub(super) async fn begin(
    app: &Arc<App>,
    admitted: &Admitted,
    name: Option<&str>,
    conversation: Conversation,
    mut options: sensorium_inference::GenerateOptions,
) -> Result<(Arc<Loaded>, UnboundedReceiver<Event>)> {
    let model = app.engine.models.able(name, "chat").await?;
    let prompt = prompt(app, &model, conversation).await?;
    options.modalities = Some(vec![Modality::Text]);
    let client = admitted.client.name.clone();
    let ask =
        Ask { client, prompt, options, logprobs: None, sampler: Default::default(), speech: None };
    Ok((model.clone(), app.engine.ask(model, ask, admitted.place.clone())))
}

/// A conversation with its media decoded, all of which the model reads.
pub(super) async fn prompt(
    app: &App,
    model: &Loaded,
    conversation: Conversation,
) -> Result<Prompt> {
    let Conversation { messages, uploads } = conversation;
    let known = &model.info.input;
    if let Some(upload) = uploads.iter().find(|upload| !known.contains(&upload.modality)) {
        let takes: Vec<String> = known.iter().map(Modality::to_string).collect();
        let message = format!(
            "expected media that the model {:?} reads ({}), got one of the kind {}",
            model.name,
            takes.join(", "),
            upload.modality
        );
        let error =
            ApiError::new(axum::http::StatusCode::BAD_REQUEST, "modality_not_supported", message);
        return Err(error.at(&*upload.param));
    }
    let media = app.engine.decode(move |reader| Conversation::media(&uploads, reader)).await?;
    Ok(Prompt::Chat(messages.into(), media.into()))
}

/// How words are spoken: OpenAI's `audio`, beside a modality `audio`.
fn speech(fields: &mut Fields, modalities: Option<&[Modality]>) -> Result<Option<SpeakOptions>> {
    let Some(mut audio) = fields.object("audio")? else { return Ok(None) };
    let voice = super::audio::voice(&mut audio)?;
    let format: Option<String> = audio.take("format")?;
    if let Some(format) = format.filter(|format| format != "wav") {
        let message = format!("expected wav, which is written here, got {format:?}");
        return Err(ApiError::invalid("audio.format", message));
    }
    let is_wanted = modalities.is_some_and(|all| all.contains(&Modality::Audio));
    Ok(is_wanted.then_some(SpeakOptions { voice, ..SpeakOptions::default() }))
}

/// What an answer may be: words alone unless more is asked for; where it is spoken, no other sound.
fn answered(modalities: Option<Vec<Modality>>, is_spoken: bool) -> Vec<Modality> {
    let mut modalities = modalities.unwrap_or_else(|| vec![Modality::Text]);
    if is_spoken {
        modalities.retain(|modality| *modality != Modality::Audio);
        if modalities.is_empty() {
            modalities.push(Modality::Text);
        }
    }
    modalities
}

/// What all of an answer's pieces have.
#[derive(Clone)]
struct Frame {
    id: String,
    created: u64,
    model: String,
}

impl Frame {
    fn chunk(&self, choices: Value, usage: Option<Value>, include_usage: bool) -> Value {
        let Self { id, created, model } = self;
        let mut chunk = json!({
            "id": id, "object": "chat.completion.chunk", "created": created, "model": model,
            "system_fingerprint": FINGERPRINT, "choices": choices
        });
        if include_usage {
            chunk["usage"] = usage.unwrap_or_default();
        }
        chunk
    }

    fn piece(&self, index: usize, delta: Value, include_usage: bool) -> Value {
        let choice =
            json!([{"index": index, "delta": delta, "logprobs": null, "finish_reason": null}]);
        self.chunk(choice, None, include_usage)
    }
}

const FINGERPRINT: &str = concat!("sensorium-", env!("CARGO_PKG_VERSION"));

/// An answer that was collected.
#[derive(Default)]
pub(super) struct Answer {
    pub text: String,
    pub tokens: Vec<TokenLogprob>,
    pub media: Vec<Media>,
    pub speech: Option<Speech>,
    pub outcome: Outcome,
}

/// All of an answer.
///
/// # Errors
/// What the engine says.
pub(super) async fn collect(mut events: UnboundedReceiver<Event>) -> Result<Answer> {
    let mut answer = Answer::default();
    while let Some(event) = events.recv().await {
        match event {
            Event::Piece(piece, tokens) => {
                answer.text.push_str(&piece);
                answer.tokens.extend(tokens);
            }
            Event::Medium(medium) => answer.media.push(medium),
            Event::Speech(speech) => answer.speech = Some(speech),
            Event::Failed(error) => return Err(error),
            Event::Done(outcome) => {
                answer.outcome = outcome;
                return Ok(answer);
            }
        }
    }
    Err(ApiError::internal("an answer without an end"))
}

async fn whole(
    request: &Request,
    frame: &Frame,
    answers: Vec<UnboundedReceiver<Event>>,
) -> Result<Response> {
    let (mut choices, mut outcomes) = (Vec::new(), Vec::new());
    for (index, events) in answers.into_iter().enumerate() {
        let answer = collect(events).await?;
        choices.push(choice(request, index, &answer));
        outcomes.push(answer.outcome);
    }
    let Frame { id, created, model } = frame;
    Ok(Json(json!({
        "id": id, "object": "chat.completion", "created": created, "model": model,
        "system_fingerprint": FINGERPRINT, "choices": choices, "usage": usage(&outcomes)
    }))
    .into_response())
}

fn choice(request: &Request, index: usize, answer: &Answer) -> Value {
    let (text, calls) = request.tools.calls(&answer.text);
    let mut message =
        json!({"role": "assistant", "content": text, "refusal": null, "annotations": []});
    if !calls.is_empty() {
        message["tool_calls"] = calls.iter().map(Call::chat).collect();
        if text.is_empty() {
            message["content"] = Value::Null;
        }
    }
    for (field, value) in answer.media.iter().map(medium) {
        match message.get_mut(field).and_then(Value::as_array_mut) {
            Some(list) => list.push(value),
            None if field == "audio" => message[field] = value,
            None => message[field] = json!([value]),
        }
    }
    if let Some(speech) = &answer.speech {
        message["audio"] = spoken(speech);
    }
    let tokens = request.logprobs.then(|| logprobs(&answer.tokens));
    let finish = if calls.is_empty() { reason(answer.outcome.finish) } else { "tool_calls" };
    json!({"index": index, "message": message, "logprobs": tokens, "finish_reason": finish})
}

/// The field of a message that a medium stands in, and how it stands there.
fn medium(medium: &Media) -> (&'static str, Value) {
    let Media { modality, kind, bytes } = medium;
    let data = STANDARD.encode(bytes);
    let url = |mime: &str| json!({"url": format!("data:{mime};base64,{data}")});
    match modality {
        Modality::Video => ("videos", json!({"type": "video_url", "video_url": url("image/gif")})),
        Modality::Audio => {
            let expires_at = now() + 3600;
            (
                "audio",
                json!({"id": id("audio_"), "data": data, "format": "wav", "transcript": "", "expires_at": expires_at}),
            )
        }
        Modality::Table => {
            let filename = format!("answer.{}", kind.extension());
            (
                "files",
                json!({"type": "file", "file": {"filename": filename, "file_data": format!("data:text/csv;base64,{data}")}}),
            )
        }
        Modality::Image | Modality::Text => {
            ("images", json!({"type": "image_url", "image_url": url("image/png")}))
        }
    }
}

fn spoken(speech: &Speech) -> Value {
    let Speech { wav, transcript, .. } = speech;
    let (data, expires_at) = (STANDARD.encode(wav), now() + 3600);
    json!({"id": id("audio_"), "data": data, "format": "wav", "transcript": transcript, "expires_at": expires_at})
}

fn logprobs(tokens: &[TokenLogprob]) -> Value {
    let one = |token: &str, logprob: f64| json!({"token": token, "logprob": logprob, "bytes": token.as_bytes()});
    let all = tokens.iter().map(|TokenLogprob { token, logprob, top }| {
        let mut told = one(token, *logprob);
        told["top_logprobs"] = top.iter().map(|(token, logprob)| one(token, *logprob)).collect();
        told
    });
    json!({"content": all.collect::<Vec<_>>(), "refusal": null})
}

pub(super) fn reason(finish: Option<Finish>) -> &'static str {
    match finish {
        Some(Finish::Length) => "length",
        Some(Finish::Stop | Finish::Interrupted) | None => "stop",
    }
}

/// Tokens of answers to one prompt.
pub(super) fn usage(outcomes: &[Outcome]) -> Value {
    let prompt = outcomes.first().map_or(0, |outcome| outcome.prompt_tokens);
    let cached = outcomes.first().map_or(0, |outcome| outcome.cached_tokens);
    let completion: usize = outcomes.iter().map(|outcome| outcome.completion_tokens).sum();
    let slots = outcomes.first().map_or(&[][..], |outcome| &outcome.slots);
    let of = |modality| -> usize {
        slots.iter().filter(|slot| slot.modality == modality).map(|slot| slot.len).sum()
    };
    let [image, audio, video, table] =
        [Modality::Image, Modality::Audio, Modality::Video, Modality::Table].map(of);
    json!({
        "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion,
        "prompt_tokens_details": {
            "cached_tokens": cached, "image_tokens": image, "audio_tokens": audio, "video_tokens": video,
            "table_tokens": table, "text_tokens": prompt.saturating_sub(image + audio + video + table)
        },
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0, "text_tokens": completion}
    })
}

/// What becomes of an answer, as it is told.
pub(super) fn told(answer: UnboundedReceiver<Event>) -> impl Stream<Item = Event> {
    stream::unfold(answer, |mut answer| async move {
        let event = answer.recv().await?;
        Some((event, answer))
    })
}

/// Server-sent events of JSON, with a comment where nothing is said for a while.
pub(super) fn events(values: impl Stream<Item = sse::Event> + Send + 'static) -> Response {
    let keep_alive = KeepAlive::new().interval(std::time::Duration::from_secs(10)).text("ping");
    Sse::new(values.map(Ok::<_, Infallible>)).keep_alive(keep_alive).into_response()
}

/// A value as an event without a name.
pub(super) fn data(value: &Value) -> sse::Event {
    sse::Event::default().data(value.to_string())
}

fn streamed(request: Request, frame: Frame, answers: Vec<UnboundedReceiver<Event>>) -> Response {
    let numbered = |(i, events): (usize, UnboundedReceiver<Event>)| {
        told(events).map(move |event| (i, event)).boxed()
    };
    let n = answers.len();
    let all = stream::select_all(answers.into_iter().enumerate().map(numbered));
    let heads = (0..n).map({
        let (frame, include) = (frame.clone(), request.include_usage);
        move |i| data(&frame.piece(i, json!({"role": "assistant", "content": ""}), include))
    });
    let texts = vec![String::new(); n];
    let mut telling = Telling { request, frame, outcomes: Vec::new(), texts };
    let bodies = all.map(move |(i, event)| stream::iter(telling.tell(i, event))).flatten();
    events(stream::iter(heads.collect::<Vec<_>>()).chain(bodies))
}

/// Answers that are told piece by piece.
struct Telling {
    request: Request,
    frame: Frame,
    outcomes: Vec<Outcome>,
    /// Held back where functions may be called: what calls one is no text.
    texts: Vec<String>,
}

impl Telling {
    fn tell(&mut self, i: usize, event: Event) -> Vec<sse::Event> {
        let include = self.request.include_usage;
        let piece = |delta: Value| self.frame.piece(i, delta, include);
        match event {
            Event::Piece(text, tokens) => {
                self.texts[i].push_str(&text);
                if !self.request.tools.is_empty() {
                    return Vec::new();
                }
                let mut chunk = piece(json!({"content": text}));
                if self.request.logprobs {
                    chunk["choices"][0]["logprobs"] = logprobs(&tokens);
                }
                vec![data(&chunk)]
            }
            Event::Medium(made) => {
                let (field, value) = medium(&made);
                let value = if field == "audio" { value } else { json!([value]) };
                vec![data(&piece(json!({field: value})))]
            }
            Event::Speech(speech) => vec![data(&piece(json!({"audio": spoken(&speech)})))],
            Event::Failed(error) => vec![data(&error.body())],
            Event::Done(outcome) => self.end(i, outcome),
        }
    }

    /// What one of the answers ends with, and, if it is the last, all of them.
    fn end(&mut self, i: usize, outcome: Outcome) -> Vec<sse::Event> {
        let Self { request, frame, texts, .. } = self;
        let (mut told, mut finish) = (Vec::new(), reason(outcome.finish));
        let include = request.include_usage;
        if !request.tools.is_empty() {
            let (words, calls) = request.tools.calls(&texts[i]);
            if !words.is_empty() {
                told.push(data(&frame.piece(i, json!({"content": words}), include)));
            }
            for (index, call) in calls.iter().enumerate() {
                let mut call = call.chat();
                call["index"] = index.into();
                told.push(data(&frame.piece(i, json!({"tool_calls": [call]}), include)));
                finish = "tool_calls";
            }
        }
        let mut last = frame.piece(i, json!({}), include);
        last["choices"][0]["finish_reason"] = finish.into();
        told.push(data(&last));
        self.outcomes.push(outcome);
        if self.outcomes.len() == texts.len() {
            if include {
                told.push(data(&frame.chunk(json!([]), Some(usage(&self.outcomes)), true)));
            }
            told.push(sse::Event::default().data("[DONE]"));
        }
        told
    }
}
