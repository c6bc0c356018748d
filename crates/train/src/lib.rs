//! Training: schedules, logs, guards and the recipes that use them.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod config;
pub mod error;
pub mod guard;
pub mod log;
pub mod plot;
pub mod progress;
pub mod schedule;
pub mod tensorboard;

pub use error::{Result, TrainError};
