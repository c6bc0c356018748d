//! `/v1/models`: what is served here.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::app::App;
use crate::engine::Info;
use crate::error::{ApiError, Result};
use crate::ids::now;

/// All models.
pub async fn list(State(app): State<Arc<App>>) -> Response {
    Json(json!({"object": "list", "data": all(&app)})).into_response()
}

/// One of them.
pub async fn retrieve(State(app): State<Arc<App>>, Path(id): Path<String>) -> Result<Response> {
    let found = all(&app).into_iter().find(|model| model["id"] == *id);
    let missing = || {
        let message = format!("there is no model {id:?} here");
        ApiError::new(StatusCode::NOT_FOUND, "model_not_found", message).at("id")
    };
    found.map(|model| Json(model).into_response()).ok_or_else(missing)
}

fn all(app: &App) -> Vec<Value> {
    let models = app.engine.models.list().into_iter();
    models.map(|(name, info, is_open)| model(&name, info.as_ref(), is_open)).collect()
}

/// A model as OpenAI's clients have it, and, once it was opened, what it takes and gives.
fn model(name: &str, info: Option<&Info>, is_open: bool) -> Value {
    let mut model = json!({
        "id": name, "object": "model", "created": now(), "owned_by": "sensorium", "loaded": is_open
    });
    if let Some(Info { input, output, capabilities, voices }) = info {
        model["architecture"] = json!({"input_modalities": input, "output_modalities": output});
        model["capabilities"] = json!(capabilities);
        model["voices"] = json!(voices);
    }
    model
}
