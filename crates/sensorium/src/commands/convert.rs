//! `convert`: a language model's directory as a GGUF file, and back.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};
use sensorium_checkpoint::gguf::Kind;
use sensorium_pretrained::convert::convert;
use serde::Serialize;

use crate::commands::Global;
use crate::print;
use sensorium_train::progress::Progress;

/// Turn a language model's directory into a GGUF file, or a GGUF file into a directory.
#[derive(Args, Debug)]
#[command(
    after_help = "Llama, Mistral, Qwen2 and Qwen3 with their tokenizers. Nothing is ever overwritten.\n\nExamples:\n  sensorium convert smollm2/ smollm2-q8_0.gguf --quantize q8_0\n  sensorium convert smollm2.gguf smollm2/"
)]
pub struct Convert {
    /// A directory with config.json, tokenizer.json and safetensors; a GGUF file; or a name in the cache.
    #[arg(value_name = "IN")]
    from: String,
    /// What to write: FILE.gguf from a directory, a directory from a GGUF file.
    #[arg(value_name = "OUT")]
    to: PathBuf,
    /// How matrices are stored; in a directory f32, f16 or bf16 [default: as they are where they are
    /// all of one of these, else f32].
    #[arg(long, value_enum, value_name = "TYPE")]
    quantize: Option<Stored>,
    /// Print JSON: what was written.
    #[arg(long)]
    json: bool,
}

/// How matrices are stored. Vectors of a GGUF file are f32 always.
#[derive(Clone, Copy, Debug, ValueEnum)]
#[allow(non_camel_case_types)] // The names are the format's.
enum Stored {
    F32,
    F16,
    Bf16,
    // 8.5 bits a number.
    #[value(name = "q8_0")]
    Q8_0,
    // 4.5 bits a number.
    #[value(name = "q4_0")]
    Q4_0,
    // 5 bits a number.
    #[value(name = "q4_1")]
    Q4_1,
    // 4.5 bits a number.
    #[value(name = "q4_k")]
    Q4_K,
    // 6.6 bits a number.
    #[value(name = "q6_k")]
    Q6_K,
}

impl Stored {
    fn kind(self) -> Kind {
        match self {
            Self::F32 => Kind::F32,
            Self::F16 => Kind::F16,
            Self::Bf16 => Kind::BF16,
            Self::Q8_0 => Kind::Q8_0,
            Self::Q4_0 => Kind::Q4_0,
            Self::Q4_1 => Kind::Q4_1,
            Self::Q4_K => Kind::Q4_K,
            Self::Q6_K => Kind::Q6_K,
        }
    }
}

#[derive(Serialize)]
struct Output {
    path: String,
    family: &'static str,
    parameters: u64,
    /// Of all files.
    bytes: u64,
    /// Tensors by how they are stored.
    stored: BTreeMap<String, usize>,
}

impl Convert {
    pub fn run(&self, global: &Global) -> Result<()> {
        let (from, kind) = (global.find(&self.from)?, self.quantize.map(Stored::kind));
        let bar = Progress::items("numbers");
        let done = convert(from.as_ref(), &self.to, kind, global.strict, &mut |done, all| {
            bar.set(done as usize, all as usize);
        });
        bar.finish();
        let done = done?;
        let output = Output {
            path: self.to.display().to_string(),
            family: done.family,
            parameters: done.parameters,
            bytes: done.bytes,
            stored: done.stored,
        };
        if self.json {
            return print::json(&output);
        }
        let stored = output.stored.iter().map(|(kind, n)| format!("{n} {kind}"));
        print::line(format!(
            "{}: {}, {} parameters, {:.1} MB, tensors: {}",
            output.path,
            output.family,
            output.parameters,
            output.bytes as f64 / 1e6,
            stored.collect::<Vec<_>>().join(", ")
        ))
    }
}
