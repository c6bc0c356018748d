//! What was read lately: a prompt that begins like an older one is read from where they differ.

use std::collections::VecDeque;

use sensorium_backbone::Cache;

/// Caches of texts that have ended, the oldest first, within so many bytes.
#[derive(Debug, Default)]
pub(crate) struct Prefixes {
    kept: VecDeque<Kept>,
    budget: usize,
}

/// What the backbone read, `[T, D]`, and what it keeps of it.
#[derive(Debug)]
struct Kept {
    /// Whose texts it serves, and nobody else's.
    salt: String,
    rows: Vec<f32>,
    cache: Cache,
}

/// Fewer tokens are read again sooner than copied.
const LEAST: usize = 16;

impl Prefixes {
    /// Nothing yet, and never more than so many bytes.
    pub fn within(budget: usize) -> Self {
        Self { kept: VecDeque::new(), budget }
    }

    /// Whether anything is ever kept.
    pub fn is_used(&self) -> bool {
        self.budget > 0
    }

    /// What is kept under this salt of the longest beginning of `rows [T, D]` that is not all of it.
    pub fn longest(&mut self, salt: &str, rows: &[f32], d: usize) -> Option<Cache> {
        let t = rows.len() / d;
        let common = |kept: &Kept| {
            let same = kept.rows.chunks_exact(d).zip(rows.chunks_exact(d));
            same.take(t.saturating_sub(1)).take_while(|(a, b)| a == b).count()
        };
        let lengths = self.kept.iter().map(common).enumerate();
        let lengths = lengths.filter(|(at, _)| self.kept[*at].salt == salt);
        let (at, n) = lengths.max_by_key(|(_, n)| *n).filter(|(_, n)| *n >= LEAST)?;
        // It is of use: it stays longer than others.
        let kept = self.kept.remove(at)?;
        let cache = kept.cache.first(n);
        self.kept.push_back(kept);
        Some(cache)
    }

    /// Keeps what was read of `rows [T, D]`; older ones go where there is no room, and those that this one begins
    /// with.
    pub fn keep(&mut self, salt: &str, rows: Vec<f32>, cache: Cache) {
        let bytes = |kept: &Kept| kept.cache.bytes() + size_of_val(&*kept.rows);
        let kept = Kept { salt: salt.to_owned(), rows, cache };
        let own = bytes(&kept);
        if own > self.budget {
            return;
        }
        let within = |older: &Kept| older.salt == kept.salt && kept.rows.starts_with(&older.rows);
        self.kept.retain(|older| !within(older));
        let mut held: usize = self.kept.iter().map(bytes).sum();
        while held + own > self.budget {
            held -= self.kept.pop_front().as_ref().map_or(held, bytes);
        }
        self.kept.push_back(kept);
    }
}
