//! What goes wrong, as clients of OpenAI's API read it.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sensorium_inference::Error;
use sensorium_media::sound::SoundError;
use serde_json::{Value, json};

/// Result of everything in this crate that answers a client.
pub type Result<T> = std::result::Result<T, ApiError>;

/// An answer that says what is wrong. Its texts are ours: none holds a path of this machine, an address, or what a
/// library said.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// The status of the response.
    pub status: StatusCode,
    /// What programs tell it by.
    pub code: &'static str,
    /// What was expected, and what came.
    pub message: String,
    /// The part of the request that it is about, such as `messages[1].content[0].image_url`.
    pub param: Option<String>,
    /// Seconds after which another attempt may do.
    pub retry_after: Option<u64>,
}

impl ApiError {
    /// Of a status and a code.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), param: None, retry_after: None }
    }

    /// A request that says what it may not.
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_value", message).at(param)
    }

    /// A request without what it needs.
    pub fn missing(param: &str) -> Self {
        let message = format!("expected {param}, got a request without it");
        Self::new(StatusCode::BAD_REQUEST, "missing_field", message).at(param)
    }

    /// Our own fault: told to the log, not to the client.
    pub fn internal(reason: impl std::fmt::Display) -> Self {
        log::error!("internal error: {reason}");
        let message = "the server failed at this request; its log says why";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }

    /// Too much is asked for at once.
    pub fn busy(message: impl Into<String>) -> Self {
        let error = Self::new(StatusCode::TOO_MANY_REQUESTS, "queue_full", message);
        Self { retry_after: Some(1), ..error }
    }

    /// The same, about a part of the request.
    pub fn at(self, param: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..self }
    }

    /// OpenAI's name for this class of errors.
    fn kind(&self) -> &'static str {
        match self.status.as_u16() {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            429 => "rate_limit_error",
            500.. => "server_error",
            _ => "invalid_request_error",
        }
    }

    /// The body of the response.
    pub fn body(&self) -> Value {
        let Self { code, message, param, .. } = self;
        json!({"error": {"message": message, "type": self.kind(), "param": param, "code": code}})
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status.is_server_error() && self.retry_after.is_none() {
            headers.insert("x-should-retry", HeaderValue::from_static("false"));
        }
        response
    }
}

/// What a model says against a request.
impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::TooLong { .. } => "context_length_exceeded",
            Error::Modality { .. }
            | Error::Blind
            | Error::OnePicture { .. }
            | Error::Makes { .. }
            | Error::OwnAnswers
            | Error::Cannot { .. } => "modality_not_supported",
            Error::NotFinite { .. }
            | Error::NotFiniteAt { .. }
            | Error::NotFinitePicture
            | Error::NoSpectrogram => {
                let message = "the model computed numbers that are none: its weights are damaged, or overflow";
                return Self::new(StatusCode::INTERNAL_SERVER_ERROR, "nonfinite_logits", message);
            }
            Error::File(_) | Error::BrokeDown => return Self::internal(said(&error)),
            _ => "invalid_value",
        };
        let param = match &error {
            Error::Voice { .. } => Some("voice".to_owned()),
            _ => None,
        };
        Self { param, ..Self::new(StatusCode::BAD_REQUEST, code, said(&error)) }
    }
}

/// An error without the hint, which speaks of the command line.
fn said(error: &impl std::fmt::Display) -> String {
    let text = error.to_string();
    text.split("\nhint:").next().unwrap_or_default().to_owned()
}

/// What is wrong with a medium at `param`, which was decoded from a file at `path`.
pub(crate) fn of_media(error: &sensorium_media::Error, path: &str, param: &str) -> ApiError {
    use sensorium_media::Error as Media;
    let code = match error {
        Media::Empty { .. } => "empty_image",
        Media::TooLarge { .. } => "image_too_large",
        Media::TooManyFrames { .. } => "too_many_frames",
        Media::NotAVideo { .. } | Media::VideoCodec { .. } => "invalid_video",
        Media::Table { .. } | Media::NotATable { .. } | Media::TableTooLarge { .. } => {
            "invalid_table"
        }
        Media::Sound(SoundError::Empty { .. }) => "empty_audio",
        Media::Sound(SoundError::TooLong { .. }) => "audio_too_long",
        Media::Sound(_) => "invalid_audio",
        Media::Child(_) => "decode_timeout",
        Media::NotAPicture { .. } => "unsupported_media_type",
        _ => "invalid_image",
    };
    // What is damaged is told in a library's words, which are none of a stranger's business.
    let damaged = |kind: &str, what: &str| {
        format!("expected a valid {kind} {what} in {param}, got damaged data")
    };
    let message = match error {
        Media::Damaged { kind, .. } => damaged(kind, "file"),
        Media::Sound(SoundError::Damaged { kind, .. }) => damaged(kind, "sound"),
        // The file is ours and was written a moment ago: what cannot be read is what it says of itself.
        Media::Unreadable { .. } | Media::Sound(SoundError::Unreadable { .. }) => {
            format!("expected a file that can be read in {param}, got damaged data")
        }
        _ => said(error).replace(path, param),
    };
    ApiError::new(StatusCode::BAD_REQUEST, code, message).at(param)
}
