//! `device = "cuda"` in a recipe: where it computes.

use sensorium_nn::device::{DeviceError, DeviceName as Name, has_bf16};
use sensorium_nn::prelude::*;
use serde::{Deserialize, Serialize};

/// A device that is there, by its name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Name", into = "Name")]
pub struct DeviceName {
    name: Name,
    device: Device,
}

impl DeviceName {
    /// The device, with gradients recorded.
    pub fn open(&self) -> Device {
        self.device.clone().autodiff()
    }

    /// What makes layers there to be trained: seeded weights, or without a seed empty ones. Other devices
    /// than the CPU make activations again as the framework does, which is of the cheap ones.
    pub fn init(&self, seed: Option<u64>, precision: Precision, recompute: bool) -> Init {
        let device = match recompute && self.name != Name::Cpu {
            true => self.open().gradient_checkpointing(),
            false => self.open(),
        };
        if precision == Precision::Bf16 && !has_bf16(&device) {
            eprintln!("precision: {} computes in f32, for it has no bfloat16", self.name);
        }
        let init = seed.map_or_else(|| Init::empty(&device), |seed| Init::new(seed, &device));
        init.with(precision).recomputing(recompute)
    }
}

impl Default for DeviceName {
    fn default() -> Self {
        Self { name: Name::Cpu, device: Device::flex() }
    }
}

impl TryFrom<Name> for DeviceName {
    type Error = DeviceError;

    fn try_from(name: Name) -> Result<Self, DeviceError> {
        Ok(Self { name, device: name.open()? })
    }
}

impl From<DeviceName> for Name {
    fn from(device: DeviceName) -> Self {
        device.name
    }
}
