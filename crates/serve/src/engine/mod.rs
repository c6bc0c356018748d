//! What answers: models by name, a thread for each that goes on with many texts at once, and a few more for all else.
//!
//! ```text
//!            ┌─ conversations ─▶ Worker: prepare, join ─▶ Batch::step ─┐  text, token by token
//! Ask ─▶ Engine                                                       ├─▶ Event ─▶ route ─▶ client
//!            └─ vectors, speech, media ─▶ Engine::run ────────────────┘
//! ```
//! A client that goes away closes its channel: what was done for it ends at the next token.

mod ask;
mod fair;
mod models;
mod pieces;
mod worker;

use std::sync::Arc;
use std::time::Instant;

use sensorium_inference::Model;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{ApiError, Result};
use crate::metrics::Metrics;
use crate::source::Reader;

pub(crate) use ask::encoded;
pub use ask::{Ask, Event, Media, Outcome, Speech};
pub use models::{Info, Loaded, ModelSource, Models, Pull, Puller};
pub use worker::{Prompt, TokenLogprob};

/// How much is done at once.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Texts that a model goes on with at once.
    pub running: usize,
    /// Requests that wait beside them.
    pub waiting: usize,
    /// Requests that are neither conversations nor texts, at once.
    pub others: usize,
    /// Conversations whose media are decoded at once.
    pub decoding: usize,
    /// Bytes of bodies of requests that are being answered.
    pub bytes: usize,
    /// Bytes that each model keeps of what it has read, for prompts that begin alike.
    pub cache: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            running: 64,
            waiting: 512,
            others: 2,
            decoding: 4,
            bytes: 512 << 20,
            cache: 256 << 20,
        }
    }
}

/// All models, and what bounds their work.
pub struct Engine {
    /// By name.
    pub models: Models,
    /// Reads media of strangers.
    pub reader: Reader,
    /// What was asked for and answered.
    pub metrics: Metrics,
    places: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    others: Arc<Semaphore>,
    decoding: Arc<Semaphore>,
    /// What may stand in `places`.
    most: usize,
}

/// A place among the requests that are answered, held until the answer is out.
#[derive(Debug)]
pub struct Place {
    _place: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
    /// Since when the request is here.
    since: Instant,
}

impl Engine {
    /// With nothing to do yet.
    pub fn new(models: Models, reader: Reader, limits: Limits) -> Self {
        let most = limits.running + limits.waiting;
        Self {
            models,
            reader,
            metrics: Metrics::default(),
            places: Arc::new(Semaphore::new(most)),
            bytes: Arc::new(Semaphore::new(limits.bytes >> KIB)),
            others: Arc::new(Semaphore::new(limits.others)),
            decoding: Arc::new(Semaphore::new(limits.decoding)),
            most,
        }
    }

    /// A place for a request whose body has so many bytes: asked for before any of them is read.
    ///
    /// # Errors
    /// As many are being answered, or wait, as may.
    pub fn admit(&self, bytes: usize) -> Result<Arc<Place>> {
        let place = self.places.clone().try_acquire_owned().map_err(|_| {
            ApiError::busy(format!("{} requests are being answered or wait already", self.most))
        })?;
        let kib = u32::try_from((bytes >> KIB) + 1).unwrap_or(u32::MAX);
        let bytes = self.bytes.clone().try_acquire_many_owned(kib).map_err(|_| {
            ApiError::busy("the bodies of the requests that are being answered fill the memory set aside for them")
        })?;
        Ok(Arc::new(Place { _place: place, _bytes: bytes, since: Instant::now() }))
    }

    /// Requests that are being answered or wait.
    pub fn depth(&self) -> usize {
        self.most - self.places.available_permits()
    }

    /// Works with a model, one of a few who do at a time; a client that goes away meanwhile is not waited for.
    ///
    /// # Errors
    /// What `work` says, or that it broke down.
    pub async fn run<T: Send + 'static>(
        &self,
        model: &Arc<Loaded>,
        work: impl FnOnce(&Model) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let turn = self.others.clone().acquire_owned().await.map_err(ApiError::internal)?;
        let model = model.clone();
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work(&model.model)
        });
        done.await.map_err(ApiError::internal)?
    }

    /// Fetches and decodes, beside the work of models, a few at a time.
    ///
    /// # Errors
    /// What `work` says, or that it broke down.
    pub async fn decode<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Reader) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let turn = self.decoding.clone().acquire_owned().await.map_err(ApiError::internal)?;
        let reader = self.reader.clone();
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work(&reader)
        });
        done.await.map_err(ApiError::internal)?
    }
}

/// Bytes are counted in KiB: a semaphore's numbers are small.
const KIB: u32 = 10;
