//! Is the engine right? Every fused operation against PyTorch's values, against its twin in
//! plain operations, and against its own slope; and all of it on any number of
//! threads.

mod case;
mod composed;
mod differences;
mod goldens;
mod gradients;
mod merged;
mod operations;
mod recompute;
mod threads;
