//! A checkpoint's directory: its files, and its tensors in one file or many.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::adapter::Adapter;
use super::config::{Asked, Config};
use super::error::{Error, Result};
use super::ignored::tell;
use sensorium_checkpoint::gguf::Gguf;
use sensorium_checkpoint::{Tensor, Tensors, safetensors};

/// Longest JSON file: the vocabulary of 256,000 pieces with its merges takes 33 MB.
const MAX_JSON: u64 = 64 << 20;

/// The settings.
const CONFIG: &str = "config.json";

/// The family of settings that name none: hexgrad's.
pub(crate) const KOKORO: &str = "kokoro";

/// open_clip's settings; read where there is no `config.json`.
pub const OPEN_CLIP_CONFIG: &str = "open_clip_config.json";

/// One file of weights.
const SINGLE: &str = "model.safetensors";

/// open_clip's.
const OPEN_CLIP_SINGLE: &str = "open_clip_model.safetensors";

/// Which of many files holds which tensor.
const INDEX: &str = "model.safetensors.index.json";

/// diffusers' pipelines: the classes of their parts, each in a directory of its own.
const MODEL_INDEX: &str = "model_index.json";

/// diffusers' models.
const DIFFUSERS_SINGLE: &str = "diffusion_pytorch_model.safetensors";
const DIFFUSERS_INDEX: &str = "diffusion_pytorch_model.safetensors.index.json";

/// A pipeline's parts: their directories, and the files of their settings.
const PARTS: [(&str, &str); 5] = [
    ("text_encoder", "text_encoder/config.json"),
    ("unet", "unet/config.json"),
    ("vae", "vae/config.json"),
    ("scheduler", "scheduler/scheduler_config.json"),
    ("tokenizer", "tokenizer/tokenizer_config.json"),
];

/// How many of them have weights.
const WEIGHTY: usize = 3;

/// The files of a directory that lies in the program itself: names and bytes.
pub type Embedded = &'static [(&'static str, &'static [u8])];

/// A checkpoint's files: on disk, or in the program itself.
#[derive(Clone, Debug)]
pub struct Directory {
    path: PathBuf,
    embedded: Option<Embedded>,
    /// The file of settings.
    file: &'static str,
    config: Value,
    asked: Asked,
    /// The one file of weights.
    single: &'static str,
    strict: bool,
    adapter: Option<Box<Adapter>>,
    held: Arc<Held>,
}

/// What counts as a directory's own and lies in memory.
#[derive(Clone, Debug, Default)]
struct Held {
    files: BTreeMap<&'static str, Vec<u8>>,
    tensors: BTreeMap<String, Tensor>,
}

impl Directory {
    /// Reads `config.json`, or `open_clip_config.json` where there is none that names a model; no
    /// weights yet.
    ///
    /// # Errors
    /// It is missing, no JSON object, or longer than any.
    pub fn open(path: &Path) -> Result<Self> {
        let new = |file, single, config| Self {
            path: path.into(),
            embedded: None,
            file,
            config,
            asked: Asked::default(),
            single,
            strict: false,
            adapter: None,
            held: Arc::default(),
        };
        let own = read_json(&path.join(CONFIG))?.filter(Value::is_object);
        // timm's has no model_type.
        if let Some(config) = own.as_ref().filter(|own| own.get("model_type").is_some()) {
            return Ok(new(CONFIG, SINGLE, config.clone()));
        }
        let open_clip = read_json(&path.join(OPEN_CLIP_CONFIG))?.filter(Value::is_object);
        match (open_clip, own) {
            (Some(config), _) => return Ok(new(OPEN_CLIP_CONFIG, OPEN_CLIP_SINGLE, config)),
            (None, Some(config)) => {
                let single = if is_diffusers(&config) { DIFFUSERS_SINGLE } else { SINGLE };
                return Ok(new(CONFIG, single, config));
            }
            (None, None) => {}
        }
        match read_json(&path.join(MODEL_INDEX))?.filter(Value::is_object) {
            Some(config) => Ok(new(MODEL_INDEX, DIFFUSERS_SINGLE, config)),
            None => Err(no_config(path)),
        }
    }

    /// A part of a pipeline, in the directory that is called so.
    ///
    /// # Errors
    /// Its settings are missing, no JSON object, or longer than any.
    pub(crate) fn part(&self, name: &str) -> Result<Self> {
        let known = PARTS.into_iter().find(|(part, _)| *part == name);
        let file = known.map_or(CONFIG, |(_, file)| file);
        let Some(config) = read_json(&self.path.join(file))?.filter(Value::is_object) else {
            let hint = "a pipeline has a directory for each part; download this one too";
            return Err(self.missing(file, hint));
        };
        let single = if is_diffusers(&config) { DIFFUSERS_SINGLE } else { SINGLE };
        let (path, asked) = (self.path.join(name), Asked::default());
        Ok(Self { path, file, config, asked, single, held: Arc::default(), ..self.clone() })
    }

    /// The same directory, which must hold no weights that the model has no place for, and no settings
    /// that are not heeded.
    pub fn strict(self, strict: bool) -> Self {
        Self { strict, ..self }
    }

    /// The same directory, whose tensors an adapter changes; without one, as it is.
    ///
    /// # Errors
    /// The adapter's files are missing, damaged, or ask for what is not done here.
    pub fn adapted(self, adapter: Option<&Path>) -> Result<Self> {
        let adapter = adapter.map(|path| Adapter::open(path, self.strict)).transpose()?;
        Ok(Self { adapter: adapter.map(Box::new), ..self })
    }

    /// Whether it must hold nothing else.
    pub(crate) fn is_strict(&self) -> bool {
        self.strict
    }

    /// A directory that lies in the program itself, told by `name` in messages.
    ///
    /// # Errors
    /// Its `config.json` is missing or no JSON.
    pub fn embedded(name: &str, files: Embedded) -> Result<Self> {
        let (path, embedded) = (PathBuf::from(name), Some(files));
        let (config, asked, strict) = (Value::Null, Asked::default(), true);
        let (file, single, adapter, held) = (CONFIG, SINGLE, None, Arc::default());
        let directory = Self { path, embedded, file, config, asked, single, strict, adapter, held };
        let config = directory
            .json(CONFIG)?
            .ok_or_else(|| directory.missing(CONFIG, "the program was built without its model"))?;
        Ok(Self { config, ..directory })
    }

    /// What another file holds, as a directory of these files and tensors; messages tell it by `path`.
    ///
    /// # Errors
    /// `config.json` is missing or no JSON.
    pub(crate) fn held(
        path: &Path,
        files: Vec<(&'static str, Vec<u8>)>,
        tensors: BTreeMap<String, Tensor>,
    ) -> Result<Self> {
        let held = Arc::new(Held { files: files.into_iter().collect(), tensors });
        let (asked, file, single) = (Asked::default(), CONFIG, SINGLE);
        let (path, config) = (path.to_owned(), Value::Null);
        let (embedded, strict, adapter) = (None, false, None);
        let directory = Self { path, embedded, file, config, asked, single, strict, adapter, held };
        let config = directory
            .json(CONFIG)?
            .ok_or_else(|| directory.missing(CONFIG, "the file says nothing of its model"))?;
        Ok(Self { config, ..directory })
    }

    /// The same directory with these files and tensors beside its own, which go before them.
    pub(crate) fn holding(
        self,
        files: Vec<(&'static str, Vec<u8>)>,
        tensors: BTreeMap<String, Tensor>,
    ) -> Self {
        Self { held: Arc::new(Held { files: files.into_iter().collect(), tensors }), ..self }
    }

    /// The same directory with this chat template in place of its own.
    pub fn with_chat_template(mut self, template: Vec<u8>) -> Self {
        Arc::make_mut(&mut self.held).files.insert("chat_template.jinja", template);
        self
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The settings.
    pub fn config(&self) -> Config<'_> {
        Config::new(self.file, &self.config).asked_in(&self.asked)
    }

    /// Warns of the keys of one of its files that nobody has asked for and that may change the output.
    ///
    /// # Errors
    /// There are some, and [`strict`](Self::strict) was asked for.
    pub fn tell(&self, config: &Config<'_>) -> Result<()> {
        self.tell_ignored(config.file(), &config.ignored())
    }

    /// Warns that these keys of `file` are not heeded, if there are any, or refuses them.
    pub(crate) fn tell_ignored(&self, file: &str, keys: &[String]) -> Result<()> {
        tell(&format!("{}: ", self.path.display()), file, keys, self.strict)
    }

    /// The settings as they stand.
    pub fn settings(&self) -> &Value {
        &self.config
    }

    /// `model_type`; open_clip's files are of `open_clip`, those of diffusers of their class.
    pub fn model_type(&self) -> Option<&str> {
        let text = |key: &str| self.config.get(key).and_then(Value::as_str);
        match self.file {
            OPEN_CLIP_CONFIG => Some("open_clip"),
            _ => text("model_type").or_else(|| text(CLASS)).or_else(|| {
                // hexgrad's settings name no family, but parts that no other one has.
                self.config.get("istftnet").map(|_| KOKORO)
            }),
        }
    }

    /// Whether it is a pipeline of diffusers.
    pub(crate) fn is_pipeline(&self) -> bool {
        self.file == MODEL_INDEX
    }

    /// The name of the file that all weights are in, where they are in one.
    pub fn weights_file(&self) -> &'static str {
        self.single
    }

    /// The error for a file that should be here.
    pub(crate) fn missing(&self, file: &str, hint: &'static str) -> Error {
        let found = match self.embedded {
            Some(files) => files.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "),
            None => listing(&self.path),
        };
        let path = self.path.clone();
        Error::Missing { file: file.to_owned(), path, found, hint }
    }

    /// Another JSON file of the directory, if it is there.
    ///
    /// # Errors
    /// It is no JSON, or longer than any.
    pub fn json(&self, name: &str) -> Result<Option<Value>> {
        let Some(bytes) = self.bytes(name)? else { return Ok(None) };
        parsed(&self.path.join(name), &bytes).map(Some)
    }

    /// The bytes of a file of the directory, if it is there.
    ///
    /// # Errors
    /// It cannot be read, or is longer than any.
    pub fn bytes(&self, name: &str) -> Result<Option<Cow<'static, [u8]>>> {
        if let Some(bytes) = self.held.files.get(name) {
            return Ok(Some(Cow::Owned(bytes.clone())));
        }
        match self.embedded {
            Some(_) => Ok(self.within(name).map(Cow::Borrowed)),
            None => Ok(read(&self.path.join(name))?.map(Cow::Owned)),
        }
    }

    /// The bytes of an embedded file.
    fn within(&self, name: &str) -> Option<&'static [u8]> {
        self.embedded?.iter().find(|(file, _)| *file == name).map(|(_, bytes)| *bytes)
    }

    /// The files of weights, sorted by name: `.safetensors` and `.gguf`.
    pub fn weight_files(&self) -> Vec<String> {
        let is = |name: &String| name.ends_with(".safetensors") || name.ends_with(".gguf");
        let mut names: Vec<String> = match self.embedded {
            Some(files) => files.iter().map(|(name, _)| (*name).to_owned()).collect(),
            None => fs::read_dir(&self.path)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect(),
        };
        names.retain(is);
        names.sort();
        names
    }

    /// The bytes of a file of weights, of any length.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn weight_bytes(&self, name: &str) -> Result<Cow<'static, [u8]>> {
        if let Some(bytes) = self.within(name) {
            return Ok(Cow::Borrowed(bytes));
        }
        let path = self.path.join(name);
        fs::read(&path).map(Cow::Owned).map_err(|source| Error::Io { path, source })
    }

    /// The tensors of a component: of `NAME.gguf` or `NAME.safetensors`.
    ///
    /// # Errors
    /// Neither is there, or it is damaged.
    pub fn component(&self, name: &str) -> Result<Tensors> {
        if self.adapter.is_some() {
            return Err(Error::NotAdaptable { path: self.path.clone() });
        }
        let files = self.weight_files();
        let file = ["gguf", "safetensors"].map(|end| format!("{name}.{end}"));
        let Some(file) = file.into_iter().find(|file| files.contains(file)) else {
            let hint = "a model that was trained here has one file for each component";
            return Err(self.missing(&format!("{name}.gguf or {name}.safetensors"), hint));
        };
        let bytes = self.weight_bytes(&file)?;
        let tensors = match file.ends_with(".gguf") {
            true => Gguf::parse(&bytes).and_then(|gguf| gguf.unpack()),
            false => safetensors::read(&bytes),
        };
        Ok(tensors.map_err(|source| source.in_file(&self.path.join(&file)))?)
    }

    /// All tensors, of one file or of those that the index lists.
    ///
    /// # Errors
    /// No weights are there, a shard is missing or damaged, or index and shards disagree.
    pub fn tensors(&self) -> Result<Tensors> {
        self.tensors_but(|_| false)
    }

    /// As [`tensors`](Self::tensors), but for those whose name is `ignorable`, which may be of any
    /// dtype.
    ///
    /// # Errors
    /// As [`tensors`](Self::tensors).
    pub fn tensors_but(&self, ignorable: impl Fn(&str) -> bool) -> Result<Tensors> {
        let load = |path: &Path| Ok(safetensors::load_but(path, &ignorable)?.tensors);
        let mut tensors = self.collect(load, &ignorable)?;
        for (name, tensor) in self.held.tensors.iter().filter(|(name, _)| !ignorable(name)) {
            tensors.entry(name.clone()).or_insert_with(|| tensor.clone());
        }
        let mut tensors = Tensors { tensors, metadata: BTreeMap::new() };
        self.adapter.iter().try_for_each(|adapter| adapter.merge(&mut tensors))?;
        Ok(tensors)
    }

    /// Dtype and shape of every tensor; no values are read.
    ///
    /// # Errors
    /// As [`tensors`](Self::tensors).
    pub fn shapes(&self) -> Result<BTreeMap<String, safetensors::Stored>> {
        let mut shapes = self.collect(|path| Ok(safetensors::shapes(path)?), |_| false)?;
        let stored = |tensor: &Tensor| safetensors::Stored {
            dtype: "F32".to_owned(),
            shape: tensor.shape().to_vec(),
        };
        for (name, tensor) in &self.held.tensors {
            shapes.entry(name.clone()).or_insert_with(|| stored(tensor));
        }
        Ok(shapes)
    }

    /// Every tensor's file, and how that stores it; no values are read.
    ///
    /// # Errors
    /// As [`tensors`](Self::tensors).
    pub fn places(&self) -> Result<BTreeMap<String, (PathBuf, safetensors::Stored)>> {
        let read = |path: &Path| {
            let stored = safetensors::shapes(path)?.into_iter();
            Ok(stored.map(|(name, stored)| (name, (path.to_owned(), stored))).collect())
        };
        self.collect(read, |_| false)
    }

    /// What `read` gives for the one file, or for all that the index lists.
    fn collect<T>(
        &self,
        read: impl Fn(&Path) -> Result<BTreeMap<String, T>>,
        ignorable: impl Fn(&str) -> bool,
    ) -> Result<BTreeMap<String, T>> {
        let read = |path: &Path| {
            let found = read(path)?.into_iter();
            Ok::<_, Error>(found.map(|(name, of)| (of_today(name), of)).collect::<BTreeMap<_, _>>())
        };
        if self.is_pipeline() {
            return self.collect_parts(&read, &ignorable);
        }
        if let Some(single) = self.single_file() {
            return read(&single);
        }
        let Some(index) = self.json(self.index())? else {
            return match self.held.tensors.is_empty() {
                true => Err(self.no_weights()),
                false => Ok(BTreeMap::new()),
            };
        };
        let mut all = BTreeMap::new();
        for (shard, names) in self.shards(&index)? {
            let path = self.path.join(shard);
            if !path.exists() {
                let hint = "the index lists a file that is not there; download it, or the whole checkpoint again";
                return Err(self.missing(shard, hint));
            }
            let mut found = read(&path)?;
            for name in names.into_iter().filter(|name| !ignorable(name)) {
                if !found.contains_key(&of_today(name.to_owned())) {
                    return Err(setting(name, shard, "the file does not hold it"));
                }
            }
            all.append(&mut found);
        }
        Ok(all)
    }

    /// As [`collect`](Self::collect), of all parts of a pipeline: tensors are called by their directory, too.
    fn collect_parts<T>(
        &self,
        read: &dyn Fn(&Path) -> Result<BTreeMap<String, T>>,
        ignorable: &dyn Fn(&str) -> bool,
    ) -> Result<BTreeMap<String, T>> {
        let mut all = BTreeMap::new();
        let listed = |(part, _): &&(&str, &str)| self.config.get(part).is_some();
        for (part, _) in PARTS[..WEIGHTY].iter().filter(listed) {
            let named = |name: &str| format!("{part}.{name}");
            let found = self.part(part)?.collect(read, |name| ignorable(&named(name)))?;
            all.extend(found.into_iter().map(|(name, of)| (named(&name), of)));
        }
        Ok(all)
    }

    /// The one file of all weights, if it is there; where there are only those of 16 bits, theirs.
    fn single_file(&self) -> Option<PathBuf> {
        let half = self.single.replace(".safetensors", ".fp16.safetensors");
        let paths = [self.path.join(self.single), self.path.join(half)];
        paths.into_iter().find(|path| path.exists())
    }

    /// The file that says which of many holds which tensor.
    fn index(&self) -> &'static str {
        if self.single == DIFFUSERS_SINGLE { DIFFUSERS_INDEX } else { INDEX }
    }

    /// The tensors of each file of the index.
    fn shards<'i>(&self, index: &'i Value) -> Result<BTreeMap<&'i str, BTreeSet<&'i str>>> {
        let map = Config::new(self.index(), index).child("weight_map")?;
        let mut shards: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for name in map.keys() {
            let shard = map.text_or(name, "")?;
            // A name, not a path: an index does not choose which files of the machine are read.
            let plain = !shard.contains(['/', '\\']) && shard.ends_with(".safetensors");
            if !plain {
                return Err(map.wrong(name, "the name of a .safetensors file beside it", DAMAGED));
            }
            shards.entry(shard).or_default().insert(name);
        }
        Ok(shards)
    }

    fn no_weights(&self) -> Error {
        let pickled = fs::read_dir(&self.path).into_iter().flatten().flatten().any(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.ends_with(".bin") || name.ends_with(".pt") || name.ends_with(".pth")
        });
        Error::Missing {
            file: format!("{} or {}", self.single, self.index()),
            path: self.path.clone(),
            found: listing(&self.path),
            hint: if pickled {
                "pickles (.bin, .pt) can run code and are never loaded; save the model once, where you trust it, with Python: model.save_pretrained(DIR)"
            } else {
                "download the weights too"
            },
        }
    }
}

const DAMAGED: &str = "the index is damaged; download it again";

fn setting(tensor: &str, expected: &str, got: &str) -> Error {
    let (file, key) = (INDEX.to_owned(), format!("weight_map.{tensor}"));
    Error::Setting { file, key, expected: expected.into(), got: got.into(), hint: DAMAGED }
}

pub(crate) fn read_json(path: &Path) -> Result<Option<Value>> {
    let Some(bytes) = read(path)? else { return Ok(None) };
    parsed(path, &bytes).map(Some)
}

fn parsed(path: &Path, bytes: &[u8]) -> Result<Value> {
    let parsed = serde_json::from_slice(bytes);
    parsed.map_err(|error| Error::Json { path: path.into(), got: error.to_string() })
}

/// Never more than the limit, whatever the file says its length is.
fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    let io = |source| Error::Io { path: path.into(), source };
    let file = match fs::File::open(path) {
        Err(error) if is_absent(error.kind()) => return Ok(None),
        file => file.map_err(io)?,
    };
    let got = file.metadata().map_err(io)?.len();
    if got > MAX_JSON {
        return Err(Error::TooLong { path: path.into(), limit: MAX_JSON, got });
    }
    let mut bytes = Vec::new();
    file.take(MAX_JSON).read_to_end(&mut bytes).map_err(io)?;
    Ok(Some(bytes))
}

/// Whether a file is not there; below another file, as in the directory that a GGUF file stands for, none is.
fn is_absent(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The error for a directory without settings: what it is instead, where that can be told.
fn no_config(path: &Path) -> Error {
    let is = |name: &str| path.join(name).exists();
    let inner = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let inner = inner.filter(|path| path.join(CONFIG).is_file()).min();
    let (found, hint) = match inner {
        _ if is("snapshots") => (
            "a model's folder of the hub's cache".into(),
            "pass the model's name (org/name), or the directory of a commit in its snapshots/",
        ),
        _ if is("adapter_config.json") => (
            "a LoRA adapter, which changes another model".into(),
            "pass the model that its base_model_name_or_path names, and this one with --adapter",
        ),
        Some(inner) => (
            format!("one in {}", inner.file_name().unwrap_or_default().to_string_lossy()),
            "pass that directory",
        ),
        None => (listing(path), "pass the directory that holds config.json and model.safetensors"),
    };
    let file = "config.json, a JSON object,".into();
    Error::Missing { file, path: path.into(), found, hint }
}

/// diffusers' name of a class.
const CLASS: &str = "_class_name";

/// Whether these are settings of one of diffusers' models.
fn is_diffusers(config: &Value) -> bool {
    config.get(CLASS).is_some()
}

/// What diffusers' first files call the matrices of an autoencoder's attention.
const FIRST: [(&str, &str); 4] =
    [("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0")];

/// The name of a tensor, which may be of an autoencoder's first files, or whose norm may still speak TensorFlow
/// (BERT's first files).
fn of_today(name: String) -> String {
    if let Some((attention, matrix)) = name.split_once(".mid_block.attentions.0.") {
        let renamed = FIRST.iter().find_map(|(from, to)| {
            let end = matrix.strip_prefix(from)?.strip_prefix('.')?;
            Some(format!("{attention}.mid_block.attentions.0.{to}.{end}"))
        });
        return renamed.unwrap_or(name);
    }
    match name.strip_suffix(".LayerNorm.gamma") {
        Some(norm) => format!("{norm}.LayerNorm.weight"),
        None => match name.strip_suffix(".LayerNorm.beta") {
            Some(norm) => format!("{norm}.LayerNorm.bias"),
            None => name,
        },
    }
}

/// Names in a directory, for an error.
pub(crate) fn listing(path: &Path) -> String {
    const SHOWN: usize = 12;
    let Ok(entries) = fs::read_dir(path) else { return "no directory there".into() };
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    match names.len() {
        0 => "an empty directory".into(),
        n if n > SHOWN => format!("{}, and {} more", names[..SHOWN].join(", "), n - SHOWN),
        _ => names.join(", "),
    }
}
