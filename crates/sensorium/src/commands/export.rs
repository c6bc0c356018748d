//! `export`: the components of finished runs become one model directory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use clap::{Args, ValueEnum};
use sensorium_checkpoint::file::{Disk, write_atomic};
use sensorium_checkpoint::safetensors::{self, Dtype};
use sensorium_inference::{Model, Options};
use sensorium_media::Tokenizer;
use sensorium_pretrained::families::sensorium::{SensoriumConfig, quantised};
use sensorium_pretrained::{Directory, Provenance};
use sensorium_train::config;
use serde::{Deserialize, Serialize};

use crate::commands::Global;
use crate::print;

/// Collect the components of finished runs into a model directory.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  sensorium export runs/clip/final runs/llava/instruct/final --to models/nano"
)]
pub struct Export {
    /// `final/` directories of runs.
    #[arg(required = true, value_name = "RUN_FINAL")]
    finals: Vec<PathBuf>,
    /// Model directory to write.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// How matrices are stored.
    #[arg(long, value_enum, default_value_t = Precision::Q8_0)]
    precision: Precision,
    /// The tokenizer [default: the one that the runs' configurations name].
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Print JSON: the manifest.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
enum Precision {
    /// GGUF, matrices in 8.5 bits a weight.
    #[value(name = "q8_0")]
    #[serde(rename = "q8_0")]
    Q8_0,
    /// safetensors, 32 bits a weight.
    F32,
}

/// What the model directory holds.
#[derive(Serialize)]
struct Manifest {
    precision: Precision,
    parameters: usize,
    files: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    name: String,
    blake3: String,
    bytes: usize,
    parameters: usize,
    source: String,
}

/// The one key of a run's configuration that matters here.
#[derive(Deserialize)]
struct RunConfig {
    tokenizer: PathBuf,
}

impl Export {
    pub fn run(&self, global: &Global) -> Result<()> {
        let config = self.config()?;
        let sources = self.sources(&config)?;
        std::fs::create_dir_all(&self.to).with_context(|| {
            format!(
                "could not create {}\nhint: check that its parent is writable",
                self.to.display()
            )
        })?;
        let mut files = vec![self.tokenizer()?];
        files.extend(self.beside(&config)?);
        for name in config.components() {
            files.push(self.component(name, &sources[name])?);
        }
        let parameters = files.iter().map(|file| file.parameters).sum();
        let manifest = Manifest { precision: self.precision, parameters, files };
        let text = serde_json::to_string_pretty(&manifest)? + "\n";
        write_atomic(&Disk, &self.to.join("manifest.json"), text.as_bytes())?;
        // What does not load again is no model.
        let options = Options { strict: global.strict, ..Options::on(&global.device()?) };
        Model::open(&self.to, &options)?;
        if self.json {
            return print::json(&manifest);
        }
        manifest.files.iter().try_for_each(|file| {
            print::line(format!("{:<22} {:>10} bytes  from {}", file.name, file.bytes, file.source))
        })
    }

    /// The file of each component. Where two runs wrote the same component they must agree.
    fn sources(&self, config: &SensoriumConfig) -> Result<BTreeMap<&'static str, PathBuf>> {
        let mut sources: BTreeMap<&str, PathBuf> = BTreeMap::new();
        for name in config.components() {
            let file = format!("{name}.safetensors");
            for path in self.finals.iter().map(|dir| dir.join(&file)).filter(|path| path.is_file())
            {
                if let Some(first) = sources.get(name)
                    && bytes(first)? != bytes(&path)?
                {
                    return Err(anyhow!(
                        "expected one {name}, but {} and {} differ\nhint: export runs that were \
                         trained on each other",
                        first.display(),
                        path.display()
                    ));
                }
                sources.entry(name).or_insert(path);
            }
            if !sources.contains_key(name) {
                return Err(anyhow!(
                    "expected {file} in one of {:?}, found none\nhint: name the final/ directories \
                     of a clip run and of a llava run",
                    self.finals
                ));
            }
        }
        Ok(sources)
    }

    /// What the trainings' settings say together.
    fn config(&self) -> Result<SensoriumConfig> {
        let mut config = SensoriumConfig::default();
        for dir in &self.finals {
            config = config.or(SensoriumConfig::read(&Directory::open(dir)?)?);
        }
        // A language model that sees goes on with texts, too.
        config.language = config.language.filter(|_| config.llava.is_none());
        Ok(config)
    }

    /// The files beside weights and tokenizer.
    fn beside(&self, config: &SensoriumConfig) -> Result<Vec<Entry>> {
        let config = serde_json::to_string_pretty(config)? + "\n";
        let source = self.finals[0].join("config.json");
        let mut files = vec![self.write("config.json".into(), config.as_bytes(), 0, &source)?];
        for name in ["preprocessor_config.json", "chat_template.jinja"] {
            let mut found = self.finals.iter().map(|dir| dir.join(name));
            if let Some(path) = found.find(|path| path.is_file()) {
                files.push(self.write(name.to_owned(), &bytes(&path)?, 0, &path)?);
            }
        }
        let mut all = Vec::new();
        for dir in &self.finals {
            all.extend(Provenance::read(&Directory::open(dir)?)?);
        }
        if !all.is_empty() {
            let joined = serde_json::to_string_pretty(&Provenance::joined(&all))? + "\n";
            let source = self.finals[0].join("provenance.json");
            files.push(self.write("provenance.json".into(), joined.as_bytes(), 0, &source)?);
        }
        Ok(files)
    }

    fn tokenizer(&self) -> Result<Entry> {
        let path = match &self.tokenizer {
            Some(path) => path.clone(),
            None => {
                let mut beside = self.finals.iter().map(|dir| dir.join("tokenizer.json"));
                beside.find(|path| path.is_file()).map_or_else(|| self.configured(), Ok)?
            }
        };
        let bytes = bytes(&path)?;
        Tokenizer::from_bytes(&bytes)?;
        self.write("tokenizer.json".to_owned(), &bytes, 0, &path)
    }

    fn configured(&self) -> Result<PathBuf> {
        let configs = self.finals.iter().filter_map(|dir| Some(dir.parent()?.join("config.toml")));
        let config = configs.into_iter().find(|path| path.is_file()).ok_or_else(|| {
            anyhow!(
                "expected config.toml beside one of {:?}, found none\nhint: pass --tokenizer FILE",
                self.finals
            )
        })?;
        Ok(config::load::<RunConfig>(&config, &[])?.tokenizer)
    }

    fn component(&self, name: &str, source: &Path) -> Result<Entry> {
        let tensors = safetensors::load(source)?;
        let parameters = tensors.tensors.values().map(|tensor| tensor.data().len()).sum();
        let (ending, bytes) = match self.precision {
            Precision::Q8_0 => ("gguf", quantised(name, &tensors)?),
            Precision::F32 => ("safetensors", safetensors::write(&tensors, Dtype::F32)?),
        };
        self.remove_other(name, ending)?;
        self.write(format!("{name}.{ending}"), &bytes, parameters, source)
    }

    /// An older export of the other precision would be found first, or for nothing.
    fn remove_other(&self, name: &str, ending: &str) -> Result<()> {
        let other = if ending == "gguf" { "safetensors" } else { "gguf" };
        let path = self.to.join(format!("{name}.{other}"));
        if path.is_file() {
            std::fs::remove_file(&path).with_context(|| {
                format!("could not remove {}\nhint: check its permissions", path.display())
            })?;
        }
        Ok(())
    }

    fn write(&self, name: String, bytes: &[u8], parameters: usize, source: &Path) -> Result<Entry> {
        write_atomic(&Disk, &self.to.join(&name), bytes)?;
        let blake3 = blake3::hash(bytes).to_hex().to_string();
        let source = source.display().to_string();
        Ok(Entry { name, blake3, bytes: bytes.len(), parameters, source })
    }
}

fn bytes(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| {
        format!("could not read {}\nhint: check the path and its permissions", path.display())
    })
}
