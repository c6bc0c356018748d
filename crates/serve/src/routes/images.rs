//! `/v1/images/generations` and `/v1/images/edits`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream;
use sensorium_inference::SamplerOptions;
use sensorium_media::{Media as Seen, Message, Modality, Part, Role};
use serde_json::{Value, json};

use super::chat::{PASSED, data, events};
use crate::app::{Admitted, App};
use crate::engine::{Media, encoded};
use crate::error::{ApiError, Result};
use crate::fields::Fields;
use crate::form;
use crate::ids::now;
use crate::parts::{Conversation, Upload};
use crate::sampling;

/// Most pictures of a request.
const PICTURES: usize = 10;

/// How much of a picture may become another where a request does not say.
const STRENGTH: f64 = 0.8;

/// How pictures are wanted.
struct Wanted {
    prompt: String,
    n: usize,
    sampler: SamplerOptions,
    stream: bool,
}

impl Wanted {
    fn take(fields: &mut Fields) -> Result<Self> {
        let prompt: String = fields.need("prompt")?;
        if prompt.trim().is_empty() {
            return Err(ApiError::invalid(
                "prompt",
                "expected words that say what is to be drawn, got none",
            ));
        }
        let n = fields.count("n", 1..=PICTURES)?.unwrap_or(1);
        let seed = sampling::seed(fields)?;
        let sampler = sampling::sampler_options(fields, seed)?;
        let stream = fields.take("stream")?.unwrap_or(false);
        for (name, known) in
            [("output_format", "png"), ("response_format", "b64_json"), ("background", "auto")]
        {
            let got: Option<String> = fields.take(name)?;
            if let Some(got) = got.filter(|got| got != known && got != "opaque") {
                let message = format!("expected {known}, got {got:?}");
                return Err(ApiError::invalid(name, message));
            }
        }
        fields.pass(&PASSED);
        fields.pass(&["partial_images"]);
        Ok(Self { prompt, n, sampler, stream })
    }
}

/// Draws.
pub async fn generations(State(app): State<Arc<App>>, admitted: Admitted) -> Result<Response> {
    let mut fields = Fields::read(&admitted.bytes)?;
    let name: Option<String> = fields.take("model")?;
    let size: Option<String> = fields.take("size")?;
    let wanted = Wanted::take(&mut fields)?;
    let model = app.engine.models.able(name.as_deref(), "make").await?;
    let Wanted { prompt, n, sampler, stream } = wanted;
    let (prompts, served) = (vec![prompt; n], model.name.clone());
    let wanted = size.as_deref().map(sides).transpose()?.flatten();
    let made = app.engine.run(&model, move |model| {
        let maker = model.media()?;
        let size = wanted.filter(|_| maker.resizes());
        let sampler = SamplerOptions { size, ..sampler }.or(maker.usual());
        let made = maker.generate(Modality::Image, &prompts, sampler, &mut |_, _| ())?;
        encoded(made, &served, sampler)
    });
    answer(&made.await?, size, stream, fields)
}

/// Height and width of a size that a request names, if it leaves them not to the model.
fn sides(size: &str) -> Result<Option<[usize; 2]>> {
    if size == "auto" {
        return Ok(None);
    }
    let sides = size.split_once('x').and_then(|(w, h)| Some([h.parse().ok()?, w.parse().ok()?]));
    sides.map(Some).ok_or_else(|| {
        let message = format!("expected auto or a size such as 512x512, got {size:?}");
        ApiError::invalid("size", message)
    })
}

/// Draws a picture anew, as a prompt says.
pub async fn edits(State(app): State<Arc<App>>, admitted: Admitted) -> Result<Response> {
    let (mut fields, files) = form::read(&admitted).await?;
    if files.iter().any(|file| file.name == "mask") {
        let message = "expected no mask: no model here takes one";
        return Err(ApiError::invalid("mask", message));
    }
    let pictures = files.into_iter().filter(|file| matches!(&*file.name, "image" | "image[]"));
    let uploads: Vec<Upload> =
        pictures.map(|file| Upload::new(file.bytes, Modality::Image, "image")).collect();
    if uploads.is_empty() {
        return Err(ApiError::missing("image"));
    }
    let name: Option<String> = fields.take("model")?;
    let size: Option<String> = fields.take("size")?;
    let strength = fields.number("strength", 0.0..=1.0)?;
    let wanted = size.as_deref().map(sides).transpose()?.flatten();
    let Wanted { prompt, n, sampler, stream } = Wanted::take(&mut fields)?;
    let models = &app.engine.models;
    let model = match models.able(name.as_deref(), "chat").await {
        Ok(model) => model,
        Err(mute) => models.able(name.as_deref(), "make").await.map_err(|_| mute)?,
    };
    let served = model.name.clone();
    let media = app.engine.decode(move |reader| Conversation::media(&uploads, reader)).await?;
    let made = app.engine.run(&model, move |model| {
        let maker = model.media()?;
        if maker.redraws() {
            let [Seen::Image(picture)] = &media[..] else {
                let message = format!("expected one picture, got {}", media.len());
                return Err(ApiError::invalid("image", message));
            };
            let sampler = SamplerOptions { size: wanted, ..sampler }.or(maker.usual());
            let (prompts, strength) = (vec![prompt; n], strength.unwrap_or(STRENGTH));
            let made = maker.redraw(picture, strength, &prompts, sampler, &mut |_, _| ())?;
            return encoded(made, &served, sampler);
        }
        if strength.is_some() {
            let message = "expected none: this model is not told how much of a picture may change";
            return Err(ApiError::invalid("strength", message));
        }
        let parts = vec![Part::Media(Modality::Image); media.len()];
        let parts = parts.into_iter().chain([Part::Text(prompt)]).collect();
        let (chat, modality) = (model.chat()?, Modality::Image);
        let known = chat.makes();
        let wanted = chat.wants(&[Message { role: Role::User, parts }], &media, modality)?;
        let wanted = wanted.ok_or(sensorium_inference::Error::Makes { wanted: modality, known })?;
        let sampler = sampler.or(maker.usual());
        encoded(maker.make(&wanted, n, sampler)?, &served, sampler)
    });
    answer(&made.await?, size, stream, fields)
}

fn answer(made: &[Media], size: Option<String>, stream: bool, fields: Fields) -> Result<Response> {
    let sizes: Vec<String> = made.iter().map(|medium| png_size(&medium.bytes)).collect();
    let actual = sizes.first().cloned().unwrap_or_default();
    if let Some(size) = size.filter(|size| size != "auto" && *size != actual) {
        let message = format!("expected auto or {actual}, which the model draws, got {size:?}");
        return Err(ApiError::invalid("size", message));
    }
    let b64: Vec<String> = made.iter().map(|medium| STANDARD.encode(&medium.bytes)).collect();
    let response = match stream {
        true => {
            let one = |b64: &String| {
                data(&json!({
                    "type": "image_generation.completed", "b64_json": b64, "created_at": now(),
                    "size": actual, "output_format": "png", "background": "opaque"
                }))
            };
            events(stream::iter(b64.iter().map(one).collect::<Vec<_>>()))
        }
        false => {
            let data: Vec<Value> = b64.iter().map(|b64| json!({"b64_json": b64})).collect();
            let body = json!({
                "created": now(), "data": data, "size": actual, "output_format": "png",
                "background": "opaque"
            });
            Json(body).into_response()
        }
    };
    Ok(fields.heeded(response))
}

/// Width and height of a PNG file, as they stand in its first chunk.
fn png_size(png: &[u8]) -> String {
    let side = |at: usize| {
        let bytes = png.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u32::from_be_bytes)
    };
    format!("{}x{}", side(16), side(20))
}
