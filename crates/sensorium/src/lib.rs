//! Trains, runs and measures multimodal language models: its crates under one name.
//!
//! To run a model, open it and ask for what it can do: [`inference::Model::open`] takes a directory as the
//! hub lays it out, or a GGUF file.
//!
//! ```no_run
//! use std::ops::ControlFlow;
//!
//! use sensorium::inference::{GenerateOptions, Model, Options, Step};
//! use sensorium::media::{Media, Message, Modality, Picture, Role, parse_markers};
//! use sensorium::nn::prelude::Device;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let options = Options::on(&Device::flex());
//! let model = Model::open("SmolVLM-256M-Instruct".as_ref(), &options)?;
//! let picture = Picture::read("scene.png".as_ref())?;
//! let parts = parse_markers("what colour is the circle?", &[Modality::Image])?;
//! let question = [Message { role: Role::User, parts }];
//! let options = GenerateOptions::default();
//! let listen = &mut |_: Step<'_>| ControlFlow::Continue(());
//! let reply = model.chat()?.answer(&question, &[Media::Image(picture)], &options, listen)?;
//! println!("{}", reply.continuation.text);
//! # Ok(())
//! # }
//! ```
//!
//! Programs to copy are `ask.rs`, `embed.rs` and `finetune_clip.rs` in `crates/sensorium/examples`; each
//! says in its first lines how it is run. What is shown here of the other crates may change with any
//! version.
//!
//! # The crates
//!
//! ```text
//!          encode            project           forward
//!   Media ────────▶ Features ────────▶ Embeds ──────────▶ Hidden ──▶ text
//!          encoder     input-projector        backbone
//! ```
//!
//! | crate | holds |
//! |---|---|
//! | [`media`] | pictures, sounds, tokenizers, chat templates: bytes to pixels, samples and token ids |
//! | [`flow`] | the values between components, and what each kind of component does |
//! | [`nn`] | layers, losses, devices; below it, fast loops on the CPU |
//! | [`checkpoint`] | safetensors and GGUF: named tensors on disk |
//! | [`pretrained`] | published families: a directory or a GGUF file becomes a model |
//! | [`inference`] | models that run: answers, vectors, scores, transcripts |
//! | [`data`] | data sets: users' files and drawn scenes become examples |
//! | [`train`] | recipes, and the functions they call |
//! | [`eval`] | a model and a data set become figures |
//! | [`embedded`] | `nano`, the model inside the binary |

pub mod embedded;

pub use sensorium_checkpoint as checkpoint;
pub use sensorium_data as data;
pub use sensorium_eval as eval;
pub use sensorium_flow as flow;
pub use sensorium_inference as inference;
pub use sensorium_media as media;
pub use sensorium_nn as nn;
pub use sensorium_pretrained as pretrained;
pub use sensorium_train as train;
