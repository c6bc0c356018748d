//! Media to [`Features`](sensorium_flow::Features): image and text encoders.

pub mod image;
mod shapes;
pub mod text;
