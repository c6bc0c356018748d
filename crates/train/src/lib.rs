//! Training: schedules, logs, guards and the recipes that use them.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod batch;
pub mod chat;
pub mod config;
pub mod device;
pub mod dry;
pub mod error;
pub mod feature_cache;
pub mod feed;
pub mod freeze;
pub mod guard;
pub mod heads;
pub mod log;
pub mod lora;
pub mod memory;
pub mod model;
mod older;
pub mod optim;
pub mod plot;
mod precision;
pub mod preview;
pub mod progress;
pub mod provenance;
pub mod recipes;
pub mod run;
pub mod schedule;
pub mod size;
pub mod talk;
pub mod tensorboard;
pub mod tokenizer;
pub mod told;
pub mod towers;
pub mod watch;

pub use error::{Result, TrainError};
