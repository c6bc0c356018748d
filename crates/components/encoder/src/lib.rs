//! Media to [`Features`](sensorium_flow::Features): image, sound and text encoders.

pub mod audio;
pub mod image;
pub mod text;
