//! Models from goldens that are directories as the hub has them.

use sensorium_inference::{Model, Options};
use sensorium_nn::prelude::pack;
use sensorium_pretrained::Pretrained;
use sensorium_testkit::Golden;

use crate::twin::device;

/// The model and what makes its inputs, its matrices as they are read.
pub fn pretrained(golden: &Golden) -> Pretrained {
    Pretrained::open(&golden.path(""), &device()).unwrap_or_else(|error| panic!("{error}"))
}

/// The model as one that runs, packed in f32.
pub fn model(golden: &Golden) -> Model {
    let options = Options { format: Some(pack::Format::F32), ..Options::on(&device()) };
    Model::open(&golden.path(""), &options).unwrap_or_else(|error| panic!("{error}"))
}
