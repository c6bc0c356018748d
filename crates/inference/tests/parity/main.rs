//! Our models against PyTorch's: weights read under their published names, then outputs,
//! intermediates, the gradient of every parameter, ten steps of AdamW and greedy tokens.
//!
//! Tolerances, in f32: 1e-5 of a loss or a stack of layers (4e-6 are seen), gradients 1e-4 of the
//! largest value of their tensor (2e-5), losses of a curve 1e-4 of their size (4e-6).

mod bert;
mod blip2_stage1;
mod clip;
mod clip_resnet;
mod conformer;
mod decoders;
mod exact;
mod flamingo;
mod generators;
mod idefics;
mod llama;
mod llava;
mod lora;
mod masked;
mod masks;
mod nano_vit;
mod open;
mod siglip;
mod states;
mod table_encoder;
mod talker;
mod twin;
mod video_encoder;
mod vit;
mod vocoder;
mod whisper;
