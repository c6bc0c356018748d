//! What the routes are, for programs and for people; needs no network.

use axum::Json;
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::{Route, routes};

/// The description, by OpenAPI 3.1.
pub async fn document() -> Response {
    Json(described()).into_response()
}

/// The description, to be read.
pub async fn page() -> Response {
    let row = |Route { method, path, summary, example, .. }: &Route| {
        let example = example.map(|example| format!("<pre>{}</pre>", escaped(example)));
        format!(
            "<h2><code>{method} {}</code></h2><p>{}</p>{}",
            escaped(path),
            escaped(summary),
            example.unwrap_or_default()
        )
    };
    let rows: String = routes().iter().map(row).collect();
    let body = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Sensorium: routes</title><link rel=\"stylesheet\" href=\"/page/style.css\"><body class=\"docs\"><h1>Routes</h1>{rows}</body></html>"
    );
    ([(header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'self'")], Html(body))
        .into_response()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn described() -> Value {
    let mut paths = Map::new();
    for route in routes() {
        let method = route.method.as_str().to_lowercase();
        let operation = operation(&route);
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[method] = operation;
    }
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Sensorium", "version": env!("CARGO_PKG_VERSION")},
        "paths": paths,
        "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}}
    })
}

fn operation(route: &Route) -> Value {
    let mut operation = json!({
        "summary": route.summary,
        "responses": {"200": {"description": "the answer"}, "4XX": {"description": "what is wrong with the request: {\"error\": {message, type, code, param}}"}}
    });
    let names = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let parameters: Vec<Value> = names
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
        .collect();
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if let Some(example) = route.example {
        let example: Value = serde_json::from_str(example).unwrap_or_default();
        operation["requestBody"] = json!({"required": true, "content": {"application/json": {"schema": {"type": "object"}, "example": example}}});
    }
    operation
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_described_and_every_example_is_json() {
        let document = described();
        for route in routes() {
            let method = route.method.as_str().to_lowercase();
            let operation = &document["paths"][route.path][&method];
            assert!(operation["summary"].is_string(), "{method} {}", route.path);
            if route.example.is_some() {
                let example = &operation["requestBody"]["content"]["application/json"]["example"];
                assert!(example.is_object(), "{}", route.path);
            }
        }
    }
}
