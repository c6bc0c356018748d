//! `merge`: a model with its adapter in its weights.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use sensorium_checkpoint::directory::save_dir;
use sensorium_checkpoint::file::Disk;
use sensorium_checkpoint::safetensors::Dtype;
use sensorium_train::model::{beside, published};
use serde::Serialize;

use crate::commands::Global;
use crate::{open, print};

/// Write a model with a LoRA adapter merged into its weights.
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  sensorium merge --model SmolLM2-135M-Instruct --adapter runs/lora/final --to merged"
)]
pub struct Merge {
    /// Model directory to write.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// How the weights are stored.
    #[arg(long, value_enum, default_value_t)]
    dtype: DtypeName,
    /// Print JSON: what was written.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum DtypeName {
    #[default]
    F32,
    Bf16,
    F16,
}

impl From<DtypeName> for Dtype {
    fn from(name: DtypeName) -> Self {
        match name {
            DtypeName::F32 => Self::F32,
            DtypeName::Bf16 => Self::BF16,
            DtypeName::F16 => Self::F16,
        }
    }
}

#[derive(Serialize)]
struct Output {
    path: String,
    parameters: usize,
    bytes: usize,
}

impl Merge {
    pub fn run(&self, global: &Global) -> Result<()> {
        let Some(adapter) = &global.adapter else {
            bail!(
                "expected an adapter to merge, got none\nhint: --adapter DIR, and --model for what it was trained on"
            );
        };
        let directory = open::directory(&global.model)?.adapted(Some(adapter))?;
        let tensors = directory.tensors()?;
        let parameters = tensors.tensors.values().map(|tensor| tensor.data().len()).sum();
        let files = published(&beside(&directory)?, &tensors, self.dtype.into())?;
        let files: Vec<_> = files.iter().map(|(name, bytes)| (&name[..], &bytes[..])).collect();
        save_dir(&Disk, &self.to, &files)?;
        let bytes = files.iter().map(|(_, bytes)| bytes.len()).sum();
        let output = Output { path: self.to.display().to_string(), parameters, bytes };
        if self.json {
            return print::json(&output);
        }
        print::line(format!(
            "{}: {parameters} parameters, {:.1} MB",
            output.path,
            bytes as f64 / 1e6
        ))
    }
}
