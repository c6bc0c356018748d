//! Whether the server is there, and what it has done.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::app::App;
use crate::error::ApiError;

/// It is there.
pub async fn health() -> Response {
    Json(json!({"status": "ok"})).into_response()
}

/// It takes requests.
pub async fn ready(State(app): State<Arc<App>>) -> Response {
    match app.draining.load(Ordering::Relaxed) {
        false => Json(json!({"status": "ok"})).into_response(),
        true => {
            let error =
                json!({"error": {"code": 503, "message": "draining", "type": "unavailable_error"}});
            (StatusCode::SERVICE_UNAVAILABLE, Json(error)).into_response()
        }
    }
}

/// What it has done.
pub async fn metrics(State(app): State<Arc<App>>) -> Response {
    let body = app.engine.metrics.render(app.engine.depth(), app.engine.models.said());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], body).into_response()
}

/// What it is.
pub async fn version() -> Response {
    Json(json!({"version": env!("CARGO_PKG_VERSION")})).into_response()
}

/// A path that is none of the routes.
pub async fn unknown(request: Request) -> ApiError {
    let message = format!("there is no route {} here; /openapi.json lists them", request.method());
    ApiError::new(StatusCode::NOT_FOUND, "route_not_found", message)
}

/// A route that is asked in another way.
pub async fn wrong_method() -> ApiError {
    let message = "the route is there, but not for this method; /openapi.json lists them";
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}
