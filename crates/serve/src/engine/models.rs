//! Models by name: opened when they are first asked for, closed when nobody has asked for a while or the memory is
//! short.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use sensorium_inference::Model;
use sensorium_media::Modality;

use super::Limits;
use super::worker::{self, Jobs};
use crate::error::{ApiError, Result};
use axum::http::StatusCode;

/// Where a model comes from.
pub struct ModelSource {
    /// What clients call it.
    pub name: String,
    /// Bytes of memory that it will take at least, by the size of its files.
    pub bytes: u64,
    /// Opens it; what is wrong if it cannot be opened.
    pub open: Box<dyn Fn() -> std::result::Result<Model, String> + Send + Sync>,
}

/// Brings a model by its name, and tells meanwhile of each file how many bytes of how many are there.
pub type Pull = dyn Fn(&str, &mut dyn FnMut(&str, u64, u64)) -> std::result::Result<ModelSource, String>
    + Send
    + Sync;

/// Brings one model at a time.
pub struct Puller {
    /// What brings it.
    pub pull: Arc<Pull>,
    /// Held meanwhile.
    pub turn: Arc<tokio::sync::Semaphore>,
}

impl Puller {
    /// By what brings a model.
    pub fn new(pull: Arc<Pull>) -> Self {
        Self { pull, turn: Arc::new(tokio::sync::Semaphore::new(1)) }
    }
}

/// What a model can do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Info {
    /// What its conversations may hold; of a model without them, what it reads.
    pub input: Vec<Modality>,
    /// What it answers with.
    pub output: Vec<Modality>,
    /// `chat`, `complete`, `embed`, `score`, `transcribe`, `speak`, `make`.
    pub capabilities: Vec<&'static str>,
    /// Who speaks.
    pub voices: Vec<String>,
}

/// A model that is open.
pub struct Loaded {
    /// What clients call it.
    pub name: String,
    /// The model.
    pub model: Arc<Model>,
    /// What it can do.
    pub info: Info,
    /// The way to the thread in which it answers, if it does.
    pub(super) jobs: Option<Jobs>,
}

/// All of them.
pub struct Models {
    entries: RwLock<Vec<Arc<Entry>>>,
    limits: Limits,
    keep_alive: Option<Duration>,
    said: Arc<AtomicU64>,
}

struct Entry {
    source: ModelSource,
    /// Held while it is opened, so that it is opened once.
    state: tokio::sync::Mutex<State>,
    /// Kept when it is closed.
    info: Mutex<Option<Info>>,
}

#[derive(Default)]
struct State {
    loaded: Option<Arc<Loaded>>,
    used: Option<Instant>,
}

impl Models {
    /// Those of these sources, the first of which is meant where none is named. Each is closed when nobody has asked
    /// for it for `keep_alive`, if ever.
    pub fn new(sources: Vec<ModelSource>, limits: Limits, keep_alive: Option<Duration>) -> Self {
        let entries = sources.into_iter().map(Entry::new).collect();
        Self { entries: RwLock::new(entries), limits, keep_alive, said: Arc::default() }
    }

    /// One more, in place of the one of its name, which goes on for whoever uses it.
    pub fn add(&self, source: ModelSource) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        match entries.iter_mut().find(|entry| entry.source.name == source.name) {
            Some(entry) => *entry = Entry::new(source),
            None => entries.push(Entry::new(source)),
        }
    }

    fn entries(&self) -> Vec<Arc<Entry>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Each name with what its model can do, where that is known, and whether it is open.
    pub fn list(&self) -> Vec<(String, Option<Info>, bool)> {
        let entry = |entry: &Arc<Entry>| {
            let is_open = entry.state.try_lock().is_ok_and(|state| state.loaded.is_some());
            (entry.source.name.clone(), entry.known(), is_open)
        };
        self.entries().iter().map(entry).collect()
    }

    /// The model of a name, or the first; opened if it is not.
    ///
    /// # Errors
    /// There is none of that name, it cannot be opened, or the memory is short.
    pub async fn get(&self, name: Option<&str>) -> Result<Arc<Loaded>> {
        let entry = self.entry(name)?;
        let mut state = entry.state.lock().await;
        state.used = Some(Instant::now());
        if let Some(loaded) = &state.loaded {
            return Ok(loaded.clone());
        }
        self.make_room(&entry.source)?;
        let loaded = entry.load(self.limits, self.said.clone()).await?;
        state.loaded = Some(loaded.clone());
        Ok(loaded)
    }

    /// The first that `can` do something, after the one that is named.
    ///
    /// # Errors
    /// As [`get`](Self::get); none can.
    pub async fn able(&self, name: Option<&str>, can: &str) -> Result<Arc<Loaded>> {
        let named = self.get(name).await?;
        if named.info.capabilities.contains(&can) || name.is_some() {
            return named.able(can);
        }
        let known = self.list().into_iter();
        let mut able = known.filter(|(_, info, _)| {
            info.as_ref().is_none_or(|info| info.capabilities.contains(&can))
        });
        match able.next() {
            Some((name, ..)) => self.get(Some(&name)).await?.able(can),
            None => named.able(can),
        }
    }

    fn entry(&self, name: Option<&str>) -> Result<Arc<Entry>> {
        // Ollama's clients name a version.
        let name = name.map(|name| name.strip_suffix(":latest").unwrap_or(name));
        let all = self.entries();
        let mut entries = all.iter();
        let found = match name {
            Some(name) => entries.find(|entry| entry.source.name == name),
            None => entries.next(),
        };
        found.cloned().ok_or_else(|| {
            let known: Vec<&str> = all.iter().map(|e| &*e.source.name).collect();
            let message = format!(
                "expected a model that is served here ({}), got {:?}; `sensorium serve --model` serves others",
                known.join(", "),
                name.unwrap_or_default()
            );
            ApiError::new(StatusCode::NOT_FOUND, "model_not_found", message).at("model")
        })
    }

    /// Tokens that were said, to whoever asked, also to who did not wait for them.
    pub fn said(&self) -> u64 {
        self.said.load(Ordering::Relaxed)
    }

    /// Closes what nobody has asked for lately.
    pub fn sweep(&self) {
        if let Some(keep_alive) = self.keep_alive {
            self.entries().iter().for_each(|entry| entry.close(keep_alive));
        }
    }

    /// Closes models that nobody uses until one of so many bytes has room.
    fn make_room(&self, source: &ModelSource) -> Result<()> {
        let fits = || available().is_none_or(|free| source.bytes < free);
        for entry in self.entries() {
            if fits() {
                break;
            }
            entry.close(Duration::ZERO);
        }
        let free = available().unwrap_or(u64::MAX);
        if source.bytes < free {
            return Ok(());
        }
        let [needed, free] = [source.bytes, free].map(|bytes| bytes >> 20);
        let message =
            format!("expected {needed} MiB of memory for the model, got {free} MiB that are free");
        let error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "out_of_memory", message);
        Err(ApiError { retry_after: Some(30), ..error }.at("model"))
    }
}

impl Entry {
    fn new(source: ModelSource) -> Arc<Self> {
        Arc::new(Self { source, state: Default::default(), info: Mutex::new(None) })
    }

    fn known(&self) -> Option<Info> {
        self.info.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn load(&self, limits: Limits, said: Arc<AtomicU64>) -> Result<Arc<Loaded>> {
        let opened = tokio::task::block_in_place(|| (self.source.open)());
        let mut model = opened.map_err(|reason| {
            log::error!("{}: {reason}", self.source.name);
            let message = format!(
                "the model {:?} cannot be opened; the server's log says why",
                self.source.name
            );
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "model_not_loaded", message)
                .at("model")
        })?;
        model.remember(limits.cache);
        let model = Arc::new(model);
        let info = Info::of(&model);
        let jobs = model.chat().is_ok().then(|| worker::start(model.clone(), limits, said));
        let jobs = jobs.transpose().map_err(ApiError::internal)?;
        *self.info.lock().unwrap_or_else(PoisonError::into_inner) = Some(info.clone());
        Ok(Arc::new(Loaded { name: self.source.name.clone(), model, info, jobs }))
    }

    /// Closes it if nobody uses it, and nobody has asked for it for so long.
    fn close(&self, idle: Duration) {
        let Ok(mut state) = self.state.try_lock() else { return };
        let is_idle = state.used.is_none_or(|used| used.elapsed() >= idle);
        if is_idle && state.loaded.as_ref().is_some_and(|loaded| Arc::strong_count(loaded) == 1) {
            state.loaded = None;
        }
    }
}

impl Loaded {
    fn able(self: Arc<Self>, can: &str) -> Result<Arc<Self>> {
        match self.info.capabilities.contains(&can) {
            true => Ok(self),
            false => Err(self.cannot(can)),
        }
    }

    /// That it cannot do something.
    pub fn cannot(&self, what: &str) -> ApiError {
        let message = format!(
            "expected a model that can {what}, got {:?}, which can {}",
            self.name,
            self.info.capabilities.join(", ")
        );
        ApiError::new(StatusCode::BAD_REQUEST, "modality_not_supported", message).at("model")
    }
}

impl Info {
    fn of(model: &Model) -> Self {
        let chat = model.chat().ok();
        let makes = model.media().map(|media| media.makes()).unwrap_or_default();
        let abilities = [
            ("chat", chat.is_some()),
            ("complete", model.language().is_ok()),
            ("embed", model.embedding().is_ok()),
            ("score", model.score().is_ok()),
            ("transcribe", model.speech().is_ok()),
            ("speak", model.voices().is_ok()),
            ("make", !makes.is_empty()),
        ];
        let can = abilities.into_iter().filter(|(_, can)| *can).map(|(name, _)| name);
        let input = match chat {
            Some(chat) => chat.modalities().to_vec(),
            None if model.speech().is_ok() => vec![Modality::Audio],
            None if model.score().is_ok() => vec![Modality::Text, Modality::Image],
            None => vec![Modality::Text],
        };
        let text = chat.is_some() || model.speech().is_ok();
        let output = text.then_some(Modality::Text).into_iter().chain(makes).collect();
        let voices = model.voices().map(|voices| voices.voices().to_vec()).unwrap_or_default();
        Self { input, output, capabilities: can.collect(), voices }
    }
}

/// Bytes of memory that can be taken without swapping, where the system tells.
fn available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}
