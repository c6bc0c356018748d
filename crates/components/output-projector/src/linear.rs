//! One linear map of each token.

use std::sync::Arc;

use sensorium_flow::{Condition, Conditions, Hidden};
use sensorium_nn::prelude::*;

/// `[B, T, D] -> [B, T, C]`
#[derive(Module, Debug)]
pub struct LinearMap {
    fc: Linear,
}

sensorium_nn::pack!(LinearMap: fc);

impl LinearMap {
    /// A matrix of `D^-0.5`.
    pub fn init([input, width]: [usize; 2], init: &mut Init) -> Self {
        Self { fc: Linear::init(input, width, true, (input as f64).powf(-0.5), init) }
    }
}

impl Condition for LinearMap {
    fn condition(&self, Hidden(x): Hidden, _lengths: Option<&Arc<[usize]>>) -> Conditions {
        Conditions(self.fc.forward(x))
    }
}
