//! One file a command.

mod ask;
mod caption;
mod chat;
mod classify;
mod convert;
mod data;
mod embed;
mod eval;
mod export;
mod info;
mod inspect;
mod logprobs;
mod models;
mod perplexity;
mod plot;
pub mod precision;
mod pull;
mod run;
mod sampling;
mod score;
mod told;
mod train;
mod transcribe;

use anyhow::Result;
use clap::{Args, Parser, Subcommand, ValueEnum};
use sensorium_nn::prelude::Device;

/// Trains, runs and measures multimodal language models: pictures and text in, text out.
#[derive(Debug, Parser)]
#[command(
    name = "sensorium",
    version,
    after_help = "Example:\n  sensorium ask \"what colour is the circle?\" --image scene.png"
)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Args, Debug)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// The model to use: a directory, a GGUF file, a name in the cache, or the one inside the binary.
    #[arg(long, global = true, value_name = "MODEL", default_value = crate::open::EMBEDDED)]
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

#[derive(Debug, Subcommand)]
enum Command {
    Ask(ask::Ask),
    Caption(caption::Caption),
    Classify(classify::Classify),
    Embed(embed::Embed),
    Score(score::ScoreCommand),
    Chat(chat::Chat),
    Run(run::Run),
    Transcribe(transcribe::Transcribe),
    Pull(pull::Pull),
    Models(models::Models),
    Train(train::Train),
    Plot(plot::Plot),
    Eval(eval::Eval),
    Info(info::Info),
    Inspect(inspect::Inspect),
    Data(data::Data),
    Export(export::Export),
    Convert(convert::Convert),
}

/// Stack of a thread, as large as a main thread's.
const STACK: usize = 8 << 20;

impl Cli {
    /// Runs the command that was asked for.
    pub fn run(&self) -> Result<()> {
        sensorium_nn::keep_freed_pages();
        let threads = self.global.threads.map_or(0, usize::from); // 0: one a core
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).stack_size(STACK);
        pool.build_global()?;
        // On one of its own threads: work handed in from outside costs a wake-up each time.
        rayon::scope(|_| self.dispatch())
    }

    fn dispatch(&self) -> Result<()> {
        let global = &self.global.found()?;
        match &self.command {
            Command::Ask(command) => command.run(global),
            Command::Caption(command) => command.run(global),
            Command::Classify(command) => command.run(global),
            Command::Embed(command) => command.run(global),
            Command::Score(command) => command.run(global),
            Command::Chat(command) => command.run(global),
            Command::Run(command) => command.run(global),
            Command::Transcribe(command) => command.run(global),
            Command::Pull(command) => command.run(),
            Command::Models(command) => command.run(),
            Command::Train(command) => command.run(global),
            Command::Plot(command) => command.run(),
            Command::Eval(command) => command.run(global),
            Command::Info(command) => command.run(global),
            Command::Inspect(command) => command.run(),
            Command::Data(command) => command.run(),
            Command::Export(command) => command.run(global),
            Command::Convert(command) => command.run(),
        }
    }
}

impl Global {
    /// The same with the path of the model in place of its name.
    fn found(&self) -> Result<Self> {
        let model = match self.model.as_str() {
            crate::open::EMBEDDED => self.model.clone(),
            name => crate::open::find(name)?,
        };
        Ok(Self { model, ..*self })
    }

    /// Where models compute.
    pub fn device(&self) -> Device {
        match self.device {
            DeviceName::Cpu => sensorium_nn::running_device(),
        }
    }

    /// The seed, 0 unless given.
    pub fn seed(&self) -> u64 {
        self.seed.unwrap_or(0)
    }
}
