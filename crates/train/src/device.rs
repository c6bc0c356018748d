//! `device = "cpu"` in a recipe: where it computes.

use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

/// A kind of device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceName {
    /// The processor's cores.
    #[default]
    Cpu,
}

impl DeviceName {
    /// The device, with gradients recorded.
    pub fn open(self) -> Device {
        match self {
            Self::Cpu => Device::flex().autodiff(),
        }
    }

    /// What makes layers there to be trained: seeded weights, or without a seed empty ones.
    pub fn init(self, seed: Option<u64>, precision: Precision, recompute: bool) -> Init {
        let device = self.open();
        let init = seed.map_or_else(|| Init::empty(&device), |seed| Init::new(seed, &device));
        init.with(precision).recomputing(recompute)
    }
}
