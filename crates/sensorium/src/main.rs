//! The `sensorium` command: reads its arguments, runs one command, prints one error.

mod commands;
mod fetch;
mod global;
mod on_device;
mod open;
mod print;

use std::process::ExitCode;

use clap::Parser;

use crate::commands::Cli;

/// Prints what a model's files say that is not done, and of a server what it has answered.
struct Warnings;

impl log::Log for Warnings {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::max_level() && metadata.target().starts_with("sensorium")
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            match record.level() {
                log::Level::Error | log::Level::Warn => print::warning(&record.args().to_string()),
                _ => print::note(record.args()),
            }
        }
    }

    fn flush(&self) {}
}

fn main() -> ExitCode {
    if log::set_logger(&Warnings).is_ok() {
        log::set_max_level(log::LevelFilter::Warn);
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if print::is_closed(&error) => ExitCode::SUCCESS,
        Err(error) => {
            print::error(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Help and version go to standard output, wrong usage with status 2 to standard error.
fn usage(error: &clap::Error) -> ExitCode {
    // A closed standard error must not turn into a panic.
    let _ = error.print();
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    eprintln!(
        "hint: `sensorium --help` lists the commands, `sensorium COMMAND --help` shows an example"
    );
    ExitCode::from(2)
}
