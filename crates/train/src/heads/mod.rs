//! Heads that make an encoder learn more than its own loss asks for; thrown away after training.

pub mod captioner;
pub mod places;
pub mod regions;
