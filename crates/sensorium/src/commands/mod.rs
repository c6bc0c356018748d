//! One file a command.

mod answer;
mod ask;
mod caption;
mod chat;
mod classify;
pub mod config;
mod convert;
mod data;
mod decode;
mod embed;
mod eval;
mod export;
mod generated;
mod info;
mod inspect;
mod logprobs;
mod make;
mod media;
mod merge;
mod models;
mod own;
mod perplexity;
mod plot;
pub mod precision;
mod prompts;
mod pull;
mod run;
mod sampling;
mod schema;
mod score;
mod serve;
mod speak;
mod speaker;
mod train;
mod transcribe;
mod video;
mod watch;

use anyhow::Result;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

pub use crate::global::Global;
use crate::on_device;

/// Trains, runs, serves and measures multimodal models: pictures, videos, sounds, tables and text in, and out.
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
    Draw(make::Draw),
    Animate(make::Animate),
    Sound(make::SoundCommand),
    Speak(speak::Speak),
    Serve(serve::Serve),
    Pull(pull::Pull),
    Models(models::Models),
    Train(train::Train),
    Plot(plot::Plot),
    Watch(watch::WatchCommand),
    Eval(eval::Eval),
    Info(info::InfoCommand),
    Inspect(inspect::Inspect),
    Data(data::Data),
    Export(export::Export),
    Merge(merge::Merge),
    Convert(convert::Convert),
    Config(config::Config),
    #[command(hide = true)]
    Decode(decode::Decode),
}

/// Stack of a thread, as large as a main thread's.
const STACK: usize = 8 << 20;

impl Cli {
    /// What the command line says, and the files of options where it says nothing.
    ///
    /// # Errors
    /// A file of options is damaged; the command line is wrong ([`clap::Error`]).
    pub fn read() -> Result<Self> {
        // A child that decodes heeds nothing but its argument.
        if std::env::args_os().nth(1).is_some_and(|command| command == "decode") {
            return Ok(Self::try_parse()?);
        }
        let matches = config::configured(Self::command())?.try_get_matches()?;
        Ok(Self::from_arg_matches(&matches)?)
    }

    /// Runs the command that was asked for.
    pub fn run(&self) -> Result<()> {
        // A child that decodes is there at once, and needs no threads.
        if let Command::Decode(command) = &self.command {
            return command.run();
        }
        sensorium_nn::keep_freed_pages();
        let threads = self.global.threads.map_or(0, usize::from); // 0: one a core
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).stack_size(STACK);
        pool.build_global()?;
        // A server's threads are its own: none of the pool's is to wait for its clients.
        if let Command::Serve(command) = &self.command {
            return command.run(&self.global.found()?);
        }
        // On one of its own threads: work handed in from outside costs a wake-up each time.
        rayon::scope(|_| on_device::guarded(|| self.dispatch()))
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
            Command::Draw(command) => command.run(global),
            Command::Animate(command) => command.run(global),
            Command::Sound(command) => command.run(global),
            Command::Speak(command) => command.run(global),
            Command::Serve(command) => command.run(global),
            Command::Pull(command) => command.run(global),
            Command::Models(command) => command.run(),
            Command::Train(command) => command.run(global),
            Command::Plot(command) => command.run(),
            Command::Watch(command) => command.run(),
            Command::Eval(command) => command.run(global),
            Command::Info(command) => command.run(global),
            Command::Inspect(command) => command.run(global),
            Command::Data(command) => command.run(),
            Command::Export(command) => command.run(global),
            Command::Merge(command) => command.run(global),
            Command::Convert(command) => command.run(global),
            Command::Config(command) => command.run(Cli::command),
            Command::Decode(command) => command.run(),
        }
    }
}
