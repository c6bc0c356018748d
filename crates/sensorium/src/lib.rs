//! Sensorium as a library: its crates under one name.
//!
//! ```no_run
//! use std::ops::ControlFlow;
//!
//! use sensorium::media::{Message, Picture, Role, parse_markers};
//! use sensorium::model::nano::{AskOptions, Nano};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let nano = Nano::open("models/nano".as_ref())?;
//! let picture = Picture::read("scene.png".as_ref())?;
//! let parts = parse_markers("what colour is the circle?", 1)?;
//! let question = [Message { role: Role::User, parts }];
//! let options = AskOptions::default();
//! let reply = nano.answer(&question, &[picture], options, |_| ControlFlow::Continue(()))?;
//! println!("{}", reply.continuation.text);
//! # Ok(())
//! # }
//! ```

pub mod embedded;

pub use sensorium_data as data;
pub use sensorium_eval as eval;
pub use sensorium_flow as flow;
pub use sensorium_media as media;
pub use sensorium_model as model;
pub use sensorium_nn as nn;
pub use sensorium_train as train;
