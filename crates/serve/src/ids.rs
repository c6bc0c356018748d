//! Names of answers, requests and files that nobody guesses, and what the clock says.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A new name that begins so.
pub fn id(prefix: &str) -> String {
    static KEYS: LazyLock<[RandomState; 2]> = LazyLock::new(Default::default);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let [a, b] = KEYS.each_ref().map(|key| key.hash_one((count, now_nanos())));
    format!("{prefix}{a:016x}{b:016x}")
}

fn now_nanos() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_nanos())
}

/// Seconds since 1970.
pub fn now() -> u64 {
    (now_nanos() / 1_000_000_000) as u64
}
