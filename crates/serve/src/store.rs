//! What is kept between requests: files and responses, each for its client alone, in memory, for a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use serde_json::Value;

use crate::error::{ApiError, Result};
use crate::ids::{id, now};

/// How much is kept, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of files and of responses together; the oldest go first.
    pub bytes: usize,
    /// How long each is kept.
    pub retention: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 256 << 20, retention: Duration::from_secs(24 * 3600) }
    }
}

/// A file that a client has sent.
#[derive(Clone, Debug)]
pub struct File {
    /// Its name here.
    pub id: String,
    /// Its name where it comes from; never a path.
    pub filename: String,
    /// What it is for, in the client's words.
    pub purpose: String,
    /// Seconds since 1970.
    pub created_at: u64,
    /// What it holds.
    pub bytes: Arc<[u8]>,
}

/// An answer of `/v1/responses`, and the conversation that it is the end of.
#[derive(Clone, Debug)]
pub struct Response {
    /// As it was answered.
    pub object: Value,
    /// Messages of OpenAI's shape, the answer among them.
    pub messages: Vec<Value>,
}

#[derive(Clone, Debug)]
enum Kept {
    File(File),
    Response(Arc<Response>),
}

struct Entry {
    client: String,
    since: Instant,
    bytes: usize,
    kept: Kept,
}

/// What is kept.
pub struct Store {
    entries: Mutex<HashMap<String, Entry>>,
    limits: Limits,
}

impl Store {
    /// Nothing yet.
    pub fn new(limits: Limits) -> Self {
        Self { entries: Mutex::default(), limits }
    }

    /// Keeps a file.
    ///
    /// # Errors
    /// It is larger than all that may be kept.
    pub fn keep_file(
        &self,
        client: &str,
        filename: &str,
        purpose: &str,
        bytes: Vec<u8>,
    ) -> Result<File> {
        let filename = filename.rsplit(['/', '\\']).next().unwrap_or_default().to_owned();
        let file = File {
            id: id("file-"),
            filename,
            purpose: purpose.to_owned(),
            created_at: now(),
            bytes: bytes.into(),
        };
        let size = file.bytes.len();
        self.keep(client, file.id.clone(), size, Kept::File(file.clone()))?;
        Ok(file)
    }

    /// Keeps a response under its name.
    ///
    /// # Errors
    /// It is larger than all that may be kept.
    pub fn keep_response(&self, client: &str, id: &str, response: Response) -> Result<()> {
        let size = response.object.to_string().len()
            + response.messages.iter().map(|message| message.to_string().len()).sum::<usize>();
        self.keep(client, id.to_owned(), size, Kept::Response(Arc::new(response)))
    }

    /// A client's file.
    ///
    /// # Errors
    /// There is none of that name, or no longer.
    pub fn file(&self, client: &str, id: &str) -> Result<File> {
        match self.find(client, id) {
            Some(Kept::File(file)) => Ok(file),
            _ => Err(missing("file", id)),
        }
    }

    /// A client's files, the oldest first.
    pub fn files(&self, client: &str) -> Vec<File> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        self.forget(&mut entries);
        let own = entries.values().filter(|entry| entry.client == client);
        let mut files: Vec<(Instant, File)> = own
            .filter_map(|entry| match &entry.kept {
                Kept::File(file) => Some((entry.since, file.clone())),
                Kept::Response(_) => None,
            })
            .collect();
        files.sort_by_key(|(since, _)| *since);
        files.into_iter().map(|(_, file)| file).collect()
    }

    /// A client's response.
    ///
    /// # Errors
    /// There is none of that name, or no longer.
    pub fn response(&self, client: &str, id: &str) -> Result<Arc<Response>> {
        match self.find(client, id) {
            Some(Kept::Response(response)) => Ok(response),
            _ => Err(missing("response", id)),
        }
    }

    /// Forgets what a client has under a name.
    ///
    /// # Errors
    /// There is none of that name, or no longer.
    pub fn delete(&self, client: &str, id: &str, what: &str) -> Result<()> {
        self.find(client, id).ok_or_else(|| missing(what, id))?;
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        Ok(())
    }

    fn find(&self, client: &str, id: &str) -> Option<Kept> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        self.forget(&mut entries);
        entries.get(id).filter(|entry| entry.client == client).map(|entry| entry.kept.clone())
    }

    fn keep(&self, client: &str, id: String, bytes: usize, kept: Kept) -> Result<()> {
        if bytes > self.limits.bytes {
            let message = format!("expected at most {} MiB, got more", self.limits.bytes >> 20);
            return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message));
        }
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        self.forget(&mut entries);
        let mut held: usize = entries.values().map(|entry| entry.bytes).sum();
        while held + bytes > self.limits.bytes {
            let oldest = entries.iter().min_by_key(|(_, entry)| entry.since);
            let Some(oldest) = oldest.map(|(id, _)| id.clone()) else { break };
            held -= entries.remove(&oldest).map_or(0, |entry| entry.bytes);
        }
        let entry = Entry { client: client.to_owned(), since: Instant::now(), bytes, kept };
        entries.insert(id, entry);
        Ok(())
    }

    /// Forgets what was kept for long enough.
    fn forget(&self, entries: &mut HashMap<String, Entry>) {
        entries.retain(|_, entry| entry.since.elapsed() < self.limits.retention);
    }
}

fn missing(what: &str, id: &str) -> ApiError {
    let message = format!("there is no {what} {id:?}, or no longer");
    ApiError::new(StatusCode::NOT_FOUND, "not_found", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_its_own_and_the_oldest_go_first() {
        let limits = Limits { bytes: 100, ..Limits::default() };
        let store = Store::new(limits);
        let keep = |client, bytes| store.keep_file(client, "../a/b.csv", "vision", vec![0; bytes]);
        let first = keep("ann", 60).unwrap();
        assert_eq!(first.filename, "b.csv");
        assert!(store.file("ann", &first.id).is_ok());
        assert!(store.file("bob", &first.id).is_err(), "another's");
        assert!(store.delete("bob", &first.id, "file").is_err(), "another's");
        let second = keep("bob", 60).unwrap();
        assert!(store.file("ann", &first.id).is_err(), "the oldest has gone");
        assert_eq!(store.files("bob").len(), 1);
        store.delete("bob", &second.id, "file").unwrap();
        assert_eq!(store.files("bob").len(), 0);
        assert_eq!(keep("ann", 101).unwrap_err().status, 413);
        let store = Store::new(Limits { retention: Duration::ZERO, ..limits });
        let file = store.keep_file("ann", "b.csv", "vision", vec![0]).unwrap();
        assert!(store.file("ann", &file.id).is_err(), "its time is over");
    }
}
