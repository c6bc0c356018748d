//! Models over HTTP: the APIs of OpenAI, ollama, Gemini, Cohere and MCP, a few routes of our own, and a page to talk
//! on. The only crate that knows HTTP and bodies of JSON; it sees models through `inference`'s traits.
//!
//! ```text
//! connection ─▶ http: places, clocks ─▶ app: names, keys, a place ─▶ body ─▶ routes ─▶ Engine ─▶ models
//! ```

mod app;
mod body;
mod engine;
mod error;
mod fields;
mod form;
mod guard;
mod http;
mod ids;
mod metrics;
mod parts;
mod routes;
mod sampling;
mod source;
mod store;

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sensorium_hub::Fetcher;
use sensorium_media::MediaDecoder;
use tokio::net::TcpListener;

use app::App;
use engine::{Engine, Models};
use guard::Hosts;

pub use app::Log;
pub use engine::{Limits as EngineLimits, ModelSource, Pull};
pub use guard::Keys;
pub use http::Limits as ConnectionLimits;
pub use store::Limits as StoreLimits;

/// How a server is run.
pub struct Settings {
    /// Where it listens; port 0 takes one that is free.
    pub address: SocketAddr,
    /// Who may ask; everybody where there are none.
    pub keys: Keys,
    /// Names under which it may be asked, beside this machine's own.
    pub hosts: Vec<String>,
    /// Where media may be fetched from; nowhere as usual.
    pub fetcher: Fetcher,
    /// What brings a model that a client names; without, none are brought.
    pub pull: Option<Arc<Pull>>,
    /// How much is done at once.
    pub engine: EngineLimits,
    /// What connections may take.
    pub connections: ConnectionLimits,
    /// Bytes of a body.
    pub body: usize,
    /// What is kept between requests.
    pub store: StoreLimits,
    /// How long a model that nobody asks for stays open; for ever without.
    pub keep_alive: Option<Duration>,
    /// How long answers may take that are begun when the server is to end.
    pub drain: Duration,
    /// How each request is written down.
    pub log: Log,
}

impl Settings {
    /// At an address, all else as usual.
    pub fn at(address: SocketAddr) -> Self {
        Self {
            address,
            keys: Keys::default(),
            hosts: Vec::new(),
            fetcher: Fetcher::default(),
            pull: None,
            engine: EngineLimits::default(),
            connections: ConnectionLimits::default(),
            body: body::Limits::default().bytes,
            store: StoreLimits::default(),
            keep_alive: None,
            drain: Duration::from_secs(30),
            log: Log::default(),
        }
    }
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Others could reach it, and nothing would keep them out.
    #[error(
        "expected keys for a server at {address}, which other machines can reach, got none\nhint: pass --keys FILE, or listen on 127.0.0.1"
    )]
    Open {
        /// Where it was to listen.
        address: IpAddr,
    },
    /// The address is taken, or not this machine's.
    #[error(
        "expected to listen at {address}, got: {source}\nhint: pass another --port, or 0 for any that is free"
    )]
    Address {
        /// Where it was to listen.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The system has no threads or no signals for it.
    #[error(
        "expected threads and signals for a server, got: {0}\nhint: the system may lack memory or processes"
    )]
    System(#[from] io::Error),
    /// The first model cannot be opened.
    #[error("{0}")]
    Model(String),
}

/// Serves until the process is told to end (SIGTERM, Ctrl-C), then answers what is begun; told again, ends at once.
/// `ready` is told the address when the server listens and the first model is open.
///
/// # Errors
/// It cannot listen there, or the first model cannot be opened.
pub fn serve(
    settings: Settings,
    models: Vec<ModelSource>,
    decoder: MediaDecoder,
    ready: impl FnOnce(SocketAddr),
) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(64)
        .thread_stack_size(8 << 20)
        .enable_all()
        .build()?;
    let served = runtime.block_on(async {
        let mut signals = Signals::new()?;
        let (stop, hurry) = (tokio::sync::oneshot::channel(), tokio::sync::oneshot::channel());
        let ((told, stop), (again, hurry)) = (stop, hurry);
        tokio::spawn(async move {
            signals.next().await;
            // Whoever has ended already needs not be told.
            let _ = told.send(());
            signals.next().await;
            let _ = again.send(());
        });
        let ended = |receiver: tokio::sync::oneshot::Receiver<()>| async {
            let _ = receiver.await;
        };
        run(settings, models, decoder, ready, (ended(stop), ended(hurry))).await
    });
    // Work that nobody waits for any more does not keep the process.
    runtime.shutdown_background();
    served
}

async fn run(
    settings: Settings,
    models: Vec<ModelSource>,
    decoder: MediaDecoder,
    ready: impl FnOnce(SocketAddr),
    (stop, hurry): (impl Future<Output = ()>, impl Future<Output = ()>),
) -> Result<(), Error> {
    let Settings { address, keys, hosts, fetcher, pull, engine, connections, .. } = settings;
    let Settings { body, store, keep_alive, drain, log, .. } = settings;
    if keys.is_empty() && !address.ip().is_loopback() {
        return Err(Error::Open { address: address.ip() });
    }
    let listener = TcpListener::bind(address).await;
    let listener = listener.map_err(|source| Error::Address { address, source })?;
    let models = Models::new(models, engine, keep_alive);
    models.get(None).await.map_err(|error| Error::Model(error.message))?;
    let reader = source::Reader { decoder, fetcher: Arc::new(fetcher) };
    let app = Arc::new(App {
        engine: Arc::new(Engine::new(models, reader, engine)),
        pull: pull.map(engine::Puller::new),
        store: store::Store::new(store),
        keys,
        hosts: Hosts::new(address.ip(), &hosts),
        body: body::Limits { bytes: body, ..body::Limits::default() },
        log,
        draining: Default::default(),
    });
    let sweeper = tokio::spawn(sweep(app.clone()));
    ready(listener.local_addr()?);
    let router = routes::router(app.clone());
    let stop = async {
        stop.await;
        app.draining.store(true, Ordering::Relaxed);
    };
    http::listen(listener, router, connections, stop, (drain, hurry)).await;
    sweeper.abort();
    Ok(())
}

/// Closes models that nobody has asked for lately.
async fn sweep(app: Arc<App>) {
    loop {
        tokio::time::sleep(Duration::from_secs(10)).await;
        app.engine.models.sweep();
    }
}

/// What tells a process to end.
#[cfg(unix)]
struct Signals([tokio::signal::unix::Signal; 2]);

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self([signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?]))
    }

    async fn next(&mut self) {
        let [terminate, interrupt] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        // Without Ctrl-C the process is ended by the system.
        let _ = tokio::signal::ctrl_c().await;
    }
}
