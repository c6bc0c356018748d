//! sensorium-encoder
