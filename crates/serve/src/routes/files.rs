//! `/v1/files`: files that are sent once and named afterwards.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde_json::{Value, json};

use crate::app::{Admitted, App};
use crate::error::{ApiError, Result};
use crate::form;
use crate::guard::Client;
use crate::store::File;

/// Keeps a file.
pub async fn create(State(app): State<Arc<App>>, admitted: Admitted) -> Result<Response> {
    let (mut fields, files) = form::read(&admitted).await?;
    let file = files.into_iter().find(|file| file.name == "file");
    let file = file.ok_or_else(|| ApiError::missing("file"))?;
    let purpose: String = fields.take("purpose")?.unwrap_or_else(|| "user_data".to_owned());
    let kept = app.store.keep_file(&admitted.client.name, &file.filename, &purpose, file.bytes)?;
    Ok(Json(object(&kept)).into_response())
}

/// What the client has sent.
pub async fn list(State(app): State<Arc<App>>, Extension(client): Extension<Client>) -> Response {
    let files: Vec<Value> = app.store.files(&client.name).iter().map(object).collect();
    Json(json!({"object": "list", "data": files, "has_more": false})).into_response()
}

/// What is known of a file.
pub async fn retrieve(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Path(id): Path<String>,
) -> Result<Response> {
    Ok(Json(object(&app.store.file(&client.name, &id)?)).into_response())
}

/// What a file holds: never shown as a page.
pub async fn content(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Path(id): Path<String>,
) -> Result<Response> {
    let file = app.store.file(&client.name, &id)?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CONTENT_DISPOSITION, "attachment"),
    ];
    Ok((headers, file.bytes.to_vec()).into_response())
}

/// Forgets a file.
pub async fn delete(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Path(id): Path<String>,
) -> Result<Response> {
    app.store.delete(&client.name, &id, "file")?;
    Ok(Json(json!({"id": id, "object": "file", "deleted": true})).into_response())
}

fn object(file: &File) -> Value {
    let File { id, filename, purpose, created_at, bytes } = file;
    json!({
        "id": id, "object": "file", "bytes": bytes.len(), "created_at": created_at,
        "filename": filename, "purpose": purpose, "status": "processed"
    })
}
