//! One file a group of routes; this list is the router and the OpenAPI document.

mod audio;
mod chat;
mod completions;
mod embeddings;
mod files;
mod gemini;
mod health;
mod images;
mod mcp;
mod models;
mod ollama;
mod openapi;
mod page;
mod pull;
mod rerank;
mod responses;
mod score;
mod tools;

use std::sync::Arc;

use axum::Router;
use axum::http::Method;
use axum::routing::{MethodRouter, delete, get, post};

use crate::app::App;

/// A route.
struct Route {
    method: Method,
    path: &'static str,
    /// What it does.
    summary: &'static str,
    /// An example of its body, in JSON, where it has one.
    example: Option<&'static str>,
    handler: MethodRouter<Arc<App>>,
}

fn reads(path: &'static str, summary: &'static str, handler: MethodRouter<Arc<App>>) -> Route {
    Route { method: Method::GET, path, summary, example: None, handler }
}

fn deletes(path: &'static str, summary: &'static str, handler: MethodRouter<Arc<App>>) -> Route {
    Route { method: Method::DELETE, path, summary, example: None, handler }
}

fn asks(
    path: &'static str,
    summary: &'static str,
    example: &'static str,
    handler: MethodRouter<Arc<App>>,
) -> Route {
    Route { method: Method::POST, path, summary, example: Some(example), handler }
}

/// Sends a form, not JSON.
fn sends(path: &'static str, summary: &'static str, handler: MethodRouter<Arc<App>>) -> Route {
    Route { method: Method::POST, path, summary, example: None, handler }
}

/// Every route.
fn routes() -> Vec<Route> {
    let chat = r#"{"messages": [{"role": "user", "content": "what colour is the sky?"}]}"#;
    let prompt = r#"{"prompt": "once upon a time"}"#;
    vec![
        asks(
            "/v1/chat/completions",
            "Answers a conversation that may hold pictures, sounds, videos and tables",
            chat,
            post(chat::completions),
        ),
        asks(
            "/v1/completions",
            "Goes on with a text as it is",
            prompt,
            post(completions::completions),
        ),
        asks(
            "/v1/responses",
            "Answers, and remembers the conversation",
            r#"{"input": "hello"}"#,
            post(responses::create),
        ),
        reads("/v1/responses/{id}", "A response that was kept", get(responses::retrieve)),
        deletes("/v1/responses/{id}", "Forgets a response", delete(responses::delete)),
        asks(
            "/v1/embeddings",
            "Texts and media as vectors",
            r#"{"input": "a red circle"}"#,
            post(embeddings::openai),
        ),
        asks(
            "/v2/embed",
            "Texts and media as vectors, in Cohere's form",
            r#"{"texts": ["a red circle"], "input_type": "search_query", "embedding_types": ["float"]}"#,
            post(embeddings::cohere),
        ),
        asks(
            "/v1/rerank",
            "Documents in the order in which they fit a query",
            r#"{"query": "a circle", "documents": ["a ring", "a car"]}"#,
            post(rerank::rerank),
        ),
        asks(
            "/v2/rerank",
            "The same, in Cohere's form",
            r#"{"query": "a circle", "documents": ["a ring", "a car"]}"#,
            post(rerank::rerank),
        ),
        asks(
            "/v1/images/generations",
            "Draws",
            r#"{"prompt": "a red circle"}"#,
            post(images::generations),
        ),
        sends("/v1/images/edits", "Draws a picture anew, as a prompt says", post(images::edits)),
        asks(
            "/v1/audio/speech",
            "Speaks a text",
            r#"{"input": "hello", "voice": "slt"}"#,
            post(audio::speech),
        ),
        sends("/v1/audio/transcriptions", "Writes down what was said", post(audio::transcriptions)),
        sends("/v1/audio/translations", "Writes it down in English", post(audio::translations)),
        asks(
            "/v1/classify",
            "How well labels fit a medium",
            r#"{"input": {"image": "data:image/png;base64,..."}, "labels": ["a circle", "a star"]}"#,
            post(score::classify),
        ),
        asks(
            "/v1/score",
            "How well texts fit media",
            r#"{"media": [{"image": "data:image/png;base64,..."}], "texts": ["a circle"]}"#,
            post(score::score),
        ),
        reads(
            "/v1/models",
            "What is served here, and what each model takes and gives",
            get(models::list),
        ),
        reads("/v1/models/{id}", "One of them", get(models::retrieve)),
        sends("/v1/files", "Keeps a file", post(files::create)),
        reads("/v1/files", "Files that were kept", get(files::list)),
        reads("/v1/files/{id}", "One of them", get(files::retrieve)),
        reads("/v1/files/{id}/content", "What it holds", get(files::content)),
        deletes("/v1/files/{id}", "Forgets a file", delete(files::delete)),
        asks("/tokenize", "A text as tokens", prompt, post(completions::tokenize)),
        asks(
            "/detokenize",
            "Tokens as a text",
            r#"{"tokens": [1, 2, 3]}"#,
            post(completions::detokenize),
        ),
        asks("/api/chat", "Answers a conversation, in ollama's form", chat, post(ollama::chat)),
        asks("/api/generate", "Answers a prompt, in ollama's form", prompt, post(ollama::generate)),
        asks(
            "/api/embed",
            "Texts as vectors, in ollama's form",
            r#"{"input": "a red circle"}"#,
            post(ollama::embed),
        ),
        reads("/api/tags", "Models, in ollama's form", get(ollama::tags)),
        reads("/api/ps", "Models that are open, in ollama's form", get(ollama::ps)),
        asks("/api/show", "A model, in ollama's form", r#"{"model": "NAME"}"#, post(ollama::show)),
        asks(
            "/api/pull",
            "Brings a model from the hub, where that is allowed; in ollama's form",
            r#"{"model": "org/name"}"#,
            post(pull::pull),
        ),
        reads("/api/version", "The version, in ollama's form", get(ollama::version)),
        asks(
            "/v1beta/models/{call}",
            "Answers, in the form of Gemini: `NAME:generateContent` or `NAME:streamGenerateContent`",
            r#"{"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}"#,
            post(gemini::generate),
        ),
        asks(
            "/mcp",
            "Tools for agents: ask, transcribe, draw, speak",
            r#"{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}"#,
            post(mcp::call),
        ),
        reads("/health", "Whether the server is there", get(health::health)),
        reads("/livez", "The same", get(health::health)),
        reads("/health/live", "The same", get(health::health)),
        reads("/ready", "Whether it takes requests", get(health::ready)),
        reads("/readyz", "The same", get(health::ready)),
        reads("/metrics", "Counts, for Prometheus", get(health::metrics)),
        reads("/version", "The version", get(health::version)),
        reads("/openapi.json", "This description", get(openapi::document)),
        reads("/docs", "This description, as a page", get(openapi::page)),
        reads("/", "A page to talk on", get(page::index)),
        reads("/page/{name}", "Its parts", get(page::part)),
    ]
}

/// All routes, behind the guard.
pub fn router(app: Arc<App>) -> Router {
    let router = routes()
        .into_iter()
        .fold(Router::new(), |router, route| router.route(route.path, route.handler));
    let guard = axum::middleware::from_fn_with_state(app.clone(), crate::app::guard);
    router
        .fallback(health::unknown)
        .method_not_allowed_fallback(health::wrong_method)
        .layer(guard)
        .with_state(app)
}
