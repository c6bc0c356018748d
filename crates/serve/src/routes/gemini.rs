//! `/v1beta/models/NAME:generateContent`: the same answers in Gemini's form.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use sensorium_inference::{Finish, GenerateOptions};
use sensorium_media::{Modality, Part, Role};
use serde_json::{Map, Value, json};

use super::chat::{Answer, begin, collect, data, events, told};
use crate::app::{Admitted, App};
use crate::engine::{Event, Outcome};
use crate::error::{ApiError, Result};
use crate::fields::Fields;
use crate::parts::{Conversation, Upload};
use crate::sampling::{self, schema};
use crate::source::Source;

/// Answers, at once or piece by piece.
pub async fn generate(
    State(app): State<Arc<App>>,
    Path(call): Path<String>,
    admitted: Admitted,
) -> Result<Response> {
    let unknown = || {
        let message = "expected NAME:generateContent or NAME:streamGenerateContent";
        ApiError::new(axum::http::StatusCode::NOT_FOUND, "route_not_found", message)
    };
    let (name, verb) = call.rsplit_once(':').ok_or_else(unknown)?;
    let mut fields = Fields::read(&admitted.bytes)?;
    let mut conversation = Conversation::default();
    if let Some(system) =
        fields.any::<Map<String, Value>>(&["systemInstruction", "system_instruction"])?
    {
        push(&mut conversation, system, Role::System, "systemInstruction")?;
    }
    let contents: Vec<Map<String, Value>> = fields.need("contents")?;
    for (i, content) in contents.into_iter().enumerate() {
        let role = match content.get("role").and_then(Value::as_str) {
            Some("model") => Role::Assistant,
            _ => Role::User,
        };
        push(&mut conversation, content, role, &format!("contents[{i}]"))?;
    }
    let options = options(&mut fields)?;
    let (model, answer) = begin(&app, &admitted, Some(name), conversation, options).await?;
    let served = model.name.clone();
    match verb {
        "generateContent" => {
            let Answer { text, outcome, .. } = collect(answer).await?;
            Ok(Json(candidate(&text, Some(&outcome), &served)).into_response())
        }
        "streamGenerateContent" => {
            let told = told(answer);
            Ok(events(told.filter_map(move |event| {
                std::future::ready(match event {
                    Event::Piece(text, _) => Some(data(&candidate(&text, None, &served))),
                    Event::Done(outcome) => Some(data(&candidate("", Some(&outcome), &served))),
                    Event::Failed(error) => Some(data(&error.body())),
                    Event::Medium(_) | Event::Speech(_) => None,
                })
            })))
        }
        _ => Err(unknown()),
    }
}

fn push(
    conversation: &mut Conversation,
    content: Map<String, Value>,
    role: Role,
    param: &str,
) -> Result<()> {
    let parts: Vec<Map<String, Value>> = Fields::new(content, param).need("parts")?;
    let mut read = Vec::new();
    for (i, part) in parts.into_iter().enumerate() {
        let mut part = Fields::new(part, &format!("{param}.parts[{i}]"));
        if let Some(text) = part.take("text")? {
            read.push(Part::Text(text));
        } else if let Some(mut inline) = part.object("inlineData")? {
            let mime: String = inline.need("mimeType")?;
            let bytes: String = inline.need("data")?;
            let at = inline.param("data");
            let modality = match mime.split('/').next() {
                Some("image") => Modality::Image,
                Some("audio") => Modality::Audio,
                Some("video") => Modality::Video,
                _ if mime == "text/csv" => Modality::Table,
                _ => {
                    return Err(ApiError::invalid(
                        inline.param("mimeType"),
                        format!("expected a picture, a sound, a video or text/csv, got {mime:?}"),
                    ));
                }
            };
            conversation.uploads.push(Upload::new(Source::parse(&bytes, &at)?, modality, at));
            read.push(Part::Media(modality));
        } else {
            return Err(ApiError::invalid(part.param("text"), "expected text or inlineData"));
        }
    }
    conversation.messages.push(sensorium_media::Message { role, parts: read });
    Ok(())
}

fn options(fields: &mut Fields) -> Result<GenerateOptions> {
    let mut config = fields.object("generationConfig")?;
    let Some(config) = &mut config else { return sampling::options(fields, &[]) };
    let (top_p, top_k) = (config.number("topP", 0.0..=1.0)?, config.count("topK", 0..=usize::MAX)?);
    let stop = sampling::stop(config, "stopSequences")?;
    let mut options = sampling::options(config, &["maxOutputTokens"])?;
    options.stop = stop;
    options.sampling.top_p = top_p.unwrap_or(1.0) as f32;
    options.sampling.top_k = top_k.unwrap_or(0);
    let mime: Option<String> = config.take("responseMimeType")?;
    let wanted: Option<Value> = config.any(&["responseJsonSchema", "responseSchema"])?;
    options.grammar = match (mime.as_deref(), wanted) {
        (_, Some(wanted)) => Some(schema(wanted, "generationConfig.responseSchema")?),
        (Some("application/json"), None) => {
            Some(schema(json!({"type": "object"}), "generationConfig")?)
        }
        _ => None,
    };
    Ok(options)
}

fn candidate(text: &str, outcome: Option<&Outcome>, model: &str) -> Value {
    let mut candidate =
        json!({"content": {"role": "model", "parts": [{"text": text}]}, "index": 0});
    let mut body = json!({"modelVersion": model});
    if let Some(outcome) = outcome {
        let reason = if outcome.finish == Some(Finish::Length) { "MAX_TOKENS" } else { "STOP" };
        candidate["finishReason"] = reason.into();
        let (prompt, said) = (outcome.prompt_tokens, outcome.completion_tokens);
        body["usageMetadata"] = json!({
            "promptTokenCount": prompt, "candidatesTokenCount": said, "totalTokenCount": prompt + said
        });
    }
    body["candidates"] = json!([candidate]);
    body
}
