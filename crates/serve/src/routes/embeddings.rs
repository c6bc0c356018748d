//! `/v1/embeddings` and `/v2/embed`: texts and media as vectors, in the forms of OpenAI, Jina, vLLM, infinity and
//! Cohere.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sensorium_inference::{EmbeddingModel, Model};
use sensorium_media::{Modality, Part, Role};
use serde_json::{Map, Value, json};

use super::chat::PASSED;
use crate::app::{Admitted, App};
use crate::engine::Loaded;
use crate::error::{ApiError, Result};
use crate::fields::Fields;
use crate::ids::id;
use crate::parts::{Conversation, Files, Upload};
use crate::source::{Reader, Source};

/// Most items of a request.
const ITEMS: usize = 2048;

/// What becomes a vector.
#[derive(Clone, Debug)]
pub enum Item {
    /// A text.
    Text(String),
    /// Tokens of a text.
    Ids(Vec<u32>),
    /// A medium.
    Medium(Upload),
    /// Several things whose vectors are added.
    All(Vec<Item>),
}

/// Vectors in OpenAI's form.
pub async fn openai(State(app): State<Arc<App>>, admitted: Admitted) -> Result<Response> {
    let mut fields = Fields::read(&admitted.bytes)?;
    let name: Option<String> = fields.take("model")?;
    let modality: Option<String> = fields.take("modality")?;
    let format: Option<String> = fields.any(&["encoding_format", "embedding_type"])?;
    let items = match fields.take::<Vec<Map<String, Value>>>("messages")? {
        Some(messages) => vec![Item::All(conversation(messages, admitted.files(&app))?)],
        None => items(fields.need("input")?, modality.as_deref())?,
    };
    fields.pass(&PASSED);
    fields.pass(&["task", "normalized"]);
    let model = app.engine.models.able(name.as_deref(), "embed").await?;
    let dimensions = fields.count("dimensions", 1..=usize::MAX)?;
    let (rows, tokens) = embedded(&app, &model, items).await?;
    whole(dimensions, &rows)?;
    let is_base64 = match format.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(other) => {
            let message = format!("expected float or base64, got {other:?}");
            return Err(ApiError::invalid("encoding_format", message));
        }
    };
    let item = |(index, row): (usize, &Vec<f32>)| {
        let embedding = if is_base64 { json!(base64(row)) } else { json!(row) };
        json!({"object": "embedding", "index": index, "embedding": embedding})
    };
    let all: Vec<Value> = rows.iter().enumerate().map(item).collect();
    let body = json!({
        "object": "list", "data": all, "model": model.name, "normalized": is_unit(&rows),
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens}
    });
    let response = Json(body).into_response();
    Ok(fields.heeded(response))
}

/// Vectors in Cohere's form.
pub async fn cohere(State(app): State<Arc<App>>, admitted: Admitted) -> Result<Response> {
    let mut fields = Fields::read(&admitted.bytes)?;
    let name: Option<String> = fields.take("model")?;
    let texts: Vec<String> = fields.take("texts")?.unwrap_or_default();
    let images: Vec<String> = fields.take("images")?.unwrap_or_default();
    let inputs: Vec<Map<String, Value>> = fields.take("inputs")?.unwrap_or_default();
    let types: Vec<String> =
        fields.take("embedding_types")?.unwrap_or_else(|| vec!["float".into()]);
    let mut items: Vec<Item> = texts.iter().cloned().map(Item::Text).collect();
    for (i, image) in images.iter().enumerate() {
        let param = format!("images[{i}]");
        items.push(Item::Medium(Upload::new(
            Source::parse(image, &param)?,
            Modality::Image,
            param,
        )));
    }
    for (i, input) in inputs.into_iter().enumerate() {
        let mut input = Fields::new(input, &format!("inputs[{i}]"));
        let content: Value = input.need("content")?;
        let mut all = Conversation::default();
        let param = input.param("content");
        let parts = all.content(content, &param, admitted.files(&app))?;
        items.push(Item::All(parted(parts, all.uploads)));
    }
    counted(&items)?;
    let model = app.engine.models.able(name.as_deref(), "embed").await?;
    let dimensions = fields.count("output_dimension", 1..=usize::MAX)?;
    let (rows, tokens) = embedded(&app, &model, items).await?;
    whole(dimensions, &rows)?;
    let mut embeddings = Map::new();
    for (i, kind) in types.iter().enumerate() {
        let value = typed(kind, &rows).ok_or_else(|| {
            let message =
                format!("expected float, int8, uint8, binary, ubinary or base64, got {kind:?}");
            ApiError::invalid(format!("embedding_types[{i}]"), message)
        })?;
        embeddings.insert(kind.clone(), value);
    }
    let meta = json!({"api_version": {"version": "2"}, "billed_units": {"input_tokens": tokens}});
    Ok(Json(json!({"id": id("emb_"), "embeddings": embeddings, "texts": texts, "meta": meta}))
        .into_response())
}

/// Rows as Cohere's types: unit vectors in 8 bits, or a bit for each sign.
fn typed(kind: &str, rows: &[Vec<f32>]) -> Option<Value> {
    let bits = |row: &Vec<f32>| -> Vec<u8> {
        let byte = |eight: &[f32]| {
            let bit = |(i, x): (usize, &f32)| u8::from(*x > 0.0) << (7 - i);
            eight.iter().enumerate().map(bit).sum()
        };
        row.chunks(8).map(byte).collect()
    };
    let level = |x: &f32| (x * 127.0).round().clamp(-128.0, 127.0) as i8;
    let value = |row: &Vec<f32>| match kind {
        "float" => Some(json!(row)),
        "base64" => Some(json!(base64(row))),
        "int8" => Some(json!(row.iter().map(level).collect::<Vec<i8>>())),
        "uint8" => {
            Some(json!(row.iter().map(|x| (i16::from(level(x)) + 128) as u8).collect::<Vec<u8>>()))
        }
        "ubinary" => Some(json!(bits(row))),
        "binary" => Some(json!(
            bits(row).into_iter().map(|b| (i16::from(b) - 128) as i8).collect::<Vec<i8>>()
        )),
        _ => None,
    };
    rows.iter().map(value).collect()
}

/// Little-endian numbers of 32 bits.
fn base64(row: &[f32]) -> String {
    STANDARD.encode(row.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>())
}

fn is_unit(rows: &[Vec<f32>]) -> bool {
    let length = |row: &Vec<f32>| row.iter().map(|x| x * x).sum::<f32>().sqrt();
    rows.iter().all(|row| (length(row) - 1.0).abs() < 1e-3)
}

/// That no shorter vectors are asked for: no model here was trained to be cut.
fn whole(dimensions: Option<usize>, rows: &[Vec<f32>]) -> Result<()> {
    let all = rows.first().map_or(0, Vec::len);
    match dimensions.filter(|dimensions| *dimensions != all) {
        None => Ok(()),
        Some(got) => {
            let message = format!(
                "expected {all}, which the model's vectors have, got {got}: it was not trained to be cut"
            );
            Err(ApiError::invalid("dimensions", message))
        }
    }
}

/// That there are neither none nor too many.
pub(super) fn counted(items: &[Item]) -> Result<()> {
    match items.len() {
        1..=ITEMS => Ok(()),
        n => Err(ApiError::invalid("input", format!("expected 1 to {ITEMS} items, got {n}"))),
    }
}

/// Items of `input`: a text, texts, tokens, media under their kinds, or `data:` URLs beside a `modality`.
fn items(input: Value, modality: Option<&str>) -> Result<Vec<Item>> {
    let wrong = |param: &str| {
        let message =
            "expected texts, token ids, or objects with text, image, audio, video or table";
        ApiError::invalid(param, message)
    };
    let all = match input {
        Value::Array(all) if all.iter().all(Value::is_number) && !all.is_empty() => {
            let ids = serde_json::from_value(Value::Array(all)).map_err(|_| wrong("input"))?;
            return Ok(vec![Item::Ids(ids)]);
        }
        Value::Array(all) => all,
        one => vec![one],
    };
    let kind = match modality {
        None | Some("text") => None,
        Some(name) => Some(Modality::named(name).ok_or_else(|| {
            ApiError::invalid("modality", "expected text, image, audio, video or table")
        })?),
    };
    let item = |(i, value): (usize, Value)| {
        let param = format!("input[{i}]");
        match (value, kind) {
            (Value::String(text), Some(kind)) => {
                Ok(Item::Medium(Upload::new(Source::parse(&text, &param)?, kind, param)))
            }
            (Value::String(text), None) => Ok(Item::Text(text)),
            (Value::Object(map), _) => named(map, &param),
            (Value::Array(ids), _) => {
                let ids = serde_json::from_value(Value::Array(ids));
                ids.map(Item::Ids).map_err(|_| wrong(&param))
            }
            _ => Err(wrong(&param)),
        }
    };
    let items: Vec<Item> = all.into_iter().enumerate().map(item).collect::<Result<_>>()?;
    counted(&items).map(|()| items)
}

/// An object whose only field says what it is: `{"text": ...}`, `{"image": ...}`.
pub(super) fn named(map: Map<String, Value>, param: &str) -> Result<Item> {
    let mut fields = Fields::new(map, param);
    if let Some(text) = fields.take("text")? {
        return Ok(Item::Text(text));
    }
    for kind in [Modality::Image, Modality::Audio, Modality::Video, Modality::Table] {
        let name = kind.to_string();
        let data: Option<Value> = fields.take(&name)?;
        let data = data.map(|data| data.get("url").cloned().unwrap_or(data));
        if let Some(Value::String(data)) = data {
            let param = fields.param(&name);
            return Ok(Item::Medium(Upload::new(Source::parse(&data, &param)?, kind, param)));
        }
    }
    Err(ApiError::invalid(param, "expected text, image, audio, video or table"))
}

fn conversation(messages: Vec<Map<String, Value>>, files: Files<'_>) -> Result<Vec<Item>> {
    let mut all = Conversation::default();
    for (i, message) in messages.into_iter().enumerate() {
        all.push(message, &format!("messages[{i}]"), files)?;
    }
    let Conversation { messages, uploads } = all;
    let parts = messages.into_iter().filter(|message| message.role != Role::System);
    Ok(parted(parts.flat_map(|message| message.parts).collect(), uploads))
}

fn parted(parts: Vec<Part>, uploads: Vec<Upload>) -> Vec<Item> {
    let mut uploads = uploads.into_iter();
    let item = |part| match part {
        Part::Text(text) => Some(Item::Text(text)),
        Part::Media(_) => uploads.next().map(Item::Medium),
    };
    parts.into_iter().filter_map(item).collect()
}

/// A row for each item, and tokens of all texts, where the model tells.
pub(super) async fn embedded(
    app: &App,
    model: &Arc<Loaded>,
    items: Vec<Item>,
) -> Result<(Vec<Vec<f32>>, usize)> {
    let reader = app.engine.reader.clone();
    app.engine.run(model, move |model| rows(model, &items, &reader)).await
}

fn rows(model: &Model, items: &[Item], reader: &Reader) -> Result<(Vec<Vec<f32>>, usize)> {
    let (space, mut tokens) = (model.embedding()?, 0);
    let mut rows = Vec::with_capacity(items.len());
    for item in items {
        if let (Item::Text(text), Ok(language)) = (item, model.language()) {
            tokens += language.prompt(text).map_or(0, |ids| ids.len());
        }
        rows.push(row(model, space, item, reader)?);
    }
    Ok((rows, tokens))
}

fn row(
    model: &Model,
    space: &dyn EmbeddingModel,
    item: &Item,
    reader: &Reader,
) -> Result<Vec<f32>> {
    let first = |rows: Vec<Vec<f32>>| rows.into_iter().next().unwrap_or_default();
    match item {
        Item::Text(text) => Ok(first(space.embed_texts(std::slice::from_ref(text))?)),
        Item::Ids(ids) => {
            let text = model.language()?.text(ids)?;
            Ok(first(space.embed_texts(&[text])?))
        }
        Item::Medium(upload) => {
            let medium = upload.decode(reader)?;
            let rows = space
                .embed_media(&[medium])
                .map_err(|error| ApiError::from(error).at(&*upload.param))?;
            Ok(first(rows))
        }
        Item::All(items) => {
            let rows: Vec<_> =
                items.iter().map(|item| row(model, space, item, reader)).collect::<Result<_>>()?;
            Ok(mean(&rows))
        }
    }
}

/// The sum of vectors, of unit length.
fn mean(rows: &[Vec<f32>]) -> Vec<f32> {
    let mut sum = vec![0.0; rows.first().map_or(0, Vec::len)];
    for row in rows {
        sum.iter_mut().zip(row).for_each(|(sum, x): (&mut f32, _)| *sum += x);
    }
    let length = sum.iter().map(|x| x * x).sum::<f32>().sqrt();
    if length > 0.0 {
        sum.iter_mut().for_each(|x| *x /= length);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_written_as_they_are_asked_for() {
        let row = vec![0.5, -1.0, 1.0, 0.0, 0.25, -0.25, 0.1, -0.1, 1.0];
        let rows = [row.clone()];
        assert_eq!(base64(&[1.0, -2.5]), "AACAPwAAIMA=");
        assert_eq!(typed("float", &rows).unwrap(), json!([row]));
        assert_eq!(typed("int8", &rows).unwrap()[0][1], json!(-127));
        assert_eq!(typed("uint8", &rows).unwrap()[0][2], json!(255));
        // As numpy's packbits has it: the first number is the highest bit.
        assert_eq!(typed("ubinary", &rows).unwrap(), json!([[0b1010_1010, 0b1000_0000]]));
        assert_eq!(typed("binary", &rows).unwrap(), json!([[0b1010_1010 - 128, 0]]));
        assert!(typed("float16", &rows).is_none());
    }
}
