//! Options from files: a project's `sensorium.toml` and the user's, and `config show`, which says where each value
//! comes from.
//!
//! ```text
//! flag > environment > ./sensorium.toml > ~/.config/sensorium/sensorium.toml > default
//! ```
//! Options of every command stand at the top, those of one command in the table of its name: `[serve] port = 9000`.

use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, Subcommand};
use serde::Serialize;
use toml::{Table, Value};

use crate::print;

/// See which options hold, and where they come from.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  sensorium config show serve")]
pub struct Config {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Show(Show),
}

/// Show the options of a command, each with its value and where that comes from.
#[derive(Args, Debug)]
struct Show {
    /// The command, such as serve.
    #[arg(value_name = "COMMAND", default_value = "serve")]
    command: String,
    /// Print JSON: name, value, source.
    #[arg(long)]
    json: bool,
}

/// Where a project's options stand.
const FILE: &str = "sensorium.toml";

#[derive(Serialize)]
struct Shown {
    option: String,
    value: Option<String>,
    source: String,
}

/// The files that there are, the stronger first.
fn files() -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config"));
    let user = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).or(home);
    let user = user.map(|folder| folder.join("sensorium").join(FILE));
    [PathBuf::from(FILE)].into_iter().chain(user).filter(|path| path.is_file()).collect()
}

/// The command line, whose defaults are what the files say.
///
/// # Errors
/// A file is no TOML, or says what no option is.
pub fn configured(mut cli: Command) -> Result<Command> {
    for path in files().iter().rev() {
        let text = std::fs::read_to_string(path);
        let text =
            text.with_context(|| format!("expected a readable file at {}", path.display()))?;
        let table: Table = text.parse().map_err(|error: toml::de::Error| {
            let place = path.display();
            anyhow!("expected TOML in {place}, got: {}\nhint: an example is `[serve]` with `port = 9000`", error.message())
        })?;
        for (name, value) in table {
            let wrong = |got: String| anyhow!("{}: {got}", path.display());
            cli = match value {
                Value::Table(options) => within(cli, &name, options),
                value => set(cli, &name, &value),
            }
            .map_err(wrong)?;
        }
    }
    Ok(cli)
}

/// The options of one command.
fn within(cli: Command, name: &str, options: Table) -> Result<Command, String> {
    if cli.find_subcommand(name).is_none() {
        let known: Vec<&str> = cli.get_subcommands().map(Command::get_name).collect();
        return Err(format!(
            "expected a command, got [{name}]\nhint: commands are {}",
            known.join(", ")
        ));
    }
    let mut failed = None;
    let cli = cli.mut_subcommand(name, |mut command| {
        for (key, value) in &options {
            match set(command.clone(), key, value) {
                Ok(changed) => command = changed,
                Err(error) => failed = Some(error),
            }
        }
        command
    });
    failed.map_or(Ok(cli), Err)
}

/// A command whose option of this name has another default.
fn set(command: Command, name: &str, value: &Value) -> Result<Command, String> {
    let is_meant = |arg: &&Arg| arg.get_long() == Some(name);
    let Some(arg) = command.get_arguments().find(is_meant) else {
        let known: Vec<&str> = command.get_arguments().filter_map(Arg::get_long).collect();
        let known = known.join(", ");
        return Err(format!(
            "expected an option of `{}`, got {name}\nhint: options are {known}",
            command.get_name()
        ));
    };
    let id = arg.get_id().to_string();
    let values = match value {
        Value::Array(all) => all.iter().map(plain).collect::<Option<Vec<_>>>(),
        one => plain(one).map(|one| vec![one]),
    };
    let values =
        values.ok_or_else(|| format!("expected a text, a number, or true or false for {name}"))?;
    Ok(command.mut_arg(id, |arg| arg.default_values(values)))
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(flag) => Some(flag.to_string()),
        _ => None,
    }
}

impl Config {
    pub fn run(&self, cli: fn() -> Command) -> Result<()> {
        let Action::Show(show) = &self.action;
        show.run(cli)
    }
}

impl Show {
    fn run(&self, cli: fn() -> Command) -> Result<()> {
        let usual = cli();
        let Some(found) = usual.find_subcommand(&self.command) else {
            let known: Vec<&str> = usual.get_subcommands().map(Command::get_name).collect();
            return Err(anyhow!(
                "expected a command, got {}\nhint: commands are {}",
                self.command,
                known.join(", ")
            ));
        };
        let plain = default_of(&usual, found);
        // What a command needs on its command line is not asked for here.
        let optional = |command: Command| {
            command.mut_args(|arg| arg.required(false)).arg_required_else_help(false)
        };
        let cli = configured(cli())?.mut_subcommand(&*self.command, optional);
        let matches = cli.clone().try_get_matches_from(["sensorium", &*self.command])?;
        let inner = matches.subcommand_matches(&self.command).unwrap_or(&matches);
        let command = cli.find_subcommand(&self.command).unwrap_or(&cli);
        let args = command.get_arguments().chain(cli.get_arguments());
        let shown: Vec<Shown> = args.filter_map(|arg| shown(arg, inner, &plain)).collect();
        if self.json {
            return print::json(&shown);
        }
        shown.iter().try_for_each(|one| {
            let value = one.value.as_deref().unwrap_or("-");
            print::line(format!("{:<24} {:<24} {}", one.option, value, one.source))
        })
    }
}

/// The defaults that stand in no file.
fn default_of(cli: &Command, command: &Command) -> Vec<(String, Vec<String>)> {
    let args = command.get_arguments().chain(cli.get_arguments());
    let values = |arg: &Arg| {
        arg.get_default_values().iter().map(|v| v.to_string_lossy().into_owned()).collect()
    };
    args.map(|arg| (arg.get_id().to_string(), values(arg))).collect()
}

fn shown(arg: &Arg, matches: &ArgMatches, usual: &[(String, Vec<String>)]) -> Option<Shown> {
    let (name, id) = (arg.get_long()?, arg.get_id().as_str());
    if ["help", "version"].contains(&name) {
        return None;
    }
    let raw = matches.try_get_raw(id).ok().flatten();
    let values: Vec<String> =
        raw.into_iter().flatten().map(|v| v.to_string_lossy().into_owned()).collect();
    let usual = usual.iter().find(|(known, _)| known == id).map(|(_, values)| values);
    let source = match matches.value_source(id) {
        Some(ValueSource::EnvVariable) => {
            let name = arg.get_env().unwrap_or_default().to_string_lossy();
            format!("environment, {name}")
        }
        Some(ValueSource::DefaultValue) if usual.is_some_and(|usual| *usual != values) => {
            let files: Vec<String> =
                files().iter().map(|path| path.display().to_string()).collect();
            files.join(" or ")
        }
        _ => "default".to_owned(),
    };
    let value = (!values.is_empty()).then(|| values.join(", "));
    Some(Shown { option: format!("--{name}"), value, source })
}
