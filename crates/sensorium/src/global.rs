//! Options of every command, and what they name.

use anyhow::Result;
use clap::{Args, ValueEnum};
use sensorium_nn::prelude::Device;

/// Means the model inside the binary.
pub const EMBEDDED: &str = "embedded";

/// The path of a model that is named: itself where it is one, else the snapshot in the cache.
pub fn find(name: &str) -> Result<String> {
    Ok(sensorium_hub::find(name, &sensorium_hub::Settings::from_env())?.display().to_string())
}

/// Options of every command.
#[derive(Args, Debug)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// The model to use: a directory, a GGUF file, a name in the cache, or the one inside the binary.
    #[arg(long, global = true, value_name = "MODEL", default_value = EMBEDDED)]
    pub model: String,
    /// Seed of everything random [default: 0; of `train`, the recipe's].
    #[arg(long, global = true, value_name = "N")]
    pub seed: Option<u64>,
    /// Threads to compute with; results do not depend on it [default: one a core].
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Where models compute.
    #[arg(long, global = true, value_enum, default_value_t)]
    pub device: DeviceName,
}

/// Where models compute.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum DeviceName {
    #[default]
    Cpu,
}

impl Global {
    /// The same with the path of the model in place of its name.
    pub fn found(&self) -> Result<Self> {
        let model = match self.model.as_str() {
            EMBEDDED => self.model.clone(),
            name => find(name)?,
        };
        Ok(Self { model, ..*self })
    }

    /// Where models compute.
    pub fn device(&self) -> Device {
        match self.device {
            DeviceName::Cpu => Device::flex(),
        }
    }

    /// The seed, 0 unless given.
    pub fn seed(&self) -> u64 {
        self.seed.unwrap_or(0)
    }
}
