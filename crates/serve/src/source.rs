//! Where a medium's bytes come from: the request itself, or an address that it names.

use std::borrow::Cow;
use std::sync::Arc;

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sensorium_hub::{FetchError, Fetcher};
use sensorium_media::{MediaDecoder, Modality};

use crate::error::{ApiError, Result};

/// What reads media of strangers.
#[derive(Clone, Debug)]
pub struct Reader {
    /// Bytes to media.
    pub decoder: MediaDecoder,
    /// Addresses to bytes.
    pub fetcher: Arc<Fetcher>,
}

/// Where a medium's bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Here.
    Bytes(Vec<u8>),
    /// At an address, which is not looked at before the request's turn comes.
    Address(String),
}

impl From<Vec<u8>> for Source {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl Source {
    /// Of a `data:` URL, of base64 alone, or of an address.
    ///
    /// # Errors
    /// It is not base64.
    pub fn parse(text: &str, param: &str) -> Result<Self> {
        let text = text.trim();
        let encoded = match text.get(..5).map(str::to_lowercase).as_deref() {
            Some("data:") => {
                let (head, body) = text.split_once(',').unwrap_or((text, ""));
                if !head.to_lowercase().ends_with(";base64") {
                    let message = "expected a data: URL in base64, got one without `;base64,`";
                    return Err(ApiError::invalid(param, message));
                }
                body
            }
            _ if text.contains("://") => return Ok(Self::Address(text.to_owned())),
            _ => text,
        };
        let bytes = STANDARD.decode(encoded.as_bytes());
        let bytes =
            bytes.map_err(|_| ApiError::invalid(param, "expected base64, got what is none"))?;
        Ok(Self::Bytes(bytes))
    }

    /// The bytes, of at most as many as a medium of this kind may have where they are fetched.
    ///
    /// # Errors
    /// The address may not be fetched from, or gives no such file.
    pub fn read(
        &self,
        modality: Modality,
        fetcher: &Fetcher,
        param: &str,
    ) -> Result<Cow<'_, [u8]>> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.into()),
            Self::Address(address) => {
                let read = fetcher.read(address, limit(modality));
                read.map(Cow::from).map_err(|error| {
                    let code = match error {
                        FetchError::Refused => "fetch_refused",
                        FetchError::Failed | FetchError::TooLarge { .. } => "fetch_failed",
                    };
                    ApiError::new(StatusCode::BAD_REQUEST, code, error.to_string()).at(param)
                })
            }
        }
    }
}

/// Bytes of a file that is fetched.
fn limit(modality: Modality) -> u64 {
    let mib = match modality {
        Modality::Video => 64,
        Modality::Audio | Modality::Table => 25,
        Modality::Image | Modality::Text => 20,
    };
    mib << 20
}
