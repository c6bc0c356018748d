//! The items of a data set, and those that are broken.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;
use sensorium_data::{At, Dataset, Error, Example, OpenOptions, Outline};

use super::report::Bad;
use super::{Own, Scored};
use crate::error::{EvalError, Result};

/// Items that are read and measured at once.
const CHUNK: usize = 32;

/// Below so many items, one broken one is more than any share.
const FEW: usize = 20;

/// Side of drawn pictures in pixels.
const DRAWN: u32 = 96;

/// Bytes of a name by which an item is told.
const LONGEST_ID: usize = 100;

/// A picture with all that is said of it, or another entry.
#[derive(Clone, Debug, Default)]
pub(super) struct Item {
    /// The number of its (first) example.
    pub index: u64,
    /// Told from all others by it.
    pub id: String,
    /// Its captions.
    pub texts: Vec<String>,
    /// Its medium's file.
    pub file: Option<PathBuf>,
}

impl Item {
    /// Of which nothing was measured yet.
    pub fn scored(&self, expected: String, got: String) -> Scored {
        let (id, index) = (self.id.clone(), self.index);
        Scored { id, index, expected, got, ..Scored::default() }
    }

    /// Whether an example of the same data is about its picture.
    pub fn is_of(&self, outline: &Outline) -> bool {
        self.id == outline.name || self.file.is_some() && self.file == outline.file
    }
}

/// Why there is nothing of an item.
pub(super) enum Fault {
    /// It is broken; others may not be.
    Bad(String),
    /// Nothing can be measured.
    Stop(EvalError),
}

impl From<String> for Fault {
    fn from(reason: String) -> Self {
        Self::Bad(reason)
    }
}

impl From<EvalError> for Fault {
    fn from(error: EvalError) -> Self {
        Self::Stop(error)
    }
}

/// A data set that is measured on.
pub(super) struct Set<'a> {
    own: &'a Own<'a>,
    pub dataset: Box<dyn Dataset>,
    pub items: Vec<Item>,
    /// What cannot be read.
    pub bad: Vec<Bad>,
    /// Items that are measured, broken ones among them.
    pub len: usize,
    /// Items of all the data.
    pub all: usize,
    /// All captions that differ, sorted: the classes, of data that have classes.
    pub classes: Vec<String>,
    done: AtomicUsize,
}

impl<'a> Set<'a> {
    /// Lists the data; with `one_a_picture`, all captions of a picture are one item.
    pub fn open(own: &'a Own<'a>, one_a_picture: bool) -> Result<Self> {
        let options =
            OpenOptions { seed: own.seed, split: own.split, val_share: 0.0, picture_size: DRAWN };
        let dataset = own.config.open(&options, own.decoder)?;
        let items = match (dataset.len(), own.limit) {
            (Some(length), _) => list(&*dataset, length, one_a_picture),
            (None, Some(limit)) => drawn(&*dataset, limit as u64),
            (None, None) => return Err(EvalError::Endless { kind: own.config.kind() }),
        };
        let all = items.len();
        let texts = items.iter().flatten().flat_map(|item| &item.texts);
        let mut classes: Vec<String> = texts.cloned().collect();
        classes.sort();
        classes.dedup();
        let len = own.limit.unwrap_or(all).min(all);
        let is_taken = |i: usize| i * len / all != (i + 1) * len / all;
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for (i, item) in items.into_iter().enumerate() {
            match item {
                _ if !is_taken(i) => {}
                Ok(item) => good.push(item),
                Err(reason) => bad.push(reason),
            }
        }
        let done = AtomicUsize::new(0);
        let set = Self { own, dataset, items: good, bad, len, all, classes, done };
        set.check()?;
        Ok(set)
    }

    /// That one more item is done.
    pub fn step(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        (self.own.progress)(done, self.items.len());
    }

    /// Measures every item alone; of one item may come several things.
    pub fn each<T: Send>(
        &mut self,
        measure: impl Fn(&Self, &Item) -> std::result::Result<Vec<T>, Fault> + Sync,
    ) -> Result<Vec<T>> {
        let mut all = Vec::new();
        self.done = AtomicUsize::new(0);
        for start in (0..self.items.len()).step_by(CHUNK) {
            let this = &*self;
            let found = chunk(&this.items, start).par_iter().map(|item| {
                let found = measure(this, item);
                this.step();
                (item.index, found)
            });
            for (index, found) in found.collect::<Vec<_>>() {
                match found {
                    Ok(more) => all.extend(more),
                    Err(Fault::Bad(reason)) => self.bad.push(Bad { index, reason }),
                    Err(Fault::Stop(error)) => return Err(error),
                }
            }
            self.check()?;
        }
        Ok(all)
    }

    /// Reads the items a few at a time and measures those that can be read together.
    pub fn together(
        &mut self,
        mut measure: impl FnMut(&[&Item], Vec<Example>) -> Result<()>,
    ) -> Result<()> {
        for start in (0..self.items.len()).step_by(CHUNK) {
            let chunk = chunk(&self.items, start);
            let read: Vec<_> = chunk.par_iter().map(|item| self.example(item)).collect();
            let (mut items, mut examples) = (Vec::new(), Vec::new());
            for (item, example) in chunk.iter().zip(read) {
                match example {
                    Ok(example) => {
                        items.push(item);
                        examples.push(example);
                    }
                    Err(reason) => self.bad.push(Bad { index: item.index, reason }),
                }
            }
            measure(&items, examples)?;
            chunk.iter().for_each(|_| self.step());
            self.check()?;
        }
        Ok(())
    }

    /// An item's example with its media, or what is wrong with it.
    pub fn example(&self, item: &Item) -> std::result::Result<Example, String> {
        let example = self.dataset.example(At { epoch: 0, index: item.index, progress: 1.0 });
        example.map_err(reason)
    }

    fn check(&self) -> Result<()> {
        let (bad, max_bad) = (self.bad.len(), self.own.max_bad);
        if bad as f64 <= max_bad * self.len.max(FEW) as f64 {
            return Ok(());
        }
        let named: Vec<String> = self.bad.iter().take(5).map(Bad::to_string).collect();
        Err(EvalError::TooManyBad { bad, of: self.len, max_bad, named: named.join("; ") })
    }
}

fn chunk(items: &[Item], start: usize) -> &[Item] {
    &items[start..items.len().min(start + CHUNK)]
}

/// The reason alone.
fn reason(error: Error) -> String {
    match error {
        Error::Example { reason, .. } => reason,
        other => other.to_string().lines().next().unwrap_or_default().to_owned(),
    }
}

/// The first items of a data set of which there is always another one.
fn drawn(dataset: &dyn Dataset, limit: u64) -> Vec<std::result::Result<Item, Bad>> {
    let item = |index| {
        let example = dataset.example(At { epoch: 0, index, progress: 1.0 });
        let example = example.map_err(|error| Bad { index, reason: reason(error) })?;
        let texts = example.text.into_iter().collect();
        Ok(Item { index, id: index.to_string(), texts, file: None })
    };
    (0..limit).into_par_iter().map(item).collect()
}

fn list(
    dataset: &dyn Dataset,
    length: u64,
    one_a_picture: bool,
) -> Vec<std::result::Result<Item, Bad>> {
    let mut items: Vec<std::result::Result<Item, Bad>> = Vec::new();
    let mut seen: HashMap<String, (usize, usize)> = HashMap::new();
    for index in 0..length {
        let outline = match dataset.outline(index) {
            Ok(outline) => outline,
            Err(error) => {
                items.push(Err(Bad { index, reason: reason(error) }));
                continue;
            }
        };
        let (first, times) = seen.entry(outline.name.clone()).or_insert((items.len(), 0));
        *times += 1;
        if one_a_picture && *times > 1 {
            if let Ok(item) = &mut items[*first] {
                item.texts.extend(outline.text);
            }
            continue;
        }
        // Of what has no file, all of its text.
        let name = match outline.name.len() > LONGEST_ID {
            true => format!("example {index}"),
            false => outline.name,
        };
        let id = if *times == 1 { name } else { format!("{name} ({times})") };
        let (texts, file) = (outline.text.into_iter().collect(), outline.file);
        items.push(Ok(Item { index, id, texts, file }));
    }
    items
}
