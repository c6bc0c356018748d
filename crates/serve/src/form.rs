//! Forms of several parts: `multipart/form-data`.

use axum::body::Body;
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::{StatusCode, header};
use serde_json::{Map, Value};

use crate::app::Admitted;
use crate::error::{ApiError, Result};
use crate::fields::Fields;

/// A file of a form.
#[derive(Clone, Debug)]
pub struct FormFile {
    /// The name of its field.
    pub name: String,
    /// Its name where it comes from.
    pub filename: String,
    /// What it holds.
    pub bytes: Vec<u8>,
}

/// A form's fields that are texts, and its files. A field `name[]` is a list.
///
/// # Errors
/// The body is no form.
pub async fn read(admitted: &Admitted) -> Result<(Fields, Vec<FormFile>)> {
    let broken = |_| {
        ApiError::new(
            StatusCode::BAD_REQUEST,
            "invalid_form",
            "expected a body of multipart/form-data, got a broken one",
        )
    };
    let content_type = admitted.content_type.as_deref().unwrap_or_default();
    if !content_type.starts_with("multipart/form-data") {
        let message =
            format!("expected the content type multipart/form-data, got {content_type:?}");
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "invalid_form", message));
    }
    let request = Request::builder().header(header::CONTENT_TYPE, content_type);
    let request = request.body(Body::from(admitted.bytes.clone())).map_err(ApiError::internal)?;
    let mut form = Multipart::from_request(request, &()).await.map_err(|_| broken(()))?;
    let (mut fields, mut files) = (Map::new(), Vec::new());
    while let Some(part) = form.next_field().await.map_err(|_| broken(()))? {
        let name = part.name().unwrap_or_default().to_owned();
        let filename = part.file_name().map(str::to_owned);
        let bytes = part.bytes().await.map_err(|_| broken(()))?;
        match filename {
            Some(filename) => files.push(FormFile { name, filename, bytes: bytes.to_vec() }),
            None => {
                let text = String::from_utf8(bytes.to_vec()).map_err(|_| broken(()))?;
                add(&mut fields, &name, text);
            }
        }
    }
    Ok((Fields::new(fields, ""), files))
}

/// Texts are read as what they look like: forms have no types.
fn add(fields: &mut Map<String, Value>, name: &str, text: String) {
    let plain =
        matches!(text.parse::<f64>(), Ok(x) if x.is_finite()) || matches!(&*text, "true" | "false");
    let value = match plain && !TEXTS.contains(&name) {
        true => serde_json::from_str(&text).unwrap_or(Value::String(text)),
        false => Value::String(text),
    };
    match name.strip_suffix("[]") {
        None => drop(fields.insert(name.to_owned(), value)),
        Some(name) => match fields.entry(name).or_insert_with(|| Value::Array(Vec::new())) {
            Value::Array(list) => list.push(value),
            other => *other = value,
        },
    }
}

/// Fields that are texts even where they look like numbers.
const TEXTS: [&str; 4] = ["prompt", "model", "language", "purpose"];
