//! `/v1/completions`: a text goes on as it is. `/tokenize` and `/detokenize`: what a model reads of it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response, sse};
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;

use super::chat::{Answer, PASSED, collect, data, events, reason, told, usage};
use crate::app::{Admitted, App};
use crate::engine::{Ask, Event, Prompt, TokenLogprob};
use crate::error::{ApiError, Result};
use crate::fields::Fields;
use crate::ids::{id, now};
use crate::sampling;

/// A prompt in one of the four forms that clients send.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Prompts {
    Text(String),
    Texts(Vec<String>),
    Ids(Vec<u32>),
    ManyIds(Vec<Vec<u32>>),
}

/// Most prompts of a request, and most answers to each.
const PROMPTS: usize = 32;
const ANSWERS: usize = 8;

impl Prompts {
    fn into_vec(self) -> Vec<Prompt> {
        match self {
            Self::Text(text) => vec![Prompt::Text(text)],
            Self::Texts(texts) => texts.into_iter().map(Prompt::Text).collect(),
            Self::Ids(ids) => vec![Prompt::Ids(ids)],
            Self::ManyIds(all) => all.into_iter().map(Prompt::Ids).collect(),
        }
    }
}

/// Goes on with a text, or several.
pub async fn completions(State(app): State<Arc<App>>, admitted: Admitted) -> Result<Response> {
    let mut fields = Fields::read(&admitted.bytes)?;
    let name: Option<String> = fields.take("model")?;
    let prompts = fields.need::<Prompts>("prompt");
    // What an untagged list says of itself helps nobody.
    let expected = "expected a text, a list of texts, token ids, or a list of lists of them";
    let prompts = prompts.map_err(|error| match error.code {
        "invalid_value" => ApiError::invalid("prompt", expected),
        _ => error,
    })?;
    let prompts = prompts.into_vec();
    if prompts.is_empty() || prompts.len() > PROMPTS {
        let message = format!("expected 1 to {PROMPTS} prompts, got {}", prompts.len());
        return Err(ApiError::invalid("prompt", message));
    }
    let mut options = sampling::options(&mut fields, &["max_tokens"])?;
    options.grammar = sampling::response_format(&mut fields, "response_format")?;
    let n = fields.count("n", 1..=ANSWERS)?.unwrap_or(1);
    let logprobs = fields.count("logprobs", 0..=20)?;
    let echo: bool = fields.take("echo")?.unwrap_or(false);
    let stream: bool = fields.take("stream")?.unwrap_or(false);
    let sampler = sampling::sampler(&mut fields, options.sampling.seed)?;
    fields.pass(&PASSED);
    fields.pass(&["stream_options"]);
    let model = app.engine.models.able(name.as_deref(), "complete").await?;
    let echoed = |prompt: &Prompt| match prompt {
        Prompt::Text(text) if echo => text.clone(),
        _ => String::new(),
    };
    let mut answers = Vec::new();
    for prompt in &prompts {
        for i in 0..n {
            let mut options = options.clone();
            options.sampling.seed = options.sampling.seed.wrapping_add(i as u64);
            let (client, prompt) = (admitted.client.name.clone(), prompt.clone());
            let before = echoed(&prompt);
            let ask = Ask { client, prompt, options, logprobs, sampler, speech: None };
            answers.push((before, app.engine.ask(model.clone(), ask, admitted.place.clone())));
        }
    }
    let head = json!({"id": id("cmpl-"), "object": "text_completion", "created": now(), "model": model.name});
    let response = match stream {
        true => streamed(head, answers),
        false => whole(head, answers).await?,
    };
    Ok(fields.heeded(response))
}

type Answers = Vec<(String, UnboundedReceiver<Event>)>;

async fn whole(mut head: Value, answers: Answers) -> Result<Response> {
    let (mut choices, mut outcomes) = (Vec::new(), Vec::new());
    for (index, (echoed, events)) in answers.into_iter().enumerate() {
        let Answer { text, tokens, outcome, .. } = collect(events).await?;
        let tokens = (!tokens.is_empty()).then(|| legacy(&tokens));
        choices.push(json!({
            "index": index, "text": format!("{echoed}{text}"), "logprobs": tokens,
            "finish_reason": reason(outcome.finish)
        }));
        outcomes.push(outcome);
    }
    head["choices"] = choices.into();
    head["usage"] = usage(&outcomes);
    Ok(Json(head).into_response())
}

/// Logarithms of probabilities as this route has had them from the beginning.
fn legacy(tokens: &[TokenLogprob]) -> Value {
    let top = |token: &TokenLogprob| -> Value {
        let all = token.top.iter().map(|(token, logprob)| (token.clone(), json!(logprob)));
        Value::Object(all.collect())
    };
    json!({
        "tokens": tokens.iter().map(|token| &token.token).collect::<Vec<_>>(),
        "token_logprobs": tokens.iter().map(|token| token.logprob).collect::<Vec<_>>(),
        "top_logprobs": tokens.iter().map(top).collect::<Vec<_>>()
    })
}

fn streamed(head: Value, answers: Answers) -> Response {
    let piece = move |i: usize, text: &str, finish: Option<&str>| {
        let mut chunk = head.clone();
        chunk["choices"] =
            json!([{"index": i, "text": text, "logprobs": null, "finish_reason": finish}]);
        data(&chunk)
    };
    let (mut growing, mut firsts, mut all) = (answers.len(), Vec::new(), Vec::new());
    for (i, (echoed, events)) in answers.into_iter().enumerate() {
        firsts.extend((!echoed.is_empty()).then(|| piece(i, &echoed, None)));
        all.push(told(events).map(move |event| (i, event)).boxed());
    }
    let told = stream::select_all(all).map(move |(i, event)| {
        stream::iter(match event {
            Event::Piece(text, _) => vec![piece(i, &text, None)],
            Event::Done(outcome) => {
                growing -= 1;
                let done = (growing == 0).then(|| sse::Event::default().data("[DONE]"));
                [piece(i, "", Some(reason(outcome.finish)))].into_iter().chain(done).collect()
            }
            // Nothing is done where a text has failed.
            Event::Failed(error) => vec![data(&error.body())],
            Event::Medium(_) | Event::Speech(_) => Vec::new(),
        })
    });
    events(stream::iter(firsts).chain(told.flatten()))
}

/// A text as the model's tokens.
pub async fn tokenize(State(app): State<Arc<App>>, admitted: Admitted) -> Result<Response> {
    let mut fields = Fields::read(&admitted.bytes)?;
    let name: Option<String> = fields.take("model")?;
    let text: String =
        fields.any(&["prompt", "content"])?.ok_or_else(|| ApiError::missing("prompt"))?;
    let model = app.engine.models.able(name.as_deref(), "complete").await?;
    let tokens = app.engine.run(&model, move |model| Ok(model.language()?.prompt(&text)?)).await?;
    Ok(Json(json!({"count": tokens.len(), "tokens": tokens})).into_response())
}

/// Tokens as a text.
pub async fn detokenize(State(app): State<Arc<App>>, admitted: Admitted) -> Result<Response> {
    let mut fields = Fields::read(&admitted.bytes)?;
    let name: Option<String> = fields.take("model")?;
    let ids: Vec<u32> = fields.need("tokens")?;
    let model = app.engine.models.able(name.as_deref(), "complete").await?;
    let text = app.engine.run(&model, move |model| Ok(model.language()?.text(&ids)?)).await?;
    Ok(Json(json!({"prompt": text})).into_response())
}
