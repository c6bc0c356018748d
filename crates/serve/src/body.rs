//! Bodies of requests: how large, how slow, how deep.

use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::error::{ApiError, Result};

/// What bodies may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes.
    pub bytes: usize,
    /// Between two pieces.
    pub idle: Duration,
    /// Bytes a second, after the first `idle`.
    pub rate: usize,
}

impl Default for Limits {
    /// A film of 64 MiB in base64 fits.
    fn default() -> Self {
        Self { bytes: 96 << 20, idle: Duration::from_secs(10), rate: 1 << 10 }
    }
}

/// Levels of objects and lists in each other.
const DEPTH: usize = 64;

/// All of a body.
///
/// # Errors
/// It is larger, or comes more slowly, than the limits allow.
pub async fn read(body: Body, length: Option<usize>, limits: Limits) -> Result<Bytes> {
    if length.is_some_and(|length| length > limits.bytes) {
        return Err(too_large(limits.bytes));
    }
    let (mut stream, begun) = (body.into_data_stream(), Instant::now());
    let mut bytes = Vec::with_capacity(length.unwrap_or(0));
    loop {
        let piece = timeout(limits.idle, stream.next()).await.map_err(|_| too_slow(limits))?;
        let Some(piece) = piece else { return Ok(bytes.into()) };
        let piece = piece.map_err(|_| {
            ApiError::new(StatusCode::BAD_REQUEST, "invalid_body", "the body broke off")
        })?;
        if bytes.len() + piece.len() > limits.bytes {
            return Err(too_large(limits.bytes));
        }
        bytes.extend_from_slice(&piece);
        let owed = begun.elapsed().saturating_sub(limits.idle).as_secs_f64() * limits.rate as f64;
        if (bytes.len() as f64) < owed {
            return Err(too_slow(limits));
        }
    }
}

fn too_large(limit: usize) -> ApiError {
    let message = format!("expected a body of at most {} MiB, got a larger one", limit >> 20);
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
}

fn too_slow(limits: Limits) -> ApiError {
    let Limits { idle, rate, .. } = limits;
    let message =
        format!("expected {rate} bytes a second, and more within {idle:?}, got a slower body");
    ApiError::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", message)
}

/// A body of JSON.
///
/// # Errors
/// It is none, is nested too deeply, or not what is expected, with the name of the part that is wrong.
pub fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let broken = |message: String| ApiError::new(StatusCode::BAD_REQUEST, "invalid_json", message);
    if depth(bytes) > DEPTH {
        return Err(broken(format!("expected JSON of at most {DEPTH} levels, got more")));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let read = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let (param, inner) = (error.path().to_string(), error.into_inner());
        // The place in the text says nothing to whoever has made it by a program.
        let reason = inner.to_string();
        let reason = reason.split(" at line ").next().unwrap_or_default().to_owned();
        match inner.classify() {
            serde_json::error::Category::Data => ApiError::invalid(param, reason),
            _ => broken(format!("expected a body of JSON, got: {reason}")),
        }
    })?;
    reader.end().map_err(|_| broken("expected one JSON value, got more behind it".to_owned()))?;
    Ok(read)
}

/// How deeply objects and lists stand in each other.
fn depth(bytes: &[u8]) -> usize {
    let (mut depth, mut most) = (0_usize, 0);
    let (mut in_text, mut escaped) = (false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_text,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => {
                depth += 1;
                most = most.max(depth);
            }
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_in_a_body_is_named() {
        #[derive(Debug, serde::Deserialize)]
        #[expect(dead_code, reason = "only read")]
        struct Chat {
            messages: Vec<Message>,
        }
        #[derive(Debug, serde::Deserialize)]
        #[expect(dead_code, reason = "only read")]
        struct Message {
            role: String,
        }
        let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
        let cases = [
            ("", "invalid_json", None),
            ("{", "invalid_json", None),
            ("{\"messages\": []} x", "invalid_json", None),
            (&*deep, "invalid_json", None),
            (
                "{\"messages\": [{\"role\": \"user\"}, {\"role\": 3}]}",
                "invalid_value",
                Some("messages[1].role"),
            ),
            ("{\"messages\": 3}", "invalid_value", Some("messages")),
        ];
        for (text, code, param) in cases {
            let error = json::<Chat>(text.as_bytes()).unwrap_err();
            assert_eq!((error.code, error.param.as_deref()), (code, param), "{text}: {error}");
            assert!(!error.message.contains(" line "), "{error}");
        }
        assert!(json::<Chat>(b"{\"messages\": [{\"role\": \"}}}[[[\\\"\"}]}").is_ok());
    }
}
