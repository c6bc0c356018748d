//! `device = "cpu"` in a recipe: where it computes.

use sensorium_nn::prelude::Device;
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
}
