//! The command as its users meet it: what it prints, how it fails, what it never does.
#![allow(clippy::unwrap_used, reason = "tests")]

mod bad_inputs;
mod decode;
mod fixture;
mod generation;
mod help;
mod outputs;
mod own_data;
mod published;
mod sounds;
#[cfg(unix)]
mod videos;
