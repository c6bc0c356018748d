//! Options of every command, and what they name.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use sensorium_hub::{Choice, Error, Hub, Settings};
use sensorium_nn::device::DeviceName;
use sensorium_nn::prelude::Device;

use crate::fetch::fetch;

/// Means the model inside the binary.
pub const EMBEDDED: &str = "embedded";

/// Options of every command.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// The model to use: a directory, a GGUF file, a name on the hub (NAME, NAME:Q8_0, NAME/FILE.gguf),
    /// which is fetched if the cache has it not, or the one inside the binary.
    #[arg(long, global = true, value_name = "MODEL", default_value = EMBEDDED)]
    pub model: String,
    /// The directory of a LoRA adapter in peft's format, which changes the model's weights.
    #[arg(long, global = true, value_name = "DIR")]
    pub adapter: Option<PathBuf>,
    /// Seed of everything random [default: 0; of `train`, the recipe's].
    #[arg(long, global = true, value_name = "N")]
    pub seed: Option<u64>,
    /// Threads to compute with; results do not depend on it [default: one a core].
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Where models compute: cpu, cuda, cuda:N, wgpu, wgpu:N, or auto for the first graphics processor
    /// that there is [default: cpu; of `train`, the recipe's].
    #[arg(long, global = true, value_name = "DEVICE")]
    pub device: Option<DeviceName>,
    /// Refuse a model whose files hold weights or settings that are not heeded.
    #[arg(long, global = true)]
    pub strict: bool,
    /// Fetch nothing.
    #[arg(long, global = true)]
    pub offline: bool,
}

/// Whether a name is one of the hub's, and not a path that is not there. A word alone is taken for a
/// path.
fn is_to_be_fetched(name: &str, error: &Error) -> bool {
    match error {
        Error::NotCached { .. } => name.contains('/'),
        // Another file of the same model.
        Error::Choose { found: "none", .. } => true,
        _ => false,
    }
}

impl Global {
    /// The same with the path of the model in place of its name.
    pub fn found(&self) -> Result<Self> {
        let model = match self.model.as_str() {
            EMBEDDED => self.model.clone(),
            name => self.find(name)?,
        };
        Ok(Self { model, ..self.clone() })
    }

    /// The path of a model that is named: itself where it is one, else in the cache, into which it is
    /// fetched.
    pub fn find(&self, name: &str) -> Result<String> {
        let settings = self.hub();
        let found = match sensorium_hub::find(name, &settings) {
            Err(error) if !settings.offline && is_to_be_fetched(name, &error) => {
                let choice = Choice::parse(name)?;
                let hub = Hub::new(settings.clone());
                let plan = hub.plan(&choice, &[])?;
                let bytes = plan.bytes.map(|bytes| format!(", {:.1} MB", bytes as f64 / 1e6));
                let (files, bytes) = (plan.files(), bytes.unwrap_or_default());
                eprintln!(
                    "{name} is not in the cache: fetching {files} files{bytes} (--offline forbids it)"
                );
                fetch(&hub, &plan)?;
                sensorium_hub::find(name, &settings)?
            }
            found => found?,
        };
        Ok(found.display().to_string())
    }

    /// Where names are looked for, and whether they may be fetched.
    pub fn hub(&self) -> Settings {
        let settings = Settings::from_env();
        Settings { offline: settings.offline || self.offline, ..settings }
    }

    /// Where models compute.
    pub fn device(&self) -> Result<Device> {
        Ok(self.device.unwrap_or_default().open()?)
    }

    /// The seed, 0 unless given.
    pub fn seed(&self) -> u64 {
        self.seed.unwrap_or(0)
    }
}
