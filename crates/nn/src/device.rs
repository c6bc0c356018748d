//! Where a model computes, by its name.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;
use std::sync::OnceLock;

use burn::tensor::{Device, FloatDType};
use sensorium_kernels::machine::processor;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::fused::ask;

/// `cpu`, `cuda`, `cuda:1`, `wgpu`, `wgpu:1` or `auto`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceName {
    /// The processor's cores.
    #[default]
    Cpu,
    /// A graphics processor: what reaches it, and its number among those.
    Gpu(Gpu, usize),
    /// The first graphics processor that there is, else the processor's cores.
    Auto,
}

/// What reaches graphics processors: a feature of this crate of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gpu {
    /// NVIDIA's.
    Cuda,
    /// All makers', through Vulkan, Metal or DirectX 12.
    Wgpu,
}

/// A device that cannot be had.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceError {
    /// No device has this name.
    #[error("expected a device, one of {there}, got {name:?}\nhint: {hint}")]
    Unknown {
        /// The name.
        name: String,
        /// Names of those that there are.
        there: String,
        /// How there would be more.
        hint: &'static str,
    },
    /// The program was built without it.
    #[error(
        "expected a program with {gpu}, got one that was built without it\n\
         hint: cargo build --release --features {gpu}; or take the device cpu"
    )]
    NotBuilt {
        /// The feature.
        gpu: Gpu,
    },
    /// There are none, or fewer.
    #[error(
        "expected a device {gpu}:{number}, found {found} through {driver}\n\
         hint: {hint}; or take the device cpu"
    )]
    NotThere {
        /// What reaches it.
        gpu: Gpu,
        /// The number that was asked for.
        number: usize,
        /// How many there are.
        found: usize,
        /// What was looked for.
        driver: &'static str,
        /// How to come by that.
        hint: &'static str,
    },
    /// It is there, and cannot be used.
    #[error(
        "expected to open the device {gpu}:{number}, got: {message}\n\
         hint: see that its driver is of this system's version and that it has memory left; or take \
         the device cpu"
    )]
    Broken {
        /// What reaches it.
        gpu: Gpu,
        /// Its number.
        number: usize,
        /// What the driver or the framework says.
        message: String,
    },
    /// A model does not fit.
    #[error(
        "expected a model of at most {limit} bytes{at}, which {what} holds, got {bytes}\n\
         hint: take a smaller model, or the device cpu"
    )]
    TooLarge {
        /// What is too large: the model, or one tensor.
        what: &'static str,
        /// Where.
        at: String,
        /// Its bytes on the device.
        bytes: u64,
        /// What the device holds.
        limit: u64,
    },
}

/// A device of this program on this machine.
#[derive(Clone, Debug, Serialize)]
pub struct Found {
    /// What it is called here.
    pub name: DeviceName,
    /// What its maker calls it.
    pub model: String,
    /// Bytes that it may be asked to hold, where it says so.
    pub memory: Option<u64>,
}

/// Every device of this program on this machine.
pub fn list() -> Vec<Found> {
    let cpu = Found { name: DeviceName::Cpu, model: processor(), memory: None };
    let gpus = Gpu::ALL.into_iter().flat_map(|gpu| {
        let devices = gpu.devices().into_iter().enumerate();
        devices.map(move |(n, device)| {
            let opened = opened(&device);
            let memory = opened.as_ref().ok().and_then(|_| properties::memory(&device));
            let model = opened.unwrap_or_else(|message| format!("cannot be opened: {message}"));
            Found { name: DeviceName::Gpu(gpu, n), model, memory }
        })
    });
    [cpu].into_iter().chain(gpus).collect()
}

/// The device that `SENSORIUM_DEVICE` names, or the CPU: for what is the same on every device, tests and
/// measurements.
///
/// # Errors
/// As [`DeviceName::open`], or there is no such name.
pub fn from_env() -> Result<Device, DeviceError> {
    match std::env::var("SENSORIUM_DEVICE") {
        Ok(name) => name.parse::<DeviceName>()?.open(),
        Err(_) => Ok(Device::flex()),
    }
}

impl DeviceName {
    /// The device, to run models on; with [`Device::autodiff`], to train them.
    ///
    /// # Errors
    /// The program was built without it, or it is not there.
    pub fn open(self) -> Result<Device, DeviceError> {
        match self {
            Self::Cpu => Ok(Device::flex()),
            Self::Gpu(gpu, number) => gpu.open(number),
            Self::Auto => {
                let works =
                    |device: &Device| opened(device).is_ok() && properties::is_hardware(device);
                let mut all = Gpu::ALL.into_iter().flat_map(Gpu::devices);
                Ok(all.find(works).unwrap_or_else(Device::flex))
            }
        }
    }
}

impl Gpu {
    /// The first is the faster where both reach a device.
    pub const ALL: [Self; 2] = [Self::Cuda, Self::Wgpu];

    /// Whether the program was built with it.
    pub fn is_built(self) -> bool {
        match self {
            Self::Cuda => cfg!(feature = "cuda"),
            Self::Wgpu => cfg!(feature = "wgpu"),
        }
    }

    /// Looked for once: drivers take their time, and some print while they look.
    fn devices(self) -> Vec<Device> {
        static FOUND: [OnceLock<Vec<Device>>; 2] = [const { OnceLock::new() }; 2];
        FOUND[self as usize].get_or_init(|| self.look()).clone()
    }

    fn look(self) -> Vec<Device> {
        match self {
            #[cfg(feature = "cuda")]
            Self::Cuda => Device::enumerate(burn::tensor::DeviceType::Cuda).to_vec(),
            #[cfg(feature = "wgpu")]
            Self::Wgpu => Device::enumerate(burn::tensor::DeviceType::Wgpu).to_vec(),
            #[allow(unreachable_patterns, reason = "with all features")]
            _ => Vec::new(),
        }
    }

    fn open(self, number: usize) -> Result<Device, DeviceError> {
        if !self.is_built() {
            return Err(DeviceError::NotBuilt { gpu: self });
        }
        let devices = self.devices();
        let (driver, hint) = match self {
            Self::Cuda => (
                "libcuda.so or nvcuda.dll of NVIDIA's driver",
                "install NVIDIA's driver, and NVRTC of the CUDA toolkit",
            ),
            Self::Wgpu => (
                "a driver of Vulkan, Metal or DirectX 12",
                "install the graphics processor's driver, or on Debian mesa-vulkan-drivers, which does \
                 without a graphics processor too",
            ),
        };
        let found = devices.len();
        let missing = DeviceError::NotThere { gpu: self, number, found, driver, hint };
        let device = devices.get(number).ok_or(missing)?;
        match opened(device) {
            Ok(_) => Ok(device.clone()),
            Err(message) => Err(DeviceError::Broken { gpu: self, number, message }),
        }
    }
}

/// What a device's maker calls it, or what its driver panics with when it is opened.
fn opened(device: &Device) -> Result<String, String> {
    let model = || properties::model(device);
    ask("its name", || catch_unwind(AssertUnwindSafe(model))).map_err(|panic| said(&*panic))
}

/// The words of a panic.
pub fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no words").to_owned()
}

impl FromStr for DeviceName {
    type Err = DeviceError;

    fn from_str(name: &str) -> Result<Self, DeviceError> {
        let (kind, number) = name.split_once(':').unwrap_or((name, "0"));
        let gpu = |gpu| number.parse().ok().map(|number| Self::Gpu(gpu, number));
        let found = match kind {
            "cpu" if kind == name => Some(Self::Cpu),
            "auto" if kind == name => Some(Self::Auto),
            "cuda" => gpu(Gpu::Cuda),
            "wgpu" => gpu(Gpu::Wgpu),
            _ => None,
        };
        found.ok_or_else(|| {
            let names = list().into_iter().map(|found| found.name.to_string());
            let there = names.chain(["auto".into()]).collect::<Vec<_>>().join(", ");
            let hint = match Gpu::ALL.iter().any(|gpu| gpu.is_built()) {
                true => "`sensorium info --machine` tells what they are",
                false => {
                    "graphics processors need a program that is built with --features cuda or wgpu"
                }
            };
            DeviceError::Unknown { name: name.into(), there, hint }
        })
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Gpu(gpu, 0) => write!(f, "{gpu}"),
            Self::Gpu(gpu, number) => write!(f, "{gpu}:{number}"),
            Self::Auto => f.write_str("auto"),
        }
    }
}

impl fmt::Display for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cuda => "cuda",
            Self::Wgpu => "wgpu",
        })
    }
}

impl TryFrom<String> for DeviceName {
    type Error = DeviceError;

    fn try_from(name: String) -> Result<Self, DeviceError> {
        name.parse()
    }
}

impl From<DeviceName> for String {
    fn from(name: DeviceName) -> Self {
        name.to_string()
    }
}

/// Whether a device is the CPU: elsewhere matrices are not packed.
pub fn is_cpu(device: &Device) -> bool {
    *device == Device::flex()
}

/// Whether products of bfloat16 numbers can be done there; on the CPU always.
pub fn has_bf16(device: &Device) -> bool {
    let device = device.clone().inner();
    is_cpu(&device) || device.supports_dtype(FloatDType::BF16)
}

/// That tensors of these names and numbers of values, as f32, fit on a device, as far as it says what it
/// holds: in all, and in one tensor.
///
/// # Errors
/// They do not.
pub fn fits<'a>(
    device: &Device,
    tensors: impl IntoIterator<Item = (&'a str, u64)>,
) -> Result<(), DeviceError> {
    let (most, largest) = (properties::memory(device), properties::largest(device));
    let mut total = 0_u64;
    for (name, values) in tensors {
        let bytes = values.saturating_mul(4);
        total = total.saturating_add(bytes);
        if let Some(limit) = largest.filter(|&largest| bytes > largest) {
            let at = format!(" in tensor {name}");
            return Err(DeviceError::TooLarge {
                what: "one buffer of the device",
                at,
                bytes,
                limit,
            });
        }
    }
    match most.filter(|&most| total > most) {
        Some(limit) => {
            let (what, at) = ("the device", String::new());
            Err(DeviceError::TooLarge { what, at, bytes: total, limit })
        }
        None => Ok(()),
    }
}

/// What the framework knows of a graphics processor.
#[cfg(any(feature = "cuda", feature = "wgpu"))]
mod properties {
    use burn::backend::DispatchDevice;
    use burn::tensor::Device;

    /// What its maker calls it.
    pub fn model(device: &Device) -> String {
        device.identity().map(|identity| identity.name).unwrap_or_default()
    }

    /// Whether it is more than a program that stands for one.
    pub fn is_hardware(device: &Device) -> bool {
        device.identity().is_some_and(|identity| identity.physical.is_some())
    }

    /// Bytes that it may be asked to hold.
    pub fn memory(device: &Device) -> Option<u64> {
        match device.as_dispatch() {
            DispatchDevice::Cube(device) => device.client().properties().memory.max_memory(),
            _ => None,
        }
    }

    /// Bytes that a tensor may have.
    pub fn largest(device: &Device) -> Option<u64> {
        match device.as_dispatch() {
            DispatchDevice::Cube(device) => Some(device.client().properties().memory.max_page_size),
            _ => None,
        }
    }
}

/// There are none.
#[cfg(not(any(feature = "cuda", feature = "wgpu")))]
mod properties {
    use burn::tensor::Device;

    pub fn model(_: &Device) -> String {
        String::new()
    }

    pub fn is_hardware(_: &Device) -> bool {
        false
    }

    pub fn memory(_: &Device) -> Option<u64> {
        None
    }

    pub fn largest(_: &Device) -> Option<u64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for name in ["cpu", "cuda", "cuda:3", "wgpu", "wgpu:1", "auto"] {
            assert_eq!(name.parse::<DeviceName>().unwrap().to_string(), name);
        }
        assert_eq!("wgpu:0".parse(), Ok(DeviceName::Gpu(Gpu::Wgpu, 0)));
        for name in ["", "gpu", "cpu:0", "auto:1", "cuda:", "cuda:-1", "wgpu:x", "CPU"] {
            let error = name.parse::<DeviceName>().unwrap_err().to_string();
            assert!(error.contains("cpu") && error.contains("hint: "), "{name}: {error}");
        }
    }

    #[test]
    fn what_was_not_built_names_the_feature() {
        for gpu in Gpu::ALL.into_iter().filter(|gpu| !gpu.is_built()) {
            let error = DeviceName::Gpu(gpu, 0).open().unwrap_err().to_string();
            assert!(error.contains(&format!("--features {gpu}")), "{error}");
        }
    }

    #[test]
    fn the_cpu_is_always_there_and_takes_any_model() {
        assert_eq!(list()[0].name, DeviceName::Cpu);
        let cpu = DeviceName::Cpu.open().unwrap();
        assert_eq!(fits(&cpu, [("all", u64::MAX)]), Ok(()));
    }
}
