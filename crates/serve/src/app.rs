//! What all routes share, and what every request passes before it reaches one.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, FromRequest, MatchedPath, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::body;
use crate::engine::{Engine, Place, Puller};
use crate::error::{ApiError, Result};
use crate::guard::{Client, Hosts, Keys};
use crate::ids::id;
use crate::parts::Files;
use crate::store::Store;
use serde_json::json;

/// What all routes share.
pub struct App {
    /// What answers.
    pub engine: Arc<Engine>,
    /// What brings models, if any may be brought.
    pub pull: Option<Puller>,
    /// What is kept between requests.
    pub store: Store,
    /// Who may ask.
    pub keys: Keys,
    /// Under which names.
    pub hosts: Hosts,
    /// What bodies may take.
    pub body: body::Limits,
    /// How each request is written down.
    pub log: Log,
    /// Whether the server is about to end.
    pub draining: AtomicBool,
}

/// How requests are written down: their names, routes and statuses, never what they say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Log {
    /// A line of words.
    #[default]
    Text,
    /// A line of JSON.
    Json,
}

impl Log {
    fn write(self, id: &str, (method, route): (&str, &str), status: u16, ms: u128) {
        match self {
            Self::Text => log::info!("{id} {method} {route} {status} {ms} ms"),
            Self::Json => {
                let time = crate::ids::now();
                log::info!(
                    "{}",
                    json!({
                        "time": time, "id": id, "method": method, "route": route, "status": status,
                        "ms": ms as u64
                    })
                );
            }
        }
    }
}

/// A request that has a place, and all of its body.
pub struct Admitted {
    /// Who asks.
    pub client: Client,
    /// Held until the answer is out.
    pub place: Arc<Place>,
    /// What is asked for.
    pub bytes: Bytes,
    /// The type of `bytes`.
    pub content_type: Option<String>,
}

impl FromRequest<Arc<App>> for Admitted {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self> {
        let headers = request.headers();
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let length = text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
        let content_type = text(header::CONTENT_TYPE).map(str::to_owned);
        let client = request.extensions().get::<Client>().cloned();
        let client = client.ok_or_else(|| ApiError::internal("a request that nobody sent"))?;
        // Before any byte of the body is read; one that does not tell its length may be as long as any.
        let place = app.engine.admit(length.unwrap_or(usize::MAX).min(app.body.bytes))?;
        let bytes = body::read(request.into_body(), length, app.body).await?;
        Ok(Self { client, place, bytes, content_type })
    }
}

impl Admitted {
    /// Whose files it may name.
    pub fn files<'a>(&'a self, app: &'a App) -> Files<'a> {
        Files { store: &app.store, client: &self.client.name }
    }
}

/// Paths that tell no more than whether the server is there.
const OPEN: [&str; 5] = ["/health", "/livez", "/health/live", "/readyz", "/ready"];

/// Paths of the page, which asks for the key itself.
fn is_page(path: &str) -> bool {
    path == "/" || path.starts_with("/page/") || path == "/favicon.ico"
}

/// Lets in who may come in, and writes down what became of it.
pub async fn guard(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let (begun, name) = (Instant::now(), id("req_"));
    let method = request.method().as_str().to_owned();
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str);
    let route = route.to_owned();
    let mut response = match admit(&app, &mut request) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    };
    if let Ok(value) = HeaderValue::from_str(&name) {
        response.headers_mut().insert("x-request-id", value);
    }
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    let status = response.status().as_u16();
    app.engine.metrics.request(&method, &route, status, begun.elapsed());
    app.log.write(&name, (&method, &route), status, begun.elapsed().as_millis());
    response
}

/// Bytes of all headers together: the connection's buffer holds more for a moment.
const HEADERS: usize = 64 << 10;

fn admit(app: &App, request: &mut Request) -> Result<()> {
    let path = request.uri().path();
    let headers = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len());
    if headers.sum::<usize>() > HEADERS {
        let message = format!("expected headers of at most {} KiB, got more", HEADERS >> 10);
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Err(ApiError::new(status, "headers_too_large", message));
    }
    if OPEN.contains(&path) {
        return Ok(());
    }
    app.hosts.check(request.headers())?;
    let address = request.extensions().get::<ConnectInfo<IpAddr>>().map(|info| info.0);
    let address = address.ok_or_else(|| ApiError::internal("a request from nowhere"))?;
    if !is_page(path) {
        let client = app.keys.client(request.headers(), address).inspect_err(|error| {
            app.engine.metrics.refusal(error.code);
        })?;
        request.extensions_mut().insert(client);
    }
    if app.draining.load(Ordering::Relaxed) {
        let message = "the server is about to end";
        let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "draining", message);
        return Err(ApiError { retry_after: Some(5), ..error });
    }
    Ok(())
}
