//! `/api/pull`: a model from the hub into the cache, and among those that are served, in ollama's form.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::ollama::Answered;
use crate::app::{Admitted, App};
use crate::engine::{Engine, Pull};
use crate::error::{ApiError, Result};
use crate::fields::Fields;

/// Brings a model.
pub async fn pull(State(app): State<Arc<App>>, admitted: Admitted) -> Answered {
    let mut fields = Fields::read(&admitted.bytes)?;
    let Some(name): Option<String> = fields.any(&["model", "name"])? else {
        return Err(ApiError::missing("model").into());
    };
    let stream: bool = fields.take("stream")?.unwrap_or(true);
    let mut lines = begin(&app, name)?;
    if stream {
        let lines = stream::poll_fn(move |context| lines.poll_recv(context));
        let lines = futures_util::StreamExt::map(lines, |line| {
            Ok::<_, std::convert::Infallible>(format!("{line}\n"))
        });
        let lines = Body::from_stream(lines);
        return Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], lines).into_response());
    }
    let mut last = Value::Null;
    while let Some(line) = lines.recv().await {
        last = line;
    }
    let status = match last.get("error") {
        None => StatusCode::OK,
        Some(_) => StatusCode::BAD_GATEWAY,
    };
    let response: Response = (status, Json(last)).into_response();
    Ok(response)
}

/// Lines that tell how far it is; the last is `success` or an error.
fn begin(app: &App, name: String) -> Result<UnboundedReceiver<Value>> {
    let Some(puller) = &app.pull else {
        let message = "this server brings no models; `sensorium serve --allow-pull` allows it";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "pull_refused", message));
    };
    let turn = puller.turn.clone().try_acquire_owned();
    let turn = turn.map_err(|_| ApiError::busy("another model is being brought"))?;
    let (told, lines) = unbounded_channel();
    let (pull, engine) = (puller.pull.clone(), app.engine.clone());
    // It goes on when the client has gone: what is there need not be fetched again.
    tokio::task::spawn_blocking(move || work(&name, &*pull, &engine, &told, turn));
    Ok(lines)
}

fn work(
    name: &str,
    pull: &Pull,
    engine: &Engine,
    told: &UnboundedSender<Value>,
    turn: OwnedSemaphorePermit,
) {
    // Whoever has gone needs not be told.
    let tell = |line: Value| drop(told.send(line));
    tell(json!({"status": "pulling manifest"}));
    let mut last = 0;
    let pulled = pull(name, &mut |file, done, total| {
        // A line for each hundredth of a file.
        let part = done.saturating_mul(100).checked_div(total).unwrap_or(100);
        if part != last || done == total {
            last = part;
            let status = format!("pulling {file}");
            tell(json!({"status": status, "digest": file, "total": total, "completed": done}));
        }
    });
    drop(turn);
    tell(match pulled {
        Ok(source) => {
            engine.models.add(source);
            json!({"status": "success"})
        }
        Err(reason) => {
            log::error!("{name}: {reason}");
            json!({"error": format!("{name:?} could not be brought: no such model, or the hub does not answer")})
        }
    });
}
