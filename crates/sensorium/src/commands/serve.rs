//! `serve`: models over HTTP, and a page to talk on.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use sensorium_hub::{Choice, Fetcher, Hub, Progress};
use sensorium_serve::{EngineLimits, Keys, Log, ModelSource, Pull, Settings, StoreLimits, serve};

use crate::commands::Global;
use crate::commands::precision::{Packing, Precision};
use crate::global::EMBEDDED;
use crate::{open, print};

/// Serve models over HTTP, with a page to talk on.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  sensorium serve\n  sensorium serve --model SmolVLM-256M-Instruct --also nano=embedded --port 9000\n  sensorium serve --host 0.0.0.0 --keys keys.txt --allow-host model.example\n  curl localhost:8080/v1/chat/completions -d '{\"messages\": [{\"role\": \"user\", \"content\": \"hello\"}]}'\n\nSpeaks the APIs of OpenAI, ollama, Gemini, Cohere and MCP; /docs lists the routes. A key's line in --keys is its name and the SHA-256 of the key: printf %s KEY | sha256sum"
)]
pub struct Serve {
    /// Address to listen at; one that other machines can reach needs --keys.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1", env = "SENSORIUM_HOST")]
    host: IpAddr,
    /// Port to listen at; 0 takes one that is free.
    #[arg(long, value_name = "N", default_value_t = 8080, env = "SENSORIUM_PORT")]
    port: u16,
    /// Another model, as NAME=MODEL, which is opened when it is first asked for. May be repeated.
    #[arg(long, value_name = "NAME=MODEL", value_parser = named)]
    also: Vec<(String, String)>,
    /// File of keys: who has one may ask; lines of NAME SHA256 [concurrent=N] [per_minute=N].
    #[arg(long, value_name = "FILE", env = "SENSORIUM_KEYS")]
    keys: Option<PathBuf>,
    /// Another name under which the server may be asked, beside this machine's own. May be repeated.
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,
    /// Host that media may be fetched from where a request names their address: name, *.name or an IP address,
    /// each with :PORT if need be. May be repeated; without, nothing is fetched.
    #[arg(long, value_name = "HOST")]
    fetch_from: Vec<String>,
    /// Folder whose files a request may name as file:///FOLDER/...; links in it are not followed.
    #[arg(long, value_name = "DIR")]
    media_path: Option<PathBuf>,
    /// Let clients bring models from the hub into the cache (/api/pull), to be served beside the others.
    #[arg(long)]
    allow_pull: bool,
    /// Texts that a model goes on with at once.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    max_running: u16,
    /// Requests that wait beside them; more are refused.
    #[arg(long, value_name = "N", default_value_t = 512)]
    max_waiting: u16,
    /// MiB that each model keeps of what it has read, so that a prompt that begins like an older one is not read
    /// again from its beginning; 0 keeps nothing.
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    cache: u16,
    /// MiB of a body; a film of 64 MiB in base64 takes 86.
    #[arg(long, value_name = "MIB", default_value_t = 96, value_parser = clap::value_parser!(u16).range(1..=1024))]
    max_body: u16,
    /// Close models that nobody has asked for in so many seconds [default: never, unless the memory is short].
    #[arg(long, value_name = "SECONDS")]
    keep_alive: Option<u64>,
    /// Hours that files and responses are kept, in memory.
    #[arg(long, value_name = "HOURS", default_value_t = 24)]
    retention: u16,
    /// Seconds that answers may take that are begun when the server is told to end.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    drain: u64,
    /// Open the page in the browser.
    #[arg(long)]
    open: bool,
    /// How each request is written to standard error: its name, route, status and milliseconds.
    #[arg(long, value_name = "FORMAT", default_value = "text", value_parser = log_format)]
    log: Log,
    /// Say nothing of each request.
    #[arg(long)]
    quiet: bool,
    #[command(flatten)]
    packing: Packing,
}

fn log_format(text: &str) -> Result<Log, String> {
    match text {
        "text" => Ok(Log::Text),
        "json" => Ok(Log::Json),
        _ => Err(format!("expected text or json, got {text:?}")),
    }
}

fn named(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, model)| !name.is_empty() && !model.is_empty());
    let (name, model) = pair.ok_or_else(|| format!("expected NAME=MODEL, got {text:?}"))?;
    Ok((name.to_owned(), model.to_owned()))
}

impl Serve {
    pub fn run(&self, global: &Global) -> Result<()> {
        let keys = match &self.keys {
            None => Keys::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("expected a file of keys at {}", path.display()))?;
                Keys::parse(&text).map_err(|error| anyhow!("{}: {error}", path.display()))?
            }
        };
        let usual = Settings::at(SocketAddr::new(self.host, self.port));
        let engine = EngineLimits {
            running: self.max_running.into(),
            waiting: self.max_waiting.into(),
            cache: usize::from(self.cache) << 20,
            ..EngineLimits::default()
        };
        let retention = Duration::from_secs(u64::from(self.retention) * 3600);
        let settings = Settings {
            keys,
            hosts: self.allow_host.clone(),
            fetcher: Fetcher::new(&self.fetch_from, self.media_path.as_deref())?,
            pull: self.allow_pull.then(|| self.pull(global)),
            engine,
            body: usize::from(self.max_body) << 20,
            store: StoreLimits { retention, ..StoreLimits::default() },
            keep_alive: self.keep_alive.map(Duration::from_secs),
            drain: Duration::from_secs(self.drain),
            log: self.log,
            ..usual
        };
        if !self.quiet {
            log::set_max_level(log::LevelFilter::Info);
        }
        let ready = |address: SocketAddr| {
            let url = format!("http://{address}");
            // A closed standard output must not end the server.
            let _ = print::line(&url);
            if self.open {
                browse(&url);
            }
        };
        Ok(serve(settings, self.sources(global)?, open::decoder(), ready)?)
    }

    /// The chosen model, and those beside it.
    fn sources(&self, global: &Global) -> Result<Vec<ModelSource>> {
        let mut sources = vec![source(name(&global.model), global.clone(), self.packing.precision)];
        for (name, model) in &self.also {
            let global = Global { model: model.clone(), adapter: None, ..global.clone() };
            sources.push(source(name.clone(), global.found()?, self.packing.precision));
        }
        Ok(sources)
    }

    /// What brings a model that a client names.
    fn pull(&self, global: &Global) -> Arc<Pull> {
        let (global, precision) = (global.clone(), self.packing.precision);
        Arc::new(move |name, tell| {
            let mut pulled = || -> Result<String> {
                let (hub, choice) = (Hub::new(global.hub()), Choice::parse(name)?);
                let tell =
                    |progress: Progress<'_>| tell(progress.file, progress.done, progress.total);
                let pulled = hub.pull(&hub.plan(&choice, &[])?, tell)?;
                // Not what lies at a path of this name.
                Ok(choice.of(&pulled.path)?.display().to_string())
            };
            let model = pulled().map_err(|error| error.to_string())?;
            let global = Global { model, adapter: None, ..global.clone() };
            Ok(source(name.to_owned(), global, precision))
        })
    }
}

/// A model that is opened when it is first asked for.
fn source(name: String, global: Global, precision: Precision) -> ModelSource {
    let bytes = size(Path::new(&global.model));
    let open = move || match open::open(&global, precision) {
        Ok((model, _)) => Ok(model),
        Err(error) => Err(error.to_string()),
    };
    ModelSource { name, bytes, open: Box::new(open) }
}

/// What clients call a model: the name of its directory or file.
fn name(model: &str) -> String {
    match model {
        EMBEDDED => "nano".to_owned(),
        path => {
            let stem = Path::new(path).file_name().unwrap_or_default().to_string_lossy();
            stem.strip_suffix(".gguf").unwrap_or(&stem).to_owned()
        }
    }
}

/// Bytes of a model's files: less than it takes, and what can be known before it is opened.
fn size(path: &Path) -> u64 {
    let length = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let Ok(entries) = std::fs::read_dir(path) else { return length(path) };
    entries.flatten().map(|entry| length(&entry.path())).sum()
}

/// Opens a page in the browser, if there is one.
fn browse(url: &str) {
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    if std::process::Command::new(program).arg(url).spawn().is_err() {
        log::warn!("expected {program} to open the page, got none; open {url} in a browser");
    }
}
