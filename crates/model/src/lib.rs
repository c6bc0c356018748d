//! sensorium-model
