//! Wiring: components put together into models. No layers of its own; its only weights are scalars.
//!
//! ```text
//! assistant  whatever makes embeds ─▶ backbone ─▶ the answers' loss
//! clip    image encoder ─┐ one space
//!         text tower    ─┘
//! blip2   image encoder ─▶ Q-Former ─▶ a few tokens of a language model, or a text compared
//! flamingo as idefics, with any language model
//! gill    llava ─▶ what was thought at signal tokens ─▶ mapper ─▶ what a generator is told
//! idefics image encoder ─▶ resampler ─▶ asked by gated blocks of a language model ─▶ next token
//! latent_diffusion  text ─▶ mapper ─▶ generator ─▶ a picture's, a clip's or a sound's latents
//! llava   image encoder ─▶ projector ─▶ splice into the prompt ─▶ backbone ─▶ next token
//! masked  some patches ─▶ encoder ─▶ decoder ─▶ the other patches; of it, the encoder stays
//! qwen_vl patches ─▶ encoder ─▶ merger ─▶ splice into the prompt, places on three axes ─▶ next token
//! stable_diffusion  text ─▶ a UNet, step by step ─▶ latents ─▶ autoencoder ─▶ a picture
//! whisper sound ─▶ encoder ─▶ decoder that asks it ─▶ next token
//! ```

pub mod assistant;
pub mod blip2;
pub mod clap;
pub mod clip;
pub mod domain;
pub mod flamingo;
pub mod gill;
pub mod idefics;
pub mod imagebind;
pub mod latent_diffusion;
pub mod llava;
pub mod masked;
pub mod prompt;
pub mod qwen_vl;
pub mod splice;
pub mod stable_diffusion;
pub mod weights;
pub mod whisper;
