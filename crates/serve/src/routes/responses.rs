//! `/v1/responses`: answers that are kept, so that the next request can go on from them.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response, sse};
use axum::{Extension, Json};
use futures_util::{StreamExt, stream};
use sensorium_inference::Finish;
use sensorium_media::{Message, Role};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc::UnboundedReceiver;

use super::chat::{Answer, PASSED, begin, collect, events, told};
use super::tools::{Call, Tools};
use crate::app::{Admitted, App};
use crate::engine::{Event, Outcome};
use crate::error::{ApiError, Result};
use crate::fields::Fields;
use crate::guard::Client;
use crate::ids::{id, now};
use crate::parts::Conversation;
use crate::sampling::{self, response_format};
use crate::store;

/// A response that is being made.
struct Making {
    app: Arc<App>,
    client: String,
    /// Without output, status and usage.
    object: Value,
    /// All messages before the answer.
    messages: Vec<Value>,
    message_id: String,
    tools: Tools,
    store: bool,
    text: String,
    sequence: u64,
}

/// Answers, and keeps the answer.
pub async fn create(State(app): State<Arc<App>>, admitted: Admitted) -> Result<Response> {
    let mut fields = Fields::read(&admitted.bytes)?;
    let name: Option<String> = fields.take("model")?;
    let previous: Option<String> = fields.take("previous_response_id")?;
    let mut messages = match &previous {
        Some(id) => {
            let found = app.store.response(&admitted.client.name, id);
            found.map_err(|error| error.at("previous_response_id"))?.messages.clone()
        }
        None => Vec::new(),
    };
    messages.extend(input(fields.need("input")?)?);
    let instructions: Option<String> = fields.take("instructions")?;
    let mut options = sampling::options(&mut fields, &["max_output_tokens"])?;
    let mut text = fields.object("text")?;
    if let Some(text) = &mut text {
        options.grammar = response_format(text, "format")?;
    }
    let tools = Tools::take(&mut fields)?;
    options.grammar = tools.grammar()?.or(options.grammar);
    let store: bool = fields.take("store")?.unwrap_or(true);
    let stream: bool = fields.take("stream")?.unwrap_or(false);
    if fields.take::<bool>("background")?.unwrap_or(false) {
        return Err(ApiError::invalid(
            "background",
            "expected false: nothing is answered later here",
        ));
    }
    let metadata: Option<Value> = fields.take("metadata")?;
    fields.pass(&PASSED);
    let mut conversation = Conversation::default();
    let system = instructions.clone().into_iter().chain((!tools.is_empty()).then(|| tools.words()));
    conversation.messages.extend(system.map(|text| Message::text(Role::System, text)));
    for (i, message) in messages.iter().enumerate() {
        let Value::Object(map) = message.clone() else { continue };
        conversation.push(map, &format!("input[{i}]"), admitted.files(&app))?;
    }
    let (model, answer) = begin(&app, &admitted, name.as_deref(), conversation, options).await?;
    let object = json!({
        "id": id("resp_"), "object": "response", "created_at": now(), "model": model.name, "error": null,
        "incomplete_details": null, "instructions": instructions, "metadata": metadata,
        "parallel_tool_calls": true, "previous_response_id": previous, "tool_choice": "auto",
        "tools": [], "store": store
    });
    let client = admitted.client.name.clone();
    let (message_id, text, sequence) = (id("msg_"), String::new(), 0);
    let making = Making { app, client, object, messages, message_id, tools, store, text, sequence };
    let response = match stream {
        true => streamed(making, answer),
        false => whole(making, answer).await?,
    };
    Ok(fields.heeded(response))
}

/// A response that was kept.
pub async fn retrieve(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Path(id): Path<String>,
) -> Result<Response> {
    Ok(Json(app.store.response(&client.name, &id)?.object.clone()).into_response())
}

/// Forgets a response.
pub async fn delete(
    State(app): State<Arc<App>>,
    Extension(client): Extension<Client>,
    Path(id): Path<String>,
) -> Result<Response> {
    app.store.delete(&client.name, &id, "response")?;
    Ok(Json(json!({"id": id, "object": "response", "deleted": true})).into_response())
}

/// Messages of `input`, a text or a list of items.
fn input(input: Value) -> Result<Vec<Value>> {
    let items = match input {
        Value::String(text) => return Ok(vec![json!({"role": "user", "content": text})]),
        Value::Array(items) => items,
        _ => return Err(ApiError::invalid("input", "expected a text or a list of items")),
    };
    let item = |(i, item): (usize, Value)| {
        let param = format!("input[{i}]");
        let Value::Object(map) = item else {
            return Err(ApiError::invalid(param, "expected an object"));
        };
        message(map, &param)
    };
    items.into_iter().enumerate().map(item).collect()
}

/// An item as a message of chat completions.
fn message(map: Map<String, Value>, param: &str) -> Result<Value> {
    match map.get("type").and_then(Value::as_str) {
        None | Some("message") => Ok(Value::Object(map)),
        Some("function_call") => {
            let function = json!({"name": map.get("name"), "arguments": map.get("arguments")});
            Ok(json!({"role": "assistant", "tool_calls": [{"function": function}]}))
        }
        Some("function_call_output") => {
            Ok(json!({"role": "tool", "content": map.get("output").cloned().unwrap_or_default()}))
        }
        Some(other) => {
            let text =
                format!("expected message, function_call or function_call_output, got {other:?}");
            Err(ApiError::invalid(format!("{param}.type"), text))
        }
    }
}

async fn whole(mut making: Making, answer: UnboundedReceiver<Event>) -> Result<Response> {
    let Answer { text, outcome, .. } = collect(answer).await?;
    making.text = text;
    let object = making.finish(&outcome)?;
    Ok(Json(object).into_response())
}

impl Making {
    /// The whole response, which is kept if it is to be.
    fn finish(&mut self, outcome: &Outcome) -> Result<Value> {
        let (text, calls) = self.tools.calls(&self.text);
        let mut output = Vec::new();
        if !text.is_empty() || calls.is_empty() {
            output.push(self.item("completed", &text));
        }
        output.extend(calls.iter().map(called));
        let mut object = self.object.clone();
        let is_cut = outcome.finish == Some(Finish::Length);
        object["status"] = if is_cut { "incomplete" } else { "completed" }.into();
        if is_cut {
            object["incomplete_details"] = json!({"reason": "max_output_tokens"});
        }
        object["output"] = output.into();
        object["usage"] = usage(outcome);
        if self.store {
            let mut messages = std::mem::take(&mut self.messages);
            messages.push(json!({"role": "assistant", "content": self.text}));
            let kept = store::Response { object: object.clone(), messages };
            let id = object["id"].as_str().unwrap_or_default();
            self.app.store.keep_response(&self.client, id, kept)?;
        }
        Ok(object)
    }

    fn item(&self, status: &str, text: &str) -> Value {
        json!({
            "id": self.message_id, "type": "message", "role": "assistant", "status": status,
            "content": [part(text)]
        })
    }

    fn event(&mut self, name: &str, mut body: Value) -> sse::Event {
        body["type"] = name.into();
        body["sequence_number"] = self.sequence.into();
        self.sequence += 1;
        sse::Event::default().event(name).data(body.to_string())
    }

    /// The object while it is being made.
    fn begun(&self) -> Value {
        let mut object = self.object.clone();
        object["status"] = "in_progress".into();
        object["output"] = json!([]);
        object
    }

    fn head(&mut self) -> Vec<sse::Event> {
        let response = json!({"response": self.begun()});
        let mut item = self.item("in_progress", "");
        item["content"] = json!([]);
        let id = self.message_id.clone();
        vec![
            self.event("response.created", response.clone()),
            self.event("response.in_progress", response),
            self.event("response.output_item.added", json!({"output_index": 0, "item": item})),
            self.event(
                "response.content_part.added",
                json!({"item_id": id, "output_index": 0, "content_index": 0, "part": part("")}),
            ),
        ]
    }

    fn tell(&mut self, event: Event) -> Vec<sse::Event> {
        let place = json!({"item_id": self.message_id, "output_index": 0, "content_index": 0});
        match event {
            Event::Piece(text, _) => {
                self.text.push_str(&text);
                let mut body = place;
                body["delta"] = text.into();
                vec![self.event("response.output_text.delta", body)]
            }
            Event::Done(outcome) => self.tail(&outcome, &place),
            Event::Failed(error) => self.failed(&error),
            Event::Medium(_) | Event::Speech(_) => Vec::new(),
        }
    }

    fn tail(&mut self, outcome: &Outcome, place: &Value) -> Vec<sse::Event> {
        let text = self.text.clone();
        let object = match self.finish(outcome) {
            Ok(object) => object,
            Err(error) => return self.failed(&error),
        };
        let with = |name: &str, value: Value| {
            let mut body = place.clone();
            body[name] = value;
            body
        };
        let item = self.item("completed", &text);
        let mut all = vec![
            self.event("response.output_text.done", with("text", text.as_str().into())),
            self.event("response.content_part.done", with("part", part(&text))),
            self.event("response.output_item.done", json!({"output_index": 0, "item": item})),
        ];
        let calls: Vec<Value> =
            object["output"].as_array().into_iter().flatten().cloned().collect();
        for (i, call) in
            calls.iter().enumerate().filter(|(_, item)| item["type"] == "function_call")
        {
            let body = json!({"output_index": i + 1, "item": call});
            all.push(self.event("response.output_item.added", body.clone()));
            all.push(self.event("response.output_item.done", body));
        }
        let name = if object["status"] == "incomplete" {
            "response.incomplete"
        } else {
            "response.completed"
        };
        all.push(self.event(name, json!({"response": object})));
        all
    }

    fn failed(&mut self, error: &ApiError) -> Vec<sse::Event> {
        let mut object = self.begun();
        object["status"] = "failed".into();
        object["error"] = json!({"code": error.code, "message": error.message});
        vec![self.event("response.failed", json!({"response": object}))]
    }
}

fn part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": []})
}

fn called(call: &Call) -> Value {
    let Call { id: call_id, name, arguments } = call;
    json!({
        "id": id("fc_"), "type": "function_call", "call_id": call_id, "name": name,
        "arguments": arguments, "status": "completed"
    })
}

fn usage(outcome: &Outcome) -> Value {
    let (input, output) = (outcome.prompt_tokens, outcome.completion_tokens);
    json!({
        "input_tokens": input, "output_tokens": output, "total_tokens": input + output,
        "input_tokens_details": {"cached_tokens": outcome.cached_tokens}, "output_tokens_details": {"reasoning_tokens": 0}
    })
}

fn streamed(mut making: Making, answer: UnboundedReceiver<Event>) -> Response {
    let head = stream::iter(making.head());
    let told = told(answer);
    events(head.chain(told.map(move |event| stream::iter(making.tell(event))).flatten()))
}
