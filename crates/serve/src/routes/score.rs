//! `/v1/classify` and `/v1/score`: how well labels and texts fit media.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use sensorium_inference::Score;
use serde_json::{Map, Value, json};

use super::embeddings::{Item, named};
use crate::app::{Admitted, App};
use crate::error::{ApiError, Result};
use crate::fields::Fields;
use crate::parts::{Conversation, Upload};

/// Most labels, texts or media.
const MOST: usize = 1000;

/// How well labels fit a medium.
pub async fn classify(State(app): State<Arc<App>>, admitted: Admitted) -> Result<Response> {
    let mut fields = Fields::read(&admitted.bytes)?;
    let name: Option<String> = fields.take("model")?;
    let upload = medium(fields.need("input")?, "input")?;
    let labels: Vec<String> = fields.need("labels")?;
    let template: Option<String> = fields.take("template")?;
    counted(labels.len(), "labels")?;
    if template.as_ref().is_some_and(|template| !template.contains("{}")) {
        return Err(ApiError::invalid("template", "expected a sentence with {} for the label"));
    }
    let model = app.engine.models.able(name.as_deref(), "score").await?;
    let reader = app.engine.reader.clone();
    let told = labels.clone();
    let classified = app.engine.run(&model, move |model| {
        Ok(model.score()?.classify(&upload.decode(&reader)?, &labels, template.as_deref())?)
    });
    let classified = classified.await?;
    let mut all: Vec<(String, f32)> =
        told.into_iter().zip(classified.iter().map(|one| one.probability)).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    let one = |(label, probability)| json!({"label": label, "probability": probability});
    let all: Vec<Value> = all.into_iter().map(one).collect();
    finished(json!({"model": model.name, "labels": all}), fields)
}

/// Each medium beside each text.
pub async fn score(State(app): State<Arc<App>>, admitted: Admitted) -> Result<Response> {
    let mut fields = Fields::read(&admitted.bytes)?;
    let name: Option<String> = fields.take("model")?;
    let media: Vec<Map<String, Value>> = fields.need("media")?;
    let texts: Vec<String> = fields.need("texts")?;
    counted(media.len(), "media")?;
    counted(texts.len(), "texts")?;
    let uploads = media.into_iter().enumerate();
    let uploads = uploads.map(|(i, map)| medium(map, &format!("media[{i}]")));
    let uploads: Vec<Upload> = uploads.collect::<Result<_>>()?;
    let model = app.engine.models.able(name.as_deref(), "score").await?;
    let reader = app.engine.reader.clone();
    let scores = app.engine.run(&model, move |model| {
        let media = Conversation::media(&uploads, &reader)?;
        Ok(model.score()?.score(&media, &texts)?)
    });
    let told = |score: &Score| {
        let Score { similarity, logit, probability, matching } = score;
        let mut told =
            json!({"similarity": similarity, "logit": logit, "probability": probability});
        if let Some(matching) = matching {
            told["matching"] = json!(matching);
        }
        told
    };
    let rows: Vec<Vec<Value>> =
        scores.await?.iter().map(|row| row.iter().map(told).collect()).collect();
    finished(json!({"model": model.name, "scores": rows}), fields)
}

fn finished(body: Value, fields: Fields) -> Result<Response> {
    let response = Json(body).into_response();
    Ok(fields.heeded(response))
}

fn medium(map: Map<String, Value>, param: &str) -> Result<Upload> {
    match named(map, param)? {
        Item::Medium(upload) => Ok(upload),
        _ => Err(ApiError::invalid(param, "expected image, audio, video or table, got a text")),
    }
}

fn counted(n: usize, param: &str) -> Result<()> {
    match n {
        1..=MOST => Ok(()),
        n => Err(ApiError::invalid(param, format!("expected 1 to {MOST}, got {n}"))),
    }
}
