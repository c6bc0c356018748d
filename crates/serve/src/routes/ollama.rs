//! `/api/...`: the same answers in the form that ollama's clients read, whose streams are lines of JSON.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use sensorium_inference::GenerateOptions;
use sensorium_media::{Message, Role};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc::UnboundedReceiver;

use super::chat::{Answer, begin, collect, reason, told};
use super::embeddings::{Item, counted, embedded};
use super::tools::Tools;
use crate::app::{Admitted, App};
use crate::engine::{Event, Info, Outcome};
use crate::error::{ApiError, Result};
use crate::fields::Fields;
use crate::parts::Conversation;
use crate::sampling::{self, schema};

/// An error in ollama's form.
pub struct Failure(ApiError);

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let message = self.0.message.clone();
        let mut response = self.0.into_response();
        *response.body_mut() = Body::from(json!({"error": message}).to_string());
        response.headers_mut().remove(header::CONTENT_LENGTH);
        response
    }
}

pub(super) type Answered = std::result::Result<Response, Failure>;

/// Answers a conversation.
pub async fn chat(State(app): State<Arc<App>>, admitted: Admitted) -> Answered {
    let (mut fields, begun) = (Fields::read(&admitted.bytes)?, Instant::now());
    let messages: Vec<Map<String, Value>> = fields.need("messages")?;
    let mut conversation = Conversation::default();
    for (i, message) in messages.into_iter().enumerate() {
        let param = format!("messages[{i}]");
        conversation.push(parted(message, &param)?, &param, admitted.files(&app))?;
    }
    let tools = Tools::take(&mut fields)?;
    if !tools.is_empty() {
        conversation.messages.insert(0, Message::text(Role::System, tools.words()));
    }
    let said = |text: &str, tools: &Tools| {
        let (text, calls) = tools.calls(text);
        let mut message = json!({"role": "assistant", "content": text});
        if !calls.is_empty() {
            let call = |call: &super::tools::Call| {
                let arguments: Value = serde_json::from_str(&call.arguments).unwrap_or_default();
                json!({"function": {"name": call.name, "arguments": arguments}})
            };
            message["tool_calls"] = calls.iter().map(call).collect();
        }
        ("message", message)
    };
    answered(app, &admitted, fields, (conversation, begun), move |text| said(text, &tools)).await
}

/// Answers a prompt.
pub async fn generate(State(app): State<Arc<App>>, admitted: Admitted) -> Answered {
    let (mut fields, begun) = (Fields::read(&admitted.bytes)?, Instant::now());
    let prompt: String = fields.take("prompt")?.unwrap_or_default();
    let system: Option<String> = fields.take("system")?;
    let images: Vec<String> = fields.take("images")?.unwrap_or_default();
    for name in ["template", "suffix", "context"] {
        if fields.has(name) {
            let message = "expected none: templates are the models' own";
            return Err(ApiError::invalid(name, message).into());
        }
    }
    if fields.take::<bool>("raw")?.unwrap_or(false) {
        return Err(ApiError::invalid(
            "raw",
            "expected false; /v1/completions goes on with a text as it is",
        )
        .into());
    }
    let mut conversation = Conversation::default();
    if let Some(system) = system.filter(|system| !system.is_empty()) {
        conversation.say(Role::System, system);
    }
    let message = json!({"role": "user", "content": prompt, "images": images});
    if let Value::Object(message) = message {
        conversation.push(parted(message, "")?, "prompt", admitted.files(&app))?;
    }
    let said = |text: &str| ("response", Value::from(text));
    answered(app, &admitted, fields, (conversation, begun), said).await
}

/// A message whose pictures stand in `images`, with parts.
fn parted(mut message: Map<String, Value>, param: &str) -> Result<Map<String, Value>> {
    message.remove("thinking");
    let mut fields = Fields::new(message.clone(), param);
    let images: Vec<String> = fields.take("images")?.unwrap_or_default();
    message.remove("images");
    if images.is_empty() {
        return Ok(message);
    }
    let text = message.remove("content").unwrap_or_default();
    let image = |image: String| json!({"type": "image_url", "image_url": image});
    let text = json!({"type": "text", "text": text.as_str().unwrap_or_default()});
    let parts: Vec<Value> = images.into_iter().map(image).chain([text]).collect();
    message.insert("content".to_owned(), parts.into());
    Ok(message)
}

fn options(fields: &mut Fields) -> Result<GenerateOptions> {
    let mut inner = fields.object("options")?.unwrap_or_else(|| Fields::new(Map::new(), "options"));
    // -1: as many as there is room for.
    let most = inner.take::<i64>("num_predict")?.filter(|most| *most > 0);
    let repeat = inner.number("repeat_penalty", 0.01..=100.0)?;
    let mut options = sampling::options(&mut inner, &[])?;
    options.max_new_tokens = most.map_or(options.max_new_tokens, |most| most as usize);
    options.logits.repetition_penalty = repeat.map(|repeat| repeat as f32);
    options.grammar = match fields.take::<Value>("format")? {
        None => None,
        Some(Value::String(word)) if word.is_empty() => None,
        Some(Value::String(word)) if word == "json" => {
            Some(schema(json!({"type": "object"}), "format")?)
        }
        Some(value @ Value::Object(_)) => Some(schema(value, "format")?),
        Some(_) => return Err(ApiError::invalid("format", "expected json or a schema")),
    };
    Ok(options)
}

async fn answered(
    app: Arc<App>,
    admitted: &Admitted,
    mut fields: Fields,
    (conversation, begun): (Conversation, Instant),
    said: impl Fn(&str) -> (&'static str, Value) + Send + 'static,
) -> Answered {
    let name: Option<String> = fields.take("model")?;
    let options = options(&mut fields)?;
    let stream: bool = fields.take("stream")?.unwrap_or(true);
    let (model, events) = begin(&app, admitted, name.as_deref(), conversation, options).await?;
    let head = json!({"model": model.name, "created_at": timestamp()});
    if !stream {
        let Answer { text, outcome, .. } = collect(events).await?;
        return Ok(Json(last(head, said(&text), &outcome, begun)).into_response());
    }
    Ok(streamed(head, events, begun, said))
}

fn streamed(
    head: Value,
    events: UnboundedReceiver<Event>,
    begun: Instant,
    said: impl Fn(&str) -> (&'static str, Value) + Send + 'static,
) -> Response {
    let told = told(events);
    let lines = told.filter_map(move |event| {
        let piece = |text: &str| {
            let (field, value) = said(text);
            let mut piece = head.clone();
            piece[field] = value;
            piece["done"] = false.into();
            piece
        };
        let line = match event {
            Event::Piece(text, _) => Some(piece(&text)),
            Event::Failed(error) => Some(json!({"error": error.message})),
            Event::Done(outcome) => Some(last(head.clone(), said(""), &outcome, begun)),
            Event::Medium(_) | Event::Speech(_) => None,
        };
        std::future::ready(line.map(|line| Ok::<_, std::convert::Infallible>(format!("{line}\n"))))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

fn last(
    mut head: Value,
    (field, value): (&str, Value),
    outcome: &Outcome,
    begun: Instant,
) -> Value {
    let nanos = |seconds: f64| (seconds * 1e9) as u64;
    head[field] = value;
    head["done"] = true.into();
    head["done_reason"] = reason(outcome.finish).into();
    head["total_duration"] = nanos(begun.elapsed().as_secs_f64()).into();
    head["load_duration"] = 0.into();
    head["prompt_eval_count"] = outcome.prompt_tokens.into();
    head["prompt_eval_duration"] = nanos(outcome.prefill).into();
    head["eval_count"] = outcome.completion_tokens.into();
    head["eval_duration"] = nanos(outcome.decode).into();
    head
}

/// Now, as RFC 3339 has it.
fn timestamp() -> String {
    let seconds = crate::ids::now();
    let (days, time) = (seconds / 86400, seconds % 86400);
    // The civil calendar by Howard Hinnant's days_from_civil, turned round.
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        time / 3600,
        time / 60 % 60,
        time % 60
    )
}

/// Texts as vectors.
pub async fn embed(State(app): State<Arc<App>>, admitted: Admitted) -> Answered {
    let mut fields = Fields::read(&admitted.bytes)?;
    let name: Option<String> = fields.take("model")?;
    let input: sampling::OneOrMany<String> = fields.need("input")?;
    let items: Vec<Item> = input.into_vec().into_iter().map(Item::Text).collect();
    counted(&items)?;
    let model = app.engine.models.able(name.as_deref(), "embed").await?;
    let begun = Instant::now();
    let (rows, tokens) = embedded(&app, &model, items).await?;
    let took = begun.elapsed().as_nanos() as u64;
    let body = json!({
        "model": model.name, "embeddings": rows, "total_duration": took, "load_duration": 0,
        "prompt_eval_count": tokens
    });
    Ok(Json(body).into_response())
}

/// Models.
pub async fn tags(State(app): State<Arc<App>>) -> Response {
    let models = app.engine.models.list().into_iter().map(|(name, ..)| entry(&name));
    Json(json!({"models": models.collect::<Vec<_>>()})).into_response()
}

/// Models that are open.
pub async fn ps(State(app): State<Arc<App>>) -> Response {
    let open = app.engine.models.list().into_iter().filter(|(_, _, is_open)| *is_open);
    let models: Vec<Value> = open.map(|(name, ..)| entry(&name)).collect();
    Json(json!({"models": models})).into_response()
}

fn entry(name: &str) -> Value {
    json!({
        "name": name, "model": name, "modified_at": timestamp(), "size": 0, "digest": "",
        "details": {"format": "", "family": "", "families": null, "parameter_size": "", "quantization_level": ""}
    })
}

/// What a model can do.
pub async fn show(State(app): State<Arc<App>>, admitted: Admitted) -> Answered {
    let mut fields = Fields::read(&admitted.bytes)?;
    let name: Option<String> = fields.any(&["model", "name"])?;
    let model = app.engine.models.get(name.as_deref()).await?;
    let body = json!({
        "details": entry(&model.name)["details"], "model_info": {"general.architecture": "sensorium"},
        "capabilities": capabilities(&model.info), "template": "", "parameters": "", "modelfile": ""
    });
    Ok(Json(body).into_response())
}

/// In ollama's words, and ours where it has none.
fn capabilities(info: &Info) -> Vec<String> {
    let mut all = Vec::new();
    for (ours, theirs) in [("chat", "completion"), ("chat", "tools"), ("embed", "embedding")] {
        if info.capabilities.contains(&ours) {
            all.push(theirs.to_owned());
        }
    }
    let media = info.input.iter().map(ToString::to_string);
    all.extend(
        media
            .filter(|name| name != "text")
            .map(|name| if name == "image" { "vision".into() } else { name }),
    );
    all
}

/// The version.
pub async fn version() -> Response {
    (StatusCode::OK, Json(json!({"version": env!("CARGO_PKG_VERSION")}))).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_told_as_rfc_3339_has_it() {
        let now = timestamp();
        assert!(now.len() == 20 && now.starts_with("20") && now.ends_with('Z'), "{now}");
    }
}
