//! `info`: what a model is made of.

use anyhow::Result;
use clap::Args;
use sensorium_inference::nano::{COMPONENTS, Files, Nano, component};
use serde::Serialize;

use crate::commands::Global;
use crate::{open, print};

/// Data that nano is trained on, with licences.
pub const TRAINED_ON: [(&str, &str); 5] = [
    ("scenes and texts drawn and written by Sensorium", "MIT or Apache-2.0"),
    ("Noto Emoji images", "Apache-2.0"),
    ("Fluent Emoji, 3D style", "MIT"),
    ("emojibase-data, English", "MIT"),
    ("easy-VQA, training split", "MIT"),
];

/// Show a model's components, shapes, parameters, licences and hashes.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  sensorium info --json")]
pub struct Info {
    /// Also list every tensor.
    #[arg(long)]
    tensors: bool,
    /// Print JSON: parameters, components with their tensors, config, licences.
    #[arg(long)]
    json: bool,
}

/// One component of a model.
#[derive(Debug, Serialize)]
pub struct Component {
    /// Its name.
    pub name: String,
    /// Its file's name.
    pub file: String,
    /// Size of the file.
    pub bytes: usize,
    /// BLAKE3 of the file, hexadecimal.
    pub blake3: String,
    /// Values in all tensors.
    pub parameters: usize,
    tensors: Vec<TensorInfo>,
}

#[derive(Debug, Serialize)]
struct TensorInfo {
    name: String,
    shape: Vec<usize>,
}

impl Info {
    pub fn run(&self, global: &Global) -> Result<()> {
        let files = open::files(&global.model)?;
        let model = Nano::load(&files, &global.device())?;
        let components = components(&files)?;
        // Both models read the same image encoder: components count it once.
        let parameters: usize = components.iter().map(|component| component.parameters).sum();
        if self.json {
            let (clip, llava) = model.configs();
            return print::json(&serde_json::json!({
                "parameters": parameters,
                "vocabulary": model.tokenizer.vocabulary(),
                "tokenizer_blake3": model.tokenizer.hash(),
                "components": components,
                "config": { "clip": clip, "llava": llava },
                "trained_on": licences(),
                "licence": "MIT or Apache-2.0",
            }));
        }
        self.table(&model, &components, parameters)
    }

    fn table(&self, model: &Nano, components: &[Component], parameters: usize) -> Result<()> {
        print::line(format!("{:<10} {:>11} {:>11}  BLAKE3", "component", "parameters", "bytes"))?;
        for c in components {
            print::line(format!(
                "{:<10} {:>11} {:>11}  {}",
                c.name, c.parameters, c.bytes, c.blake3
            ))?;
            for tensor in c.tensors.iter().filter(|_| self.tensors) {
                print::line(format!("    {} {:?}", tensor.name, tensor.shape))?;
            }
        }
        print::line(format!("{:<10} {parameters:>11}", "total"))?;
        let (size, llava) = (model.processor.size, model.configs().1);
        print::line(format!(
            "\npictures: {size} x {size} pixels, {} tokens each; context: {} tokens; vocabulary: {}",
            llava.towers[0].tokens(),
            llava.backbone.context(),
            model.tokenizer.vocabulary()
        ))?;
        print::line("licence: MIT or Apache-2.0; trained on:")?;
        TRAINED_ON
            .iter()
            .try_for_each(|(name, licence)| print::line(format!("  {name}: {licence}")))
    }
}

/// The components of a model's files, in the order in which data meets them.
pub fn components(files: &Files<'_>) -> Result<Vec<Component>> {
    COMPONENTS.iter().map(|name| one(files, name)).collect()
}

fn one(files: &Files<'_>, name: &str) -> Result<Component> {
    let read = component(files, name)?;
    let tensors: Vec<TensorInfo> = read
        .tensors
        .iter()
        .map(|(name, tensor)| TensorInfo { name: name.clone(), shape: tensor.shape().to_vec() })
        .collect();
    let parameters = read.tensors.values().map(|tensor| tensor.data().len()).sum();
    let names = [format!("{name}.gguf"), format!("{name}.safetensors")];
    let found = names.iter().find_map(|wanted| files.0.iter().find(|(file, _)| file == wanted));
    let (file, bytes) = found.map_or(("", &[][..]), |(file, bytes)| (*file, bytes.as_ref()));
    Ok(Component {
        name: name.to_owned(),
        file: file.to_owned(),
        bytes: bytes.len(),
        blake3: blake3::hash(bytes).to_hex().to_string(),
        parameters,
        tensors,
    })
}

fn licences() -> Vec<serde_json::Value> {
    let entry =
        |(name, licence): &(&str, &str)| serde_json::json!({ "name": name, "licence": licence });
    TRAINED_ON.iter().map(entry).collect()
}
