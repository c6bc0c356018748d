//! `/mcp`: the model as tools of the Model Context Protocol, by its streamable HTTP transport without streams.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sensorium_inference::speech::SpeakOptions;
use sensorium_inference::{GenerateOptions, SamplerOptions};
use sensorium_media::{Modality, Part, Role};
use serde_json::{Map, Value, json};

use super::chat::{Answer, begin, collect};
use crate::app::{Admitted, App};
use crate::engine::encoded;
use crate::error::{ApiError, Result};
use crate::fields::Fields;
use crate::parts::{Conversation, Upload};
use crate::source::Source;

/// The version of the protocol that is spoken here, and older ones that differ in nothing used here.
const VERSIONS: [&str; 3] = ["2025-06-18", "2025-03-26", "2024-11-05"];

/// A request of JSON-RPC.
pub async fn call(State(app): State<Arc<App>>, admitted: Admitted) -> Result<Response> {
    let mut fields = Fields::read(&admitted.bytes)?;
    let id: Option<Value> = fields.take("id")?;
    let method: String = fields.need("method")?;
    let mut params = fields.object("params")?.unwrap_or_else(|| Fields::new(Map::new(), "params"));
    // A notification has no answer.
    let Some(id) = id else { return Ok(StatusCode::ACCEPTED.into_response()) };
    let result = match &*method {
        "initialize" => initialize(&mut params),
        "ping" => Ok(json!({})),
        "tools/list" => Ok(json!({"tools": tools()})),
        "tools/call" => return Ok(rpc(&id, "result", tool(&app, &admitted, &mut params).await)),
        _ => Err(json!({"code": -32601, "message": "there is no such method here"})),
    };
    Ok(match result {
        Ok(result) => rpc(&id, "result", result),
        Err(error) => rpc(&id, "error", error),
    })
}

fn rpc(id: &Value, name: &str, value: Value) -> Response {
    Json(json!({"jsonrpc": "2.0", "id": id, name: value})).into_response()
}

fn initialize(params: &mut Fields) -> std::result::Result<Value, Value> {
    let wanted: Option<String> = params.take("protocolVersion").unwrap_or_default();
    let version = VERSIONS.into_iter().find(|known| wanted.as_deref() == Some(known));
    Ok(json!({
        "protocolVersion": version.unwrap_or(VERSIONS[0]),
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "sensorium", "version": env!("CARGO_PKG_VERSION")}
    }))
}

fn tools() -> Vec<Value> {
    let media = json!({"type": "array", "items": {"type": "string"}, "description": "data: URLs or base64"});
    let text = |about: &str| json!({"type": "string", "description": about});
    let tool = |name: &str, about: &str, properties: Value, required: &[&str]| {
        let schema = json!({"type": "object", "properties": properties, "required": required});
        json!({"name": name, "description": about, "inputSchema": schema})
    };
    vec![
        tool(
            "ask",
            "Answers a question, about pictures, sounds, videos and tables or without",
            json!({"question": text("the question"), "images": media, "audio": media, "videos": media, "tables": media}),
            &["question"],
        ),
        tool(
            "transcribe",
            "Writes down what is said in a sound",
            json!({"audio": text("a data: URL or base64")}),
            &["audio"],
        ),
        tool(
            "draw",
            "Draws a picture",
            json!({"prompt": text("what it shows"), "seed": {"type": "integer"}}),
            &["prompt"],
        ),
        tool(
            "speak",
            "Speaks a text",
            json!({"text": text("what is said"), "voice": text("who speaks")}),
            &["text"],
        ),
    ]
}

/// What a tool gives; what is wrong is told to the agent as well.
async fn tool(app: &Arc<App>, admitted: &Admitted, params: &mut Fields) -> Value {
    match called(app, admitted, params).await {
        Ok(content) => json!({"content": [content], "isError": false}),
        Err(error) => json!({"content": [said(&error.message)], "isError": true}),
    }
}

fn said(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

async fn called(app: &Arc<App>, admitted: &Admitted, params: &mut Fields) -> Result<Value> {
    let name: String = params.need("name")?;
    let mut arguments =
        params.object("arguments")?.unwrap_or_else(|| Fields::new(Map::new(), "arguments"));
    match &*name {
        "ask" => ask(app, admitted, &mut arguments).await,
        "transcribe" => transcribe(app, &mut arguments).await,
        "draw" => draw(app, &mut arguments).await,
        "speak" => speak(app, &mut arguments).await,
        other => {
            let message = format!("expected ask, transcribe, draw or speak, got {other:?}");
            Err(ApiError::invalid("name", message))
        }
    }
}

async fn ask(app: &Arc<App>, admitted: &Admitted, arguments: &mut Fields) -> Result<Value> {
    let question: String = arguments.need("question")?;
    let (mut conversation, mut parts) = (Conversation::default(), Vec::new());
    let kinds = [
        ("images", Modality::Image),
        ("audio", Modality::Audio),
        ("videos", Modality::Video),
        ("tables", Modality::Table),
    ];
    for (name, modality) in kinds {
        let all: Vec<String> = arguments.take(name)?.unwrap_or_default();
        for (i, medium) in all.iter().enumerate() {
            let param = format!("arguments.{name}[{i}]");
            conversation.uploads.push(Upload::new(Source::parse(medium, &param)?, modality, param));
            parts.push(Part::Media(modality));
        }
    }
    parts.push(Part::Text(question));
    conversation.messages.push(sensorium_media::Message { role: Role::User, parts });
    let options = GenerateOptions { max_new_tokens: 512, ..GenerateOptions::default() };
    let (_, events) = begin(app, admitted, None, conversation, options).await?;
    let Answer { text, .. } = collect(events).await?;
    Ok(said(&text))
}

async fn transcribe(app: &App, arguments: &mut Fields) -> Result<Value> {
    let audio: String = arguments.need("audio")?;
    let param = "arguments.audio";
    let upload = Upload::new(Source::parse(&audio, param)?, Modality::Audio, param);
    let heard = super::audio::heard(app, None, upload, super::audio::usual()).await?;
    Ok(said(&heard.text))
}

async fn draw(app: &App, arguments: &mut Fields) -> Result<Value> {
    let prompt: String = arguments.need("prompt")?;
    let seed = crate::sampling::seed(arguments)?;
    let sampler = SamplerOptions { seed, ..SamplerOptions::default() };
    let model = app.engine.models.able(None, "make").await?;
    let served = model.name.clone();
    let made = app.engine.run(&model, move |model| {
        let maker = model.media()?;
        let sampler = sampler.or(maker.usual());
        let made = maker.generate(Modality::Image, &[prompt], sampler, &mut |_, _| ())?;
        encoded(made, &served, sampler)
    });
    let made = made.await?;
    let picture = made.first().ok_or_else(|| ApiError::internal("nothing was drawn"))?;
    Ok(json!({"type": "image", "data": STANDARD.encode(&picture.bytes), "mimeType": "image/png"}))
}

async fn speak(app: &App, arguments: &mut Fields) -> Result<Value> {
    let text: String = arguments.need("text")?;
    let voice = super::audio::voice(arguments)?;
    let model = app.engine.models.able(None, "speak").await?;
    let speech = app
        .engine
        .speak(
            &model,
            text,
            SpeakOptions {
                voice: super::audio::mapped(voice, &model.info.voices),
                ..SpeakOptions::default()
            },
        )
        .await?;
    Ok(json!({"type": "audio", "data": STANDARD.encode(&speech.wav), "mimeType": "audio/wav"}))
}
