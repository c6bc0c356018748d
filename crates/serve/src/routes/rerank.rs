//! `/v1/rerank`: documents, texts or pictures, in the order in which they fit a query.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use sensorium_media::Media;
use serde_json::{Value, json};

use super::embeddings::{Item, named};
use crate::app::{Admitted, App};
use crate::error::{ApiError, Result};
use crate::fields::Fields;
use crate::ids::id;
use crate::source::Reader;
use sensorium_inference::Model;

/// Most documents.
const DOCUMENTS: usize = 1000;

/// Documents in order.
pub async fn rerank(State(app): State<Arc<App>>, admitted: Admitted) -> Result<Response> {
    let mut fields = Fields::read(&admitted.bytes)?;
    let name: Option<String> = fields.take("model")?;
    let query = item(fields.need("query")?, "query")?;
    let documents: Vec<Value> = fields.need("documents")?;
    let top = fields.any::<usize>(&["top_n", "top_k"])?.unwrap_or(usize::MAX);
    let told: bool = fields.take("return_documents")?.unwrap_or(false);
    if documents.is_empty() || documents.len() > DOCUMENTS {
        let message = format!("expected 1 to {DOCUMENTS} documents, got {}", documents.len());
        return Err(ApiError::invalid("documents", message));
    }
    let items = documents.iter().enumerate();
    let items = items.map(|(i, document)| item(document.clone(), &format!("documents[{i}]")));
    let items: Vec<Item> = items.collect::<Result<_>>()?;
    let model = app.engine.models.able(name.as_deref(), "embed").await?;
    let reader = app.engine.reader.clone();
    let scores = app.engine.run(&model, move |model| scores(model, &query, &items, &reader));
    let (scores, by) = scores.await?;
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let result = |&index: &usize| {
        let mut result = json!({"index": index, "relevance_score": scores[index]});
        if told {
            result["document"] = documents[index].clone();
        }
        result
    };
    let results: Vec<Value> = order.iter().take(top).map(result).collect();
    let meta = json!({"scored_by": by, "api_version": {"version": "2"}});
    let response = Json(json!({
        "id": id("rerank_"), "model": model.name, "results": results, "meta": meta
    }))
    .into_response();
    Ok(fields.heeded(response))
}

fn item(value: Value, param: &str) -> Result<Item> {
    match value {
        Value::String(text) => Ok(Item::Text(text)),
        Value::Object(map) => named(map, param),
        _ => Err(ApiError::invalid(param, "expected a text, or an object with text or image")),
    }
}

/// How well each document fits, and by what that was told.
fn scores(
    model: &Model,
    query: &Item,
    documents: &[Item],
    reader: &Reader,
) -> Result<(Vec<f32>, &'static str)> {
    if let (Ok(score), Item::Text(text)) = (model.score(), query) {
        let media: Option<Vec<Media>> =
            documents.iter().map(|item| medium(item, reader)).collect::<Result<_>>()?;
        if let Some(media) = media {
            return closely(score, &media, text);
        }
    }
    let space = model.embedding()?;
    let row = |item: &Item| match item {
        Item::Text(text) => Ok(space.embed_texts(std::slice::from_ref(text))?),
        Item::Medium(upload) => Ok(space.embed_media(&[upload.decode(reader)?])?),
        Item::Ids(_) | Item::All(_) => Err(ApiError::internal("no item of a rerank")),
    };
    let query: Vec<f32> = row(query)?.concat();
    let cosine = |item: &Item| Ok(dot(&query, &row(item)?.concat()));
    Ok((documents.iter().map(cosine).collect::<Result<_>>()?, "cosine of embeddings"))
}

fn medium(item: &Item, reader: &Reader) -> Result<Option<Media>> {
    match item {
        Item::Medium(upload) => upload.decode(reader).map(Some),
        _ => Ok(None),
    }
}

/// By BLIP-2's closer look where the model has one, else by the cosine.
fn closely(
    score: &dyn sensorium_inference::ScoreModel,
    media: &[Media],
    text: &str,
) -> Result<(Vec<f32>, &'static str)> {
    let texts = [text.to_owned()];
    let matching = |medium: &Media| match medium {
        Media::Image(picture) => {
            let logits = score.matching(picture, &texts)?;
            Ok(logits.and_then(|logits| logits.first().copied()))
        }
        _ => Ok(None),
    };
    let logits: Result<Option<Vec<f32>>> = media.iter().map(matching).collect();
    match logits? {
        Some(logits) => Ok((logits, "image-text matching")),
        None => Ok((score.similarities(media, text)?, "cosine of embeddings")),
    }
}

/// Cosine of vectors of any length.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let length = |x: &[f32]| x.iter().map(|x| x * x).sum::<f32>().sqrt();
    let product: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
    product / (length(a) * length(b)).max(f32::MIN_POSITIVE)
}
