//! What a data set is, and what of it cannot be read.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use serde::Serialize;

use crate::read::{files, llava_json};
use crate::{At, Dataset, Error, Example, Media};

/// The kind of data set that a path most likely is, as a recipe names it.
pub fn kind_of(path: &Path) -> &'static str {
    let name = path.to_string_lossy().to_lowercase();
    match name.rsplit('.').next().unwrap_or_default() {
        _ if path.is_dir() => kind_of_folder(path),
        "jsonl" if is_interleaved(path) => "interleaved",
        "tar" => "webdataset",
        "parquet" => "parquet",
        "jsonl" => "messages",
        "csv" | "tsv" => "csv",
        _ if llava_json::read(path).is_ok_and(|all| all.iter().any(Result::is_ok)) => "llava-json",
        _ => "captions",
    }
}

fn kind_of_folder(path: &Path) -> &'static str {
    let holds = |end| files::named(&format!("{}/*.{end}", path.display()), end).is_ok();
    match (holds("tar"), holds("parquet") && !path.join("metadata.parquet").is_file()) {
        (true, _) => "webdataset",
        (_, true) => "parquet",
        _ => "folder",
    }
}

fn is_interleaved(path: &Path) -> bool {
    let mut first = String::new();
    let read = File::open(path).and_then(|file| BufReader::new(file).read_line(&mut first));
    let has = |key: &str| first.contains(key);
    read.is_ok() && (has("\"text_list\"") || has("\"texts\""))
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Check {
    /// Examples, those that cannot be read too.
    pub examples: u64,
    /// Pictures that were read.
    pub pictures: u64,
    /// Sounds that were read.
    pub sounds: u64,
    /// Examples with a caption.
    pub captions: u64,
    /// Examples with a conversation.
    pub conversations: u64,
    /// The smallest and the largest width and height of a picture.
    pub sizes: Option<[[u32; 2]; 2]>,
    /// Examples that cannot be read, by number: why.
    pub bad: Vec<(u64, String)>,
}

impl Check {
    fn add(&mut self, index: u64, example: Result<Example, Error>) {
        self.examples += 1;
        let example = match example {
            Ok(example) => example,
            Err(Error::Example { reason, .. }) => return self.bad.push((index, reason)),
            Err(error) => return self.bad.push((index, error.to_string())),
        };
        self.captions += u64::from(example.text.is_some());
        self.conversations += u64::from(!example.messages.is_empty());
        self.sounds += example.media.iter().filter_map(Media::sound).count() as u64;
        for picture in example.media.iter().flat_map(Media::pictures) {
            self.pictures += 1;
            self.size([picture.width, picture.height], [picture.width, picture.height]);
        }
    }

    fn size(&mut self, small: [u32; 2], large: [u32; 2]) {
        let [least, most] = self.sizes.unwrap_or([small, large]);
        let both =
            |f: fn(u32, u32) -> u32, a: [u32; 2], b: [u32; 2]| [f(a[0], b[0]), f(a[1], b[1])];
        self.sizes = Some([both(u32::min, least, small), both(u32::max, most, large)]);
    }

    fn join(mut self, other: Self) -> Self {
        self.examples += other.examples;
        self.pictures += other.pictures;
        self.sounds += other.sounds;
        self.captions += other.captions;
        self.conversations += other.conversations;
        if let Some([small, large]) = other.sizes {
            self.size(small, large);
        }
        self.bad.extend(other.bad);
        self
    }
}

/// Reads all of a data set that has an end, on as many threads as there are cores; `progress` is told how
/// many examples are read.
pub fn check(dataset: &dyn Dataset, progress: &(dyn Fn(u64) + Sync)) -> Check {
    let all = dataset.len().unwrap_or_default();
    let next = AtomicU64::new(0);
    let read = || {
        let mut found = Check::default();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= all {
                return found;
            }
            found.add(index, dataset.example(At { epoch: 0, index, progress: 1.0 }));
            progress(index + 1);
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let mut found = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(read)).collect();
        let joined = workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)));
        joined.fold(Check::default(), Check::join)
    });
    found.bad.sort();
    found
}
