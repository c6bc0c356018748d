//! Sensorium as a library: its crates under one name.
//!
//! ```no_run
//! use std::ops::ControlFlow;
//!
//! use sensorium::inference::{GenerateOptions, Model, Options};
//! use sensorium::media::{Message, Picture, Role, parse_markers};
//! use sensorium::nn::running_device;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let options = Options { format: None, device: running_device() };
//! let model = Model::open("SmolVLM-256M-Instruct".as_ref(), &options)?;
//! let picture = Picture::read("scene.png".as_ref())?;
//! let parts = parse_markers("what colour is the circle?", 1)?;
//! let question = [Message { role: Role::User, parts }];
//! let options = GenerateOptions::default();
//! let listen = &mut |_: sensorium::inference::Step<'_>| ControlFlow::Continue(());
//! let reply = model.chat()?.answer(&question, &[picture], &options, listen)?;
//! println!("{}", reply.continuation.text);
//! # Ok(())
//! # }
//! ```

pub mod embedded;

pub use sensorium_checkpoint as checkpoint;
pub use sensorium_data as data;
pub use sensorium_eval as eval;
pub use sensorium_flow as flow;
pub use sensorium_inference as inference;
pub use sensorium_media as media;
pub use sensorium_model as model;
pub use sensorium_nn as nn;
pub use sensorium_pretrained as pretrained;
pub use sensorium_train as train;
