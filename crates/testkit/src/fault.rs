//! A file system in memory that fails on demand and loses power. For tests only.
//!
//! It models what POSIX promises and no more: the contents of a file survive a power loss once they are
//! synced, an entry of a directory once that directory is synced. What is not synced may survive or not.

use sensorium_checkpoint::file::FileSystem;
use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};
use std::path::{Component, Path};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No space left on the device; a write leaves an empty file.
    Enospc,
    /// Input/output error; a write leaves an empty file.
    Eio,
    /// A write leaves the first half of the bytes and fails; other operations fail as with `Eio`.
    ShortWrite,
}

/// For how long operations fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// The chosen operation only.
    Once,
    /// The chosen operation and all that follow, as for a process that has died.
    Forever,
}

/// What a power loss does to unsynced changes of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    /// They are gone.
    Lost,
    /// They had reached the disk by chance.
    Kept,
    /// Contents only: half of them had, in whole sectors of 512 bytes; the rest is zeros. For entries, as `Kept`.
    Torn,
}

/// A file system in memory with faults; see the [module](self).
#[derive(Debug)]
pub struct Faulty {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    nodes: Vec<Node>,
    ops: usize,
    plan: Option<(usize, Fault, Repeat)>,
    fired: usize,
}

/// A file or directory: what a process sees, and what a power loss leaves.
#[derive(Debug)]
enum Node {
    File { live: Vec<u8>, durable: Vec<u8> },
    Dir { live: Entries, durable: Entries },
}

type Entries = BTreeMap<String, usize>;

/// Index of the root in `State::nodes`.
const ROOT: usize = 0;

impl Default for Faulty {
    fn default() -> Self {
        let root = Node::Dir { live: Entries::new(), durable: Entries::new() };
        Self { state: Mutex::new(State { nodes: vec![root], ops: 0, plan: None, fired: 0 }) }
    }
}

impl Faulty {
    /// Fails operation number `op` (from 0, counted from now on) with `fault`, once or from then on.
    ///
    /// A write is three operations: create, fill, sync.
    pub fn fail(&self, op: usize, fault: Fault, repeat: Repeat) {
        let mut state = self.lock();
        (state.ops, state.fired, state.plan) = (0, 0, Some((op, fault, repeat)));
    }

    /// Stops failing and counts operations from 0 again.
    pub fn heal(&self) {
        let mut state = self.lock();
        (state.ops, state.fired, state.plan) = (0, 0, None);
    }

    /// Operations since the last [`fail`](Self::fail) or [`heal`](Self::heal).
    pub fn ops(&self) -> usize {
        self.lock().ops
    }

    /// Faults that did fire; a test of faults must see at least one.
    pub fn fired(&self) -> usize {
        self.lock().fired
    }

    /// Cuts the power and starts again, healed: unsynced entries and contents are treated as told.
    pub fn power_loss(&self, entries: Unsynced, contents: Unsynced) {
        self.heal();
        for node in &mut self.lock().nodes {
            match node {
                Node::Dir { live, durable } if entries == Unsynced::Lost => {
                    live.clone_from(durable)
                }
                Node::Dir { live, durable } => durable.clone_from(live),
                Node::File { live, durable } => {
                    if live != durable {
                        survive(live, durable, contents);
                    }
                    durable.clone_from(live);
                }
            }
        }
    }

    /// Changes a stored file behind everyone's back: bit rot, truncation.
    pub fn corrupt(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let mut state = self.lock();
        let node = state.find(path)?;
        match state.nodes.get_mut(node) {
            Some(Node::File { live, durable }) => {
                change(live);
                durable.clone_from(live);
                Ok(())
            }
            _ => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A test that panicked elsewhere must not hide behind this one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is left of unsynced contents.
fn survive(live: &mut Vec<u8>, durable: &[u8], contents: Unsynced) {
    const SECTOR: usize = 512;
    match contents {
        Unsynced::Kept => {}
        Unsynced::Lost => *live = durable.to_vec(),
        Unsynced::Torn => {
            let half = live.len().div_ceil(2).next_multiple_of(SECTOR);
            live.iter_mut().skip(half).for_each(|byte| *byte = 0);
            // A file of one sector tears too: it keeps its length and loses its bytes.
            if half >= live.len() {
                live.fill(0);
            }
        }
    }
}

impl State {
    /// Counts one operation, and fails it if it is planned to.
    fn step(&mut self) -> Result<(), (Fault, io::Error)> {
        let op = self.ops;
        self.ops = op.saturating_add(1);
        let Some((at, fault, repeat)) = self.plan else { return Ok(()) };
        if op == at || (op > at && repeat == Repeat::Forever) {
            self.fired = self.fired.saturating_add(1);
            let kind = if fault == Fault::Enospc {
                io::ErrorKind::StorageFull
            } else {
                io::ErrorKind::Other
            };
            return Err((
                fault,
                io::Error::new(kind, format!("injected {fault:?} at operation {op}")),
            ));
        }
        Ok(())
    }

    fn plain_step(&mut self) -> io::Result<()> {
        self.step().map_err(|(_, error)| error)
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        let mut at = ROOT;
        for name in names(path) {
            let Some(Node::Dir { live, .. }) = self.nodes.get(at) else {
                return Err(io::ErrorKind::NotADirectory.into());
            };
            at = *live.get(name).ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(at)
    }

    fn entries(&mut self, path: &Path) -> io::Result<&mut Entries> {
        let node = self.find(path)?;
        match self.nodes.get_mut(node) {
            Some(Node::Dir { live, .. }) => Ok(live),
            _ => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    /// Adds a node under a name that is free.
    fn add(&mut self, path: &Path, node: Node) -> io::Result<usize> {
        let id = self.nodes.len();
        let (parent, name) = split(path)?;
        self.entries(parent)?.insert(name, id);
        self.nodes.push(node);
        Ok(id)
    }

    fn unlink(&mut self, path: &Path) -> io::Result<usize> {
        let (parent, name) = split(path)?;
        self.entries(parent)?.remove(&name).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn contents(&mut self, node: usize) -> io::Result<(&mut Vec<u8>, &mut Vec<u8>)> {
        match self.nodes.get_mut(node) {
            Some(Node::File { live, durable }) => Ok((live, durable)),
            _ => Err(io::ErrorKind::IsADirectory.into()),
        }
    }
}

fn names(path: &Path) -> impl Iterator<Item = &str> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => name.to_str(),
        _ => None,
    })
}

fn split(path: &Path) -> io::Result<(&Path, String)> {
    let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let name =
        path.file_name().and_then(|name| name.to_str()).ok_or(io::ErrorKind::InvalidInput)?;
    Ok((parent, name.to_owned()))
}

impl FileSystem for Faulty {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.plain_step()?;
        if state.find(path).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.add(path, Node::Dir { live: Entries::new(), durable: Entries::new() }).map(|_| ())
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        state.plain_step()?;
        let node = match state.find(path) {
            Ok(node) => node,
            Err(_) => state.add(path, Node::File { live: Vec::new(), durable: Vec::new() })?,
        };
        let filled = state.step();
        let (live, _) = state.contents(node)?;
        live.clear();
        match filled {
            Ok(()) => live.extend_from_slice(bytes),
            Err((fault, error)) => {
                let half = if fault == Fault::ShortWrite { bytes.len().div_euclid(2) } else { 0 };
                live.extend(bytes.iter().take(half));
                return Err(error);
            }
        }
        state.plain_step()?;
        let (live, durable) = state.contents(node)?;
        durable.clone_from(live);
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.plain_step()?;
        let node = state.find(path)?;
        match state.nodes.get_mut(node) {
            Some(Node::Dir { live, durable }) => durable.clone_from(live),
            _ => return Err(io::ErrorKind::NotADirectory.into()),
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.plain_step()?;
        // As rename(2): a directory that holds something is not replaced.
        if state.entries(to).is_ok_and(|entries| !entries.is_empty()) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let node = state.unlink(from)?;
        let (parent, name) = split(to)?;
        state.entries(parent)?.insert(name, node);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.plain_step()?;
        state.unlink(path).map(|_| ())
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        // One operation an entry, so that a fault can leave a half-removed directory.
        while let Some(name) = state.entries(path)?.keys().next().cloned() {
            state.plain_step()?;
            state.unlink(&path.join(name))?;
        }
        state.plain_step()?;
        state.unlink(path).map(|_| ())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut state = self.lock();
        state.plain_step()?;
        Ok(state.entries(path)?.keys().cloned().collect())
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read>> {
        let mut state = self.lock();
        state.plain_step()?;
        let node = state.find(path)?;
        let (live, _) = state.contents(node)?;
        Ok(Box::new(Cursor::new(live.clone())))
    }
}
