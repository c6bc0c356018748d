//! Wiring: components put together into models. No layers of its own; its only weights are scalars.
//!
//! ```text
//! clip    image encoder ─┐ one space
//!         text tower    ─┘
//! blip2   image encoder ─▶ Q-Former ─▶ a few tokens of a language model, or a text compared
//! captioner   what an image encoder's positions must tell while it is trained
//! idefics image encoder ─▶ resampler ─▶ asked by gated blocks of a language model ─▶ next token
//! llava   image encoder ─▶ projector ─▶ splice into the prompt ─▶ backbone ─▶ next token
//! published   checkpoints in a directory, as the hub lays them out
//! whisper sound ─▶ encoder ─▶ decoder that asks it ─▶ what was said, and when
//! vlm     a published language model that sees: pictures as tokens of its prompt
//! llm     a published language model, from a directory or a GGUF file: tokenizer, backbone, next token
//! ```

pub mod blip2;
pub mod captioner;
pub mod checkpoint;
pub mod clip;
pub mod idefics;
pub mod llava;
pub mod llm;
pub mod names;
pub mod nano;
pub mod places;
pub mod prompt;
pub mod published;
pub mod regions;
pub mod splice;
pub mod vlm;
pub mod weights;
pub mod whisper;
