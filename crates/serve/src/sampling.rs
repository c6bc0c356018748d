//! What requests of all dialects say of how a text is made.

use std::collections::BTreeMap;

use sensorium_inference::{GenerateOptions, Grammar, Sampler, SamplerOptions};
use sensorium_media::Modality;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::{ApiError, Result};
use crate::fields::Fields;

/// One or several.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany<T> {
    /// One.
    One(T),
    /// Several.
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    /// All of them.
    pub fn into_vec(self) -> Vec<T> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

/// Most strings to stop at, and bytes of each.
const STOPS: (usize, usize) = (8, 256);

/// Values of a JSON schema, all levels together.
const NODES: usize = 2000;

/// Options of a text; `most` are the names under which the number of its tokens may stand.
///
/// # Errors
/// A field is out of its range.
pub fn options(fields: &mut Fields, most: &[&str]) -> Result<GenerateOptions> {
    let mut options = GenerateOptions { max_new_tokens: MOST_TOKENS, ..GenerateOptions::default() };
    for name in most {
        options.max_new_tokens =
            fields.count(name, 1..=usize::MAX)?.unwrap_or(options.max_new_tokens);
    }
    let sampling = &mut options.sampling;
    sampling.temperature = fields.number("temperature", 0.0..=100.0)?.unwrap_or(0.0) as f32;
    sampling.top_p = fields.number("top_p", 0.0..=1.0)?.unwrap_or(1.0) as f32;
    sampling.min_p = fields.number("min_p", 0.0..=1.0)?.unwrap_or(0.0) as f32;
    sampling.top_k = fields.count("top_k", 0..=usize::MAX)?.unwrap_or(0);
    sampling.seed = seed(fields)?;
    let logits = &mut options.logits;
    logits.repetition_penalty =
        fields.number("repetition_penalty", 0.01..=100.0)?.map(|penalty| penalty as f32);
    logits.presence_penalty = fields.number("presence_penalty", -2.0..=2.0)?.unwrap_or(0.0) as f32;
    logits.frequency_penalty =
        fields.number("frequency_penalty", -2.0..=2.0)?.unwrap_or(0.0) as f32;
    let bias: BTreeMap<String, f32> = fields.take("logit_bias")?.unwrap_or_default();
    for (id, bias) in bias {
        let wrong = || {
            let message = "expected tokens' ids, each with a number from -100 to 100";
            ApiError::invalid(format!("logit_bias.{id}"), message)
        };
        let number = id.parse().map_err(|_| wrong())?;
        if !(-100.0..=100.0).contains(&bias) {
            return Err(wrong());
        }
        logits.logit_bias.push((number, bias));
    }
    options.stop = stop(fields, "stop")?;
    Ok(options)
}

/// What an answer has where its request does not say: it ends before, or where the context does.
const MOST_TOKENS: usize = 512;

/// A seed, of which the lowest 64 bits count.
///
/// # Errors
/// It is no whole number.
pub fn seed(fields: &mut Fields) -> Result<u64> {
    Ok(fields.take::<i64>("seed")?.unwrap_or(0) as u64)
}

/// Strings before which a text ends.
///
/// # Errors
/// They are too many, too long or empty.
pub fn stop(fields: &mut Fields, name: &str) -> Result<Vec<String>> {
    let stop: Option<OneOrMany<String>> = fields.take(name)?;
    let stop = stop.map(OneOrMany::into_vec).unwrap_or_default();
    let (most, bytes) = STOPS;
    if stop.len() > most || stop.iter().any(|stop| stop.is_empty() || stop.len() > bytes) {
        let message = format!("expected at most {most} strings of 1 to {bytes} bytes");
        return Err(ApiError::invalid(name, message));
    }
    Ok(stop)
}

/// What a text is held to by `response_format`, as chat completions have it.
///
/// # Errors
/// A kind that is not known, or a schema that no text can follow.
pub fn response_format(fields: &mut Fields, name: &str) -> Result<Option<Grammar>> {
    let Some(mut format) = fields.object(name)? else { return Ok(None) };
    let kind: String = format.need("type")?;
    let param = format!("{name}.json_schema");
    match &*kind {
        "text" => Ok(None),
        "json_object" => schema(json!({"type": "object"}), &param).map(Some),
        "json_schema" => {
            // Responses have the schema one level higher.
            let mut inner = match format.object("json_schema")? {
                Some(inner) => inner,
                None => format,
            };
            let value: Value = inner.need("schema")?;
            schema(value, &param).map(Some)
        }
        other => {
            let message = format!("expected text, json_object or json_schema, got {other:?}");
            Err(ApiError::invalid(format!("{name}.type"), message))
        }
    }
}

/// A schema that texts are held to.
///
/// # Errors
/// It is too large, or no text can follow it.
pub fn schema(schema: Value, param: &str) -> Result<Grammar> {
    if nodes(&schema) > NODES {
        let message = format!("expected a schema of at most {NODES} values, got a larger one");
        return Err(ApiError::invalid(param, message));
    }
    Grammar::json_schema(schema).map_err(|error| ApiError::from(error).at(param))
}

fn nodes(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(nodes).sum::<usize>(),
        Value::Object(map) => map.values().map(nodes).sum(),
        _ => 0,
    }
}

/// How media are made of noise, by a model that was trained here.
///
/// # Errors
/// A field is out of its range.
pub fn sampler(fields: &mut Fields, seed: u64) -> Result<Sampler> {
    Ok(sampler_options(fields, seed)?.or(Sampler::default()))
}

/// How media are made of noise, as far as that is said.
///
/// # Errors
/// A field is out of its range.
pub fn sampler_options(fields: &mut Fields, seed: u64) -> Result<SamplerOptions> {
    let steps = fields.count("num_inference_steps", 1..=1000)?;
    let guidance = fields.number("guidance_scale", 0.0..=100.0)?.map(|guidance| guidance as f32);
    Ok(SamplerOptions { seed, steps, guidance, ..SamplerOptions::default() })
}

/// What an answer may be.
///
/// # Errors
/// A kind that is not known.
pub fn modalities(fields: &mut Fields) -> Result<Option<Vec<Modality>>> {
    let Some(names) = fields.take::<Vec<String>>("modalities")? else { return Ok(None) };
    let modality = |(i, name): (usize, &String)| {
        Modality::named(name).ok_or_else(|| {
            let message = format!("expected text, image, audio, video or table, got {name:?}");
            ApiError::invalid(format!("modalities[{i}]"), message)
        })
    };
    let modalities: Vec<Modality> =
        names.iter().enumerate().map(modality).collect::<Result<_>>()?;
    match modalities.is_empty() {
        true => Err(ApiError::invalid("modalities", "expected at least one, got none")),
        false => Ok(Some(modalities)),
    }
}
